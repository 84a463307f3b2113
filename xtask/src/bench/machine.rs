//! What the numbers were measured on, and with what.

use super::choice::Who;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// The machine and the programs.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// `/proc/loadavg` when the run began.
    pub(crate) load: String,
    /// What each implementation calls itself, and its bytes.
    pub(crate) programs: Vec<(Who, String)>,
}

impl Machine {
    /// This one, now, with these implementations.
    pub(crate) fn this(who: &[Who]) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            programs: who.iter().filter_map(|who| Some((*who, program(*who)?))).collect(),
        }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let Self { processor, cores, memory_mib, kernel, load, .. } = self;
        format!(
            "{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}, load average at the start {load}"
        )
    }

    pub(crate) fn json(&self) -> Value {
        let programs = self
            .programs
            .iter()
            .map(|(who, what)| (super::choice::Named::word(*who).to_owned(), Value::from(what.as_str())));
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "memory_mib": self.memory_mib,
            "kernel": self.kernel,
            "load_average": self.load,
            "programs": programs.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// The value of the first `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned())
}

/// First line of `tailscale version`, and the daemon's size.
fn program(who: Who) -> Option<String> {
    let flavour = who.flavour()?;
    let mut command = Command::new(flavour.cli());
    command.arg("version");
    let outcome = lab::run(command, Duration::from_secs(10)).ok()?;
    let bytes = std::fs::metadata(flavour.daemon()).ok()?.len();
    Some(format!(
        "{}, tailscaled {bytes} bytes",
        outcome.stdout.lines().next().unwrap_or("no version").trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\nmodel name\t: Other\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU: fast"));
        assert_eq!(field(text, "flags"), None);
        assert!(Machine::this(&[]).cores > 0);
    }
}
