//! Records over a pipe: chunking, limits, order, and streams cut or altered on the way.

use super::*;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

fn keys(send: u8, receive: u8) -> SessionKeys {
    SessionKeys { send: Zeroizing::new([send; 32]), receive: Zeroizing::new([receive; 32]) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

/// A pair of ends over a pipe of `capacity` bytes.
fn pair(capacity: usize) -> (NoiseStream, NoiseStream) {
    let (a, b) = tokio::io::duplex(capacity);
    (NoiseStream::new(Box::new(a), &keys(1, 2)), NoiseStream::new(Box::new(b), &keys(2, 1)))
}

#[test]
fn records_are_cut_at_4096_bytes() {
    block_on(async {
        let (mut raw, io) = tokio::io::duplex(1 << 20);
        let mut noise = NoiseStream::new(Box::new(io), &keys(1, 2));
        noise.write_all(&[7; PLAIN + 1]).await.expect("write");
        noise.shutdown().await.expect("shutdown");
        let mut bytes = Vec::new();
        raw.read_to_end(&mut bytes).await.expect("read");
        assert_eq!(bytes.len(), RECORD + HEADER + 1 + TAG);
        assert_eq!(bytes[..3], [4, 0x0f, 0xfd]);
        assert_eq!(bytes[RECORD..RECORD + 3], [4, 0, 17]);
    });
}

#[test]
fn broken_records_end_the_stream() {
    for bytes in [
        &b"\x02\x00\x11aaaaaaaaaaaaaaaaa"[..],
        b"\x04\x0f\xfe",
        b"\x04\x00\x0f",
        b"\x04\x00\x11aaaaaaaaaaaaaaaaa",
        b"\x04\x00",
        b"\x04\x00\x11aaa",
    ] {
        block_on(async {
            let (mut raw, io) = tokio::io::duplex(1 << 16);
            raw.write_all(bytes).await.expect("write");
            drop(raw);
            let mut noise = NoiseStream::new(Box::new(io), &keys(1, 2));
            let mut got = Vec::new();
            assert!(noise.read_to_end(&mut got).await.is_err(), "{bytes:?}");
            assert!(got.is_empty());
            assert!(noise.read(&mut [0; 9]).await.is_err(), "stays dead");
        });
    }
}

#[test]
fn refusal_text_is_shown() {
    block_on(async {
        let (mut raw, io) = tokio::io::duplex(1 << 16);
        raw.write_all(b"\x03\x00\x07go away").await.expect("write");
        let key = |first| keys::MachinePrivate::from_bytes([first; 32]);
        let (initiator, _) = Initiator::start(119, key(1), &key(1).public(), key(2)).expect("start");
        let refused = handshake(Box::new(io), initiator).await.err();
        assert_eq!(refused, Some(Error::HandshakeRefused("go away".into())));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_byte_stream_goes_through(data: Vec<u8>, repeat in 1usize..60, capacity in 1usize..9000) {
        let data = data.repeat(repeat);
        block_on(async {
            let (mut a, mut b) = pair(capacity);
            let mut got = Vec::new();
            let write = async {
                a.write_all(&data).await.expect("write");
                a.shutdown().await.expect("shutdown");
            };
            let (_, read) = tokio::join!(write, b.read_to_end(&mut got));
            read.expect("read");
            assert!(got == data);
        });
    }

    #[test]
    fn garbage_never_panics(data: Vec<u8>) {
        block_on(async {
            let (mut raw, io) = tokio::io::duplex(1 << 16);
            raw.write_all(&data).await.expect("write");
            drop(raw);
            let mut noise = NoiseStream::new(Box::new(io), &keys(1, 2));
            let mut got = Vec::new();
            let _ = noise.read_to_end(&mut got).await;
            assert!(got.is_empty());
        });
    }
}
