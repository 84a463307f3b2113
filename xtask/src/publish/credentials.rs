//! Who pushes: from the environment, from the files that `docker login` and `podman login` write, or nobody.
//!
//! Nothing here is ever printed: `Debug` and messages name the place a secret is from, not the secret.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt::{Debug, Formatter};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names of the environment's user and password.
pub(crate) const USER: &str = "SMALLTAIL_REGISTRY_USER";
pub(crate) const PASSWORD: &str = "SMALLTAIL_REGISTRY_PASSWORD";

/// Under this name docker keeps the credentials of its own registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// The user's name that says: the password is a token to be exchanged.
const TOKEN_USER: &str = "<token>";

/// What proves who pushes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Nobody,
    Password {
        user: String,
        password: String,
    },
    /// To be exchanged for an access token.
    Refresh(String),
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nobody",
            Self::Password { .. } => "a password",
            Self::Refresh(_) => "a token",
        })
    }
}

/// A secret, and where it is from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) secret: Secret,
    pub(crate) origin: String,
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "credentials from {}", self.origin)
    }
}

impl Credentials {
    /// Nobody's.
    pub(crate) fn nobody() -> Self {
        let files = "docker's and podman's files have none";
        Self { secret: Secret::Nobody, origin: format!("nowhere: {USER} is not set, and {files}") }
    }

    /// What this machine has for `host`.
    ///
    /// # Errors
    /// When a file cannot be understood, or half of the environment is there.
    pub(crate) fn load(host: &str) -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (set(USER), set(PASSWORD)) {
            (Some(user), Some(password)) => {
                return Ok(Self { secret: Secret::Password { user, password }, origin: format!("${USER}") });
            }
            (None, None) => {}
            _ => anyhow::bail!("{USER} and {PASSWORD} go together"),
        }
        for path in files() {
            if let Some(found) = Self::from_file(&path, host)? {
                return Ok(found);
            }
        }
        Ok(Self::nobody())
    }

    /// What docker's file at `path` has for `host`.
    pub(crate) fn from_file(path: &Path, host: &str) -> Result<Option<Self>> {
        let name = path.display();
        let Ok(text) = std::fs::read(path) else { return Ok(None) };
        let json: Value = serde_json::from_slice(&text).with_context(|| format!("{name} is no JSON"))?;
        let keys = if host == "docker.io" {
            vec![DOCKER_KEY.to_owned(), host.to_owned()]
        } else {
            vec![host.to_owned(), format!("https://{host}"), format!("https://{host}/")]
        };
        let helper = keys.iter().find_map(|key| json["credHelpers"][key].as_str());
        let stored = keys.iter().find_map(|key| json["auths"].get(key));
        // A file with `credsStore` keeps an empty entry for each host that the program knows.
        let helper = helper.or_else(|| json["credsStore"].as_str().filter(|_| stored.is_some()));
        if let Some(helper) = helper {
            let key = keys.first().map_or(host, String::as_str);
            let secret =
                ask(helper, key).with_context(|| format!("{name} names docker-credential-{helper}"))?;
            return Ok(secret.map(|secret| Self { secret, origin: format!("docker-credential-{helper}") }));
        }
        let secret = match stored {
            Some(entry) => of_entry(entry).with_context(|| format!("{name}: the entry of {host}"))?,
            None => None,
        };
        Ok(secret.map(|secret| Self { secret, origin: name.to_string() }))
    }

    /// The head `Authorization: Basic`, when there is a password.
    pub(crate) fn basic(&self) -> Option<String> {
        match &self.secret {
            Secret::Password { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Secret::Nobody | Secret::Refresh(_) => None,
        }
    }
}

/// Files with credentials, the most particular first.
fn files() -> Vec<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let docker = folder("DOCKER_CONFIG").or_else(|| Some(folder("HOME")?.join(".docker")));
    let podman = folder("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    [folder("REGISTRY_AUTH_FILE"), docker.map(|dir| dir.join("config.json")), podman]
        .into_iter()
        .flatten()
        .collect()
}

fn of_entry(entry: &Value) -> Result<Option<Secret>> {
    let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Secret::Refresh(token.to_owned())));
    }
    if let Some(auth) = text("auth") {
        // The error of a decoder could quote what it read.
        let decoded = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.context("`auth` is not base64 of user:password")?;
        let pair = decoded.split_once(':').context("`auth` is not base64 of user:password")?;
        return Ok(Some(password(pair.0, pair.1.trim_end_matches('\0'))));
    }
    Ok(text("username").zip(text("password")).map(|(user, secret)| password(user, secret)))
}

fn password(user: &str, secret: &str) -> Secret {
    if user == TOKEN_USER {
        return Secret::Refresh(secret.to_owned());
    }
    Secret::Password { user: user.to_owned(), password: secret.to_owned() }
}

/// Asks one of docker's programs that keep passwords.
fn ask(helper: &str, key: &str) -> Result<Option<Secret>> {
    ensure!(
        helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
        "that is no program's name"
    );
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("it cannot be started")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Ok(None);
    }
    let json: Value = serde_json::from_slice(&output.stdout).ok().context("its answer is no JSON")?;
    let pair = json["Username"].as_str().zip(json["Secret"].as_str());
    Ok(pair.map(|(user, secret)| password(user, secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, host: &str) -> Result<Option<Secret>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("config.json");
        std::fs::write(&path, text)?;
        Ok(Credentials::from_file(&path, host)?.map(|found| found.secret))
    }

    fn named(user: &str, password: &str) -> Option<Secret> {
        Some(Secret::Password { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn files_of_docker_are_understood() {
        let auths = r#"{"auths": {
            "r.example": {"auth": "YWxpY2U6c2U6Y3JldA=="},
            "https://s.example/": {"username": "bob", "password": "pw"},
            "t.example": {"identitytoken": "abc"},
            "https://index.docker.io/v1/": {"auth": "Y2Fyb2w6cHc="},
            "empty.example": {}
        }}"#;
        assert_eq!(found(auths, "r.example").unwrap(), named("alice", "se:cret"));
        assert_eq!(found(auths, "s.example").unwrap(), named("bob", "pw"));
        assert_eq!(found(auths, "t.example").unwrap(), Some(Secret::Refresh("abc".to_owned())));
        assert_eq!(found(auths, "docker.io").unwrap(), named("carol", "pw"));
        assert_eq!(found(auths, "empty.example").unwrap(), None);
        assert_eq!(found(auths, "other.example").unwrap(), None);
        assert_eq!(Credentials::from_file(Path::new("/nonexistent"), "r.example").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_shown() {
        for text in [
            "{",
            r#"{"auths": {"r.example": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"r.example": {"auth": "secret!"}}}"#,
        ] {
            let error = format!("{:#}", found(text, "r.example").unwrap_err());
            assert!(error.contains("config.json") && !error.contains("secret"), "{error}");
        }
        let error =
            format!("{:#}", found(r#"{"credHelpers": {"r.example": "/bin/sh"}}"#, "r.example").unwrap_err());
        assert!(error.contains("no program's name"), "{error}");
        let secret = Secret::Password { user: "alice".to_owned(), password: "hidden".to_owned() };
        let shown = Credentials { secret, origin: "a file".to_owned() };
        assert_eq!(format!("{shown:?} {:?}", shown.secret), "credentials from a file a password");
    }
}
