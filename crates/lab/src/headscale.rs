//! A real headscale: TLS by the lab's own CA, its embedded DERP region or a relay apart, everything asked through its
//! own CLI.

use crate::host::Host;
use crate::network::{HEADSCALE, Lab};
use crate::process::Process;
use crate::programs::peers_dir;
use crate::relay::{self, Relay};
use crate::wait::until;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

/// The name that nodes resolve, and that `server_url` must carry: headscale puts it into its DERP map.
pub(crate) const NAME: &str = "headscale.lab";

/// Its address on the lab's internet.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, HEADSCALE);

/// The same by IPv6.
pub(crate) const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, HEADSCALE as u16);

/// The user that nodes belong to unless a test says otherwise.
const USER: &str = "lab";

/// How long it may take to start or to answer its CLI.
const PATIENCE: Duration = Duration::from_secs(30);

/// Part of a configuration by which headscale tells changes at once. Otherwise it gathers them for 1.3 s, which each join of
/// a node in a scenario would wait for; so this is what it has in ordinary runs, and by night [`AS_IT_COMES`].
pub const PROMPT: &str = "tuning:\n  node_store_batch_timeout: 20ms\n  batch_change_delay: 20ms\n";

/// Part of a configuration by which headscale gathers changes as it does when nobody says anything: a remark.
pub const AS_IT_COMES: &str = "# tuning: none\n";

/// MagicDNS and nothing else, unless a test says what instead.
const DNS: &str = "dns:
  magic_dns: true
  base_domain: tail.lab
  override_local_dns: false
  nameservers:
    global: []
";

/// A running headscale with one user.
#[derive(Debug)]
pub struct Headscale {
    process: Process,
    /// The host it runs on.
    pub host: Host,
    config: PathBuf,
    user: u64,
    /// The key of every node that is not told another.
    key: OnceLock<String>,
}

impl Headscale {
    pub(crate) fn start(lab: &Lab, relays: &[Relay], more: &str) -> Result<Self> {
        let host = lab.host_at("headscale", HEADSCALE)?;
        let address = ADDRESS.to_string();
        let certificate = lab.authority().issue(&[NAME, &address])?;
        std::fs::write(host.dir.join("tls.pem"), certificate.certificate_pem)?;
        std::fs::write(host.dir.join("tls.key"), certificate.key_pem)?;
        let config = host.dir.join("config.yaml");
        let mut paths = "[]".to_owned();
        if !relays.is_empty() {
            let map = host.dir.join("derp.yaml");
            std::fs::write(&map, relay::map(relays))?;
            paths = format!("[{}]", map.display());
        }
        let mut text = configuration(&host.dir.display().to_string(), relays.is_empty(), &paths);
        if !more.contains("tuning:") {
            let nightly = std::env::var_os("SMALLTAIL_NIGHTLY").is_some_and(|value| value == "1");
            text.push_str(if nightly { AS_IT_COMES } else { PROMPT });
        }
        // A key may stand but once.
        if !more.starts_with("dns:") {
            text.push_str(DNS);
        }
        std::fs::write(&config, text + more)?;
        let process = serve(&host, &config)?;
        let mut started = Self { process, host, config, user: 0, key: OnceLock::new() };
        started.wait_ready()?;
        started.user = started.add_user(USER)?;
        Ok(started)
    }

    /// Process id; that of its relay too.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What `--login-server` wants.
    pub fn url(&self) -> String {
        format!("https://{NAME}")
    }

    /// Runs headscale's CLI and parses the JSON it prints.
    ///
    /// # Errors
    /// When it ends with another code than 0 or prints no JSON.
    pub fn cli(&self, words: &[&str]) -> Result<Value> {
        let mut command = self.host.command(peers_dir().join("headscale"));
        command.arg("--config").arg(&self.config).args(["--output", "json", "--force"]).args(words);
        let outcome = self.host.outcome(command, PATIENCE)?.ok()?;
        serde_json::from_str(&outcome.stdout).with_context(|| format!("no JSON from {outcome}"))
    }

    /// Makes a user and gives its number.
    ///
    /// # Errors
    /// When headscale refuses.
    pub fn add_user(&self, name: &str) -> Result<u64> {
        let answer = self.cli(&["users", "create", name])?;
        number(&answer["id"]).with_context(|| format!("no id in {answer}"))
    }

    /// A reusable auth key, valid for an hour: the same for all who ask, since each costs a run of its CLI.
    ///
    /// # Errors
    /// When headscale refuses.
    pub fn auth_key(&self) -> Result<String> {
        if let Some(key) = self.key.get() {
            return Ok(key.clone());
        }
        let (key, _) = self.new_key(&["--reusable"])?;
        Ok(self.key.get_or_init(|| key).clone())
    }

    /// An auth key that is not valid any more.
    ///
    /// # Errors
    /// When headscale refuses.
    pub fn expired_key(&self) -> Result<String> {
        let (key, id) = self.new_key(&["--reusable"])?;
        self.cli(&["preauthkeys", "expire", "--id", &id.to_string()])?;
        Ok(key)
    }

    /// A reusable auth key whose nodes belong to another user.
    ///
    /// # Errors
    /// When headscale refuses.
    pub fn key_of(&self, user: u64) -> Result<String> {
        let user = user.to_string();
        let answer = self.cli(&["preauthkeys", "create", "--reusable", "--user", &user])?;
        answer["key"].as_str().map(str::to_owned).with_context(|| format!("no key in {answer}"))
    }

    /// A reusable auth key whose nodes carry `tag`, `tag:` included.
    ///
    /// # Errors
    /// When headscale refuses.
    pub fn tagged_key(&self, tag: &str) -> Result<String> {
        self.new_key(&["--reusable", "--tags", tag]).map(|(key, _)| key)
    }

    /// Sets the policy, in headscale's own language.
    ///
    /// # Errors
    /// When headscale refuses it.
    pub fn set_policy(&self, policy: &Value) -> Result<()> {
        let file = self.host.dir.join("policy.json");
        std::fs::write(&file, policy.to_string())?;
        let mut command = self.host.command(peers_dir().join("headscale"));
        command.arg("--config").arg(&self.config).args(["policy", "set", "--file"]).arg(&file);
        self.host.outcome(command, PATIENCE)?.ok().map(drop)
    }

    /// Approves routes of a node once it has advertised them.
    ///
    /// # Errors
    /// When it does not advertise that many within 20 s, or headscale refuses.
    pub fn approve_routes(&self, name: &str, routes: &[impl AsRef<str>]) -> Result<()> {
        let id = until("headscale to know the routes", Duration::from_secs(20), || {
            let known = self.node(name)?;
            let all = known["available_routes"].as_array().is_some_and(|all| all.len() == routes.len());
            Ok(all.then(|| known["id"].to_string()))
        })?;
        let routes = routes.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        self.cli(&["nodes", "approve-routes", "--identifier", id.trim_matches('"'), "--routes", &routes])
            .map(drop)
    }

    fn new_key(&self, flags: &[&str]) -> Result<(String, u64)> {
        let user = self.user.to_string();
        let answer = self.cli(&[&["preauthkeys", "create", "--user", &user], flags].concat())?;
        let key = answer["key"].as_str().with_context(|| format!("no key in {answer}"))?;
        Ok((key.to_owned(), number(&answer["id"]).context("the key has no id")?))
    }

    /// Approves an interactive login by the URL that the node printed.
    ///
    /// # Errors
    /// When the URL is none of headscale's, or headscale refuses.
    pub fn approve(&self, url: &str) -> Result<()> {
        let id = url.rsplit('/').next().filter(|id| !id.is_empty()).context("no id in the login URL")?;
        self.cli(&["auth", "register", "--user", USER, "--auth-id", id]).map(drop)
    }

    /// Expires a node, so that it has to log in again.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn expire_node(&self, name: &str) -> Result<()> {
        let id = number(&self.node(name)?["id"]).context("the node has no id")?;
        self.cli(&["nodes", "expire", "--identifier", &id.to_string()]).map(drop)
    }

    /// All nodes it knows.
    ///
    /// # Errors
    /// When its CLI fails.
    pub fn nodes(&self) -> Result<Vec<Value>> {
        match self.cli(&["nodes", "list"])? {
            Value::Array(nodes) => Ok(nodes),
            Value::Null => Ok(Vec::new()),
            other => bail!("nodes list gave {other}"),
        }
    }

    /// The node with this host name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<Value> {
        let nodes = self.nodes()?;
        let found = nodes.iter().find(|node| node["given_name"] == name || node["name"] == name);
        found.cloned().with_context(|| format!("headscale does not know {name}: {nodes:?}"))
    }

    /// Ends it; nodes lose control and relay.
    pub fn stop(&mut self) {
        self.process.stop(PATIENCE).ok();
    }

    /// Starts it again with the same keys and database.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        self.stop();
        self.process = serve(&self.host, &self.config)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let socket = self.host.dir.join("headscale.sock");
        let Self { process, host, .. } = self;
        until("headscale to answer", PATIENCE, || {
            process.check()?;
            anyhow::ensure!(socket.exists(), "no {}", socket.display());
            // Its TLS port is asked from inside: this machine has no way into the lab.
            host.run(&["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/443"])?;
            Ok(Some(()))
        })
    }
}

fn serve(host: &Host, config: &std::path::Path) -> Result<Process> {
    let mut command = host.command(peers_dir().join("headscale"));
    command.arg("--config").arg(config).arg("serve");
    host.spawn(command, "serve")
}

/// Ids are numbers in some of its answers and strings in others.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// With a relay of its own, or with those that the files of `paths` describe.
fn configuration(dir: &str, own_relay: bool, paths: &str) -> String {
    format!(
        r#"server_url: https://{NAME}
listen_addr: "[::]:443"
metrics_listen_addr: 127.0.0.1:9090
grpc_listen_addr: 127.0.0.1:50443
grpc_allow_insecure: true
tls_cert_path: {dir}/tls.pem
tls_key_path: {dir}/tls.key
noise:
  private_key_path: {dir}/noise.key
prefixes:
  v4: 100.64.0.0/10
  v6: fd7a:115c:a1e0::/48
  allocation: sequential
derp:
  server:
    enabled: {own_relay}
    region_id: 999
    region_code: lab
    region_name: Lab
    verify_clients: true
    stun_listen_addr: 0.0.0.0:3478
    private_key_path: {dir}/derp.key
    automatically_add_embedded_derp_region: true
    ipv4: {ADDRESS}
  urls: []
  paths: {paths}
  auto_update_enabled: false
disable_check_updates: true
database:
  type: sqlite
  sqlite:
    path: {dir}/db.sqlite
    write_ahead_log: true
log:
  level: info
policy:
  mode: database
unix_socket: {dir}/headscale.sock
unix_socket_permission: "0700"
logtail:
  enabled: false
"#
    )
}
