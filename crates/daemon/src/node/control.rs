//! The control client as the run loop holds it, and the answers to control's own requests.

use super::Node;
use crate::backend::{ControlStart, Input, Reply};
use crate::parts::c2n;
use ::control::{CAPABILITY_VERSION, Command, Event, Options, PingReply};
use engine::host::PingKind;
use engine::wireguard::Source;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// How long a ping asked for by control may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A running control client; it ends when this is dropped.
pub(super) struct ControlTask {
    commands: mpsc::Sender<Command>,
    /// Commands that found the channel full.
    waiting: VecDeque<Command>,
    events: mpsc::Receiver<Event>,
    task: AbortHandle,
}

impl ControlTask {
    pub(super) fn start(start: ControlStart, dialer: Rc<dyn dial::Dial>, force_noise_443: bool) -> Self {
        let (commands, command_inbox) = mpsc::channel(32);
        let (event_outbox, events) = mpsc::channel(64);
        let options = Options {
            server_url: start.server_url,
            dialer,
            machine_key: start.machine_key,
            capability_version: CAPABILITY_VERSION,
            rng: Box::new(rand_core::OsRng),
            force_noise_443,
        };
        let running = async move {
            let ended = ::control::run(options, start.persisted, command_inbox, event_outbox.clone()).await;
            // It ends by itself only when the server's URL is none.
            if let Err(error) = ended {
                let _ = event_outbox.send(Event::LoginFailed { error, retrying: false }).await;
            }
        };
        let task = dial::spawn(running).abort_handle();
        Self { commands, waiting: VecDeque::new(), events, task }
    }

    /// Gives it a command; one that finds the channel full waits until the client has taken others.
    pub(super) fn send(&mut self, command: Command) {
        if !self.waiting.is_empty() {
            return self.waiting.push_back(command);
        }
        match self.commands.try_send(command) {
            Err(mpsc::error::TrySendError::Full(command)) => self.waiting.push_back(command),
            // It has ended: nobody is left to obey.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Ends the session at control; the answer comes by the receiver.
    pub(super) fn log_out(&mut self) -> oneshot::Receiver<Result<(), ::control::Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Logout { reply });
        answer
    }

    /// The next event of the client, if there is one; never resolves otherwise. Meanwhile waiting commands go.
    pub(super) async fn next(control: &mut Option<Self>) -> Event {
        let Some(Self { commands, waiting, events, .. }) = control else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => return event,
                    None => return std::future::pending().await,
                },
                room = commands.reserve(), if !waiting.is_empty() => match (room, waiting.pop_front()) {
                    (Ok(room), Some(command)) => room.send(command),
                    _ => waiting.clear(),
                },
            }
        }
    }
}

impl Drop for ControlTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    pub(super) async fn control_event(&mut self, event: Event) {
        match event {
            Event::C2n { request, reply } => {
                let shared = self.shared.clone();
                dial::spawn(async move { drop(reply.send(c2n::answer(&shared, &request).await)) });
            }
            Event::PingPeer { kind, ip, reply } => self.ping_for_control(&kind, ip, reply),
            event => self.take(Input::Control(event)).await,
        }
    }

    pub(super) fn expire_sooner(&mut self, at: netmap::Timestamp, reply: Reply<Result<(), String>>) {
        let Some(control) = &mut self.control else { return reply.send(Err("not running".to_owned())) };
        let (sender, answer) = oneshot::channel();
        control.send(Command::ExpireSooner { at, reply: sender });
        dial::spawn(async move {
            let result =
                answer.await.unwrap_or_else(|_| Err(::control::Error::Connection("ended".to_owned())));
            reply.send(result.map_err(|error| error.to_string()));
        });
    }

    fn ping_for_control(&self, kind: &str, ip: IpAddr, reply: oneshot::Sender<PingReply>) {
        let shared = self.shared.clone();
        let kind = kind.to_owned();
        dial::spawn(async move {
            let node = shared.backend.borrow().node_by_ip(ip).map(|(node, _)| node.clone());
            let mut answer = PingReply::default();
            if let Some(node) = &node {
                answer.node_name = node.name.trim_end_matches('.').to_owned();
                answer.node_ip = node.ips().next().map(|ip| ip.to_string()).unwrap_or_default();
            }
            let wire = match kind.as_str() {
                "ICMP" => Some(PingKind::Icmp),
                "TSMP" => Some(PingKind::Tsmp),
                _ => None,
            };
            match (wire, &node) {
                (Some(wire), _) => match shared.plane.ping(wire, ip, PING_TIMEOUT).await {
                    Ok(Some(pong)) => {
                        answer.latency_seconds = pong.rtt.as_secs_f64();
                        answer.node_ip = pong.from.to_string();
                        answer.peerapi_port = pong.peerapi_port;
                    }
                    Ok(None) => answer.err = "timeout".to_owned(),
                    Err(error) => answer.err = error,
                },
                (None, Some(node)) if kind == "disco" => {
                    match shared.plane.ping_paths(node.id, 0, PING_TIMEOUT).await {
                        Ok(Some(pong)) => {
                            answer.latency_seconds = pong.rtt.as_secs_f64();
                            match pong.way {
                                Source::Udp(addr) => answer.endpoint = addr.to_string(),
                                Source::Derp { region, .. } => {
                                    answer.derp_region_id = region;
                                    let code = shared.backend.borrow().region_code(netmap::RegionId(region));
                                    answer.derp_region_code = code;
                                }
                            }
                        }
                        Ok(None) => answer.err = "timeout".to_owned(),
                        Err(error) => answer.err = error,
                    }
                }
                (None, Some(node)) if kind == "peerapi" => {
                    match crate::api::ping::peerapi(&shared, node.id).await {
                        Ok((_, took)) => answer.latency_seconds = took.as_secs_f64(),
                        Err(error) => answer.err = error,
                    }
                }
                (None, None) if kind == "disco" => answer.err = "no matching peer".to_owned(),
                (None, _) => answer.err = format!("ping type {kind:?} is not in this build"),
            }
            let _ = reply.send(answer);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that takes no command until it is asked.
    fn task() -> (Option<ControlTask>, mpsc::Receiver<Command>, mpsc::Sender<Event>) {
        let (commands, inbox) = mpsc::channel(1);
        let (outbox, events) = mpsc::channel(1);
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        (Some(ControlTask { commands, waiting: VecDeque::new(), events, task }), inbox, outbox)
    }

    #[tokio::test]
    async fn commands_that_found_no_room_go_as_soon_as_there_is_some() {
        let (mut control, mut inbox, outbox) = task();
        for pause in [true, false, true] {
            control.as_mut().expect("a client").send(Command::Pause(pause));
        }
        let taken = async {
            let mut taken = Vec::new();
            for _ in 0..3 {
                let Some(Command::Pause(pause)) = inbox.recv().await else { break };
                taken.push(pause);
            }
            outbox.send(Event::MapUp).await.expect("somebody listens");
            taken
        };
        // Nothing else wakes the one that waits for events.
        let (event, taken) = tokio::join!(ControlTask::next(&mut control), taken);
        assert!(matches!(event, Event::MapUp));
        assert_eq!(taken, [true, false, true]);
    }

    #[tokio::test]
    async fn nothing_waits_for_a_client_that_has_ended() {
        let (mut control, inbox, outbox) = task();
        let task = control.as_mut().expect("a client");
        task.send(Command::Pause(true));
        task.send(Command::Wake);
        drop(inbox);
        outbox.send(Event::MapUp).await.expect("somebody listens");
        assert!(matches!(ControlTask::next(&mut control).await, Event::MapUp));
        let more = ControlTask::next(&mut control);
        assert!(tokio::time::timeout(Duration::from_millis(1), more).await.is_err());
        assert!(control.expect("a client").waiting.is_empty());
    }
}
