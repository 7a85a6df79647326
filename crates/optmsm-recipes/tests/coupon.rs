//! In-vehicle coupons: a small file of its format, worked out by hand, and the real one.
#![allow(missing_docs)]

mod common;

use common::Place;

const FILE: &str = "in-vehicle-coupon-recommendation.csv";
const HEADER: &str = "destination,passanger,weather,temperature,time,coupon,expiration,gender,age,maritalStatus,has_children,education,occupation,income,car,Bar,CoffeeHouse,CarryAway,RestaurantLessThan20,Restaurant20To50,toCoupon_GEQ5min,toCoupon_GEQ15min,toCoupon_GEQ25min,direction_same,direction_opp,Y\n";

/// A row; those of temperature 35 validate and those of 28 test, by a transcription of the hash in Python.
fn row(temperature: u32, label: u8) -> String {
    format!(
        "Home,Alone,Sunny,{temperature},2PM,Bar,1d,Female,21,Single,0,\"Some, degree\",,$1,,never,less1,1~3,4~8,gt8,1,0,0,1,0,{label}\n"
    )
}

fn expected(temperature: u32, label: u8) -> String {
    format!(
        "{label},Bar,Home,Alone,Sunny,{temperature},2PM,1d,Female,21,Single,0,Some, degree,,$1,never,less1,1~3,4~8,gt8,1,0,0,1"
    )
}

fn small() -> Place {
    let rows = [(20, 1), (35, 1), (28, 0), (35, 0), (21, 0), (20, 1)];
    let text: String = rows.into_iter().map(|(temperature, label)| row(temperature, label)).collect();
    let place = Place::new("coupon");
    place.raw(FILE, HEADER.to_owned() + &text);
    place
}

#[test]
fn rows() {
    let place = small();
    let made = place.make();
    assert_eq!(made.warnings, ["6 rows, where 12,684 are published (its page)"]);
    assert_eq!(place.columns()[..3], ["label", "scenario", "destination"]);
    assert_eq!(place.rows("train"), [expected(20, 1), expected(21, 0), expected(20, 1)]);
    // Whatever was answered, the same question is in one part.
    assert_eq!(place.rows("valid"), [expected(35, 1), expected(35, 0)]);
    assert_eq!(place.rows("test"), [expected(28, 0)]);
    // A copy without the column that is mostly blank gives the same.
    let copy = Place::new("coupon");
    let text = std::fs::read_to_string(place.path("raw").join(FILE)).unwrap();
    copy.raw(FILE, text.replace("income,car", "income").replace("$1,,", "$1,"));
    copy.make();
    for part in ["train", "valid", "test"] {
        assert_eq!(copy.rows(part), place.rows(part));
    }
}

#[test]
fn errors() {
    let place = small();
    assert_eq!(
        place.refused(false),
        "raw: 6 rows, where 12,684 are published (its page); download it again, or go on with --allow-partial"
    );
    let damaged = "the file is damaged or of another format: download it again";
    let with = |row: String| HEADER.to_owned() + &row;
    place.refused_with(
        FILE,
        with(row(20, 2)),
        &format!("{FILE} line 2, column 'Y': \"2\" is not 0 or 1; {damaged}"),
    );
    place.refused_with(
        FILE,
        with(row(20, 1).replace(",Bar,", ",,")),
        &format!("{FILE} line 2, column 'coupon': \"\" is not a kind of coupon; {damaged}"),
    );
    place.refused_with(
        FILE,
        with("Home,Alone\n".into()),
        &format!("{FILE} line 2: has 2 columns, where 26 belong; {damaged}"),
    );
    place.refused_with(
        FILE,
        with(row(20, 1)),
        "out/valid.parquet: no valid row came out; give more raw rows",
    );
}

/// The real file or a cleaned copy of it: every row comes out once, in a tenth or eight of them.
#[test]
fn real_coupons() {
    let Ok(data) = std::env::var("OPTMSM_COUPON") else {
        println!("SKIPPED: OPTMSM_COUPON names no folder; see examples/README.md for the data");
        return;
    };
    let place = Place::new("coupon");
    let text = std::fs::read_to_string(format!("{data}/{FILE}")).unwrap();
    place.raw(FILE, &text);
    place.make();
    let parts = ["train", "valid", "test"].map(|part| place.rows(part));
    let counts = parts.each_ref().map(|rows| rows.len() as f64);
    let all: f64 = counts.iter().sum();
    assert_eq!(all as usize, text.lines().count() - 1);
    for (count, share) in counts.into_iter().zip([0.8, 0.1, 0.1]) {
        // Five standard errors of a binomial count.
        assert!((count - share * all).abs() < 5.0 * (all * share * (1.0 - share)).sqrt(), "{counts:?}");
    }
    // Five kinds in every part, and no question in two of them.
    let question = |row: &String| row.split_once(',').unwrap().1.to_owned();
    let questions =
        parts.each_ref().map(|rows| rows.iter().map(question).collect::<std::collections::HashSet<_>>());
    assert!(questions[0].is_disjoint(&questions[1]) && questions[1].is_disjoint(&questions[2]));
    assert!(questions[0].is_disjoint(&questions[2]));
    for rows in &parts {
        let kinds: std::collections::HashSet<_> = rows.iter().map(|row| row.split(',').nth(1)).collect();
        assert_eq!(kinds.len(), 5);
    }
    // The owner's share of accepted coupons is 57 %; in a cleaned copy nearly so.
    let accepted = parts.iter().flatten().filter(|row| row.starts_with("1,")).count() as f64;
    assert!((accepted / all - 0.57).abs() < 0.01, "{accepted} of {all}");
}
