//! How long connecting to each region takes: the fallback of netcheck where UDP is blocked.
//!
//! Time runs from the dial to the end of the TLS handshake, name lookup included if the map has no address.

use crate::Event;
use crate::connect;
use crate::pool::Shared;
use netmap::{DerpMap, RegionId};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Limit of each region.
const LIMIT: Duration = Duration::from_secs(3);
/// Handshakes at a time: each costs some 100 KB while it lasts.
const AT_ONCE: usize = 8;

/// Measures every region that may become home and tells the sink.
pub(crate) async fn run(shared: Rc<Shared>, map: Rc<DerpMap>) {
    let mut waiting = map
        .regions
        .iter()
        .filter(|(_, region)| !region.no_measure_no_home)
        .filter_map(|(id, region)| {
            Some((*id, connect::servers(region, shared.options.use_http).into_iter().next()?.target))
        })
        .collect::<Vec<_>>()
        .into_iter();
    let mut running = JoinSet::<Option<(RegionId, Duration)>>::new();
    let mut found = BTreeMap::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((id, target)) = waiting.next()
        {
            let dialer = Rc::clone(&shared.dialer);
            running.spawn_local(async move {
                let start = Instant::now();
                let dialled = tokio::time::timeout(LIMIT, dialer.dial(&target)).await;
                matches!(dialled, Ok(Ok(_))).then(|| (id, start.elapsed()))
            });
        }
        match running.join_next().await {
            Some(result) => found.extend(result.ok().flatten()),
            None => break,
        }
    }
    shared.sink.event(Event::HomeMeasured(found));
}
