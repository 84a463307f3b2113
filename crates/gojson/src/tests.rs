//! The machinery by itself: types of no meaning, texts from outside.

use super::*;

mod any;

crate::object! {
    keep
    #[derive(Debug, Clone)]
    pub(crate) struct Kept {
        pub(crate) flag: bool => "Flag",
    }
}

crate::object! {
    /// One member of every kind.
    #[derive(Debug, Clone)]
    pub(crate) struct All {
        pub(crate) flag: bool => "Flag" omit,
        pub(crate) small: u16 => "Small",
        pub(crate) signed: i32 => "SIGNED" omit,
        pub(crate) long: i64 => "Long" omit,
        pub(crate) float: f64 => "Float" omit,
        pub(crate) text: String => "Text" omit,
        pub(crate) list: Vec<String> => "List",
        pub(crate) some: Option<Vec<u8>> => "Some" omit,
        pub(crate) inner: Kept => "Inner" omit,
        pub(crate) map: Map<i64, bool> => "Map" omit,
        pub(crate) said: OptBool => "Said" omit,
        pub(crate) raw: Option<Raw> => "Raw" omit,
        pub(crate) deep: Option<Box<All>> => "Deep" omit,
        pub(crate) key: keys::NodePublic => "Key" omit,
        pub(crate) nets: Vec<ipnet::IpNet> => "Nets" omit,
    }
}

crate::object! {
    read
    #[derive(Debug, PartialEq)]
    struct Strict {
        id: i64 => "ID" need,
        inner: Option<Box<Strict>> => "Inner",
        key: Blank<keys::NodePublic> => "Key",
    }
}

crate::object! {
    write
    struct Written<'a> {
        text: &'a str => "Text" omit,
        list: &'a [u8] => "List",
        inner: &'a All => "Inner",
    }
}

impl Element for Strict {
    type Made = i64;
    fn made(self, _earlier: &[i64]) -> (Option<i64>, bool) {
        (Some(self.id).filter(|id| *id > 0), self.id < 0)
    }
}

fn all(text: &str) -> Result<All, String> {
    from_slice(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn names_in_any_case_and_order() {
    let value =
        all(r#"{"sMALL":1,"signed":-2,"FLAG":true,"Small":3,"texT":"a","kelvin":{"a":[1]},"LIST":["x"]}"#)
            .expect("reads");
    assert_eq!((value.small, value.signed, value.flag, &*value.text), (3, -2, true, "a"));
    assert_eq!(value.list, ["x"]);
    assert_eq!(all("{}"), Ok(All::default()));
}

#[test]
fn every_member_is_found_from_everywhere() {
    let names: Vec<_> = object::Members::new(All::TABLE).collect();
    assert_eq!((names.len(), members(All::TABLE)), (15, 15));
    for first in &names {
        for second in &names {
            let mut members = object::Members::new(All::TABLE);
            assert_eq!(members.named(&first.name.to_ascii_uppercase()), Some(*first));
            assert_eq!(members.named(b"Smal"), None);
            assert_eq!(members.named(b"Smalls"), None);
            assert_eq!(members.named(b""), None);
            assert_eq!(members.named(&second.name.to_ascii_lowercase()), Some(*second));
        }
    }
}

#[test]
fn null_changes_no_scalar_and_empties_the_rest() {
    let mut value =
        all(r#"{"Small":3,"List":["a"],"Some":[1],"Map":{"1":true},"Inner":{"Flag":true},"Deep":{}}"#)
            .expect("reads");
    let nulls = r#"{"Small":null,"List":null,"Some":null,"Map":null,"Inner":null,"Deep":null,"Said":null,"Key":null}"#;
    from_slice_over(nulls.as_bytes(), &mut value).expect("reads");
    assert_eq!((value.small, value.inner.flag), (3, true));
    assert!(value.list.is_empty() && value.some.is_none() && value.map.is_empty() && value.deep.is_none());
    assert_eq!(
        to_go_json(&value, Indent::None),
        r#"{"Small":3,"List":null,"Inner":{"Flag":true},"Said":null}"#
    );
}

#[test]
fn what_is_not_named_stays() {
    let mut value = all(r#"{"Small":3,"Inner":{"Flag":true,"x":1},"List":["a","b"]}"#).expect("reads");
    from_slice_over(br#"{"Inner":{"y":2},"List":["c"]}"#, &mut value).expect("reads");
    assert_eq!(
        to_go_json(&value, Indent::None),
        r#"{"Small":3,"List":["c"],"Inner":{"Flag":true,"x":1,"y":2}}"#
    );
}

#[test]
fn unknown_members_are_kept_in_order() {
    let value: Kept = from_slice(br#"{"b": [1 , 2],"a":null,"Flag":true,"b":"<"}"#).expect("reads");
    assert_eq!(to_go_json(&value, Indent::None), r#"{"Flag":true,"a":null,"b":"\u003c"}"#);
    assert_eq!(
        to_go_json(&value, Indent::Tab),
        "{\n\t\"Flag\": true,\n\t\"a\": null,\n\t\"b\": \"\\u003c\"\n}"
    );
    assert_ne!(value, Kept { extra: Extra::new(), ..value.clone() });
}

#[test]
fn numbers() {
    for text in ["1e400", "-1", "65536", "1.5", "1e2", "18446744073709551616", "true", "\"1\"", "[]", "{}"] {
        let error = all(&format!("{{\"Small\":{text}}}")).expect_err(text);
        assert!(text == "1e400" || error.contains("Small: invalid type: "), "{error}");
    }
    let value = all(r#"{"Small":65535,"SIGNED":-2147483648,"Long":-9223372036854775808,"Float":-0.5}"#)
        .expect("reads");
    assert_eq!((value.small, value.signed, value.long), (u16::MAX, i32::MIN, i64::MIN));
    assert!(all(r#"{"Long":9223372036854775808}"#).is_err() && all(r#"{"SIGNED":2147483648}"#).is_err());
    for text in
        ["1e999", "1e309", "2e99999999999999999999", "01", "1.", ".5", "-", "+1", "1e", "1e+", "0x1", "NaN"]
    {
        assert!(all(&format!("{{\"Float\":{text}}}")).is_err(), "{text}");
    }
    for text in [
        "0.1",
        "-12.5",
        "1e-7",
        "123456.789",
        "1e22",
        "1e23",
        "4.9e-324",
        "1.79769313486e308",
        "-0.0",
        "9007199254740993",
        "18446744073709551616",
        "0.30000000000000004",
        "1E+2",
        "0e99999999999",
    ] {
        let value = all(&format!("{{\"Float\":{text}}}")).expect(text).float;
        let want: f64 = text.parse().expect("a number");
        assert!((value - want).abs() <= want.abs() * 8.0 * f64::EPSILON, "{text}: {value}");
    }
    let zeros = "0".repeat(100_000);
    assert_eq!(all(&format!("{{\"Float\":0.{zeros}1}}")).map(|all| all.float), Ok(0.0));
    assert!(all(&format!("{{\"Float\":1{zeros}}}")).is_err());
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-10.0, "-10"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1.25e22, "-1.25e+22"),
        (0.1, "0.1"),
        (-12.5, "-12.5"),
        (0.021345678, "0.021345678"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (0.30000000000000004, "0.30000000000000004"),
        (f64::NAN, "null"),
        (f64::INFINITY, "null"),
    ] {
        assert_eq!(to_go_json(&value, Indent::None), text);
    }
    for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.0 / 3.0, 2e300 / 7.0] {
        let read: f64 = to_go_json(&value, Indent::None).parse().expect("a number");
        assert!((value - read).abs() <= value * 8.0 * f64::EPSILON, "{value:e}: {read:e}");
    }
}

#[test]
fn wrong_types_say_where_and_why() {
    for (text, want) in [
        (r#"{"Small":1,"Text":7}"#, "Text: invalid type: number `7`, expected a string"),
        (r#"{"List":{"a":1}}"#, "List: invalid type: map, expected a list"),
        (r#"{"List":["a",{}]}"#, "List: invalid type: map, expected a scalar"),
        (r#"{"List":[null]}"#, "List: invalid type: "),
        (r#"{"Inner":[]}"#, "Inner: invalid type: sequence, expected an object"),
        (r#"{"Inner":{"Flag":"x"}}"#, "Flag: invalid type: string \"x\", expected a boolean"),
        (r#"{"Map":{"x":true}}"#, "Map: invalid type: "),
        (r#"{"Map":{"1":null}}"#, "Map: invalid type: "),
        (r#"{"Key":"nodekey:1"}"#, "Key: after \"nodekey:\""),
        (r#"{"Nets":["10.0.0.0/33"]}"#, "Nets: \"10.0.0.0/33\" is not a prefix"),
        (r#"{"Nets":[null]}"#, "Nets: invalid type: "),
        ("[1]", "invalid type: sequence, expected an object"),
        ("7", "invalid type: number `7`, expected an object"),
        (r#"{"Flag":true"#, "EOF while parsing"),
        (r#"{} x"#, "trailing characters"),
    ] {
        let error = all(text).expect_err(text);
        assert!(error.starts_with(want) && error.contains(" at line 1 column "), "{text}: {error}");
    }
}

#[test]
fn some_members_must_be_there() {
    for text in ["{}", "null", r#"{"ID":null}"#, r#"{"ID":1,"Inner":{}}"#, r#"{"ID":"1"}"#] {
        assert!(from_slice::<Strict>(text.as_bytes()).is_err(), "{text}");
    }
    let value: Strict = from_slice(br#"{"Key":"","id":1,"Inner":{"ID":2}}"#).expect("reads");
    assert_eq!((value.id, value.inner.map(|inner| inner.id)), (1, Some(2)));
}

#[test]
fn lists_of_what_can_be_read() {
    let each: Each<Strict> =
        from_slice(br#"[{"ID":1},7,{"ID":"x","Inner":{}},null,{"ID":2},{},{"ID":-3}]"#).expect("reads");
    assert_eq!(each.finish(), (vec![1, 2], 5));
    assert!(from_slice::<Each<Strict>>(br#"{"ID":1}"#).is_err());
    assert!(from_slice::<Each<Strict>>(br#"[{"ID":1},}]"#).is_err());
}

#[test]
fn maps_are_sorted_by_text() {
    let value = all(r#"{"Map":{"9":true,"10":false,"-1":true,"9":false}}"#).expect("reads");
    assert_eq!(value.map.keys().copied().collect::<Vec<_>>(), [-1, 9, 10]);
    assert_eq!(to_go_json(&value.map, Indent::None), r#"{"-1":true,"10":false,"9":false}"#);
    assert_eq!(to_go_json(&Map::<String, bool>::new(), Indent::Tab), "{}");
    let pairs: Pairs<String, u8> = from_slice(br#"{"b":1,"a":2,"b":3}"#).expect("reads");
    assert_eq!(pairs.0, [("b".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 3)]);
    assert_eq!(pairs.sorted(), [("a".to_owned(), 2), ("b".to_owned(), 1), ("b".to_owned(), 3)]);
    assert_eq!(Pairs(vec![(1, 'x'), (1, 'y'), (2, 'z')]).sorted(), [(1, 'x'), (1, 'y'), (2, 'z')]);
}

#[test]
fn written_only() {
    let inner = All::default();
    let value = Written { text: "", list: &[1, 2], inner: &inner };
    assert_eq!(to_go_json(&value, Indent::None), r#"{"List":[1,2],"Inner":{"Small":0,"List":null}}"#);
    let inner =
        All { small: 0, list: Vec::new(), text: "a\u{7f}\u{1}\u{2028}\"\\\n".to_owned(), ..All::default() };
    assert_eq!(
        to_go_json(&inner, Indent::None),
        "{\"Small\":0,\"Text\":\"a\u{7f}\\u0001\\u2028\\\"\\\\\\n\",\"List\":null}"
    );
}

#[test]
fn depth_is_bounded() {
    for (open, close) in [("{\"Deep\":", "}"), ("{\"Unknown\":", "}"), ("{\"Raw\":[", "]}")] {
        let deep = |levels: usize| format!("{}{{}}{}", open.repeat(levels), close.repeat(levels));
        assert!(all(&deep(20)).is_ok(), "{open}");
        // What is passed over takes a byte a level and no stack.
        assert_eq!(all(&deep(5000)).is_ok(), open.contains("Unknown"), "{open}");
        assert!(all(&open.repeat(100_000)).is_err());
    }
}

/// Each line of it is indented as deep as it stands, so all of it together would be the square of the text.
#[test]
fn depth_of_what_is_carried_along_is_bounded() {
    for (levels, fine) in [(100, true), (128, true), (129, false), (200, false), (100_000, false)] {
        for leaf in ["", "1"] {
            let deep = format!("{}{leaf}{}", "[".repeat(levels), "]".repeat(levels));
            assert_eq!(from_slice::<Raw>(deep.as_bytes()).is_ok(), fine, "{levels}");
            assert_eq!(Raw::new(deep.clone()).is_some(), fine, "{levels}");
            assert_eq!(
                from_slice::<Kept>(format!("{{\"unknown\":{deep}}}").as_bytes()).is_ok(),
                fine,
                "{levels}"
            );
        }
    }
    assert!(from_slice::<Raw>("[[],".repeat(100).as_bytes()).is_err(), "unfinished");
    let wide = format!("[{}[]]", "[[]],".repeat(1000));
    assert!(from_slice::<Raw>(wide.as_bytes()).is_ok(), "brackets that are closed again do not count");
}

#[test]
fn escapes() {
    for (json, want) in [
        (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
        (r#""a\u00e9\ud83d\ude00z""#, Some("a\u{e9}\u{1f600}z")),
        (r#""\ud83d!\ude00""#, Some("\u{fffd}!\u{fffd}")),
        (r#""\ud83d\ud83d\ude00""#, Some("\u{fffd}\u{1f600}")),
        (r#""\ud83d\u12""#, None),
        (r#""\x""#, None),
        (r#""\u00g0""#, None),
        (r#""\"#, None),
        ("\"\n\"", None),
    ] {
        assert_eq!(from_slice::<String>(json.as_bytes()).ok().as_deref(), want, "{json}");
    }
    assert!(from_slice::<String>(b"\"\xff\"").is_err() && from_slice::<Raw>(b"[\"\xff\"]").is_err());
}

#[test]
fn long_texts() {
    let long = "x".repeat(1 << 20);
    assert_eq!(all(&format!("{{\"Text\":\"{long}\",\"{long}\":1}}")).expect("reads").text.len(), long.len());
    assert!(all(&format!("{{\"Key\":\"{long}\"}}")).is_err());
}

#[test]
fn errors_repeat_the_start_of_a_text_only() {
    fn why<T: Value + Zero>(json: &str) -> String {
        from_str::<T>(json).map(drop).expect_err("a text that is none").to_string()
    }
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let shown = format!("\"{}\"", "x".repeat(64));
    let kinds = [
        why::<i64>,
        why::<u16>,
        why::<f64>,
        why::<bool>,
        why::<OptBool>,
        why::<Kept>,
        why::<Vec<String>>,
        why::<Map<String, u8>>,
        why::<std::net::IpAddr>,
        why::<std::net::SocketAddr>,
        why::<ipnet::IpNet>,
        why::<netmap::Timestamp>,
        why::<Blank<netmap::Timestamp>>,
    ];
    for why in kinds {
        let why = why(&long);
        assert!(why.len() < 300 && why.contains(&shown), "{} bytes: {why:.300}", why.len());
    }
    assert!(why::<keys::NodePublic>(&long).len() < 300);
    let escaped = why::<i64>(&format!("\"{}\"", "\u{10ffff}\\n".repeat(1 << 18)));
    assert!(escaped.len() < 800 && escaped.contains("\\n"), "{} bytes", escaped.len());
}

#[test]
fn memory_of_elements_is_bounded() {
    fn why<T: Value + Zero>(element: &str, count: usize, brackets: [&str; 2]) -> Option<String> {
        let elements = vec![element; count].join(",");
        let text = format!("{}{elements}{}", brackets[0], brackets[1]);
        from_str::<T>(&text).err().map(|error| error.to_string())
    }
    let (list, map, within) = (["[", "]"], ["{", "}"], ["[{\"List\":[", "]}]"]);
    for why in [
        why::<Vec<All>>("{}", 300_000, list),
        why::<Vec<Option<Kept>>>("{}", 1_000_000, list),
        why::<Vec<i64>>("1", 2_000_000, list),
        why::<Pairs<String, All>>("\"\":{}", 300_000, map),
        why::<Each<Strict>>("{\"ID\":1}", 600_000, list),
        why::<Vec<All>>("\"\"", 1_500_000, within),
    ] {
        assert!(why.as_ref().is_some_and(|why| why.starts_with("lists take 8 MiB more")), "{why:?}");
    }
    let address = "\"100.101.102.103/32\"";
    for why in [
        why::<Vec<ipnet::IpNet>>(address, 800_000, list),
        why::<Vec<String>>(address, 800_000, list),
        why::<Vec<All>>("{}", 20_000, list),
        why::<Vec<i64>>("1", 1_000_000, list),
        why::<Each<Strict>>("{\"ID\":1}", 100_000, list),
    ] {
        assert_eq!(why, None);
    }
}
