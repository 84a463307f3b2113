//! Things that may cut the very connection over which they are typed.

use std::io::BufRead as _;
use std::net::IpAddr;

use super::Run;
use crate::Env;
use crate::stop::{Outcome, Stop};

/// The help of the flag that skips the question.
pub(crate) const ACCEPT_RISK: &str = "risks to accept without being asked: lose-ssh, mac-app-connector, all";

/// Whether we were started over SSH from a tailnet address.
pub(crate) fn ssh_over_tailscale(env: &Env) -> bool {
    let client = env.var("SSH_CLIENT").split_once(' ');
    match client.and_then(|(ip, _)| ip.parse().ok()) {
        // 100.64.0.0/10 without 100.115.92.0/23, which Chrome OS uses for itself.
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            a == 100 && b & 0xc0 == 64 && !(b == 115 && c & 0xfe == 92)
        }
        Some(IpAddr::V6(ip)) => ip.segments().starts_with(&[0xfd7a, 0x115c, 0xa1e0]),
        None => false,
    }
}

/// Shows `message` and asks, unless the user accepted `lose-ssh` in advance. `quiet` neither shows nor asks.
pub(crate) fn confirm(run: &mut Run<'_, '_>, message: &str, accepted: &str, quiet: bool) -> Outcome {
    if accepted.split(',').any(|risk| risk == "lose-ssh" || risk == "all") {
        return Ok(());
    }
    if !quiet {
        run.console.say(&format!("{message}\nTo skip this warning, use --accept-risk=lose-ssh\n"));
        if run.env.terminal {
            run.console.say("Continue? [y/N] ");
            let mut answer = String::new();
            let read = std::io::stdin().lock().read_line(&mut answer);
            if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes" | "sure") {
                return Ok(());
            }
        }
    }
    Err(Stop::from("aborted, no changes made"))
}
