//! The container's environment as a plan: what the daemon is started with, what `tailscale up` is told, who asks for
//! health. Pure: variables in, plan or refusals out.
//!
//! Names and meanings are the official container's (features reference §3.4); defaults are a router's: kernel TUN,
//! state that persists. Leaves out: which variables there are besides (`variables`), doing any of it.

use super::variables;
use crate::flags::{self, Flags, Parsed, StatePlace, Surroundings};
use crate::parts::osrouter::Owner;
use cli::parse_bool;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

/// Where state persists unless `TS_STATE_DIR` says otherwise.
const STATE_DIR: &str = "/var/lib/tailscale";

/// The socket, which `tailscale` finds without being told.
pub(super) const SOCKET: &str = "/var/run/tailscale/tailscaled.sock";

/// The interface.
const TUN: &str = "tailscale0";

/// The UDP port unless `PORT` or a flag says otherwise: the one that Tailscale is registered with.
const PORT: u16 = 41641;

/// Where health is told unless `TS_LOCAL_ADDR_PORT` says otherwise; upstream's.
const LOCAL: &str = "[::]:9002";

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// Arguments of `tailscaled`.
    pub(super) daemon: Vec<String>,
    /// What they mean.
    pub(super) flags: Flags,
    /// `TS_SOCKET` is set: the socket is there and nowhere else.
    pub(super) socket_given: bool,
    /// Flags of `tailscale up`, without the key.
    pub(super) up: Vec<String>,
    /// Flags of `tailscale set`, which takes the place of `up` on a node that is logged in, with `TS_AUTH_ONCE`.
    pub(super) set: Option<Vec<String>>,
    /// How a node logs in that has to.
    pub(super) key: Option<Key>,
    /// Where `/healthz` is answered.
    pub(super) health: Option<SocketAddr>,
    /// Lines for the log.
    pub(super) notes: Vec<String>,
}

impl Plan {
    /// There is no kernel interface, so nothing to forward.
    pub(super) fn userspace(&self) -> bool {
        self.flags.tun.first().is_some_and(|name| name == crate::parts::osrouter::USERSPACE)
    }

    /// The folder that must persist.
    pub(super) fn state_dir(&self) -> Option<&Path> {
        match &self.flags.state {
            StatePlace::File(path) => path.parent(),
            StatePlace::Memory => None,
        }
    }

    /// A file says what `up` would: there is nothing to bring up.
    pub(super) const fn by_file(&self) -> bool {
        self.flags.config.is_some()
    }
}

/// An auth key or `file:PATH`; never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.starts_with("file:") { "Key(in a file)" } else { "Key(…)" })
    }
}

/// The environment while it is read: lines for the log and refusals are collected on the way.
struct Reading<'a> {
    vars: &'a [(String, String)],
    notes: Vec<String>,
    refusals: Vec<String>,
}

/// Reads the environment; `is_dir` and `uid` as for [`Surroundings`].
///
/// # Errors
/// One line for each value that cannot be meant, with the variable's name and what to write; the other lines for the log
/// before them, as a misspelt name may be the reason.
pub(super) fn read(
    vars: &[(String, String)],
    is_dir: &dyn Fn(&Path) -> bool,
    uid: u32,
) -> Result<Plan, Vec<String>> {
    let (notes, refusals) = (variables::remarks(vars), variables::refusals(vars));
    if !refusals.is_empty() {
        return Err(notes.into_iter().chain(refusals).collect());
    }
    let mut reading = Reading { vars, notes, refusals };
    let mut extra = reading.words("TS_EXTRA_ARGS");
    let accept_dns = reading.accept_dns(&mut extra);
    let key = reading.auth_key(&mut extra);
    let mut settings = vec![format!("--accept-dns={accept_dns}")];
    settings.extend(reading.routes().map(|routes| format!("--advertise-routes={routes}")));
    settings.extend(reading.hostname().map(|name| format!("--hostname={name}")));
    let mut up = settings.clone();
    up.extend(reading.login_server(&extra).map(|url| format!("--login-server={url}")));
    up.extend(extra);
    reading.owner();
    let once = reading.switch("TS_AUTH_ONCE", false);
    let health = reading.health();
    let (daemon, flags) = reading.daemon(&Surroundings {
        var: &|name| vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        is_dir,
        uid,
    });
    let socket_given = reading.set("TS_SOCKET").is_some();
    let Reading { notes, refusals, .. } = reading;
    match flags {
        Some(flags) if refusals.is_empty() => {
            Ok(Plan { daemon, flags, socket_given, up, set: once.then_some(settings), key, health, notes })
        }
        _ => Err(notes.into_iter().chain(refusals).collect()),
    }
}

impl<'a> Reading<'a> {
    /// The value, also an empty one.
    fn raw(&self, name: &str) -> Option<&'a str> {
        self.vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim())
    }

    /// The value unless it is empty: that is how RouterOS and compose files leave something out.
    fn set(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// Split at white space, without quoting, as upstream.
    fn words(&self, name: &str) -> Vec<String> {
        self.raw(name).unwrap_or("").split_whitespace().map(str::to_owned).collect()
    }

    fn refuse(&mut self, text: String) {
        self.refusals.push(text);
    }

    /// A switch. Upstream takes what is neither for the default, silently; here it is told.
    fn switch(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.set(name) else { return default };
        parse_bool(value).unwrap_or_else(|_| {
            self.notes.push(format!("{name}={value:?} is taken for {default}: write true or false"));
            default
        })
    }

    /// `TS_ACCEPT_DNS`, or what `TS_EXTRA_ARGS` says of it, which is cut out there.
    fn accept_dns(&mut self, extra: &mut Vec<String>) -> bool {
        let accept = self.switch("TS_ACCEPT_DNS", false);
        let Some(at) = extra.iter().position(|word| flag(word).0 == Some("accept-dns")) else {
            return accept;
        };
        let word = extra.remove(at);
        parse_bool(flag(&word).1.unwrap_or("true")).unwrap_or_else(|_| {
            self.refuse(format!("TS_EXTRA_ARGS: {word}: write --accept-dns=true or --accept-dns=false"));
            accept
        })
    }

    /// `TS_AUTHKEY`, or what `TS_EXTRA_ARGS` says of it, which is cut out there: it is for logins alone.
    fn auth_key(&mut self, extra: &mut Vec<String>) -> Option<Key> {
        let own = ["TS_AUTHKEY", "TS_AUTH_KEY"].into_iter().find_map(|name| self.set(name));
        let mut typed: Option<String> = None;
        while let Some(at) =
            extra.iter().position(|word| matches!(flag(word).0, Some("auth-key" | "authkey")))
        {
            let word = extra.remove(at);
            let value = match flag(&word).1 {
                Some(value) => Some(value.to_owned()),
                None => (at < extra.len()).then(|| extra.remove(at)),
            };
            match value {
                Some(_) if typed.is_some() => {
                    self.refuse(
                        "TS_EXTRA_ARGS has --auth-key twice: write it once, or set TS_AUTHKEY".to_owned(),
                    );
                }
                Some(value) => typed = Some(value),
                None => self.refuse("TS_EXTRA_ARGS: --auth-key needs a value, or set TS_AUTHKEY".to_owned()),
            }
        }
        let typed = typed.filter(|key| !key.is_empty());
        if typed.is_some() && own.is_some() {
            self.notes.push("TS_EXTRA_ARGS has --auth-key, so TS_AUTHKEY is not used".to_owned());
        }
        typed.or_else(|| own.map(str::to_owned)).map(Key)
    }

    /// The daemon reads it itself, and would be started in vain again and again.
    fn owner(&mut self) {
        if let Err(why) = Owner::of(self.set(Owner::VARIABLE)) {
            self.refuse(why);
        }
    }

    /// Empty means: no routes any more.
    fn routes(&mut self) -> Option<String> {
        let routes: Vec<&str> = self.raw("TS_ROUTES")?.split(',').map(str::trim).collect();
        let routes = routes.join(",");
        if let Err(fault) = cli::check_routes(&routes) {
            self.refuse(format!("TS_ROUTES: {fault}; write prefixes like 192.168.88.0/24,fd00:88::/64"));
        }
        Some(routes)
    }

    fn hostname(&mut self) -> Option<&'a str> {
        let name = self.set("TS_HOSTNAME")?;
        cli::check_hostname(name)
            .map_err(|fault| {
                self.refuse(format!("TS_HOSTNAME: {fault}; write a name of letters, digits and dashes"));
            })
            .ok()
    }

    fn login_server(&mut self, extra: &[String]) -> Option<&'a str> {
        let url = self.set("TS_LOGIN_SERVER")?;
        if extra.iter().any(|word| flag(word).0 == Some("login-server")) {
            self.notes.push("TS_EXTRA_ARGS has --login-server, so TS_LOGIN_SERVER is not used".to_owned());
            return None;
        }
        let host = ["https://", "http://"].into_iter().find_map(|scheme| url.strip_prefix(scheme));
        if host.is_none_or(str::is_empty) {
            self.refuse(format!(
                "TS_LOGIN_SERVER={url:?} is no address of a server: write https://HOST or http://HOST:PORT"
            ));
        }
        Some(url)
    }

    fn health(&mut self) -> Option<SocketAddr> {
        let on = self.switch("TS_ENABLE_HEALTH_CHECK", false);
        let old = self.set("TS_HEALTHCHECK_ADDR_PORT");
        let (name, value) = match (on, old) {
            (true, Some(_)) => {
                self.refuse(
                    "TS_HEALTHCHECK_ADDR_PORT and TS_ENABLE_HEALTH_CHECK are both set: leave the first out and set \
                     TS_LOCAL_ADDR_PORT to its value"
                        .to_owned(),
                );
                return None;
            }
            (true, None) => ("TS_LOCAL_ADDR_PORT", self.set("TS_LOCAL_ADDR_PORT").unwrap_or(LOCAL)),
            (false, Some(value)) => {
                let note = "TS_HEALTHCHECK_ADDR_PORT is an old name: set TS_ENABLE_HEALTH_CHECK=true and TS_LOCAL_ADDR_PORT";
                self.notes.push(note.to_owned());
                ("TS_HEALTHCHECK_ADDR_PORT", value)
            }
            (false, None) => return None,
        };
        let address = value.parse().ok();
        if address.is_none() {
            self.refuse(format!("{name}={value:?} is no address and port: write 0.0.0.0:9002 or [::]:9002"));
        }
        address
    }

    /// The daemon's arguments and what they mean; a flag in `TS_TAILSCALED_EXTRA_ARGS` wins.
    fn daemon(&mut self, around: &Surroundings<'_>) -> (Vec<String>, Option<Flags>) {
        let userspace = self.switch("TS_USERSPACE", false);
        let tun = if userspace { crate::parts::osrouter::USERSPACE } else { TUN };
        let mut args = vec![
            format!("--socket={}", self.set("TS_SOCKET").unwrap_or(SOCKET)),
            format!("--statedir={}", self.set("TS_STATE_DIR").unwrap_or(STATE_DIR)),
            format!("--tun={tun}"),
        ];
        // A container has its ports to itself, and one that is always the same can be forwarded to it.
        if self.set("PORT").is_none() {
            args.push(format!("--port={PORT}"));
        }
        for (name, flag) in [("TS_DNS_LISTEN", "dns-listen"), ("TS_DNS_ALLOW", "dns-allow")] {
            args.extend(self.set(name).map(|value| format!("--{flag}={value}")));
        }
        let own = flags::parse(&args, around);
        args.extend(self.words("TS_TAILSCALED_EXTRA_ARGS"));
        let refusal = match (own, flags::parse(&args, around)) {
            (_, Parsed::Run(flags)) if !flags.cleanup => return (args, Some(*flags)),
            (_, Parsed::Run(_) | Parsed::Print(_)) => {
                "TS_TAILSCALED_EXTRA_ARGS: --cleanup, --help and --version start no daemon: leave them out"
                    .to_owned()
            }
            (Parsed::Run(_), Parsed::Fail(text, _)) => {
                format!("TS_TAILSCALED_EXTRA_ARGS: {}", text.lines().next().unwrap_or(""))
            }
            // Not those flags, but a variable of the daemon's own.
            (_, Parsed::Fail(text, _)) => {
                format!(
                    "{} (correct PORT, TS_LOG_VERBOSITY, TS_DNS_LISTEN or TS_DNS_ALLOW)",
                    text.lines().next().unwrap_or("")
                )
            }
        };
        self.refuse(refusal);
        (args, None)
    }
}

/// Name and value of a word in Go's flag syntax.
fn flag(word: &str) -> (Option<&str>, Option<&str>) {
    let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { return (None, None) };
    match body.split_once('=') {
        Some((name, value)) => (Some(name), Some(value)),
        None => (Some(body), None),
    }
}

#[cfg(test)]
mod tests;
