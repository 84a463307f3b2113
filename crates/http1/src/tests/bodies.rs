//! Bodies: lengths and chunks, cut anywhere, too long, wrong.

use super::requests;
use crate::{Error, writer};
use proptest::prelude::*;

fn chunked(chunks: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n{chunks}").into_bytes()
}

#[test]
fn chunks_cut_at_every_byte() {
    let bytes = chunked(
        "3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n1 \r\nZ\r\n00\r\nA: b\r\nC: d\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    );
    for step in 1..bytes.len() {
        let (all, error) = requests(&bytes, step);
        assert!(error.is_none() && all.len() == 2, "{step}: {error:?}");
        assert_eq!(&all[0].body[..], b"abc0123456789Z", "{step}");
    }
    let end = bytes.len() - b"GET / HTTP/1.1\r\n\r\n".len();
    for cut in 1..end {
        let (all, error) = requests(&bytes[..cut], 16);
        assert!(all.is_empty() && matches!(error, Some(Error::Cut)), "{cut}: {error:?}");
    }
}

#[test]
fn wrong_chunks() {
    for chunks in [
        "\r\n",
        "zz\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na0\r\n\r\n",
        ";x\r\n",
        " 1\r\na\r\n",
        "1\r\ra",
        "1;a\nb\r\n",
        "0\r\n\n",
        "0\r\nA: b\n\r\n",
        "0\r\n\r\r",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let (all, error) = requests(&chunked(chunks), 64);
        assert!(all.is_empty() && matches!(error, Some(Error::Malformed(_))), "{chunks:?}: {error:?}");
    }
}

#[test]
fn bodies_have_limits() {
    let too_long = |bytes: &[u8]| matches!(requests(bytes, 64).1, Some(Error::BodyTooLong(1024)));
    assert!(too_long(&chunked("ffffffffffffffff\r\nx")));
    assert!(too_long(&chunked(&"2\r\nab\r\n".repeat(513))));
    assert!(!too_long(&chunked(&"2\r\nab\r\n".repeat(512))));
    assert!(too_long(b"POST / HTTP/1.1\r\nContent-Length: 1025\r\n\r\n"));
    assert!(too_long(b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n"));
    // What is not part of the body is not without bound either.
    for endless in ["0\r\n", "0\r\nA: ", "1;", "0"] {
        let (_, error) = requests(&chunked(&format!("{endless}{}", "0".repeat(100_000))), 4096);
        assert!(matches!(error, Some(Error::Malformed("too much between chunks"))), "{endless:?}: {error:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(pieces: Vec<Vec<u8>>, step in 1usize..64) {
        let pieces: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).take(8).collect();
        let mut bytes = chunked("");
        for piece in &pieces {
            bytes.extend(writer::chunk(piece));
        }
        bytes.extend(writer::chunk(b""));
        let (all, error) = requests(&bytes, step);
        prop_assert!(error.is_none());
        prop_assert_eq!(all[0].body.to_vec(), pieces.concat());
    }

    #[test]
    fn any_chunks(text in "[0-9a-fF;x \r\n]{0,80}", step in 1usize..20) {
        let (whole, error) = requests(&chunked(&text), 4096);
        let (pieces, again) = requests(&chunked(&text), step);
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(error.map(|error| error.to_string()), again.map(|error| error.to_string()));
    }
}
