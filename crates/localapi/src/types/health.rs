//! Health as the bus shows it.

use super::time::Time;
use gojson::Map;

go_object! {
    /// All problems that are visible now, by code.
    pub struct HealthState {
        pub warnings: Map<String, UnhealthyState> => "Warnings",
    }
}

go_object! {
    /// One problem.
    pub struct UnhealthyState {
        pub warnable_code: String => "WarnableCode",
        /// `high`, `medium` or `low`.
        pub severity: String => "Severity",
        pub title: String => "Title",
        pub text: String => "Text",
        pub broken_since: Option<Time> => "BrokenSince" omit,
        pub args: Map<String, String> => "Args" omit,
        /// Codes of problems that would explain this one.
        pub depends_on: Vec<String> => "DependsOn" omit,
        pub impacts_connectivity: bool => "ImpactsConnectivity" omit,
        pub primary_action: Option<UnhealthyAction> => "PrimaryAction" omit,
        pub etag: String => "ETag" omit,
    }
}

go_object! {
    /// What to do about a problem.
    pub struct UnhealthyAction {
        pub url: String => "URL",
        pub label: String => "Label",
    }
}
