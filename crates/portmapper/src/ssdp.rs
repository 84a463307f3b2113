//! Looking for UPnP gateways by SSDP (protocol reference §5.1).

/// Where gateways listen.
pub const PORT: u16 = 1900;
/// The group of all UPnP devices.
pub const GROUP: [u8; 4] = [239, 255, 255, 250];
/// Everything that speaks UPnP.
pub const ALL: &str = "ssdp:all";
/// Gateways only: some do not answer [`ALL`].
pub const GATEWAY: &str = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";

/// The longest address of a description that is believed.
const LONGEST: usize = 512;

/// The question.
pub fn search(target: &str) -> Vec<u8> {
    let text = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n";
    format!("{text}ST: {target}\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n\r\n").into_bytes()
}

/// Where the gateway that answers has its description; `None` if it is no gateway or no answer.
pub fn location(datagram: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(datagram).ok()?;
    let mut lines = text.split("\r\n");
    let mut status = lines.next()?.split(' ').filter(|word| !word.is_empty());
    if !status.next()?.starts_with("HTTP/1.") || status.next()? != "200" {
        return None;
    }
    let (mut location, mut gateway) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("location") && value.len() <= LONGEST {
            location = Some(value);
        }
        if name.eq_ignore_ascii_case("st") || name.eq_ignore_ascii_case("usn") {
            gateway |= value.contains("InternetGatewayDevice");
        }
    }
    location.filter(|_| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n\
        ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nUSN: uuid:1::x\r\nEXT:\r\n\
        Server: Linux UPnP/1.1\r\nLocation: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n";

    #[test]
    fn answers() {
        assert_eq!(location(ANSWER.as_bytes()), Some("http://192.168.1.1:5000/rootDesc.xml"));
        let printer = ANSWER.replace("InternetGatewayDevice", "Printer");
        assert_eq!(location(printer.as_bytes()), None);
        assert_eq!(location(ANSWER.replace("200 OK", "404 No").as_bytes()), None);
        assert_eq!(location(ANSWER.replace("Location", "Place").as_bytes()), None);
        assert_eq!(location(ANSWER.replace("rootDesc", &"x".repeat(600)).as_bytes()), None);
        assert_eq!(location(&search(ALL)), None);
        assert_eq!(location(&[0xff; 30]), None);
    }

    #[test]
    fn questions() {
        let text = String::from_utf8(search(GATEWAY)).unwrap();
        assert!(text.starts_with("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nST: urn:schemas"));
        assert!(text.ends_with("\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn anything(text in ".{0,200}") {
            let _ = location(text.as_bytes());
            let _ = location(format!("HTTP/1.1 200 OK\r\n{text}").as_bytes());
        }
    }
}
