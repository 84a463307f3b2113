//! The two boxed messages by which client and relay tell each other who they are.
//!
//! Owns: sealing `ClientInfo`, opening `ServerInfo`, and the rate limit the latter may carry.
//! Leaves out: when they are sent (`conn`).
//!
//! Protocol reference §2.2: payload = 24 bytes of nonce and a NaCl box (tag first) between node key and server
//! key.

use crate::Error;
use crate::frame::{self, CLIENT_INFO};
use keys::nacl::{NONCE, TAG};
use keys::{NaclBox, NodePrivate, NodePublic};
use rand_core::RngCore;
use std::time::Duration;
use tokio::time::Instant;

/// What we tell a relay: the protocol version, and that pings are answered.
const CLIENT_INFO_JSON: &[u8] = br#"{"version":2,"CanAckPings":true}"#;

gojson::object! {
    read
    /// What a relay tells about itself. Zero = no limit.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct ServerInfo {
        /// Bytes that may be sent per second in the long run.
        pub(crate) bytes_per_second: u64 => "TokenBucketBytesPerSecond",
        /// Bytes that may be sent at once.
        pub(crate) burst: u64 => "TokenBucketBytesBurst",
    }
}

/// The box between our key and one server's.
pub(crate) struct Secret {
    server: NaclBox,
    ours: NodePublic,
}

impl Secret {
    pub(crate) fn new(ours: &NodePrivate, server: &NodePublic) -> Result<Self, Error> {
        if ours.agree(server.as_bytes()).is_none() {
            return Err(Error::Handshake("the relay's key is no key"));
        }
        Ok(Self { server: ours.nacl_box(server), ours: ours.public() })
    }

    /// The whole `ClientInfo` frame.
    pub(crate) fn client_info(&self, rng: &mut dyn RngCore) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let mut text = CLIENT_INFO_JSON.to_vec();
        let tag =
            self.server.seal(&nonce, &mut text).ok_or(Error::Handshake("our ClientInfo cannot be sealed"))?;
        let mut out = Vec::with_capacity(128);
        frame::put(&mut out, CLIENT_INFO, &[self.ours.as_bytes(), &nonce, &tag, &text]);
        Ok(out)
    }

    /// Opens the payload of a `ServerInfo` frame.
    pub(crate) fn server_info(&self, payload: &[u8]) -> Result<ServerInfo, Error> {
        let parts = payload.split_first_chunk::<NONCE>();
        let parts = parts.and_then(|(nonce, rest)| Some((nonce, rest.split_first_chunk::<TAG>()?)));
        let Some((nonce, (tag, sealed))) = parts else {
            return Err(Error::Handshake("the relay's ServerInfo is too short"));
        };
        let mut json = sealed.to_vec();
        if !self.server.open(nonce, &mut json, tag) {
            return Err(Error::Handshake("the relay does not have the key it claims"));
        }
        gojson::from_slice(&json).map_err(|_| Error::Handshake("the relay's ServerInfo is no JSON object"))
    }
}

/// The rate limit a relay asked for. What exceeds it is dropped, never queued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenBucket {
    per_second: u64,
    burst: u64,
    tokens: u64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket; `None` if `info` sets no limit.
    pub(crate) fn new(info: ServerInfo, now: Instant) -> Option<Self> {
        let ServerInfo { bytes_per_second: per_second, burst } = info;
        (per_second > 0).then_some(Self { per_second, burst, tokens: burst, filled: now })
    }

    /// Takes `bytes` out if they are there.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.filled).as_millis();
        let earned = u64::try_from(earned).unwrap_or(u64::MAX).saturating_mul(self.per_second) / 1000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(self.burst);
            // Only the whole tokens' time is spent, so that small steps lose nothing.
            let spent = Duration::from_millis(earned.saturating_mul(1000) / self.per_second);
            self.filled = self.filled.checked_add(spent).map_or(now, |filled| filled.min(now));
            if self.tokens == self.burst {
                self.filled = now;
            }
        }
        match self.tokens.checked_sub(bytes as u64) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, decode};
    use proptest::prelude::*;
    use rand_core::OsRng;

    fn pair() -> (Secret, Secret) {
        let (a, b) = (NodePrivate::generate(&mut OsRng), NodePrivate::generate(&mut OsRng));
        (Secret::new(&a, &b.public()).expect("keys"), Secret::new(&b, &a.public()).expect("keys"))
    }

    fn sealed(by: &Secret, json: &[u8]) -> Vec<u8> {
        let mut text = json.to_vec();
        let tag = by.server.seal(&[7; NONCE], &mut text).expect("seal");
        [&[7; NONCE][..], &tag, &text].concat()
    }

    #[test]
    fn both_ways() {
        let (client, server) = pair();
        let frame = client.client_info(&mut OsRng).expect("client info");
        let Ok(Some((Frame::ClientInfo(key, payload), _))) = decode(&frame) else { panic!("{frame:?}") };
        assert_eq!(key, client.ours);
        let (nonce, rest) = payload.split_first_chunk().expect("nonce");
        let (tag, text) = rest.split_first_chunk().expect("tag");
        let mut json = text.to_vec();
        assert!(server.server.open(nonce, &mut json, tag));
        assert_eq!(json, CLIENT_INFO_JSON);

        let info =
            sealed(&server, br#"{"version":2,"TokenBucketBytesPerSecond":10,"TokenBucketBytesBurst":20}"#);
        assert_eq!(client.server_info(&info), Ok(ServerInfo { bytes_per_second: 10, burst: 20 }));
        assert_eq!(client.server_info(&sealed(&server, b"{}")), Ok(ServerInfo::default()));
        assert!(client.server_info(&sealed(&server, b"[")).is_err());
        assert!(client.server_info(&sealed(&pair().0, b"{}")).is_err(), "another server's key");
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let ours = NodePrivate::generate(&mut OsRng);
        assert!(Secret::new(&ours, &NodePublic::ZERO).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn bucket_fills_with_time_and_not_beyond_its_brim() {
        let start = Instant::now();
        let info = ServerInfo { bytes_per_second: 1000, burst: 2000 };
        let mut bucket = TokenBucket::new(info, start).expect("limited");
        assert!(bucket.take(2000, start) && !bucket.take(1, start));
        assert!(!bucket.take(501, start + Duration::from_millis(500)));
        assert!(bucket.take(500, start + Duration::from_millis(500)));
        assert!(bucket.take(2000, start + Duration::from_secs(100)));
        assert!(!bucket.take(1, start + Duration::from_secs(100)));
        assert!(TokenBucket::new(ServerInfo::default(), start).is_none());
    }

    proptest! {
        #[test]
        fn any_payload_opens_or_not(payload: Vec<u8>) {
            let ours = NodePrivate::from_bytes([0x48; 32]);
            let server = NodePrivate::from_bytes([0x50; 32]).public();
            prop_assert!(Secret::new(&ours, &server).expect("keys").server_info(&payload).is_err());
        }

        #[test]
        fn many_small_steps_earn_as_much_as_one(steps in 1u64..50) {
            let start = Instant::now();
            let info = ServerInfo { bytes_per_second: 100, burst: 1000 };
            let mut bucket = TokenBucket::new(info, start).expect("limited");
            prop_assert!(bucket.take(1000, start));
            for step in 1..=steps {
                bucket.take(1001, start + Duration::from_millis(step * 7));
            }
            prop_assert_eq!(bucket.tokens, steps * 7 * 100 / 1000);
        }
    }
}
