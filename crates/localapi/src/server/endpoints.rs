//! The endpoints: name, permission, methods, and the words of Go's daemon when one of them is wrong.
//!
//! An endpoint that a build lacks is here all the same: [`Handler::offers`](super::Handler::offers) says so.

use super::response::Response;
use super::{Permissions, query};

/// Which permission an endpoint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// None: any local process may call it.
    Nothing,
    /// Permission to read.
    Read,
    /// Permission to write.
    Write,
    /// Permission to read, and to write for other methods than GET and HEAD.
    ReadOrWrite,
}

/// One endpoint under `/localapi/v0/`.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name; with a slash at the end it takes everything below.
    pub name: &'static str,
    /// The permission it asks for.
    pub need: Need,
    /// The text of 403.
    denied: &'static str,
    /// Allowed methods, separated by spaces; empty = the handler decides.
    methods: &'static str,
    /// Status and text for other methods.
    wrong_method: (u16, &'static str),
}

const fn row(
    name: &'static str,
    need: Need,
    denied: &'static str,
    methods: &'static str,
    status: u16,
    text: &'static str,
) -> Endpoint {
    Endpoint { name, need, denied, methods, wrong_method: (status, text) }
}

use Need::{Nothing, Read, ReadOrWrite, Write};

/// All endpoints, sorted by name.
pub static ENDPOINTS: &[Endpoint] = &[
    row("bugreport", Read, "bugreport access denied", "POST", 405, "only POST allowed"),
    row("cert-domains", Read, "cert-domains access denied", "", 0, ""),
    row("check-ip-forwarding", Read, "IP forwarding check access denied", "", 0, ""),
    row("check-prefs", Write, "checkprefs access denied", "POST", 405, "unsupported method"),
    row("check-so-mark-in-use", Read, "SO_MARK check access denied", "", 0, ""),
    row("check-udp-gro-forwarding", Read, "UDP GRO forwarding check access denied", "", 0, ""),
    row("component-debug-logging", Write, "debug access denied", "", 0, ""),
    row("debug", Write, "debug access denied", "POST", 405, "POST required"),
    row("debug-capture", Write, "debug access denied", "POST", 405, "POST required"),
    row("debug-derp-region", Write, "debug access denied", "POST", 405, "POST required"),
    row("debug-optional-features", Nothing, "", "", 0, ""),
    row("debug-packet-filter-matches", Write, "debug access denied", "", 0, ""),
    row("debug-packet-filter-rules", Write, "debug access denied", "", 0, ""),
    row("debug-peer-endpoint-changes", Read, "status access denied", "", 0, ""),
    row("debug-portmap", Write, "debug access denied", "", 0, ""),
    row("debug-rotate-disco-key", Write, "debug access denied", "POST", 405, "POST required"),
    row("derpmap", Nothing, "", "GET", 400, "want GET"),
    row("dial", Nothing, "", "POST", 405, "POST required"),
    row("disconnect-control", Write, "access denied", "POST", 405, "use POST"),
    row("dns-config", Read, "dns-config access denied", "", 0, ""),
    row("dns-osconfig", Write, "dns-osconfig dump access denied", "GET", 405, "only GET allowed"),
    row("dns-query", Write, "dns-query access denied", "GET", 405, "only GET allowed"),
    row("goroutines", Write, "goroutine dump access denied", "", 0, ""),
    row("login-interactive", Write, "login access denied", "POST", 400, "want POST"),
    row("logout", Write, "logout access denied", "POST", 400, "want POST"),
    row("logtap", Write, "logtap access denied", "GET", 405, "GET required"),
    row("metrics", Write, "metric access denied", "", 0, ""),
    row("peer-by-id", Read, "peer-by-id access denied", "", 0, ""),
    row("ping", Nothing, "", "POST", 400, "want POST"),
    row("policy/", Read, "policy access denied", "GET POST", 405, "unsupported method"),
    row("pprof", Write, "profile access denied", "", 0, ""),
    row("prefs", ReadOrWrite, "prefs access denied", "GET HEAD PATCH", 405, "unsupported method"),
    row("profiles/", Write, "profiles access denied", "", 0, ""),
    row("reload-config", Write, "access denied", "POST", 405, "use POST"),
    row("reset-auth", Write, "reset-auth modify access denied", "POST", 405, "use POST"),
    row("serve-config", ReadOrWrite, "serve config denied", "GET POST", 405, "method not allowed"),
    row("services", Nothing, "", "GET", 405, "only GET allowed"),
    row("set-expiry-sooner", Write, "access denied", "POST", 405, "POST required"),
    row("set-udp-gro-forwarding", Write, "UDP GRO forwarding set access denied", "", 0, ""),
    row("set-use-exit-node-enabled", Write, "access denied", "POST", 405, "use POST"),
    row("shutdown", Write, "shutdown access denied", "POST", 405, "only POST allowed"),
    row("start", Write, "access denied", "POST", 400, "want POST"),
    row("status", Read, "status access denied", "", 0, ""),
    row("suggest-exit-node", Nothing, "", "GET POST", 405, "want POST"),
    row("tka/status", Read, "lock status access denied", "GET", 405, "use GET"),
    row("update/check", Nothing, "", "GET", 405, "only GET allowed"),
    row("upload-client-metrics", Nothing, "", "POST", 405, "unsupported method"),
    row("user-profile", Read, "user-profile access denied", "", 0, ""),
    row("usermetrics", Nothing, "", "", 0, ""),
    row("watch-ipn-bus", Read, "watch ipn bus access denied", "", 0, ""),
    row("whois", Read, "whois access denied", "", 0, ""),
];

/// Endpoints that look at the method before the permission.
const METHOD_FIRST: [&str; 4] = ["dns-osconfig", "dns-query", "set-use-exit-node-enabled", "shutdown"];

impl Endpoint {
    /// The endpoint that serves `path`, and for a prefix what follows it, decoded; `None` is 404.
    pub(super) fn find(path: &str) -> Option<(&'static Self, String)> {
        let name = path.strip_prefix("/localapi/v0/")?;
        let decoded = query::decode(name, false)?;
        if let Some(found) = Self::named(&decoded) {
            return Some((found, String::new()));
        }
        let slash = name.find('/')?;
        let (prefix, rest) = name.split_at_checked(slash.saturating_add(1))?;
        Some((Self::named(prefix)?, query::decode(rest, false)?))
    }

    fn named(name: &str) -> Option<&'static Self> {
        let at = ENDPOINTS.binary_search_by(|endpoint| endpoint.name.cmp(name)).ok()?;
        ENDPOINTS.get(at)
    }

    /// Checks permission and method, in the order in which Go's handlers do.
    pub(super) fn admit(&self, method: &str, may: Permissions) -> Result<(), Response> {
        let changes = !matches!(method, "GET" | "HEAD");
        let readable = may.read || self.need == Nothing || (self.need == Write && may.write);
        let permitted = match readable && (self.need != Write || may.write) {
            true => Ok(()),
            false => Err(Response::error(403, self.denied)),
        };
        let known = self.methods.is_empty() || self.methods.split(' ').any(|allowed| allowed == method);
        let method_fits = match known {
            true => Ok(()),
            false => Err(Response::error(self.wrong_method.0, self.wrong_method.1)),
        };
        if METHOD_FIRST.contains(&self.name) {
            method_fits.and(permitted)?;
        } else {
            permitted.and(method_fits)?;
        }
        if self.need == ReadOrWrite && changes && !may.write {
            let text = if self.name == "prefs" { "prefs write access denied" } else { self.denied };
            return Err(Response::error(403, text));
        }
        Ok(())
    }
}
