//! Any chunking of any text gives the same pieces, and garbage never panics.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn wanted(name: &str) -> Wanted {
    match name {
        "Peers" | "e" => Wanted::Elements,
        "skip" => Wanted::No,
        _ => Wanted::Whole,
    }
}

type Items = Vec<(String, bool, String)>;

/// Every item of `text` cut into chunks of `piece` bytes: name, whether an element, raw value.
fn split(text: &[u8], piece: usize) -> Result<Items, Error> {
    let mut splitter = Splitter::new(wanted);
    let mut items = Vec::new();
    for chunk in text.chunks(piece.max(1)) {
        let mut input = chunk;
        while let Some(item) = splitter.next(&mut input)? {
            items.push(match item {
                Item::Field(name, raw) => (name.to_owned(), false, String::from_utf8_lossy(raw).into_owned()),
                Item::Element(name, raw) => {
                    (name.to_owned(), true, String::from_utf8_lossy(raw).into_owned())
                }
                Item::Skipped(name) => (name.to_owned(), true, "skipped".to_owned()),
            });
        }
    }
    match splitter.is_done() {
        true => Ok(items),
        false => Err(splitter.bad()),
    }
}

#[test]
fn fields_and_elements() {
    let text = br#" { "a" : 1 ,"Peers":[ {"x":"}]\"\\"} , null,[1,[2]],"s" ],"skip":{"b":["}"]},"b":"\u0041","e":7,"Peers":[],"n\u0061me":true } "#;
    for piece in 1..text.len() {
        let items = split(text, piece).expect("split");
        let shown: Vec<_> =
            items.iter().map(|(n, e, v)| format!("{n}{}{v}", if *e { "+" } else { "=" })).collect();
        assert_eq!(
            shown,
            [
                "a=1",
                r#"Peers+{"x":"}]\"\\"}"#,
                "Peers+null",
                "Peers+[1,[2]]",
                r#"Peers+"s""#,
                r#"b="\u0041""#,
                "e=7",
                "name=true"
            ]
        );
    }
}

#[test]
fn what_is_not_an_object() {
    for text in [
        "",
        "[]",
        "7",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{,}",
        "{\"a\" 1}",
        "{\"a\":,}",
        "{} x",
        "{}{}",
        "{\"Peers\":[,]}",
        "{\"Peers\":[1,]}",
        "{\"Peers\":[1 2]}",
        "{\"a\":1 2}",
        "{\"a\nb\":1}",
        "null",
    ] {
        assert!(split(text.as_bytes(), 3).is_err(), "{text}");
    }
}

#[test]
fn limits() {
    let long = "x".repeat(ELEMENT_LIMIT);
    let text = format!(r#"{{"Peers":["{long}",{{"a":1}}],"b":2}}"#);
    let items = split(text.as_bytes(), 5000).expect("split");
    let shown: Vec<_> = items.iter().map(|(_, _, v)| v.as_str()).collect();
    assert_eq!(shown, ["skipped", r#"{"a":1}"#, "2"]);

    let long = "x".repeat(FIELD_LIMIT);
    assert!(matches!(split(format!(r#"{{"b":"{long}"}}"#).as_bytes(), 70_000), Err(Error::TooLong { .. })));
    assert!(split(format!(r#"{{"skip":"{long}"}}"#).as_bytes(), 70_000).expect("passed over").is_empty());
    let name = "n".repeat(5000);
    assert_eq!(split(format!(r#"{{"{name}":1}}"#).as_bytes(), 7).expect("long name").len(), 1);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[\"\\\\{}\\[\\],:]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(".{0,8}", inner, 0..6)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn agrees_with_a_parser(
        fields in proptest::collection::hash_map("Peers|e|skip|[a-z\"\\\\]{1,6}", json(), 0..8),
        piece in 1usize..50,
        pretty: bool,
    ) {
        let object = Value::from(fields.into_iter().collect::<Map<_, _>>());
        let text = match pretty {
            true => serde_json::to_string_pretty(&object).expect("json"),
            false => object.to_string(),
        };
        // Floating-point numbers may lose their last bit on the way through text.
        let object: Value = serde_json::from_str(&text).expect("json");
        let mut rebuilt = Map::new();
        for (name, element, raw) in split(text.as_bytes(), piece).expect("split") {
            let value: Value = serde_json::from_str(&raw).expect("item is JSON");
            match element {
                false => drop(rebuilt.insert(name, value)),
                true => match rebuilt.entry(name).or_insert_with(|| Value::Array(vec![])) {
                    Value::Array(list) => list.push(value),
                    _ => panic!("not a list"),
                },
            }
        }
        let Value::Object(mut object) = object else { unreachable!() };
        object.remove("skip");
        object.retain(|name, value| wanted(name) != Wanted::Elements || *value != Value::Array(vec![]));
        prop_assert_eq!(Value::Object(rebuilt), Value::Object(object));
    }

    #[test]
    fn any_chunking_is_the_same(text in "[{}\\[\\]\",:\\\\ a1Pers]{0,60}", piece in 1usize..12) {
        let whole = split(text.as_bytes(), usize::MAX);
        prop_assert_eq!(split(text.as_bytes(), piece).ok(), whole.ok());
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>, piece in 1usize..12) {
        let _ = split(&bytes, piece);
        let _ = split(&[b"{\"Peers\":[", &bytes[..]].concat(), piece);
    }
}
