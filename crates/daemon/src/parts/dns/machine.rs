//! The machine's resolv.conf as the node has it: what it was told, what it had before, who else writes it.

use dns::config::OsConfig;
use dns::resolvconf::{Disk, Look, ResolvConf};
use dns::{Error, Server, is_service};
use std::time::Duration;

/// The other program has won.
const GIVEN_IN: &str = "another program keeps overwriting /etc/resolv.conf, so that names of the tailnet are not found by \
                        programs on this machine; find out which (often a DHCP client) and stop it, or set --accept-dns=false";

/// The machine's resolver.
pub(super) struct Machine {
    file: ResolvConf<Disk>,
    /// The file is ours to write.
    manages: bool,
    /// Packets to quad-100 are answered.
    quad100: bool,
    told: OsConfig,
    /// Ours could not be written.
    failed: bool,
}

impl Machine {
    pub(super) fn new(manages: bool, quad100: bool) -> Self {
        let file = ResolvConf::new(Disk::default());
        Self { file, manages, quad100, told: OsConfig::default(), failed: false }
    }

    /// What there was before us.
    pub(super) fn base(&self) -> Result<OsConfig, Error> {
        self.file.base()
    }

    /// The same, and from now on [`Self::look`] tells when it is another one.
    pub(super) fn follow_base(&mut self) -> Result<OsConfig, Error> {
        self.file.follow_base()
    }

    /// Whom this machine asks, when that is not us.
    pub(super) fn own_server(&self) -> Option<Server> {
        if self.asks_us() {
            return None;
        }
        match self.told.nameservers.first() {
            Some(server) => Some(server.clone()),
            None => self.base().ok()?.nameservers.into_iter().next(),
        }
    }

    /// Whether this machine's programs ask us.
    pub(super) fn asks_us(&self) -> bool {
        asks_us(&self.told)
    }

    /// Tells the machine; the same once more is made sure of.
    pub(super) fn set(&mut self, mut config: OsConfig) -> Result<(), Error> {
        if !self.manages {
            return Ok(());
        }
        if !self.quad100 && asks_us(&config) {
            config = OsConfig::default();
        }
        let told = self.file.set(&config);
        self.failed = told.is_err();
        self.told = if self.failed { OsConfig::default() } else { config };
        told.map(|changed| {
            if changed && !self.told.is_empty() {
                log::info!("/etc/resolv.conf is ours now; the original is in {}", dns::resolvconf::BACKUP);
            }
        })
    }

    /// Whether all is to be told once more; an error when that would be in vain.
    pub(super) fn look(&mut self, now: Duration) -> Result<bool, String> {
        match self.file.look(now) {
            Look::Fine => Ok(self.failed),
            Look::Again => {
                log::warn!("another program has overwritten /etc/resolv.conf; putting ours there again");
                Ok(true)
            }
            Look::NewBase => {
                log::info!("the name servers of this machine have changed");
                Ok(true)
            }
            Look::GivenIn => Err(GIVEN_IN.to_owned()),
        }
    }

    /// When to look again; never, while there is nothing of ours to look after.
    pub(super) fn pause(&self) -> Option<Duration> {
        (self.failed || !self.told.is_empty()).then(|| self.file.pause())
    }

    /// What there was before us could not be read, so that it is all to be tried again.
    pub(super) const fn try_again(&mut self) {
        self.failed = true;
    }

    /// Brings back the original.
    pub(super) fn restore(&mut self) -> Result<(), Error> {
        self.set(OsConfig::default())
    }
}

fn asks_us(config: &OsConfig) -> bool {
    config.nameservers.iter().any(|server| is_service(server.ip()))
}
