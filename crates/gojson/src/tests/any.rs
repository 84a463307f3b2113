//! Any text, any value: nothing panics, what is written reads back, and what is JSON is what `serde_json` says it is.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_reads_or_errs(text: String, json in "[{}\\[\\]\",:0-9truefalsn RawListDpMk-]{0,80}") {
        let _ = all(&text);
        let _ = all(&json);
        let _ = from_slice::<Each<Strict>>(json.as_bytes());
    }

    #[test]
    fn what_is_written_reads_back(flag: bool, small: u16, signed: i32, long: i64, text: String, list: Vec<String>, some: Option<Vec<u8>>, map in prop::collection::btree_map(any::<i64>(), any::<bool>(), 0..9)) {
        let value = All { flag, small, signed, long, text, list, some, map: map.into_iter().collect(), ..All::default() };
        let json = to_go_json(&value, Indent::None);
        prop_assert_eq!(all(&json), Ok(value.clone()));
        prop_assert_eq!(all(&to_go_json(&value, Indent::Tab)), Ok(value));
        let parsed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        prop_assert!(parsed.is_object() && !json.contains(['<', '>', '&']));
    }

    #[test]
    fn floats_as_long_as_people_write_them(digits in 0u64..1_000_000_000_000_000, places in 0usize..15) {
        let text = format!("{digits:016}");
        let (whole, rest) = text.split_at(16 - places);
        let whole: u64 = whole.parse().expect("a number");
        let text = if rest.is_empty() { whole.to_string() } else { format!("{whole}.{rest}") };
        let value: f64 = text.parse().expect("a number");
        prop_assert_eq!(all(&format!("{{\"Float\":{text}}}")).map(|all| all.float), Ok(value));
        prop_assert_eq!(to_go_json(&value, Indent::None), value.to_string());
    }

    #[test]
    fn strings_as_serde_json_has_them(text: String, raw in "[ -~]{0,20}") {
        let json = serde_json::to_string(&text).expect("JSON");
        prop_assert_eq!(from_slice::<String>(json.as_bytes()).ok(), Some(text));
        let json = format!("\"{raw}\"");
        // Of half a surrogate pair Go makes a replacement character.
        prop_assume!(!raw.contains("\\ud") && !raw.contains("\\uD"));
        prop_assert_eq!(from_slice::<String>(json.as_bytes()).ok(), serde_json::from_str::<String>(&json).ok());
    }

    #[test]
    fn what_is_json_is_as_serde_json_has_it(text in "[{}\\[\\]\",: 0-9truefalsn.eE+-]{0,24}") {
        let ours = from_slice::<Raw>(text.as_bytes()).is_ok();
        prop_assert_eq!(ours, serde_json::from_str::<Box<serde_json::value::RawValue>>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn pairs_are_sorted_as_they_came(keys: Vec<u8>) {
        let pairs: Vec<(u8, usize)> = keys.into_iter().zip(0..).collect();
        let mut sorted = pairs.clone();
        sorted.sort();
        prop_assert_eq!(Pairs(pairs).sorted(), sorted);
    }

    #[test]
    fn a_map_is_a_map(pairs: Vec<(u8, u8)>) {
        let tree: std::collections::BTreeMap<String, u8> = pairs.iter().map(|(key, value)| (key.to_string(), *value)).collect();
        let pairs = Pairs(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect());
        let json = to_go_json(&pairs, Indent::None);
        let map: Map<String, u8> = from_str(&json).expect("a map");
        prop_assert!(map.iter().eq(tree.iter()));
        prop_assert!(pairs.sorted().into_iter().collect::<Map<_, _>>() == map);
        prop_assert_eq!(to_go_json(&map, Indent::None), serde_json::to_string(&tree).expect("JSON"));
    }
}
