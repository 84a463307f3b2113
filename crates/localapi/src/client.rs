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
use gojson::{Map, Value, Zero};
use http1::Method;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

mod bus;
mod call;
mod connect;
mod request;

pub use bus::BusWatcher;
pub use call::{Answer, BodyStream};
pub use request::{Call, Exchange};

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
    pub fn status(&self) -> Call<'_, Status> {
        self.get("status")
    }

    /// The status without peers.
    pub fn status_without_peers(&self) -> Call<'_, Status> {
        self.get("status?peers=false")
    }

    /// The settings, keys zeroed.
    pub fn prefs(&self) -> Call<'_, Prefs> {
        self.get("prefs")
    }

    /// Changes settings; gives all of them.
    pub fn edit_prefs(&self, edit: &MaskedPrefs) -> Call<'_, Prefs> {
        self.json(Method::PATCH, "prefs", 200, body(edit))
    }

    /// Has settings checked. Go's command line does not look at the answer; this does.
    pub fn check_prefs(&self, prefs: &Prefs) -> Call<'_, ()> {
        Call::new(self, Method::POST, "check-prefs", 200, body(prefs), |path, answer| {
            let answer: ErrorBody = decode(path, answer)?;
            if answer.error.is_empty() { Ok(()) } else { Err(Error::Refused(answer.error)) }
        })
    }

    /// Replaces all settings and starts the backend anew.
    pub fn start(&self, options: &Options) -> Call<'_, ()> {
        self.done(Method::POST, "start", 204, body(options))
    }

    /// Has control asked for a login URL, which comes over the bus.
    pub fn login_interactive(&self) -> Call<'_, ()> {
        self.done(Method::POST, "login-interactive", 204, Bytes::new())
    }

    /// Logs out and forgets the profile.
    pub fn logout(&self) -> Call<'_, ()> {
        self.done(Method::POST, "logout", 204, Bytes::new())
    }

    /// Subscribes to the bus; `mask` is made of the bits in [`mask`](crate::types::mask).
    pub async fn watch_bus(&self, mask: u64) -> Result<BusWatcher, Error> {
        let path = format!("watch-ipn-bus?mask={mask}");
        self.stream(Method::GET, &path, Bytes::new()).await.map(BusWatcher::new)
    }

    /// Pings; `size` in bytes counts only for disco. Takes as long as the answer does: bound it with a timeout.
    pub fn ping(&self, ip: IpAddr, kind: PingKind, size: usize) -> Call<'_, PingResult> {
        let path = format!("ping?ip={}&size={size}&type={}", encode(&ip.to_string()), kind.name());
        self.json(Method::POST, &path, 200, Bytes::new())
    }

    /// Who is behind `addr`: an IP address, `ip:port` or a node key.
    pub fn whois(&self, addr: &str, proto: Option<&str>) -> Call<'_, WhoIs> {
        let proto = proto.map_or_else(String::new, |proto| format!("proto={}&", encode(proto)));
        self.get(&format!("whois?{proto}addr={}", encode(addr)))
    }

    /// The relays; `None` until control has told them.
    pub fn derp_map(&self) -> Call<'_, Option<DerpMap>> {
        self.get("derpmap")
    }

    /// All logins.
    pub fn profiles(&self) -> Call<'_, Vec<LoginProfile>> {
        self.list("profiles/")
    }

    /// The login in use.
    pub fn current_profile(&self) -> Call<'_, LoginProfile> {
        self.get("profiles/current")
    }

    /// Switches to a fresh login, which is not stored before it has succeeded.
    pub fn new_profile(&self) -> Call<'_, ()> {
        self.done(Method::PUT, "profiles/", 201, Bytes::new())
    }

    /// Switches to the login `id`.
    pub fn switch_profile(&self, id: &str) -> Call<'_, ()> {
        self.done(Method::POST, &format!("profiles/{}", encode(id)), 204, Bytes::new())
    }

    /// Forgets the login `id`.
    pub fn delete_profile(&self, id: &str) -> Call<'_, ()> {
        self.done(Method::DELETE, &format!("profiles/{}", encode(id)), 204, Bytes::new())
    }

    /// Has the config file read again; `false` when there is none.
    pub fn reload_config(&self) -> Call<'_, bool> {
        Call::new(self, Method::POST, "reload-config", 200, Bytes::new(), |path, answer| {
            let answer: ReloadConfigResponse = decode(path, answer)?;
            if answer.err.is_empty() { Ok(answer.reloaded) } else { Err(Error::Refused(answer.err)) }
        })
    }

    /// Which features are in the daemon's build.
    pub fn features(&self) -> Call<'_, OptionalFeatures> {
        self.get("debug-optional-features")
    }

    /// The DNS settings of the tailnet.
    pub fn dns_config(&self) -> Call<'_, DnsConfig> {
        self.get("dns-config")
    }

    /// The DNS settings of the system.
    pub fn dns_os_config(&self) -> Call<'_, DnsOsConfig> {
        self.get("dns-osconfig")
    }

    /// Asks the daemon's resolver.
    pub fn dns_query(&self, name: &str, kind: &str) -> Call<'_, DnsQueryResponse> {
        self.get(&format!("dns-query?name={}&type={}", encode(name), encode(kind)))
    }

    /// The exit node that suits best.
    pub fn suggest_exit_node(&self) -> Call<'_, ExitNodeSuggestion> {
        self.get("suggest-exit-node")
    }

    /// Switches the last exit node on or off.
    pub fn set_use_exit_node(&self, on: bool) -> Call<'_, Prefs> {
        let path = format!("set-use-exit-node-enabled?enabled={on}");
        self.json(Method::POST, &path, 200, Bytes::new())
    }

    /// What keeps this machine from forwarding packets, if anything.
    pub fn check_ip_forwarding(&self) -> Call<'_, Option<String>> {
        self.warning("check-ip-forwarding")
    }

    /// What keeps this machine from forwarding UDP fast, if anything.
    pub fn check_udp_gro_forwarding(&self) -> Call<'_, Option<String>> {
        self.warning("check-udp-gro-forwarding")
    }

    /// Sets it up to forward UDP fast; gives what did not work, if anything.
    pub fn set_udp_gro_forwarding(&self) -> Call<'_, Option<String>> {
        self.warning("set-udp-gro-forwarding")
    }

    /// Whether the daemon marks its own packets.
    pub fn check_so_mark_in_use(&self) -> Call<'_, bool> {
        Call::new(self, Method::GET, "check-so-mark-in-use", 200, Bytes::new(), |path, answer| {
            decode::<UseSoMark>(path, answer).map(|answer| answer.use_so_mark)
        })
    }

    /// The Tailscale Services that this node sees.
    pub fn services(&self) -> Call<'_, Map<String, ServiceDetails>> {
        self.list("services")
    }

    /// The serve configuration, as it is.
    pub fn serve_config(&self) -> Call<'_, Raw> {
        self.get("serve-config")
    }

    /// What is known of newer versions.
    pub fn check_update(&self) -> Call<'_, ClientVersion> {
        self.get("update/check")
    }

    /// A node by its number.
    pub fn peer_by_id(&self, id: i64) -> Call<'_, Node> {
        self.get(&format!("peer-by-id?id={id}"))
    }

    /// A user by their number.
    pub fn user_profile(&self, id: i64) -> Call<'_, UserProfile> {
        self.get(&format!("user-profile?id={id}"))
    }

    /// Names for which control helps with certificates.
    pub fn cert_domains(&self) -> Call<'_, Vec<String>> {
        self.list("cert-domains")
    }

    /// Metrics in Prometheus text.
    pub fn user_metrics(&self) -> Call<'_, Bytes> {
        self.call(Method::GET, "usermetrics", 200, Bytes::new())
    }

    /// A marker for support; text of one line.
    pub fn bug_report(&self, note: &str, diagnose: bool) -> Call<'_, String> {
        let path = format!("bugreport?note={}&diagnose={diagnose}", encode(note));
        Call::new(self, Method::POST, &path, 200, Bytes::new(), |_, text| {
            Ok(String::from_utf8_lossy(&text).trim().to_owned())
        })
    }

    /// A debug action; gives what the daemon answered.
    pub fn debug_action(&self, action: &str, body: Bytes) -> Call<'_, Bytes> {
        self.call(Method::POST, &format!("debug?action={}", encode(action)), 200, body)
    }

    /// Has a DERP region tested, by number or code; gives findings as JSON.
    pub fn test_derp_region(&self, region: &str) -> Call<'_, Bytes> {
        self.call(Method::POST, &format!("debug-derp-region?region={}", encode(region)), 200, Bytes::new())
    }

    /// How the ways to the peer with this address have changed, as JSON.
    pub fn peer_endpoint_changes(&self, ip: IpAddr) -> Call<'_, Bytes> {
        let path = format!("debug-peer-endpoint-changes?ip={}", encode(&ip.to_string()));
        self.call(Method::GET, &path, 200, Bytes::new())
    }

    /// Has a component of the daemon log more for so many seconds.
    pub fn log_component(&self, component: &str, seconds: u64) -> Call<'_, ErrorBody> {
        let path = format!("component-debug-logging?component={}&secs={seconds}", encode(component));
        self.json(Method::POST, &path, 200, Bytes::new())
    }

    /// Lets the daemon leave control now, before it is stopped.
    pub fn disconnect_control(&self) -> Call<'_, ()> {
        self.done(Method::POST, "disconnect-control", 200, Bytes::new())
    }

    /// Has the key expire at `unix` seconds since 1970.
    pub fn set_expiry_sooner(&self, unix: i64) -> Call<'_, ()> {
        self.done(Method::POST, &format!("set-expiry-sooner?expiry={unix}"), 200, Bytes::new())
    }

    /// Stops the daemon.
    pub fn shutdown(&self) -> Call<'_, ()> {
        self.done(Method::POST, "shutdown", 200, Bytes::new())
    }

    /// GET of `path` below `/localapi/v0/`, decoded.
    pub fn get<T: Value + Zero>(&self, path: &str) -> Call<'_, T> {
        self.json(Method::GET, path, 200, Bytes::new())
    }

    /// Any call whose answer is JSON; another status than `want` is an error.
    pub fn json<T: Value + Zero>(&self, method: Method, path: &str, want: u16, body: Bytes) -> Call<'_, T> {
        Call::new(self, method, path, want, body, decode)
    }

    /// A call whose answer must have the status `want`.
    pub fn call(&self, method: Method, path: &str, want: u16, body: Bytes) -> Call<'_, Bytes> {
        Call::new(self, method, path, want, body, |_, answer| Ok(answer))
    }

    /// One whose answer says nothing but its status.
    fn done(&self, method: Method, path: &str, want: u16, body: Bytes) -> Call<'_, ()> {
        Call::new(self, method, path, want, body, |_, _| Ok(()))
    }

    /// GET of a list that is `null` when it is empty.
    fn list<T: Value + Zero + Default>(&self, path: &str) -> Call<'_, T> {
        Call::new(self, Method::GET, path, 200, Bytes::new(), |path, answer| {
            decode::<Option<T>>(path, answer).map(Option::unwrap_or_default)
        })
    }

    fn warning(&self, path: &str) -> Call<'_, Option<String>> {
        Call::new(self, Method::GET, path, 200, Bytes::new(), |path, answer| {
            let answer: CheckWarning = decode(path, answer)?;
            Ok((!answer.warning.is_empty()).then_some(answer.warning))
        })
    }
}

fn decode<T: Value + Zero>(path: &str, answer: Bytes) -> Result<T, Error> {
    gojson::from_slice(&answer)
        .map_err(|error| Error::Decode { path: call::endpoint(path), cause: error.to_string() })
}

fn body(value: &dyn Value) -> Bytes {
    to_go_json(value, Indent::None).into()
}

/// The error for a socket that does not answer.
fn not_running(socket: &Path, path: &str, error: &std::io::Error) -> Error {
    Error::NotRunning { socket: socket.to_owned(), path: call::endpoint(path), cause: system_words(error) }
}

#[cfg(test)]
mod tests;
