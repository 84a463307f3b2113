//! Small request and response bodies.

use super::prefs::Prefs;
use gojson::Map;
use gojson::Raw;
use std::net::IpAddr;

go_object! {
    /// The body of `POST start`.
    pub struct Options {
        pub frontend_log_id: String => "FrontendLogID",
        /// Replaces all preferences except `Config`.
        pub update_prefs: Option<Box<Prefs>> => "UpdatePrefs",
        pub auth_key: String => "AuthKey",
    }
}

go_object! {
    /// An error in JSON; empty in `check-prefs` when all is well.
    pub struct ErrorBody {
        pub error: String => "Error" omit,
    }
}

go_object! {
    /// The answer of the `check-*` endpoints; empty when all is well.
    pub struct CheckWarning {
        pub warning: String => "Warning",
    }
}

go_object! {
    /// The answer of `check-so-mark-in-use`.
    pub struct UseSoMark {
        pub use_so_mark: bool => "UseSOMark",
    }
}

go_object! {
    /// The answer of `debug-optional-features`: what is in the daemon's build.
    pub struct OptionalFeatures {
        /// By upstream's name; one that is not listed is not in.
        pub features: Map<String, bool> => "Features",
        /// Wanted in this build and not written yet. Our daemon's alone.
        pub missing: Vec<String> => "Missing" omit,
    }
}

go_object! {
    /// The answer of `reload-config`.
    pub struct ReloadConfigResponse {
        pub reloaded: bool => "Reloaded",
        pub err: String => "Err",
    }
}

go_object! {
    /// A Tailscale Service, as `GET services` lists it by name.
    pub struct ServiceDetails {
        pub name: String => "Name",
        pub display_name: String => "DisplayName" omit,
        pub addrs: Vec<IpAddr> => "Addrs" omit,
        pub ports: Vec<String> => "Ports" omit,
        pub actions: Option<Raw> => "Actions" omit,
    }
}
