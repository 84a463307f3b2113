//! A real derper beside headscale, for scenarios in which control goes away and the relay stays.

use crate::host::Host;
use crate::network::Lab;
use crate::process::Process;
use crate::programs::peers_dir;
use crate::wait::until;
use anyhow::Result;
use std::time::Duration;

/// Its name in the DERP map.
const NAME: &str = "derp.lab";

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running derper with a certificate of the lab's authority and STUN.
#[derive(Debug)]
pub struct Relay {
    process: Process,
    /// The host it runs on.
    pub host: Host,
}

impl Relay {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let host = lab.host("relay")?;
        let certificate = lab.authority().issue(&[NAME, &host.ipv4.to_string()])?;
        std::fs::write(host.dir.join(format!("{NAME}.crt")), certificate.certificate_pem)?;
        std::fs::write(host.dir.join(format!("{NAME}.key")), certificate.key_pem)?;
        let mut command = host.command(peers_dir().join("derper"));
        command.args(["-a", ":443", "-http-port", "-1", "-certmode", "manual", "-hostname", NAME]);
        command.arg("-certdir").arg(&host.dir).arg("-c").arg(host.dir.join("derper.json"));
        let process = host.spawn(command, "derper")?;
        let mut started = Self { process, host };
        let Self { process, host } = &mut started;
        until("derper to answer", PATIENCE, || {
            process.check()?;
            host.run(&["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/443"])?;
            Ok(Some(()))
        })?;
        Ok(started)
    }

    /// The region that it is, as headscale reads it from a file.
    pub(crate) fn map(&self) -> String {
        let address = self.host.ipv4;
        format!(
            r#"regions:
  900:
    regionid: 900
    regioncode: apart
    regionname: Apart
    nodes:
      - name: 900a
        regionid: 900
        hostname: {NAME}
        ipv4: {address}
        stunport: 3478
        stunonly: false
        derpport: 443
"#
        )
    }
}
