//! The configuration file of `--config`: settings that a file holds instead of `tailscale up` (features reference §3.2).
//!
//! Owns: where the file is, its format (`alpha0`, plain JSON), and which settings it stands for. Parsing is pure.
//! Leaves out: putting the settings in force (`backend`), when the file is read again (`api`).

mod field;
#[cfg(test)]
mod tests;

use gojson::{Pairs, Raw};
use localapi::types::MaskedPrefs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest configuration file, in bytes.
const LIMIT: u64 = 256 << 10;
/// Longest file with an auth key, in bytes.
const KEY_LIMIT: u64 = 4 << 10;

/// Why settings cannot be changed while a locked file holds them: upstream's words, which programs look for.
pub const LOCKED: &str = "can't reconfigure tailscaled when using a config file; config file is locked";

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The node starts without a configuration if the file cannot be read.
    pub optional: bool,
}

/// What a configuration says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Settings cannot be changed by commands.
    pub locked: bool,
    /// Lets the node in if it must log in.
    pub auth_key: Option<AuthKey>,
    /// Where peers reach this node besides, as whoever set up the network knows.
    pub static_endpoints: Vec<SocketAddr>,
    /// The settings, as a change of those that are in force.
    pub edit: MaskedPrefs,
}

/// An auth key, or where one is.
#[derive(Clone, PartialEq, Eq)]
pub enum AuthKey {
    /// The key itself.
    Text(String),
    /// The file that holds it.
    File(PathBuf),
}

impl std::fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(redacted)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl AuthKey {
    /// `file:PATH` or the key itself; `None` if there is neither.
    fn new(text: &str) -> Option<Self> {
        match text.strip_prefix("file:") {
            Some(path) => Some(Self::File(path.into())),
            None => Some(Self::Text(text.to_owned())).filter(|_| !text.is_empty()),
        }
    }

    /// The key, read from its file if there is one.
    fn resolve(self) -> Result<Self, String> {
        let Self::File(path) = self else { return Ok(self) };
        let text = read(&path, KEY_LIMIT)
            .map_err(|why| format!("cannot read the auth key from {}: {why}", path.display()))?;
        let key = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
        match key {
            "" => Err(format!("{} holds no auth key", path.display())),
            key => Ok(Self::Text(key.to_owned())),
        }
    }
}

impl Config {
    /// The auth key, once it is read.
    pub fn auth_key(&self) -> Option<&str> {
        match &self.auth_key {
            Some(AuthKey::Text(key)) => Some(key),
            _ => None,
        }
    }
}

impl Place {
    /// Reads the value of `--config`; `None` if it is empty.
    ///
    /// # Errors
    /// When it names a source that this build cannot read.
    pub fn new(flag: &str) -> Result<Option<Self>, String> {
        let (optional, path) = match flag.strip_prefix("optional:") {
            Some(path) => (true, path),
            None => (false, flag),
        };
        if path == "vm:user-data" {
            return Err("this build cannot read the user data of a virtual machine; give the path of a file"
                .to_owned());
        }
        Ok(Some(Self { path: path.into(), optional }).filter(|_| !path.is_empty()))
    }

    /// Reads the file and the auth key that it points to; `None` if there is no file and none is needed.
    ///
    /// # Errors
    /// When the file cannot be read or says something wrong: what, and where. An auth key that cannot be read is none
    /// of these: a node that is logged in does not need it, and the log says so.
    pub fn read(&self) -> Result<Option<Config>, String> {
        let at = self.path.display();
        let text = match read(&self.path, LIMIT) {
            Ok(text) => text,
            Err(why) if self.optional => {
                log::info!("no configuration file at {at} ({why}); starting without");
                return Ok(None);
            }
            Err(why) => return Err(format!("cannot read the configuration file {at}: {why}")),
        };
        let mut config = parse(&text).map_err(|why| format!("configuration file {at}: {why}"))?;
        config.auth_key = config.auth_key.and_then(|key| {
            key.resolve()
                .map_err(|why| log::error!("{why}; a login needs a browser until that is put right"))
                .ok()
        });
        Ok(Some(config))
    }
}

/// Reads a file of at most `limit` bytes.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > limit {
        return Err(format!("it is longer than {limit} bytes"));
    }
    Ok(text)
}

/// Understands the text of a configuration file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &[u8]) -> Result<Config, String> {
    let whole: Raw = gojson::from_slice(text)
        .map_err(|error| format!("{error}; it must be plain JSON, without comments or trailing commas"))?;
    let Some(Pairs(mut members)) = whole.read::<Pairs<String, Raw>>() else {
        return Err("it must be one JSON object".to_owned());
    };
    // What is found wrong first does not depend on the order in the file.
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    let version = members.iter().rfind(|(name, _)| name.eq_ignore_ascii_case("version"));
    match version.map(|(_, value)| (value, value.text())) {
        None | Some((_, "null")) => {
            return Err("no \"version\" field; write \"version\": \"alpha0\"".to_owned());
        }
        Some((value, _)) if value.read::<String>().as_deref() == Some("alpha0") => {}
        Some((_, other)) => return Err(format!("\"version\" is {other}; this build knows \"alpha0\"")),
    }
    let mut config = Config { locked: true, ..Config::default() };
    (config.edit.prefs.want_running, config.edit.mask.want_running) = (true, true);
    let mut offers_exit = false;
    for (name, value) in &members {
        if value.text() == "null" {
            field::find(name)?;
            continue;
        }
        field::find(name)?.take(value, &mut config, &mut offers_exit)?;
    }
    if offers_exit {
        let prefs = &mut config.edit.prefs;
        let both = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse::<ipnet::IpNet>().ok());
        prefs.advertise_routes.get_or_insert_default().extend(both);
        config.edit.mask.advertise_routes = true;
    }
    Ok(config)
}
