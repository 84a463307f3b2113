//! Real derpers beside headscale, each a region: for scenarios in which control goes away and the relay stays, or in
//! which nodes must ask two STUN servers how they look.

use crate::host::Host;
use crate::network::Lab;
use crate::process::Process;
use crate::programs::peers_dir;
use crate::wait::until;
use anyhow::Result;
use std::time::Duration;

/// The number of the first region.
const REGION: u16 = 900;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running derper with a certificate of the lab's authority and STUN.
#[derive(Debug)]
pub struct Relay {
    process: Process,
    /// The host it runs on.
    pub host: Host,
    /// Its region's number.
    pub region: u16,
}

impl Relay {
    /// The `n`th of a lab, from 0.
    pub(crate) fn start(lab: &Lab, n: u8) -> Result<Self> {
        let region = REGION + u16::from(n);
        let host = lab.host(&if n == 0 { "relay".to_owned() } else { format!("relay{n}") })?;
        let name = name(region);
        let certificate = lab.authority().issue(&[&name, &host.ipv4.to_string()])?;
        std::fs::write(host.dir.join(format!("{name}.crt")), certificate.certificate_pem)?;
        std::fs::write(host.dir.join(format!("{name}.key")), certificate.key_pem)?;
        let mut command = host.command(peers_dir().join("derper"));
        command.args(["-a", ":443", "-http-port", "-1", "-certmode", "manual", "-hostname", &name]);
        command.arg("-certdir").arg(&host.dir).arg("-c").arg(host.dir.join("derper.json"));
        let process = host.spawn(command, "derper")?;
        let mut started = Self { process, host, region };
        let Self { process, host, .. } = &mut started;
        until("derper to answer", PATIENCE, || {
            process.check()?;
            host.run(&["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/443"])?;
            Ok(Some(()))
        })?;
        Ok(started)
    }

    /// The region that it is, as headscale reads it from a file.
    fn map(&self) -> String {
        let (address, region) = (self.host.ipv4, self.region);
        let ipv6 = self.host.ipv6.map(|ip| format!("        ipv6: \"{ip}\"\n")).unwrap_or_default();
        format!(
            r#"  {region}:
    regionid: {region}
    regioncode: apart{region}
    regionname: Apart {region}
    nodes:
      - name: {region}a
        regionid: {region}
        hostname: {name}
        ipv4: {address}
{ipv6}        stunport: 3478
        stunonly: false
        derpport: 443
"#,
            name = name(region)
        )
    }
}

/// A DERP map of these regions.
pub(crate) fn map(relays: &[Relay]) -> String {
    let regions: String = relays.iter().map(Relay::map).collect();
    format!("regions:\n{regions}")
}

/// A region's host name.
fn name(region: u16) -> String {
    format!("derp{region}.lab")
}
