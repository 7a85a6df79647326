//! Frappe: small files of its format, worked out by hand, and the real ones.
#![allow(missing_docs)]

mod common;

use common::Place;

/// A line of the user's; those of users whose number ends one column are at the ends of the others, too.
fn line(label: &str, user: u32) -> String {
    format!("{label} {user}:1 960:1 5041:1 5047:1 5053:1 5056:1 5058:1 5061:1 5071:1 5152:1\n")
}

fn expected(label: u8, user: u32) -> String {
    format!("{label},d2,{user},3,2,1,0,1,0,1,2,3")
}

const LAST: &str = "-1 956:1 5038:1 5045:1 5052:1 5054:1 5057:1 5059:1 5068:1 5148:1 5381:1\n";

#[test]
fn the_parts_of_the_owner() {
    let place = Place::new("frappe");
    place
        .raw("data/frappe.train.libfm", line("1", 0) + LAST)
        .raw("data/frappe.validation.libfm", line("-1", 1))
        .raw("data/frappe.test.libfm", line("1", 2));
    let made = place.make();
    let by = "its README, less the others";
    assert_eq!(
        made.warnings,
        [
            format!("2 rows of frappe.train.libfm, where 202,027 are published ({by})"),
            "1 rows of frappe.validation.libfm, where 57,722 are published (counted)".into(),
            "1 rows of frappe.test.libfm, where 28,860 are published (counted)".into(),
        ]
    );
    assert_eq!(place.columns()[..4], ["label", "scenario", "user", "item"]);
    assert_eq!(place.rows("train"), [expected(1, 0), "0,d6,956,4081,6,6,1,2,1,8,79,232".into()]);
    assert_eq!(place.rows("valid"), [expected(0, 1)]);
    assert_eq!(place.rows("test"), [expected(1, 2)]);
}

/// Users 7 and 17 test and user 34 validates, by a transcription of the hash in Python.
#[test]
fn fewer_files_are_split_anew() {
    let place = Place::new("frappe");
    let text = line("1", 0) + &line("1", 7) + &line("-1", 34);
    place
        .raw("frappe.validation.libfm", text)
        .raw("frappe.test.libfm", line("-1", 17) + &line("1", 1) + &line("-1", 7));
    let made = place.make();
    assert_eq!(
        made.warnings[0],
        "no frappe.train.libfm is there: all rows are split anew by a hash, 80 % for training, 10 % for validation, 10 % for the test"
    );
    assert_eq!(place.rows("train"), [expected(1, 0), expected(1, 1)]);
    assert_eq!(place.rows("valid"), [expected(0, 34)]);
    assert_eq!(place.rows("test"), [expected(1, 7), expected(0, 17), expected(0, 7)]);
}

#[test]
fn errors() {
    let place = Place::new("frappe");
    assert!(place.refused(true).starts_with("raw: has no frappe.train.libfm, it is empty; get it from "));
    place.raw("frappe.test.libfm", line("1", 7));
    assert_eq!(
        place.refused(false),
        "raw: 1 rows of frappe.test.libfm, where 28,860 are published (counted); download it again, or go on with --allow-partial"
    );
    let damaged = "the file is damaged or of another format: download it again";
    let at = "frappe.test.libfm line 1";
    let cases = [
        (line("0", 1), format!("{at}, column 'label': \"0\" is not 1 or -1; {damaged}")),
        (line("1", 957), format!("{at}, column 'user': \"957:1\" is not 0 to 956, with :1; {damaged}")),
        (
            line("1", 1).replace("5041:1", "5041:2"),
            format!("{at}, column 'daytime': \"5041:2\" is not 5039 to 5045, with :1; {damaged}"),
        ),
        (
            line("1", 1).replace("5152", "x"),
            format!("{at}, column 'city': \"x\" is not an integer; {damaged}"),
        ),
        ("1 1:1\n".into(), format!("{at}: has 2 columns, where 11 belong; {damaged}")),
    ];
    for (text, message) in cases {
        place.refused_with("frappe.test.libfm", text, &message);
    }
    place.raw("deeper/frappe.test.libfm.gz", common::gz(line("1", 7)));
    assert!(place.refused(true).starts_with("raw: has frappe.test.libfm twice, as "));
}

/// Every row of the real files that the folder has comes out once.
#[test]
fn real_frappe() {
    let Ok(data) = std::env::var("OPTMSM_FRAPPE") else {
        println!("SKIPPED: OPTMSM_FRAPPE names no folder; see examples/README.md for the data");
        return;
    };
    let (place, mut wanted) = (Place::new("frappe"), Vec::new());
    for part in ["train", "validation", "test"] {
        let name = format!("frappe.{part}.libfm");
        if let Ok(text) = std::fs::read_to_string(format!("{data}/{name}")) {
            wanted.extend(text.lines().map(str::to_owned));
            place.raw(&name, text);
        }
    }
    let made = place.make();
    // Counts are the published ones; that files are missing is the only warning there may be.
    assert!(
        made.warnings.iter().all(|warning| warning.contains("is there: all rows")),
        "{:?}",
        made.warnings
    );
    let mut got: Vec<String> = ["train", "valid", "test"]
        .iter()
        .flat_map(|part| place.rows(part))
        .map(|row| {
            let mut values = row.split(',');
            let label = if values.next() == Some("1") { "1" } else { "-1" };
            let scenario = values.next().unwrap();
            let first = [0, 957, 5039, 5046, 5053, 5055, 5058, 5060, 5069, 5149];
            let numbers: Vec<u32> =
                values.zip(first).map(|(v, first)| v.parse::<u32>().unwrap() + first).collect();
            assert_eq!(scenario, format!("d{}", numbers[2] - 5039));
            let texts: Vec<_> = numbers.iter().map(|number| format!("{number}:1")).collect();
            format!("{label} {}", texts.join(" "))
        })
        .collect();
    got.sort();
    wanted.sort();
    assert!(got == wanted, "{} rows out of {}", got.len(), wanted.len());
}
