//! The client's side of the LocalAPI: one method an endpoint, one connection a call.
//!
//! Works with this daemon and with Go's. Needs a tokio runtime with its IO driver.

use crate::error::{Error, system_words};
use crate::server::encode;
use crate::types::{
    CheckWarning, ClientVersion, DerpMap, DnsConfig, DnsOsConfig, DnsQueryResponse, ErrorBody,
    ExitNodeSuggestion, Indent, LoginProfile, MaskedPrefs, Node, OptionalFeatures, Options, PingKind,
    PingResult, Prefs, Raw, ReloadConfigResponse, ServiceDetails, Status, UseSoMark, UserProfile, WhoIs,
    to_go_json,
};
use bytes::Bytes;
use http1::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

mod bus;
mod call;
mod connect;

pub use bus::BusWatcher;
pub use call::{Answer, BodyStream};

/// Talks to the daemon behind one socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    capability: Option<u32>,
    reason: Option<String>,
    patient: bool,
}

impl Client {
    /// A client for the daemon at `socket`; nothing is opened yet.
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket, capability: None, reason: None, patient: false }
    }

    /// Waits for a daemon that is only just being started, as after `tailscaled & tailscale up`: for 2 s in any case,
    /// for 5 s while a process of that name exists.
    #[must_use]
    pub const fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Tells the daemon this capability version.
    #[must_use]
    pub const fn with_capability(mut self, capability: u32) -> Self {
        self.capability = Some(capability);
        self
    }

    /// Tells the daemon why the user does what follows.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Self {
        self.reason = (!reason.is_empty()).then(|| reason.to_owned());
        self
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The whole status.
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("status").await
    }

    /// The status without peers.
    pub async fn status_without_peers(&self) -> Result<Status, Error> {
        self.get("status?peers=false").await
    }

    /// The settings, keys zeroed.
    pub async fn prefs(&self) -> Result<Prefs, Error> {
        self.get("prefs").await
    }

    /// Changes settings; gives all of them.
    pub async fn edit_prefs(&self, edit: &MaskedPrefs) -> Result<Prefs, Error> {
        self.json(Method::PATCH, "prefs", 200, body(edit)).await
    }

    /// Has settings checked. Go's command line does not look at the answer; this does.
    pub async fn check_prefs(&self, prefs: &Prefs) -> Result<(), Error> {
        let answer: ErrorBody = self.json(Method::POST, "check-prefs", 200, body(prefs)).await?;
        if answer.error.is_empty() { Ok(()) } else { Err(Error::Refused(answer.error)) }
    }

    /// Replaces all settings and starts the backend anew.
    pub async fn start(&self, options: &Options) -> Result<(), Error> {
        self.call(Method::POST, "start", 204, body(options)).await.map(drop)
    }

    /// Has control asked for a login URL, which comes over the bus.
    pub async fn login_interactive(&self) -> Result<(), Error> {
        self.call(Method::POST, "login-interactive", 204, Bytes::new()).await.map(drop)
    }

    /// Logs out and forgets the profile.
    pub async fn logout(&self) -> Result<(), Error> {
        self.call(Method::POST, "logout", 204, Bytes::new()).await.map(drop)
    }

    /// Subscribes to the bus; `mask` is made of the bits in [`mask`](crate::types::mask).
    pub async fn watch_bus(&self, mask: u64) -> Result<BusWatcher, Error> {
        let path = format!("watch-ipn-bus?mask={mask}");
        self.stream(Method::GET, &path, Bytes::new()).await.map(BusWatcher::new)
    }

    /// Pings; `size` in bytes counts only for disco. Takes as long as the answer does: bound it with a timeout.
    pub async fn ping(&self, ip: IpAddr, kind: PingKind, size: usize) -> Result<PingResult, Error> {
        let path = format!("ping?ip={}&size={size}&type={}", encode(&ip.to_string()), kind.name());
        self.json(Method::POST, &path, 200, Bytes::new()).await
    }

    /// Who is behind `addr`: an IP address, `ip:port` or a node key.
    pub async fn whois(&self, addr: &str, proto: Option<&str>) -> Result<WhoIs, Error> {
        let proto = proto.map_or_else(String::new, |proto| format!("proto={}&", encode(proto)));
        self.get(&format!("whois?{proto}addr={}", encode(addr))).await
    }

    /// The relays; `None` until control has told them.
    pub async fn derp_map(&self) -> Result<Option<DerpMap>, Error> {
        self.get("derpmap").await
    }

    /// All logins.
    pub async fn profiles(&self) -> Result<Vec<LoginProfile>, Error> {
        self.get::<Option<_>>("profiles/").await.map(Option::unwrap_or_default)
    }

    /// The login in use.
    pub async fn current_profile(&self) -> Result<LoginProfile, Error> {
        self.get("profiles/current").await
    }

    /// Switches to a fresh login, which is not stored before it has succeeded.
    pub async fn new_profile(&self) -> Result<(), Error> {
        self.call(Method::PUT, "profiles/", 201, Bytes::new()).await.map(drop)
    }

    /// Switches to the login `id`.
    pub async fn switch_profile(&self, id: &str) -> Result<(), Error> {
        self.call(Method::POST, &format!("profiles/{}", encode(id)), 204, Bytes::new()).await.map(drop)
    }

    /// Forgets the login `id`.
    pub async fn delete_profile(&self, id: &str) -> Result<(), Error> {
        self.call(Method::DELETE, &format!("profiles/{}", encode(id)), 204, Bytes::new()).await.map(drop)
    }

    /// Has the config file read again; `false` when there is none.
    pub async fn reload_config(&self) -> Result<bool, Error> {
        let answer: ReloadConfigResponse =
            self.json(Method::POST, "reload-config", 200, Bytes::new()).await?;
        if answer.err.is_empty() { Ok(answer.reloaded) } else { Err(Error::Refused(answer.err)) }
    }

    /// Which features are in the daemon's build.
    pub async fn features(&self) -> Result<OptionalFeatures, Error> {
        self.get("debug-optional-features").await
    }

    /// The DNS settings of the tailnet.
    pub async fn dns_config(&self) -> Result<DnsConfig, Error> {
        self.get("dns-config").await
    }

    /// The DNS settings of the system.
    pub async fn dns_os_config(&self) -> Result<DnsOsConfig, Error> {
        self.get("dns-osconfig").await
    }

    /// Asks the daemon's resolver.
    pub async fn dns_query(&self, name: &str, kind: &str) -> Result<DnsQueryResponse, Error> {
        self.get(&format!("dns-query?name={}&type={}", encode(name), encode(kind))).await
    }

    /// The exit node that suits best.
    pub async fn suggest_exit_node(&self) -> Result<ExitNodeSuggestion, Error> {
        self.get("suggest-exit-node").await
    }

    /// Switches the last exit node on or off.
    pub async fn set_use_exit_node(&self, on: bool) -> Result<Prefs, Error> {
        let path = format!("set-use-exit-node-enabled?enabled={on}");
        self.json(Method::POST, &path, 200, Bytes::new()).await
    }

    /// What keeps this machine from forwarding packets, if anything.
    pub async fn check_ip_forwarding(&self) -> Result<Option<String>, Error> {
        self.warning("check-ip-forwarding").await
    }

    /// What keeps this machine from forwarding UDP fast, if anything.
    pub async fn check_udp_gro_forwarding(&self) -> Result<Option<String>, Error> {
        self.warning("check-udp-gro-forwarding").await
    }

    /// Sets it up to forward UDP fast; gives what did not work, if anything.
    pub async fn set_udp_gro_forwarding(&self) -> Result<Option<String>, Error> {
        self.warning("set-udp-gro-forwarding").await
    }

    /// Whether the daemon marks its own packets.
    pub async fn check_so_mark_in_use(&self) -> Result<bool, Error> {
        self.get::<UseSoMark>("check-so-mark-in-use").await.map(|answer| answer.use_so_mark)
    }

    /// The Tailscale Services that this node sees.
    pub async fn services(&self) -> Result<BTreeMap<String, ServiceDetails>, Error> {
        self.get::<Option<_>>("services").await.map(Option::unwrap_or_default)
    }

    /// The serve configuration, as it is.
    pub async fn serve_config(&self) -> Result<Raw, Error> {
        self.get("serve-config").await
    }

    /// What is known of newer versions.
    pub async fn check_update(&self) -> Result<ClientVersion, Error> {
        self.get("update/check").await
    }

    /// A node by its number.
    pub async fn peer_by_id(&self, id: i64) -> Result<Node, Error> {
        self.get(&format!("peer-by-id?id={id}")).await
    }

    /// A user by their number.
    pub async fn user_profile(&self, id: i64) -> Result<UserProfile, Error> {
        self.get(&format!("user-profile?id={id}")).await
    }

    /// Names for which control helps with certificates.
    pub async fn cert_domains(&self) -> Result<Vec<String>, Error> {
        self.get::<Option<_>>("cert-domains").await.map(Option::unwrap_or_default)
    }

    /// Metrics in Prometheus text.
    pub async fn user_metrics(&self) -> Result<Bytes, Error> {
        self.call(Method::GET, "usermetrics", 200, Bytes::new()).await
    }

    /// A marker for support; text of one line.
    pub async fn bug_report(&self, note: &str, diagnose: bool) -> Result<String, Error> {
        let path = format!("bugreport?note={}&diagnose={diagnose}", encode(note));
        let text = self.call(Method::POST, &path, 200, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// A debug action; gives what the daemon answered.
    pub async fn debug_action(&self, action: &str, body: Bytes) -> Result<Bytes, Error> {
        self.call(Method::POST, &format!("debug?action={}", encode(action)), 200, body).await
    }

    /// Has a DERP region tested, by number or code; gives findings as JSON.
    pub async fn test_derp_region(&self, region: &str) -> Result<Bytes, Error> {
        self.call(Method::POST, &format!("debug-derp-region?region={}", encode(region)), 200, Bytes::new())
            .await
    }

    /// How the ways to the peer with this address have changed, as JSON.
    pub async fn peer_endpoint_changes(&self, ip: IpAddr) -> Result<Bytes, Error> {
        let path = format!("debug-peer-endpoint-changes?ip={}", encode(&ip.to_string()));
        self.call(Method::GET, &path, 200, Bytes::new()).await
    }

    /// Has a component of the daemon log more for so many seconds.
    pub async fn log_component(&self, component: &str, seconds: u64) -> Result<ErrorBody, Error> {
        let path = format!("component-debug-logging?component={}&secs={seconds}", encode(component));
        self.json(Method::POST, &path, 200, Bytes::new()).await
    }

    /// Lets the daemon leave control now, before it is stopped.
    pub async fn disconnect_control(&self) -> Result<(), Error> {
        self.call(Method::POST, "disconnect-control", 200, Bytes::new()).await.map(drop)
    }

    /// Has the key expire at `unix` seconds since 1970.
    pub async fn set_expiry_sooner(&self, unix: i64) -> Result<(), Error> {
        self.call(Method::POST, &format!("set-expiry-sooner?expiry={unix}"), 200, Bytes::new())
            .await
            .map(drop)
    }

    /// Stops the daemon.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.call(Method::POST, "shutdown", 200, Bytes::new()).await.map(drop)
    }

    /// GET of `path` below `/localapi/v0/`, decoded.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.json(Method::GET, path, 200, Bytes::new()).await
    }

    /// Any call whose answer is JSON; another status than `want` is an error.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        want: u16,
        body: Bytes,
    ) -> Result<T, Error> {
        let text = self.call(method, path, want, body).await?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::Decode { path: call::endpoint(path), cause: error.to_string() })
    }

    async fn warning(&self, path: &str) -> Result<Option<String>, Error> {
        let answer: CheckWarning = self.get(path).await?;
        Ok((!answer.warning.is_empty()).then_some(answer.warning))
    }
}

fn body<T: Serialize>(value: &T) -> Bytes {
    to_go_json(value, Indent::None).into()
}

/// The error for a socket that does not answer.
fn not_running(socket: &Path, path: &str, error: &std::io::Error) -> Error {
    Error::NotRunning { socket: socket.to_owned(), path: call::endpoint(path), cause: system_words(error) }
}

#[cfg(test)]
mod tests;
