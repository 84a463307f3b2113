//! What goes on while nobody does anything: streams without control, an idle node. The soaks do the same for longer.

use blackbox::{EVERYTHING, OUTAGE, scenario, soak};
use std::time::Duration;

#[test]
fn streams_go_on_without_control() {
    scenario(OUTAGE, |lab| soak::without_control(lab, Duration::from_secs(20)));
}

#[test]
fn an_idle_node_needs_no_more_than_gos() {
    scenario(EVERYTHING, |lab| soak::idle(lab, Duration::from_secs(10), Duration::from_secs(25)));
}
