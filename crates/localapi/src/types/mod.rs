//! The values that cross the LocalAPI, one file each, with exactly the JSON of Go's structs.
//!
//! Field names in Rust are snake case; the JSON key stands in each field's documentation. Decoding follows Go's
//! rules: names match in any case, `null` leaves a field at its zero value, unknown names are ignored (or kept,
//! where the type is stored on flash). Encoding keeps the order of Go's fields.

#[macro_use]
mod object;

mod derp;
mod dns;
mod health;
mod hostinfo;
mod masked;
mod netmap;
mod node;
mod notify;
mod options;
mod persist;
mod ping;
mod prefs;
mod profile;
mod scalar;
mod status;
mod stream;
mod time;
mod user;
mod whois;

pub use derp::{DerpHomeParams, DerpMap, DerpNode, DerpRegion};
pub use dns::{DnsConfig, DnsOsConfig, DnsQueryResponse, DnsRecord, Resolver};
pub use gojson::{Extra, Indent, Map, OptBool, Raw, to_go_json};
pub use health::{HealthState, UnhealthyAction, UnhealthyState};
pub use hostinfo::{Hostinfo, Location, NetInfo, Service, TpmInfo};
pub use masked::{AutoUpdateMask, MaskedPrefs, PrefsMask};
pub use netmap::{NetMapHead, NetMapWriter};
pub use node::{CapMap, Node, PeerChange};
pub use notify::{Empty, EngineStatus, Notify, PeerState, PeerStatusLite, State, mask};
pub use options::{
    CheckWarning, ErrorBody, OptionalFeatures, Options, ReloadConfigResponse, ServiceDetails, UseSoMark,
};
pub use persist::Persist;
pub use ping::{PingKind, PingResult};
pub use prefs::{AppConnectorPrefs, AutoUpdatePrefs, DEFAULT_CONTROL_URL, NetfilterMode, Prefs};
pub use profile::{LoginProfile, NetworkProfile};
pub use scalar::Addr;
pub use status::{ExitNodeStatus, PeerStatus, Status, TailnetStatus};
pub use stream::{NotifyStatusWriter, StatusWriter};
pub use time::Time;
pub use user::{ClientVersion, UserProfile};
pub use whois::{ExitNodeSuggestion, WhoIs};

#[cfg(test)]
mod tests;
