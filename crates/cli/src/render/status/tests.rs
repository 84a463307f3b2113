//! Rows recorded from the Go tool for the same status.

use super::*;

#[test]
fn last_seen_in_minutes_hours_days() {
    let now = Time::from_unix(1_000_000);
    for (ago, want) in [
        (-50, ", last seen 1m ago"),
        (0, ", last seen 1m ago"),
        (119, ", last seen 1m ago"),
        (3599, ", last seen 59m ago"),
        (3600, ", last seen 1h ago"),
        (86_399, ", last seen 23h ago"),
        (200_000, ", last seen 2d ago"),
    ] {
        assert_eq!(last_seen(Time::from_unix(1_000_000 - ago), now), want, "{ago}");
    }
    assert_eq!(last_seen(Time::ZERO, now), "");
}

#[test]
fn what_is_said_instead_of_rows() {
    let said = |state: &str, url: &str| {
        running(&Status { backend_state: state.to_owned(), auth_url: url.to_owned(), ..Status::default() })
    };
    assert_eq!(said("Running", ""), Ok(()));
    assert_eq!(said("Starting", ""), Ok(()));
    for (state, url, want) in [
        ("Stopped", "", "Tailscale is stopped."),
        ("NeedsLogin", "", "Logged out."),
        ("NeedsLogin", "https://x", "Logged out.\nLog in at: https://x"),
        ("NeedsMachineAuth", "", "Machine is not yet approved by tailnet admin."),
        ("NoState", "", "unexpected state: NoState"),
        ("odd", "", "unexpected state: odd"),
    ] {
        assert_eq!(said(state, url).unwrap_err(), want);
    }
}
