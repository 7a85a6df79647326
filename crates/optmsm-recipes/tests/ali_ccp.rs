//! Ali-CCP: small files of its format, worked out by hand.
#![allow(missing_docs)]

mod common;

use common::Place;

/// `field:feature:value` by spaces, as the files write it.
fn features(text: &str) -> String {
    let entry = |entry: &str| entry.replacen(':', "\u{2}", 1).replacen(':', "\u{3}", 1);
    text.split(' ').map(entry).collect::<Vec<_>>().join("\u{1}")
}

fn skeleton(id: u32, click: u8, conversion: u8, common: &str, text: &str) -> String {
    format!("{id},{click},{conversion},{common},{},{}\n", text.split(' ').count(), features(text))
}

fn common_line(key: &str, text: &str) -> String {
    format!("{key},{},{}\n", text.split(' ').count(), features(text))
}

/// Impressions that refer to `a` train; those of the first key that does so validate (the hash of a key decides).
fn small(valid: &str) -> Place {
    let place = Place::new("ali-ccp");
    let many: Vec<String> = (0..12).map(|i| format!("109_14:{}:{}.5", 100 + i, i % 11)).collect();
    let train_common = [
        common_line(valid, "101:7:1.0 124:2:1.0"),
        common_line(
            "a",
            &format!("121:8:1.0 101:5:1.0 {} 150_14:9:0.1 150_14:8:0.3 unknown:1:1", many.join(" ")),
        ),
    ];
    // Not sorted by common feature.
    let train = [
        skeleton(
            1,
            1,
            1,
            "a",
            "205:11:1.0 206:12:1.0 207:13:1.0 216:14:1.0 210:3:1.0 210:4:2.0 301:1:1.0 508:6:0.69",
        ),
        skeleton(2, 0, 0, valid, "301:2:1.0 205:21:1.0"),
        skeleton(3, 0, 1, "a", "205:31:1.0 205:32:1.0 301:1:1.0"),
    ];
    place
        .raw("sample_train/common_features_train.csv", train_common.concat())
        .raw("sample_train/sample_skeleton_train.csv", train.concat())
        // The same key as in training, and other features.
        .raw("sample_test/common_features_test.csv", common_line("a", "101:6:1.0"))
        .raw("sample_test/sample_skeleton_test.csv", skeleton(1, 1, 0, "a", "205:41:1.0 301:3:1.0"));
    place
}

/// A key whose impressions validate: FNV-1a and SplitMix64's finalizer, written down here once more.
fn validating() -> String {
    let hash = |key: &str| {
        let mut h: u64 = 14_695_981_039_346_656_037;
        for byte in key.bytes() {
            h = (h ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
        }
        h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        h ^ (h >> 31)
    };
    assert_ne!(hash("a") % 10, 0);
    let keys: Vec<String> = (0..1000).map(|i| format!("k{i}")).filter(|key| hash(key) % 10 == 0).collect();
    assert!((70..130).contains(&keys.len()), "a tenth validates, not {} of 1000", keys.len());
    keys[0].clone()
}

#[test]
fn rows() {
    let place = small(&validating());
    let made = place.make();
    // The ten of the greatest weight of twelve, of equal weights the first: 110 (10.5), 109, …, 102, then 101 (1.5).
    let categories = "[110|109|108|107|106|105|104|103|102|101]";
    assert_eq!(
        place.rows("train"),
        [
            format!("1,1,1,5,8,,,,,,,,{categories},[],[],[8|9],11,12,13,14,[4|3],[6],[],[],[]"),
            format!("0,1,1,5,8,,,,,,,,{categories},[],[],[8|9],31,,,,[],[],[],[],[]"),
        ]
    );
    assert_eq!(place.rows("valid"), ["0,2,0,7,,,2,,,,,,[],[],[],[],21,,,,[],[],[],[],[]"]);
    assert_eq!(place.rows("test"), ["1,3,0,6,,,,,,,,,[],[],[],[],41,,,,[],[],[],[],[]"]);
    assert_eq!(
        made.warnings,
        [
            "3 training impressions, where 42,300,135 are published (counted by its users)",
            "1 test impressions, where 43,016,840 are published (counted by its users)"
        ]
    );
}

#[test]
fn errors() {
    let place = small(&validating());
    let damaged = "the file is damaged or of another format: download it again";
    let [common, train] =
        ["sample_train/common_features_train.csv", "sample_train/sample_skeleton_train.csv"];
    let wrong = "is not a field, a feature and its value, with \\x02 and \\x03 between";
    let cases = [
        (train, "1,0,0,a,1\n".to_owned(), "line 1: has 5 columns, where 6 belong".to_owned()),
        (
            train,
            skeleton(1, 0, 0, "b", "301:1:1"),
            "line 1, column 'common feature index': \"b\" is not one of the common features".into(),
        ),
        (train, skeleton(1, 0, 0, "a", "205:1:1"), "line 1: has no field 301, which is the scenario".into()),
        (train, skeleton(1, 2, 0, "a", "301:1:1"), "line 1, column 'click': \"2\" is not 0 or 1".into()),
        (
            train,
            // Cut short in the middle of a feature.
            "1,0,0,a,2,301\u{2}1\u{3}1\u{1}205\u{2}1".into(),
            format!("line 1, column 'features': \"205\\u{{2}}1\" {wrong}"),
        ),
        (
            train,
            skeleton(1, 0, 0, "a", "301:x:1"),
            format!("line 1, column 'features': \"301\\u{{2}}x\\u{{3}}1\" {wrong}"),
        ),
        (
            common,
            common_line("a", "109_14:1:heavy"),
            format!("line 1, column 'features': \"109_14\\u{{2}}1\\u{{3}}heavy\" {wrong}"),
        ),
        (
            common,
            common_line("a", "101:1:1") + &common_line("a", "101:2:1"),
            "line 2, column 'common feature index': \"a\" is not new: it stands there twice".into(),
        ),
    ];
    for (file, text, message) in cases {
        place.refused_with(file, text, &format!("{file} {message}; {damaged}"));
    }
}
