//! Amazon and Douban: small files of their formats, worked out by hand.
#![allow(missing_docs)]

mod common;

use common::{Place, gz};

const DAMAGED: &str = "the file is damaged or of another format: download it again";

fn review(user: &str, item: &str, rating: &str, time: &str) -> String {
    format!(
        "{{\"reviewerID\": \"{user}\", \"asin\": \"{item}\", \"reviewerName\": \"M. \\\"Z\\\"\", \"helpful\": [0, 1], \"reviewText\": \"Good {{}} \\u00e9\", \"overall\": {rating}, \"summary\": \"s\", \"unixReviewTime\": {time}, \"reviewTime\": \"01 1, 2014\"}}\n"
    )
}

/// Ten reviews on days 1 to 10 (day 9 validates, day 10 tests), in three files.
fn amazon() -> Place {
    let place = Place::new("amazon");
    let beauty = [
        review("A", "b1", "5.0", "1"),
        review("A", "b2", "3.0", "2"),
        review("A", "b3", "4.0", "3"),
        // Without the fields that are not needed.
        "{\"asin\": \"b1\", \"overall\": 4, \"reviewerID\": \"B\", \"unixReviewTime\": 4}\n".into(),
    ];
    let clothing =
        [review("A", "c1", "5.0", "3"), review("A", "c2", "1.0", "10"), review("B", "c1", "2.0", "5")];
    let health =
        [review("A", "h1", "5.0", "9"), review("B", "h2", "5.0", "6"), review("B", "h1", "5.0", "7")];
    place
        .raw("reviews_Beauty_5.json.gz", gz(beauty.concat()))
        .raw("reviews_Clothing_Shoes_and_Jewelry_5.json.gz", gz(clothing.concat()))
        .raw("reviews_Health_and_Personal_Care_5.json", health.concat());
    place
}

#[test]
fn amazon_rows() {
    let place = amazon();
    let made = place.make();
    assert_eq!(
        place.rows("train"),
        [
            "1,beauty,A,b1,[],1",
            "0,beauty,A,b2,[b1],2",
            // Not c1, which is of the same day, and not b2, which A did not like.
            "1,beauty,A,b3,[b1],3",
            "1,beauty,B,b1,[],4",
            "1,clothing,A,c1,[b1],3",
            "0,clothing,B,c1,[b1],5",
            "1,health,B,h2,[b1],6",
            "1,health,B,h1,[h2|b1],7",
        ]
    );
    // The newest first.
    assert_eq!(place.rows("valid"), ["1,health,A,h1,[c1|b3|b1],9"]);
    // Not h1, although A liked it a day before: it is no training row.
    assert_eq!(place.rows("test"), ["0,clothing,A,c2,[c1|b3|b1],10"]);
    assert_eq!(made.warnings[0], "4 beauty reviews, where 198,502 are published (its page)");
}

#[test]
fn amazon_errors() {
    let place = amazon();
    let file = "reviews_Health_and_Personal_Care_5.json";
    place.refused_with(
        file,
        "{\"reviewerID\": \"A\", \"asin\": \"h1\", \"unixReviewTime\": 3}\n",
        &format!("{file} line 1: is not a review as JSON (missing field `overall`); {DAMAGED}"),
    );
    place.refused_with(
        file,
        review("A", "h1", "6.0", "3"),
        &format!("{file} line 1, column 'overall': \"6\" is not a rating from 1 to 5; {DAMAGED}"),
    );
    place.refused_with(
        file,
        review("A", "h1", "5.0", "3") + "{\"reviewerID\": \"A\"",
        &format!("{file} line 2: is not a review as JSON (EOF while parsing an object); {DAMAGED}"),
    );
    // Lines of a Python program, as the owner's files of products are.
    place.refused_with(
        file,
        "{'reviewerID': 'A'}\n",
        &format!("{file} line 1: is not a review as JSON (key must be a string); {DAMAGED}"),
    );
    let whole = gz(review("A", "b1", "5.0", "1").repeat(50));
    place.raw("reviews_Beauty_5.json.gz", &whole[..whole.len() / 2]);
    let message = place.refused(true);
    assert!(message.starts_with("reviews_Beauty_5.json.gz: cannot be unpacked after line "), "{message}");
    place.remove("reviews_Beauty_5.json.gz");
    assert_eq!(
        place.refused(true),
        format!(
            "raw: has no reviews_Beauty_5.json among reviews_Clothing_Shoes_and_Jewelry_5.json.gz, {file}; get it from https://jmcauley.ucsd.edu/data/amazon/index_2014.html and unpack it there"
        )
    );
}

fn douban() -> Place {
    let place = Place::new("douban");
    let row = |user: &str, item: &str, rating: &str, time: &str| {
        format!(
            "\"{user}\"\t\"{item}\"\t\"{rating}\"\t\"a|b\"\t\"said \"\"so\"\"\tand\nso\"\t\"{time}\"\t\"1\"\n"
        )
    };
    let file = |item: &str, rows: &[String]| {
        format!(
            "\"user_id\"\t\"{item}\"\t\"rating\"\t\"labels\"\t\"comment\"\t\"time\"\t\"ID\"\n{}",
            rows.concat()
        )
    };
    let books = file(
        "book_id",
        &[
            row("1", "1", "5", "2010-01-01"),
            row("1", "2", "", "2010-01-02"),
            row("2", "1", "4.0", "2010-01-02 10:00:00"),
            row("1", "3", "3", "2010-01-03"),
        ],
    );
    let movies = file(
        "movie_id",
        &[
            row("1", "1", "4", "2010-01-02"),
            row("1", "2", "-1", "2010-01-04"),
            row("2", "2", "1", "2010-01-05"),
            row("1", "3", "2", "2010-01-10"),
            row("2", "3", "2", "2010-01-06"),
        ],
    );
    let music = file(
        "music_id",
        &[
            row("3", "1", "5", "2010-01-07"),
            row("1", "1", "5", "2010-01-08"),
            row("2", "1", "5", "2010-01-09"),
        ],
    );
    place
        .raw("douban_dataset(text information)/bookreviews_cleaned.txt", books)
        .raw("douban_dataset(text information)/moviereviews_cleaned.txt", movies)
        .raw("douban_dataset(text information)/musicreviews_cleaned.txt", music)
        .raw(
            "douban_dataset(text information)/users_cleaned.txt",
            "\"user_id\"\t\"living_place\"\t\"join_time\"\t\"self_statement\"\t\"UID\"\n\"x\"\t\"北京\"\t\"2008-04-24\"\t\"a\tb\"\t\"1\"\n\"y\"\t\"\"\t\"\"\t\"\"\t\"2\"\n",
        );
    place
}

#[test]
fn douban_rows() {
    let place = douban();
    let made = place.make();
    let day = |d: i64| (14_610 + d - 1) * 86_400; // 2010-01-01 is day 14,610
    assert_eq!(
        place.rows("train"),
        [
            format!("1,book,1,book:1,北京,2008,[],{}", day(1)),
            format!("1,book,2,book:1,,,[],{}", day(2) + 36_000),
            format!("0,book,1,book:3,北京,2008,[movie:1|book:1],{}", day(3)),
            format!("1,movie,1,movie:1,北京,2008,[book:1],{}", day(2)),
            format!("0,movie,2,movie:2,,,[book:1],{}", day(5)),
            format!("0,movie,2,movie:3,,,[book:1],{}", day(6)),
            format!("1,music,3,music:1,,,[],{}", day(7)),
            format!("1,music,1,music:1,北京,2008,[movie:1|book:1],{}", day(8)),
        ]
    );
    assert_eq!(place.rows("valid"), [format!("1,music,2,music:1,,,[book:1],{}", day(9))]);
    assert_eq!(
        place.rows("test"),
        [format!("0,movie,1,movie:3,北京,2008,[music:1|movie:1|book:1],{}", day(10))]
    );
    let counts: Vec<_> = made.counts.iter().map(|c| (c.what.as_str(), c.rows)).collect();
    assert_eq!(
        counts,
        [
            ("users", 2),
            ("book reviews", 4),
            ("book reviews without a rating", 1),
            ("movie reviews", 5),
            ("movie reviews without a rating", 1),
            ("music reviews", 3),
            ("music reviews without a rating", 0)
        ]
    );
}

#[test]
fn douban_errors() {
    let place = douban();
    let file = "douban_dataset(text information)/musicreviews_cleaned.txt";
    let head = "user_id\tmusic_id\trating\ttime\n";
    for (row, problem) in [
        ("1\t1\t6\t2010-01-01", "line 2, column 'rating': \"6\" is not a rating from 1 to 5"),
        ("1\t1\tgood\t2010-01-01", "line 2, column 'rating': \"good\" is not a rating from 1 to 5"),
        (
            "1\t1\t5\tyesterday",
            "line 2, column 'time': \"yesterday\" is not a time such as 2016-05-04 13:00:59",
        ),
        ("1\t1\t5", "line 2: has 3 columns, where 4 belong"),
    ] {
        place.refused_with(file, format!("{head}{row}\n"), &format!("{file} {problem}; {DAMAGED}"));
    }
    place.refused_with(
        file,
        "user_id\trating\n",
        &format!("{file} line 1: has no column 'music_id' among user_id, rating; {DAMAGED}"),
    );
}
