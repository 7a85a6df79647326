//! MIND: small files of its format, worked out by hand.
#![allow(missing_docs)]

mod common;

use common::Place;

const DAMAGED: &str = "the file is damaged or of another format: download it again";

fn small() -> Place {
    let place = Place::new("mind");
    let news = "N1\tnews\tnewsworld\tWhat's \"New\" in A-1?\tan \"abstract\"\thttp://a\t[]\t[]\nN2\tsports\tnfl\tÜber goal\t\thttp://b\t[{\"Label\": \"x\"}]\t\n";
    // Ten impressions, of which the latest validates; it comes second.
    let mut train = String::from("1\tU1\t11/9/2019 12:05:58 AM\tN1 N2 N9\tN1-0 N2-1\n");
    train += "2\tU2\t11/14/2019 1:00:00 PM\t\tN2-0\n";
    for i in 3..=10 {
        let history = vec!["N2"; [11, 50, 51, 10][i % 4]].join(" ");
        train += &format!("{i}\tU1\t11/{i}/2019 11:00:00 PM\t{history}\tN1-1\n");
    }
    place
        .raw("MINDsmall_train/news.tsv", news)
        .raw("MINDsmall_train/behaviors.tsv", train)
        .raw(
            "MINDsmall_dev/news.tsv",
            "N2\tsports\tnfl\tÜber goal\t\thttp://b\t[]\t[]\nN3\ttravel\tasia\tFar\t\t\t[]\t[]\n",
        )
        .raw("MINDsmall_dev/behaviors.tsv", "1\tU9\t11/15/2019 8:00:00 AM\tN3 N1\tN3-1 N1-0\n");
    place
}

#[test]
fn rows() {
    let place = small();
    let made = place.make();
    let day = |d: i64| (18_201 + d - 1) * 86_400; // 2019-11-01 is day 18,201
    let (one, two) = ("N1,news,newsworld,[what|s|new|in|a|1]", "N2,sports,nfl,[über|goal]");
    let train = place.rows("train");
    let first = day(9) + 358;
    // The newest click first; N9 is described nowhere.
    assert_eq!(
        train[..2],
        [
            format!("0,short,1,U1,{one},[N9|N2|N1],[sports|news],0,{first}"),
            format!("1,short,1,U1,{two},[N9|N2|N1],[sports|news],0,{first}"),
        ]
    );
    let scenarios: Vec<_> = train[2..].iter().map(|row| row.split(',').nth(1).unwrap()).collect();
    // Histories of 10, 11, 50, 51, 10, 11, 50, 51 news, of which 20 at most are kept.
    assert_eq!(scenarios, ["short", "medium", "medium", "long", "short", "medium", "medium", "long"]);
    let kept: Vec<_> = train[2..6].iter().map(|row| row.matches("N2").count()).collect();
    assert_eq!(kept, [10, 11, 20, 20]);
    assert_eq!(place.rows("valid"), [format!("0,none,2,U2,{two},[],[],13,{}", day(14) + 13 * 3600)]);
    let at = day(15) + 8 * 3600;
    assert_eq!(
        place.rows("test"),
        [
            format!("1,short,1,U9,N3,travel,asia,[far],[N1|N3],[news|travel],8,{at}"),
            format!("0,short,1,U9,{one},[N1|N3],[news|travel],8,{at}"),
        ]
    );
    assert_eq!(
        made.warnings,
        [
            "10 training impressions, where 156,965 are published (counted by its users)",
            "11 training candidates, where 5,843,444 are published (RecZoo's MIND_small_x1)",
            "1 test impressions, where 73,152 are published (counted by its users)",
            "2 test candidates, where 2,740,998 are published (RecZoo's MIND_small_x1)"
        ]
    );
}

#[test]
fn errors() {
    let place = small();
    let [train, news] = ["MINDsmall_train/behaviors.tsv", "MINDsmall_train/news.tsv"];
    let unlabelled = "is not a news with -0 or -1; files without clicks cannot be used";
    let cases = [
        (train, "1\tU1\t11/9/2019 1:00:00 AM\tN1-0\n", "line 1: has 4 columns, where 5 belong".to_owned()),
        (
            train,
            "1\tU1\t2019-11-09 01:00:00\t\tN1-0\n",
            "line 1, column 'time': \"2019-11-09 01:00:00\" is not a time such as 11/9/2019 1:05:09 PM"
                .into(),
        ),
        (news, "N1\tnews\n", "line 1: has 2 columns, where 8 belong".into()),
    ];
    for (file, text, message) in cases {
        place.refused_with(file, text, &format!("{file} {message}; {DAMAGED}"));
    }
    let before = "1\tU1\t11/9/2019 1:00:00 AM\t\tN1-0\n2\tU1\t11/9/2019 2:00:00 AM\t\t";
    for (shown, problem) in [
        ("N1", format!("\"N1\" {unlabelled}")),
        ("N1-2", format!("\"N1-2\" {unlabelled}")),
        ("N7-1", "\"N7-1\" is not one of the news, with -0 or -1".into()),
    ] {
        let message = format!("{train} line 2, column 'impressions': {problem}; {DAMAGED}");
        place.refused_with(train, format!("{before}{shown}\n"), &message);
    }
}
