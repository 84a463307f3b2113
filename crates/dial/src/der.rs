//! The few fields of a certificate that rustls does not hand out: who it names, and from when to when.
//!
//! Owns: a walk over DER that never trusts a length. Leaves out: extensions, keys, signatures (rustls reads
//! those).

/// What the verifier wants to know of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CertFields<'a> {
    /// Common name of the subject; empty if there is none.
    pub(crate) common_name: &'a [u8],
    /// First second of validity, seconds since 1970.
    pub(crate) not_before: u64,
    /// Last second of validity, seconds since 1970.
    pub(crate) not_after: u64,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

impl<'a> CertFields<'a> {
    /// Reads the fields of the DER certificate `cert`; `None` if it is not one.
    pub(crate) fn parse(cert: &'a [u8]) -> Option<Self> {
        let mut outer = Der(cert);
        let mut tbs = Der(Der(outer.expect(SEQUENCE)?).expect(SEQUENCE)?);
        if tbs.0.first() == Some(&VERSION) {
            tbs.next()?;
        }
        tbs.expect(INTEGER)?; // serial
        tbs.expect(SEQUENCE)?; // signature algorithm
        tbs.expect(SEQUENCE)?; // issuer
        let mut validity = Der(tbs.expect(SEQUENCE)?);
        let not_before = time(&mut validity)?;
        let not_after = time(&mut validity)?;
        let common_name = common_name(Der(tbs.expect(SEQUENCE)?)).unwrap_or_default();
        Some(Self { common_name, not_before, not_after })
    }

    /// True for the certificate by which a DERP server announces its key (protocol reference §2.1).
    pub(crate) fn is_derp_meta(&self) -> bool {
        self.common_name.starts_with(b"derpkey")
    }
}

fn common_name(mut name: Der<'_>) -> Option<&[u8]> {
    while let Some((tag, set)) = name.next() {
        let mut set = Der(if tag == SET { set } else { return None });
        while let Some((_, attribute)) = set.next() {
            let mut attribute = Der(attribute);
            if attribute.expect(OID)? == COMMON_NAME {
                return attribute.next().map(|(_, value)| value);
            }
        }
    }
    None
}

/// A run of DER elements.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Takes the next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first & 0x80 != 0 {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if digits.is_empty() || digits.len() > 3 {
                return None;
            }
            len = digits.iter().fold(0, |len, d| len << 8 | usize::from(*d));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(len)?;
        self.0 = after;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, the only forms RFC 5280 allows. Before 1970 reads as 1970.
fn time(validity: &mut Der<'_>) -> Option<u64> {
    let (tag, text) = validity.next()?;
    let (mut digits, mut year) = (text.strip_suffix(b"Z")?, 0u64);
    match tag {
        UTC_TIME => {
            let short = pair(&mut digits)?;
            year = short + if short < 50 { 2000 } else { 1900 };
        }
        GENERALIZED_TIME => {
            for _ in 0..2 {
                year = year * 100 + pair(&mut digits)?;
            }
        }
        _ => return None,
    }
    let month = pair(&mut digits)?;
    let day = pair(&mut digits)?;
    let (hour, minute, second) = (pair(&mut digits)?, pair(&mut digits)?, pair(&mut digits)?);
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range || !digits.is_empty() {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn pair(digits: &mut &[u8]) -> Option<u64> {
    let (two, rest) = digits.split_at_checked(2)?;
    *digits = rest;
    let value = |d: u8| d.is_ascii_digit().then(|| u64::from(d - b'0'));
    Some(value(*two.first()?)? * 10 + value(*two.last()?)?)
}

/// Days from 1970-01-01 in the Gregorian calendar; 0 for anything earlier. Years count from March, so that the
/// leap day is the last of its year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.saturating_sub(1), month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_rcgen_writes() {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("params");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "nobody");
        params.distinguished_name.push(rcgen::DnType::CommonName, "derpkey00");
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let cert = params.self_signed(&rcgen::KeyPair::generate().expect("key")).expect("cert");
        let fields = CertFields::parse(cert.der()).expect("fields");
        assert_eq!(fields.common_name, b"derpkey00");
        assert!(fields.is_derp_meta());
        // date -u -d 2024-02-29 +%s; date -u -d 2051-01-01 +%s
        assert_eq!((fields.not_before, fields.not_after), (1_709_164_800, 2_556_144_000));
        for cut in 0..cert.der().len() {
            assert_eq!(CertFields::parse(&cert.der()[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(1950, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(time(&mut Der(b"\x17\x0d990230256000Z")), None);
        assert_eq!(time(&mut Der(b"\x17\x0d700101000001Z")), Some(1));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_not(bytes: Vec<u8>) {
            let _ = CertFields::parse(&bytes);
        }
    }
}
