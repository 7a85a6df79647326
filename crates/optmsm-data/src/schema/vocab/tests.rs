use super::*;

fn counts(list: &[(&str, u64)]) -> Vec<(Box<str>, u64)> {
    list.iter().map(|&(v, n)| (v.into(), n)).collect()
}

fn listed(list: &[(&str, u64)], min_frequency: u64, max_size: Option<u64>) -> Vocabulary {
    Vocabulary::listed(Listed::from_counts(counts(list), min_frequency, max_size), false)
}

fn values(v: &Vocabulary) -> Vec<&str> {
    v.values().collect()
}

fn round_trip(v: &Vocabulary) -> String {
    let json = serde_json::to_string(v).unwrap();
    assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), *v, "{json}");
    json
}

#[test]
fn ids_fall_by_count_then_rise_by_value() {
    let v = listed(&[("b", 2), ("a", 2), ("z", 9), ("c", 1)], 1, None);
    assert_eq!(values(&v), ["z", "a", "b", "c"]);
    assert_eq!([v.id("z"), v.id("a"), v.id("b"), v.id("c"), v.id("d")], [1, 2, 3, 4, 0]);
    let value = |id| v.value(id).map(|v| v.into_owned());
    assert_eq!([value(0), value(1), value(4), value(5)], [None, Some("z".into()), Some("c".into()), None]);
    assert_eq!(v.size(), 5);
}

#[test]
fn rare_values_go_and_the_missing_one_stays() {
    let v = listed(&[("a", 3), ("b", 2), ("c", 1), ("", 1)], 2, None);
    assert_eq!(values(&v), ["a", "b", ""]);
    assert_eq!([v.id(""), v.id("c")], [3, 0]);
}

#[test]
fn the_most_frequent_stay_and_ties_go_by_value() {
    let list = [("d", 3), ("b", 3), ("e", 1), ("", 1), ("c", 3), ("a", 9)];
    assert_eq!(values(&listed(&list, 1, Some(3))), ["a", "b", "c", ""]);
    assert_eq!(values(&listed(&list, 1, Some(100))), ["a", "b", "c", "d", "", "e"]);
    assert_eq!(values(&listed(&list, 4, Some(3))), ["a", ""]);
}

#[test]
fn nothing_kept_leaves_the_out_of_vocabulary_id() {
    let v = listed(&[("a", 1)], 2, None);
    assert_eq!((v.size(), v.id("a"), v.id("")), (1, 0, 0));
    assert_eq!(Vocabulary::default().id("a"), 0);
}

#[test]
fn every_value_of_a_large_vocabulary_is_found() {
    let many: Vec<String> = (0..50_000).map(|i| format!("item-{i}")).collect();
    let all = many.iter().map(|m| (m.as_str().into(), 1)).collect();
    let v = Vocabulary::listed(Listed::from_counts(all, 1, None), false);
    assert!(many.iter().all(|m| v.value(v.id(m)).as_deref() == Some(m)));
    assert_eq!(v.id("item-50000"), 0);
}

/// Values of XXH64 by an implementation of its own, in Python, from the specification.
#[test]
fn hashes_are_the_documented_ones() {
    let v = Vocabulary::hashed(1000, "user", false);
    assert_eq!((v.size(), v.missing_id()), (1001, None));
    let wanted = [("", 962), ("a", 487), ("12345", 323), ("Zürich 😀", 629)];
    for (value, id) in wanted {
        assert_eq!(v.id(value), id, "{value}");
    }
    // Another field, another pattern of collisions.
    let other = Vocabulary::hashed(1000, "item", false);
    assert_eq!(["a", "12345"].map(|value| other.id(value)), [778, 351]);
}

#[test]
fn hashed_ids_fill_their_range_and_leave_zero() {
    let v = Vocabulary::hashed(7, "x", true);
    let mut seen = [0; 9];
    (0..10_000).for_each(|i: u32| seen[v.id(&i.to_string()) as usize] += 1);
    // 10000/7 with a standard deviation of 35.
    assert!(seen[0] == 0 && seen[8] == 0 && seen[1..8].iter().all(|n| (1250..1610).contains(n)), "{seen:?}");
    assert_eq!((v.size(), v.missing_id(), v.id("")), (9, Some(8), 8));
}

#[test]
fn integers_are_their_own_ids() {
    let v = Vocabulary::of_integers(10, false);
    assert_eq!((v.size(), v.id("0"), v.id("9"), v.id("10"), v.id("")), (11, 1, 10, 0, 0));
    for (text, id) in [(" 3 ", 4), ("3.0", 4), ("+3", 4), ("9.", 10), ("", 0)] {
        assert_eq!(v.find(text).unwrap(), id, "{text}");
    }
    for text in ["10", "-1", "3.5", "x", "1e300", "nan", "18446744073709551616"] {
        let fault = v.find(text).unwrap_err();
        assert_eq!(fault.problem, format!("{text:?} is not an integer from 0 to 9"));
        assert_eq!(fault.fix, "fix the value, raise ids (now 10), or leave ids out to learn the values");
    }
    assert_eq!(v.find_integer(Some(9)), Some(10));
    assert_eq!([v.find_integer(Some(10)), v.find_integer(None)], [None, None]);
    assert_eq!(v.value(10).as_deref(), Some("9"));
    let own = Vocabulary::of_integers(10, true);
    assert_eq!((own.size(), own.missing_id(), own.id(""), own.value(11)), (12, Some(11), 11, None));
}

#[test]
fn a_missing_value_of_its_own_comes_last_even_if_never_seen() {
    let v = Vocabulary::listed(Listed::from_counts(counts(&[("a", 2), ("b", 1)]), 1, None), true);
    assert_eq!((v.size(), v.id("a"), v.id("b"), v.id(""), v.id("c")), (4, 1, 2, 3, 0));
    assert_eq!((v.missing_id(), v.value(3)), (Some(3), None));
}

#[test]
fn the_file_keeps_every_kind() {
    let list = listed(&[("a", 2), ("é\u{1}\"", 1)], 1, None);
    assert_eq!(round_trip(&list), r#"["a","é\u0001\""]"#); // as the first version wrote it
    let own = Vocabulary { own_missing: true, ..list };
    assert_eq!(round_trip(&own), r#"{"values":["a","é\u0001\""],"missing":true}"#);
    assert_eq!(round_trip(&Vocabulary::hashed(9, "f", false)), r#"{"hash":{"buckets":9,"salt":"f"}}"#);
    assert_eq!(round_trip(&Vocabulary::of_integers(9, true)), r#"{"ids":9,"missing":true}"#);
    for broken in ["{}", r#"{"ids":0}"#, r#"{"hash":{"buckets":0,"salt":""}}"#, r#"{"ids":1,"values":[]}"#] {
        assert!(serde_json::from_str::<Vocabulary>(broken).is_err(), "{broken}");
    }
}
