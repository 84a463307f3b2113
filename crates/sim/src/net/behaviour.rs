//! How a NAT behaves, on the axes of RFC 4787, and its short text form in scenarios.

use std::fmt;
use std::time::Duration;

/// What of the other side a mapping or a filter depends on (RFC 4787 §4.1 and §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependence {
    /// Nothing.
    Endpoint,
    /// Its address.
    Address,
    /// Its address and port.
    AddressPort,
}

impl Dependence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Endpoint, Self::Address, Self::AddressPort];

    const fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "any",
            Self::Address => "address",
            Self::AddressPort => "port",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }
}

impl fmt::Display for Dependence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How an outer port is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The inner one if it is free. With it every mapping of a socket looks the same, whatever it depends on.
    Kept,
    /// By chance for each mapping.
    Random,
}

/// How a NAT behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// What a mapping depends on.
    pub mapping: Dependence,
    /// What decides who may send through a mapping.
    pub filtering: Dependence,
    /// Outer ports.
    pub ports: Ports,
    /// Whether machines behind it reach each other by their outer addresses.
    pub hairpin: bool,
    /// How long a mapping lives without traffic.
    pub lifetime: Duration,
    /// Whether what comes in keeps a mapping alive, too (RFC 4787 REQ-6).
    pub inbound_refreshes: bool,
}

/// The shortest that is common; RFC 4787 wants two minutes.
const LIFETIME: Duration = Duration::from_secs(30);

impl Behaviour {
    /// A NAT on these two axes, with outer ports by chance.
    pub const fn new(mapping: Dependence, filtering: Dependence) -> Self {
        Self {
            mapping,
            filtering,
            ports: Ports::Random,
            hairpin: false,
            lifetime: LIFETIME,
            inbound_refreshes: true,
        }
    }

    /// What Linux does without further ado: every mapping its own, the port kept.
    pub const EASY: Self =
        Self { ports: Ports::Kept, ..Self::new(Dependence::AddressPort, Dependence::AddressPort) };
    /// A random port for each destination.
    pub const HARD: Self = Self::new(Dependence::AddressPort, Dependence::AddressPort);
    /// One mapping, and whoever was written to may answer from any port.
    pub const ADDRESS_FILTERING: Self = Self::new(Dependence::Endpoint, Dependence::Address);
    /// One mapping, open to all.
    pub const FULL_CONE: Self = Self::new(Dependence::Endpoint, Dependence::Endpoint);

    const NAMED: [(&'static str, Self); 4] = [
        ("easy", Self::EASY),
        ("hard", Self::HARD),
        ("address-filtering", Self::ADDRESS_FILTERING),
        ("full-cone", Self::FULL_CONE),
    ];

    /// Reads the text form: a name or `map=… filter=…`, then what differs.
    ///
    /// # Errors
    /// Names the word that is not known.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut behaviour = Self::EASY;
        for word in words {
            let value = |text: &str| {
                Dependence::from_word(text).ok_or_else(|| format!("{word}: any, address or port"))
            };
            if let Some((_, named)) = Self::NAMED.iter().find(|(name, _)| name == word) {
                behaviour = *named;
            } else if let Some(text) = word.strip_prefix("map=") {
                behaviour.mapping = value(text)?;
            } else if let Some(text) = word.strip_prefix("filter=") {
                behaviour.filtering = value(text)?;
            } else if let Some(text) = word.strip_prefix("life=") {
                let secs = text.parse().map_err(|_| format!("{word}: whole seconds, as in life=30"))?;
                behaviour.lifetime = Duration::from_secs(secs);
            } else {
                match *word {
                    "ports=kept" => behaviour.ports = Ports::Kept,
                    "ports=random" => behaviour.ports = Ports::Random,
                    "hairpin" => behaviour.hairpin = true,
                    "outbound-only" => behaviour.inbound_refreshes = false,
                    _ => return Err(format!("no NAT is {word}")),
                }
            }
        }
        Ok(behaviour)
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = if self.ports == Ports::Kept { "kept" } else { "random" };
        write!(f, "map={} filter={} ports={ports}", self.mapping, self.filtering)?;
        if self.lifetime != LIFETIME {
            write!(f, " life={}", self.lifetime.as_secs())?;
        }
        if self.hairpin {
            f.write_str(" hairpin")?;
        }
        if !self.inbound_refreshes {
            f.write_str(" outbound-only")?;
        }
        Ok(())
    }
}
