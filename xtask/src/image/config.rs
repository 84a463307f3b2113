//! The configuration of an image: how a container of it starts, what it keeps, how it is asked whether it is well.
//!
//! The same bytes serve registries and docker-archives. The health check is docker's, not the image specification's:
//! engines that do not know it pass over it.

use super::about::About;
use super::layer::Layer;
use anyhow::{Context, Result};
use oci_spec::image::{Arch, ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder, Os, RootFsBuilder};
use serde_json::{Value, json};

/// The program that a container starts with.
pub(crate) const ENTRY_POINT: &str = "/usr/bin/containerboot";

/// What outlives a container.
pub(crate) const VOLUME: &str = "/var/lib/tailscale";

/// What PID 1 ends on.
pub(crate) const STOP_SIGNAL: &str = "SIGTERM";

/// The environment. No `TS_*`: `containerboot` has a router's defaults, and what the image set would look like a
/// choice of the user.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The health check's subcommand.
pub(crate) const PROBE: &str = "healthcheck";

/// Seconds between health checks. Each of them unpacks the binary: half a second of an ARMv5's time.
pub(crate) const PROBE_INTERVAL: u64 = 120;

/// Seconds after which a health check has failed.
pub(crate) const PROBE_TIMEOUT: u64 = 20;

/// Seconds after the start in which failures do not count: routers start before their uplink.
pub(crate) const PROBE_START: u64 = 60;

/// Failures in a row that make a container unhealthy.
pub(crate) const PROBE_RETRIES: u64 = 3;

/// Nanoseconds in a second: docker's unit.
const SECOND: u64 = 1_000_000_000;

/// What runs an image: one of docker's platforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    /// `amd64`, `arm64` or `arm`.
    pub(crate) architecture: &'static str,
    /// `v7` or `v5` of `arm`.
    pub(crate) variant: Option<&'static str>,
}

impl Platform {
    /// In file names: `armv7`.
    pub(crate) fn slug(self) -> String {
        format!("{}{}", self.architecture, self.variant.unwrap_or_default())
    }

    /// As the crate for the formats has it.
    pub(crate) fn oci(self) -> Arch {
        Arch::from(self.architecture)
    }
}

/// The configuration's JSON.
pub(crate) fn json(about: &About, platform: Platform, layer: &Layer) -> Result<Vec<u8>> {
    let config = ConfigBuilder::default()
        .entrypoint(vec![ENTRY_POINT.to_owned()])
        .env(vec![format!("PATH={PATH}")])
        .working_dir("/")
        .volumes(vec![VOLUME.to_owned()])
        .stop_signal(STOP_SIGNAL)
        .labels(about.labels()?.into_iter().collect::<std::collections::HashMap<_, _>>())
        .build()?;
    let history =
        HistoryBuilder::default().created(about.created()?).created_by("cargo xtask image").build()?;
    let rootfs = RootFsBuilder::default().diff_ids(vec![layer.diff_id().to_string()]).build()?;
    let whole = ImageConfigurationBuilder::default()
        .created(about.created()?)
        .architecture(platform.oci())
        .os(Os::Linux)
        .config(config)
        .rootfs(rootfs)
        .history(vec![history])
        .build()?;
    // A `Value` sorts its keys; the labels' own order differs from run to run.
    let mut json = serde_json::to_value(&whole)?;
    if let Some(variant) = platform.variant {
        json["variant"] = variant.into();
    }
    json["config"].as_object_mut().context("no configuration")?.insert("Healthcheck".to_owned(), probe());
    Ok(serde_json::to_vec(&json)?)
}

/// The health check as docker spells it.
fn probe() -> Value {
    json!({
        "Test": ["CMD", ENTRY_POINT, PROBE],
        "Interval": PROBE_INTERVAL * SECOND,
        "Timeout": PROBE_TIMEOUT * SECOND,
        "StartPeriod": PROBE_START * SECOND,
        "Retries": PROBE_RETRIES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::{about, layer, platform};

    #[test]
    fn the_configuration_says_exactly_this() {
        let found: Value =
            serde_json::from_slice(&json(&about(), platform("armv5"), &layer()).unwrap()).unwrap();
        let mut labels = serde_json::Map::new();
        labels.extend(about().labels().unwrap().into_iter().map(|(name, value)| (name, value.into())));
        let wanted = json!({
            "architecture": "arm",
            "variant": "v5",
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {
                "Entrypoint": ["/usr/bin/containerboot"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Healthcheck": {
                    "Test": ["CMD", "/usr/bin/containerboot", "healthcheck"],
                    "Interval": 120_000_000_000_u64,
                    "Timeout": 20_000_000_000_u64,
                    "StartPeriod": 60_000_000_000_u64,
                    "Retries": 3,
                },
                "Labels": labels,
                "StopSignal": "SIGTERM",
                "Volumes": {"/var/lib/tailscale": {}},
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer().diff_id().to_string()]},
            "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "cargo xtask image"}],
        });
        assert_eq!(found, wanted);
        const { assert!(PROBE_INTERVAL >= 60) };
    }

    #[test]
    fn the_same_image_has_the_same_bytes() {
        // Labels are handed over in a hash map, which has another order each time.
        let bytes = || json(&about(), platform("amd64"), &layer()).unwrap();
        let first = bytes();
        assert!((0..20).all(|_| bytes() == first));
    }
}
