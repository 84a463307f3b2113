//! The examples of RFC 7541 appendix C, and blocks that nobody should send.

use super::*;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter_map(|c| (c as char).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Fault> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |name, value| {
        fields.push(format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    })?;
    Ok(fields)
}

/// Blocks in order, with their fields and the size of the table behind them.
fn check(limit: usize, blocks: &[(&str, &[&str], usize)]) {
    let mut decoder = Decoder { limit, ..Decoder::default() };
    for (hex, fields, size) in blocks {
        assert_eq!(decode(&mut decoder, &bytes(hex)).expect(hex), *fields, "{hex}");
        assert_eq!(decoder.size, *size, "{hex}");
        assert_eq!(decoder.size, decoder.table.iter().map(Field::size).sum::<usize>());
    }
}

#[test]
fn integers() {
    // C.1
    assert_eq!(integer(&mut &[0xea][..], 5), Some(10));
    assert_eq!(integer(&mut &[0xff, 0x9a, 0x0a][..], 5), Some(1337));
    assert_eq!(integer(&mut &[42][..], 8), Some(42));
    assert_eq!(integer(&mut &[0x1f, 0x80, 0x80, 0x80, 0x01][..], 5), None, "longer than any that is needed");
    assert_eq!(integer(&mut &[0x1f, 0x80][..], 5), None, "not all there");
    for value in [0, 14, 15, 16, 127, 128, 142, 143, 16_000, 1 << 20] {
        for prefix in [4, 7] {
            let mut out = Vec::new();
            put_integer(&mut out, prefix, value);
            let mut rest = &out[..];
            assert_eq!((integer(&mut rest, prefix), rest.len()), (Some(value), 0));
        }
    }
}

#[test]
fn single_fields() {
    // C.2
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    check(TABLE, &[(custom, &["custom-key: custom-header"], 55)]);
    check(TABLE, &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], 0)]);
    check(TABLE, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"], 0)]);
    check(TABLE, &[("82", &[":method: GET"], 0)]);
}

#[test]
fn requests() {
    // C.3 and, with Huffman codes, C.4
    let (scheme, authority) = (":scheme: http", ":authority: www.example.com");
    let first = [":method: GET", scheme, ":path: /", authority];
    let second = [":method: GET", scheme, ":path: /", authority, "cache-control: no-cache"];
    let third =
        [":method: GET", ":scheme: https", ":path: /index.html", authority, "custom-key: custom-value"];
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let [one, two, three] = blocks;
        check(TABLE, &[(one, &first, 57), (two, &second, 110), (three, &third, 164)]);
    }
}

#[test]
fn answers_with_a_table_that_overflows() {
    // C.5 and, with Huffman codes, C.6
    let (private, location) = ("cache-control: private", "location: https://www.example.com");
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    let first = [":status: 302", private, date, location];
    let second = [":status: 307", private, date, location];
    let third = [
        ":status: 200",
        private,
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        location,
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ];
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        let [one, two, three] = blocks;
        check(256, &[(one, &first, 222), (two, &second, 222), (three, &third, 215)]);
    }
}

#[test]
fn every_static_entry_has_its_number() {
    assert_eq!(STATIC.split('\n').count(), STATIC_LEN);
    for (index, field) in [(1, ":authority: "), (8, ":status: 200"), (33, "date: "), (53, "retry-after: ")] {
        assert_eq!(decode(&mut Decoder::default(), &[0x80 | index]).expect("field"), [field]);
    }
    assert_eq!(decode(&mut Decoder::default(), &[0x80 | 61]).expect("field"), ["www-authenticate: "]);
}

#[test]
fn what_is_refused() {
    let refused = |block: &[u8]| decode(&mut Decoder::default(), block).expect_err("refused");
    assert_eq!(refused(&[0x80]), Fault::Malformed, "entry 0");
    assert_eq!(refused(&[0x80 | 62]), Fault::Malformed, "an entry that is not there");
    assert_eq!(refused(&[0x3f, 0xe2, 0x1f]), Fault::Malformed, "a table of 4097 bytes");
    assert_eq!(refused(&[0x82, 0x20]), Fault::Malformed, "another size behind a field");
    assert_eq!(refused(&[0x00, 0x05, b'a']), Fault::Malformed, "cut short");
    assert_eq!(refused(&[0x00, 0x81, 0x1e, 0x00]), Fault::Malformed, "not Huffman");
    // One entry of half the table, asked for again and again: bytes that become many.
    let mut block = vec![0x40, 1, b'a'];
    put_string(&mut block, &[b'v'; 2000]);
    block.extend([0x80 | 62; 6]);
    assert!(decode(&mut Decoder::default(), &block).is_ok());
    block.extend([0x80 | 62; 2]);
    assert_eq!(refused(&block), Fault::TooLong);
}

#[test]
fn a_field_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &[0x40, 1, b'a', 1, b'b']).expect("small");
    assert_eq!(decoder.size, 34);
    let mut block = vec![0x40, 1, b'a'];
    put_string(&mut block, &[b'v'; TABLE]);
    decode(&mut decoder, &block).expect("large");
    assert_eq!((decoder.size, decoder.table.len()), (0, 0));
    decode(&mut decoder, &[0x3f, 0xe1, 0x1f, 0x20]).expect("other sizes");
    assert_eq!(decoder.limit, 0);
}

proptest! {
    #[test]
    fn any_bytes(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            let _ = decode(&mut decoder, &block);
            prop_assert!(decoder.size <= decoder.limit && decoder.limit <= TABLE);
            prop_assert_eq!(decoder.size, decoder.table.iter().map(Field::size).sum::<usize>());
        }
    }

    #[test]
    fn what_is_written_is_read(fields in prop::collection::vec(("[a-z-]{1,20}", "[ -~]{0,300}"), 0..10)) {
        let mut block = Vec::new();
        for (name, value) in &fields {
            put_named(&mut block, name.as_bytes(), value.as_bytes());
        }
        let expected: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        prop_assert_eq!(decode(&mut Decoder::default(), &block).expect("fields"), expected);
    }
}
