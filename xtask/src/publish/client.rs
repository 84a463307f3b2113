//! One registry: requests with credentials, tried again when what failed may pass, and refusals in words.

use super::challenge::Challenge;
use super::credentials::{Credentials, Secret};
use super::place::Place;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request};
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// Most of an answer that is read: manifests are a few KB, errors less.
const ANSWER_LIMIT: u64 = 4 << 20;

/// Most of a registry's own words that are repeated.
const WORDS: usize = 200;

/// How long connecting, and waiting for an answer to a request that was sent, may take.
const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(60);

/// A minute for a chunk is little on a slow line, and long enough to call a line dead.
const SENDING: Duration = Duration::from_secs(180);

/// The longest that a registry may ask us to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often something is tried, and how long the first pause is; each is twice the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) tries: u32,
    pub(crate) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 6, pause: Duration::from_millis(500) }
    }
}

impl Patience {
    /// The pause after the `failed`th failure, which counts from 1.
    pub(crate) fn after(self, failed: u32) -> Duration {
        self.pause.saturating_mul(1 << failed.saturating_sub(1).min(6))
    }
}

/// What a registry answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The registry's own words about an error, fit to be printed.
    fn words(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let first = &json["errors"][0];
        let parts = ["code", "message"].map(|name| first[name].as_str().unwrap_or_default());
        let text = parts.join(" ");
        let text: String = text.chars().filter(|letter| !letter.is_control()).take(WORDS).collect();
        if text.trim().is_empty() { String::new() } else { format!(" (it says: {})", text.trim()) }
    }
}

/// Why a request gave no answer to work with.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// May be gone the next time: a lost connection, a server that is busy. With the pause it asked for.
    Passing(anyhow::Error, Option<Duration>),
    /// Will be the same the next time.
    Lasting(anyhow::Error),
}

/// A request, as it is sent again and again.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// For messages: what was to be done.
    pub(crate) what: &'a str,
}

/// A registry and what it has let us prove so far.
pub(crate) struct Client {
    agent: Agent,
    pub(crate) place: Place,
    credentials: Credentials,
    pub(crate) patience: Patience,
    /// The head that the last challenge was answered with.
    authorization: Option<String>,
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When `SSL_CERT_FILE` names no certificates.
    pub(crate) fn new(place: Place, credentials: Credentials, patience: Patience) -> Result<Self> {
        let proxy = if place.loopback() { None } else { ureq::Proxy::try_from_env() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!place.plain())
            .proxy(proxy)
            .user_agent("smalltail")
            .timeout_connect(Some(CONNECT))
            .timeout_send_body(Some(SENDING))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(ANSWER))
            .tls_config(TlsConfig::builder().root_certs(roots()?).build())
            .build();
        Ok(Self { agent: config.into(), place, credentials, patience, authorization: None })
    }

    /// Address of `path` in the repository.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.place.base, self.place.repository)
    }

    /// The absolute form of a `Location`.
    ///
    /// # Errors
    /// When it leads out of TLS or is no address.
    pub(crate) fn located(&self, location: &str) -> Result<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(format!("{}{location}", self.place.base));
        }
        // A registry behind a proxy that ends TLS may not know of it.
        let plain_self = self.place.base.replacen("https://", "http://", 1);
        if let Some(rest) = location.strip_prefix(&plain_self).filter(|rest| rest.starts_with('/')) {
            return Ok(format!("{}{rest}", self.place.base));
        }
        let tls = location.starts_with("https://");
        ensure!(
            tls || (self.place.plain() && location.starts_with("http://")),
            "{} sends us to an address without TLS or to none at all",
            self.place.host
        );
        Ok(location.to_owned())
    }

    /// Sends `call`, again and again while its failure may pass.
    pub(crate) fn send(&mut self, call: Call<'_>) -> Result<Answer> {
        let mut failed = 0;
        loop {
            match self.send_once(call) {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(error, pause)) => {
                    failed += 1;
                    self.wait(failed, error, pause)?;
                }
            }
        }
    }

    /// Waits after the `failed`th failure.
    ///
    /// # Errors
    /// The failure itself, when it was the last that is borne.
    pub(crate) fn wait(&self, failed: u32, error: anyhow::Error, pause: Option<Duration>) -> Result<()> {
        if failed >= self.patience.tries {
            return Err(error.context(format!("given up after {failed} tries")));
        }
        std::thread::sleep(pause.unwrap_or_else(|| self.patience.after(failed)));
        Ok(())
    }

    /// Sends `call` once; when the registry wants to know who asks, once more.
    pub(crate) fn send_once(&mut self, call: Call<'_>) -> Result<Answer, Trouble> {
        let mut answer = self.exchange(call)?;
        if answer.status == 401 {
            self.authorization = self.prove(&answer)?;
            if self.authorization.is_none() {
                return Err(Trouble::Lasting(self.refusal(call.what, &answer)));
            }
            answer = self.exchange(call)?;
        }
        match answer.status {
            401 | 403 => Err(Trouble::Lasting(self.refusal(call.what, &answer))),
            408 | 429 | 500..=599 => {
                let seconds = answer.header("retry-after").and_then(|text| text.parse().ok());
                let pause = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
                Err(Trouble::Passing(self.refusal(call.what, &answer), pause))
            }
            _ => Ok(answer),
        }
    }

    fn exchange(&self, call: Call<'_>) -> Result<Answer, Trouble> {
        let mut request = Request::builder().method(call.method).uri(call.url);
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        // Who we are is the registry's business alone, wherever it sends us.
        if let Some(value) = self.authorization.as_ref().filter(|_| self.is_ours(call.url)) {
            request = request.header("authorization", value);
        }
        let lasting = |error: anyhow::Error| Trouble::Lasting(error.context(call.what.to_owned()));
        let has_body = !matches!(*call.method, Method::GET | Method::HEAD);
        let sent = if has_body {
            self.agent.run(request.body(call.body).map_err(|error| lasting(error.into()))?)
        } else {
            self.agent.run(request.body(()).map_err(|error| lasting(error.into()))?)
        };
        let told = |error: ureq::Error| {
            let passing = passes(&error);
            let error = anyhow::Error::new(error).context(format!("{}: {}", self.place.host, call.what));
            if passing { Trouble::Passing(error, None) } else { Trouble::Lasting(error) }
        };
        let mut response = sent.map_err(told)?;
        let body = response.body_mut().with_config().limit(ANSWER_LIMIT).read_to_vec().map_err(told)?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    fn is_ours(&self, url: &str) -> bool {
        url.strip_prefix(&self.place.base).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The head that answers a challenge; `None` when we have nothing (more) to answer with.
    fn prove(&self, answer: &Answer) -> Result<Option<String>, Trouble> {
        let heads = answer.headers.get_all("www-authenticate");
        let found = heads.iter().filter_map(|head| Challenge::parse(head.to_str().ok()?));
        match found.min_by_key(|challenge| *challenge == Challenge::Basic) {
            None => Ok(None),
            Some(Challenge::Basic) => {
                let head = self.credentials.basic();
                // The same password again would be refused again.
                Ok(head.filter(|head| self.authorization.as_ref() != Some(head)))
            }
            Some(Challenge::Bearer { realm, service }) => self.token(&realm, service.as_deref()).map(Some),
        }
    }

    /// Fetches a token that allows pushing.
    fn token(&self, realm: &str, service: Option<&str>) -> Result<String, Trouble> {
        let what = "fetching a token";
        let safe = realm.starts_with("https://") || (self.place.plain() && realm.starts_with("http://"));
        if !safe {
            let error = anyhow!("{} wants its tokens fetched without TLS", self.place.host);
            return Err(Trouble::Lasting(error));
        }
        let scope = format!("repository:{}:pull,push", self.place.repository);
        let mut fields = vec![("scope", scope.as_str()), ("client_id", "smalltail")];
        fields.extend(service.map(|service| ("service", service)));
        let separator = if realm.contains('?') { '&' } else { '?' };
        let plain = Self { authorization: self.credentials.basic(), ..self.bare(realm) };
        let answer = if let Secret::Refresh(token) = &self.credentials.secret {
            fields.extend([("grant_type", "refresh_token"), ("refresh_token", token.as_str())]);
            let form = form(&fields);
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            plain.exchange(Call {
                method: &Method::POST,
                url: realm,
                headers: &headers,
                body: form.as_bytes(),
                what,
            })
        } else {
            let url = format!("{realm}{separator}{}", form(&fields));
            plain.exchange(Call { method: &Method::GET, url: &url, headers: &[], body: &[], what })
        }?;
        if answer.status >= 500 || answer.status == 429 {
            return Err(Trouble::Passing(self.refusal(what, &answer), None));
        }
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = ["token", "access_token"].iter().find_map(|name| json[*name].as_str());
        match token.filter(|_| answer.status == 200) {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(Trouble::Lasting(self.refusal(what, &answer))),
        }
    }

    /// A client of whoever gives tokens: the same lines, but it may be told the password.
    fn bare(&self, realm: &str) -> Self {
        let end = realm
            .split_once("://")
            .map_or(realm.len(), |(scheme, rest)| scheme.len() + 3 + rest.find('/').unwrap_or(rest.len()));
        let base = realm.get(..end).unwrap_or(realm).to_owned();
        let place = Place { base, ..self.place.clone() };
        Self {
            agent: self.agent.clone(),
            place,
            credentials: self.credentials.clone(),
            patience: self.patience,
            authorization: None,
        }
    }

    /// What a status means for the one who pushes.
    pub(crate) fn refusal(&self, what: &str, answer: &Answer) -> anyhow::Error {
        let (host, repository) = (&self.place.host, &self.place.repository);
        let origin = &self.credentials.origin;
        let reason = match (answer.status, &self.credentials.secret) {
            (401, Secret::Nobody) => format!("{host} wants to know who pushes; credentials: {origin}"),
            (401, _) => format!("{host} does not accept the credentials from {origin}"),
            (403, _) => format!("{host} does not let us push to {repository}; credentials: {origin}"),
            (404, _) => format!("{host} has no repository {repository}, or is no registry"),
            (413, _) => {
                format!(
                    "too large for {host} or for a proxy before it, whose limit for a request must be raised"
                )
            }
            (status @ 500..=599, _) => format!("{host} is in trouble: status {status}"),
            (status, _) => format!("{host} refuses with status {status}"),
        };
        anyhow!("{what}: {reason}{}", answer.words())
    }

    /// Wants one of `statuses`.
    pub(crate) fn expect(&self, what: &str, answer: Answer, statuses: &[u16]) -> Result<Answer> {
        if !statuses.contains(&answer.status) {
            bail!(self.refusal(what, &answer));
        }
        Ok(answer)
    }
}

/// Whether the next try may do better.
fn passes(error: &ureq::Error) -> bool {
    matches!(
        error,
        ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::HostNotFound
            | ureq::Error::BodyStalled
            | ureq::Error::Protocol(_)
    )
}

/// Mozilla's roots, or those of the file that `SSL_CERT_FILE` names, as the daemon has it.
fn roots() -> Result<RootCerts> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE") else { return Ok(RootCerts::WebPki) };
    let name = format!("SSL_CERT_FILE {}", path.display());
    let pem = std::fs::read(&path).with_context(|| name.clone())?;
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.with_context(|| name.clone())? {
            found.push(certificate);
        }
    }
    ensure!(!found.is_empty(), "{name} has no certificates");
    Ok(RootCerts::from(found))
}

/// Fields as addresses and forms spell them.
fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.join("&")
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Client {
        let place = Place::parse(text, false).unwrap();
        Client::new(place, Credentials::nobody(), Patience::default()).unwrap()
    }

    #[test]
    fn locations_stay_in_tls_and_credentials_at_home() {
        let client = client("r.example/a/b");
        assert_eq!(client.located("/v2/x?y=1").unwrap(), "https://r.example/v2/x?y=1");
        assert_eq!(client.located("https://cdn.example/x").unwrap(), "https://cdn.example/x");
        assert_eq!(client.located("http://r.example/x").unwrap(), "https://r.example/x");
        for bad in [
            "http://r.example.evil/x",
            "http://cdn.example/x",
            "//r.example/x",
            "x",
            "",
            "file:///etc/passwd",
        ] {
            assert!(client.located(bad).is_err(), "{bad}");
        }
        assert!(client.is_ours("https://r.example/v2/"));
        assert!(!client.is_ours("https://r.example.evil/v2/") && !client.is_ours("https://cdn.example/"));
    }

    #[test]
    fn pauses_grow_and_end() {
        let patience = Patience { tries: 3, pause: Duration::from_millis(10) };
        let pauses: Vec<_> = (1..5).map(|failed| patience.after(failed).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80]);
        assert_eq!(patience.after(u32::MAX), Duration::from_millis(640));
        assert_eq!(form(&[("scope", "repository:a/b:pull,push")]), "scope=repository%3Aa%2Fb%3Apull%2Cpush");
    }

    #[test]
    fn a_registrys_words_are_cut_and_cleaned() {
        let answer = |body: &str| Answer { status: 400, headers: HeaderMap::new(), body: body.into() };
        let long =
            format!(r#"{{"errors": [{{"code": "DENIED", "message": "a\u001b[31m{}"}}]}}"#, "x".repeat(999));
        let words = answer(&long).words();
        assert!(words.starts_with(" (it says: DENIED a[31mxx") && words.len() < WORDS + 20, "{words}");
        assert_eq!(answer("<html>").words(), "");
    }
}
