//! What is wrong with the node, as far as it follows from what the backend knows.
//!
//! Owns: setting and clearing the states of health that are functions of the facts, joining them with control's own
//! messages, telling the bus when what is visible changes.
//! Leaves out: when something becomes visible (`parts::health`), findings of single events (where they happen).

use super::{Backend, Moment, State, convert};
use crate::parts::dns::Finding;
use crate::parts::health::{Severity, Unhealthy, Warnable};
use crate::parts::{advertiseexitnode, useroutes};
use engine::time::Mono;
use localapi::types::Notify;
use netmap::{DisplayMessage, NetMap, Timestamp};
use std::time::Duration;

/// Control sends something every minute; after this long it has become silent (features reference §6.2).
const SILENCE: Duration = Duration::from_secs(125);

/// A map stream that ended longer ago than this is not silent, it is not there.
const AFTER_THE_END: Duration = Duration::from_secs(10);

/// When control was heard last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    message: Option<Mono>,
    /// When the stream of that message ended.
    end: Option<Mono>,
}

impl Heard {
    /// A message came; one that only keeps alive counts.
    pub(super) fn message(&mut self, now: Mono) {
        *self = Self { message: Some(now), end: None };
    }

    /// The map stream has ended. What follows without a message changes nothing.
    pub(super) fn ended(&mut self, now: Mono) {
        self.end.get_or_insert(now);
    }
}

impl Backend {
    /// Clears and sets what follows from the facts alone.
    pub(super) fn judge_health(&mut self, now: Moment) {
        let prefs = self.profiles.prefs();
        let (down, active) = (!prefs.want_running, self.engine_active);
        let no_home = active && self.home.is_none();
        let unconnected = active && !self.home.is_none() && !self.connected_relays.contains(&self.home);
        let out_of_sync = prefs.want_running && self.have_netmap && !self.in_map_poll;
        let silent = prefs.want_running && self.silent_at().is_some_and(|at| at <= now.mono);
        let locked = self.have_netmap && self.netmap.tailnet_lock;
        let unmasked = advertiseexitnode::problem(prefs).filter(|_| active);
        let (security, update) = match self.newer() {
            Some((true, text)) => (Some(text), None),
            Some((false, text)) => (None, Some(text)),
            None => (None, None),
        };
        // Asked at every message of control: a text is made only where it is shown.
        let when = |broken: bool, text: &str| broken.then(|| text.to_owned());
        let judged: [(Warnable, Option<String>); 13] = [
            (Warnable::UpdateAvailable, update),
            (Warnable::SecurityUpdateAvailable, security),
            (
                Warnable::NetworkStatus,
                when(
                    self.network_down && !down,
                    "This machine has no network: no interface that is up has an address. Check its cable, Wi-Fi or veth.",
                ),
            ),
            (
                Warnable::NoUdp4Bind,
                when(
                    self.no_udp4 && active,
                    "There is no UDP socket for IPv4, so peers are reached by relays only. The log has the reason.",
                ),
            ),
            (Warnable::IpForwardingOff, self.not_forwarding.clone().filter(|_| active)),
            (Warnable::NoSnatExitNode, unmasked.map(str::to_owned)),
            (Warnable::WantRunningFalse, when(down, "Tailscale is stopped.")),
            (
                Warnable::NoDerpHome,
                when(
                    no_home,
                    "Tailscale could not connect to any relay server. Check your Internet connection.",
                ),
            ),
            (Warnable::NoDerpConnection, unconnected.then(|| self.no_relay())),
            (
                Warnable::NotInMapPoll,
                when(
                    out_of_sync,
                    "Unable to connect to the Tailscale coordination server to synchronize the state of your tailnet. Peer reachability might degrade over time.",
                ),
            ),
            (
                Warnable::SyncDisabled,
                when(
                    self.is_unsynced(),
                    "Nothing is taken from the coordination server: run `tailscale set --sync` to go on.",
                ),
            ),
            (
                Warnable::MapResponseTimeout,
                when(
                    silent,
                    "The Tailscale coordination server has sent nothing for more than two minutes. Changes of your tailnet do not arrive.",
                ),
            ),
            (
                Warnable::TailnetLock,
                when(
                    locked,
                    "Tailnet Lock is enabled in this tailnet, and this build does not verify signatures of peers.",
                ),
            ),
        ];
        for (what, text) in judged {
            match text {
                Some(text) => self.health.set(what, text, now.mono, now.wall),
                None => self.health.clear(what),
            }
        }
        if let Some(problem) = &self.store_problem {
            // Go's words, by which programs know it; the error says what is wrong and what to do.
            let text = format!(
                "State store failed to initialize, Tailscale will not work until this is resolved. See https://tailscale.com/s/state-store-init-error. Error: {problem}"
            );
            self.health.set(Warnable::StateStore, text, now.mono, now.wall);
        }
    }

    /// Why there is no way through the home region.
    fn no_relay(&self) -> String {
        let home = self.region_code(self.home);
        let why = match self.home_error.as_str() {
            "" => String::new(),
            error => format!(" ({error})"),
        };
        format!(
            "Tailscale could not connect to the relay server '{home}'. Your Internet connection might be down, or the server might be temporarily unavailable.{why}"
        )
    }

    /// When control counts as silent, unless a message comes before that.
    pub(super) fn silent_at(&self) -> Option<Mono> {
        let at = self.heard.message.filter(|_| self.have_netmap)? + SILENCE;
        self.heard.end.is_none_or(|end| end + AFTER_THE_END >= at).then_some(at)
    }

    /// DNS has found something that is wrong, or that it is well again.
    pub(super) fn dns_found(&mut self, finding: Finding, now: Moment) {
        let (what, text) = match finding {
            Finding::Forwarding(text) => (Warnable::DnsForwardFailing, text),
            Finding::Machine(text) => (Warnable::DnsSetOsConfigFailed, text),
        };
        match text {
            Some(text) => self.health.set(what, text, now.mono, now.wall),
            None => self.health.clear(what),
        }
    }

    /// Whether the newer version that control knows of is urgent, and what to say of it.
    fn newer(&self) -> Option<(bool, String)> {
        let version = self.netmap()?.client_version.as_ref()?;
        let wanted = self.prefs().auto_update.check && !version.running_latest;
        let latest = Some(&*version.latest_version).filter(|latest| wanted && !latest.is_empty())?;
        let urgent = version.urgent_security_update;
        let what = if urgent { "A security update" } else { "An update" };
        let own = crate::version::SHORT;
        Some((
            urgent,
            format!("{what} from version {own} to {latest} is available: replace the image or the program."),
        ))
    }

    /// Tells the bus when what is visible has changed.
    pub(super) fn show_health(&mut self, now: Moment) {
        let visible = self.health(now);
        if visible != self.shown_health {
            let health = Some(convert::health(&visible));
            self.shown_health = visible;
            self.notify(Notify { health, ..Notify::default() });
        }
    }

    /// What is wrong and visible now: our own findings and the messages of control.
    pub fn health(&self, now: Moment) -> Vec<Unhealthy> {
        let mut all = self.health.visible(now.mono);
        if let Some(map) = self.heeded() {
            all.extend(messages(map, self.messages_since));
        }
        all
    }

    /// The map whose messages are shown: none while the node is stopped.
    fn heeded(&self) -> Option<&NetMap> {
        self.netmap().filter(|_| !self.health.is_set(Warnable::WantRunningFalse))
    }

    /// What `status` lists under health; `None` in a build without the feature.
    pub fn health_texts(&self, now: Moment) -> Option<Vec<String>> {
        crate::parts::health::FEATURE?;
        let mut texts: Vec<String> = self.health.visible(now.mono).into_iter().map(|u| u.text).collect();
        if let Some(map) = self.heeded() {
            texts.extend(map.display_messages.values().map(in_one_line));
            texts.extend(map.health.iter().map(|text| text.to_string()));
        }
        let offers = |node: &netmap::Node| {
            node.allowed_ips.iter().any(|net| net.prefix_len() != 0 && !node.addresses.contains(net))
        };
        if self.state == State::Running
            && let Some(advice) = useroutes::advice(self.prefs())
            && self.netmap().is_some_and(|map| map.peers().any(offers))
        {
            texts.push(advice.to_owned());
        }
        Some(texts)
    }
}

/// The messages of control as things that are wrong.
fn messages(map: &NetMap, came: Timestamp) -> impl Iterator<Item = Unhealthy> {
    let unhealthy = move |code: String, title: &str, text: &str, severity: Severity| Unhealthy {
        code,
        title: title.to_owned(),
        text: text.to_owned(),
        severity,
        since: came,
        depends_on: vec![Warnable::WarmingUp.spec().code],
        impacts_connectivity: false,
        action: None,
    };
    let displayed = map.display_messages.iter().map(move |(id, message)| {
        let severity = match &*message.severity {
            "high" => Severity::High,
            "low" => Severity::Low,
            _ => Severity::Medium,
        };
        Unhealthy {
            impacts_connectivity: message.impacts_connectivity,
            action: message.action.clone(),
            ..unhealthy(format!("control-health.{id}"), &message.title, &message.text, severity)
        }
    });
    let plain = map.health.iter().enumerate().map(move |(number, text)| {
        let title = "Coordination server reports an issue";
        unhealthy(format!("control-health.health-{number}"), title, text, Severity::Medium)
    });
    displayed.chain(plain)
}

/// A message of control as `status` has it (features reference §6.1).
fn in_one_line(message: &DisplayMessage) -> String {
    let title = &*message.title;
    let mut text =
        if message.text.is_empty() { format!("{title}.") } else { format!("{title}: {}", message.text) };
    if let Some((url, label)) = &message.action {
        text.push_str(&format!(" {label}: {url}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::{Fixture, delta};
    use netmap::Delta;

    #[test]
    fn a_message_of_control_is_one_line_in_status_and_three_things_on_the_bus() {
        let mut node = Fixture::running();
        let action = Some(("https://c.example/fix".into(), "Fix it".into()));
        let (title, text, severity) = ("Trouble".into(), "All is lost".into(), "high".into());
        let whole = DisplayMessage { title, text, severity, impacts_connectivity: true, action };
        let short = DisplayMessage { title: "Beware".into(), ..DisplayMessage::default() };
        let display_messages = vec![("a".into(), Some(whole)), ("b".into(), Some(short))];
        node.map(delta(Delta { display_messages, ..Delta::default() }), &[]);
        assert_eq!(node.health(), ["Trouble: All is lost Fix it: https://c.example/fix", "Beware."]);
        let shown = convert::health(&node.backend.health(node.now)).warnings;
        let a = &shown["control-health.a"];
        assert_eq!(
            (a.title.as_str(), a.text.as_str(), a.severity.as_str()),
            ("Trouble", "All is lost", "high")
        );
        let action = a.primary_action.as_ref().expect("an action");
        assert_eq!((action.url.as_str(), action.label.as_str()), ("https://c.example/fix", "Fix it"));
        assert!(a.impacts_connectivity);
        let b = &shown["control-health.b"];
        assert_eq!((b.title.as_str(), b.text.as_str()), ("Beware", ""));
        assert!(b.primary_action.is_none());
    }
}
