//! MovieLens-100K and -1M: small files of their formats, worked out by hand, and the real 100K.
#![allow(missing_docs)]

mod common;

use common::{Place, gz};

/// Ten ratings of three users and three movies; the times, of which 108 validates and 109 tests, are in no order.
const RATINGS: [[&str; 4]; 10] = [
    ["1", "1", "5", "105"],
    ["2", "1", "3", "109"],
    ["3", "2", "4", "100"],
    ["1", "2", "1", "108"],
    ["2", "2", "2", "101"],
    ["3", "3", "5", "102"],
    ["1", "3", "3", "103"],
    ["2", "3", "4", "104"],
    ["3", "1", "4", "106"],
    ["1", "1", "4", "107"],
];

fn ratings(separator: &str) -> String {
    RATINGS.iter().map(|row| row.join(separator) + "\n").collect()
}

/// A movie's line with its title in Latin-1 and two flags.
fn movie(head: &[u8], flags: [usize; 2]) -> Vec<u8> {
    let flag = |i| if flags.contains(&i) { "|1" } else { "|0" };
    let flags: String = (0..19).map(flag).collect();
    [head, flags.as_bytes(), b"\n"].concat()
}

fn small_100k() -> Place {
    let place = Place::new("ml-100k");
    let genres: String = (0..19).map(|i| format!("genre{i}|{i}\n")).collect();
    let movies = [
        movie(b"1|Toy Story (1995)|01-Jan-1995||http://a/?M%20(1995)", [3, 5]),
        movie(b"2|L\xe9on (1994)|18-Nov-1994||http://b/", [1, 18]),
        movie(b"3|unknown|||", [0, 0]),
    ];
    place
        .raw("ml-100k/u.genre", genres + "\n")
        .raw("ml-100k/u.user", "1|24|M|technician|85711\n2|53|F|other|94043\n3|25|M|writer|T8H1N\n")
        .raw("ml-100k/u.item", movies.concat())
        .raw("ml-100k/u.data", ratings("\t"));
    place
}

#[test]
fn ml_100k_rows() {
    let place = small_100k();
    let made = place.make();
    assert_eq!(place.columns()[..4], ["label", "scenario", "user_id", "item_id"]);
    assert_eq!(
        place.rows("train"),
        [
            "1,under_25,1,1,24,M,technician,85711,[genre3|genre5],1995,105",
            "1,25_to_34,3,2,25,M,writer,T8H1N,[genre1|genre18],1994,100",
            "0,35_and_over,2,2,53,F,other,94043,[genre1|genre18],1994,101",
            "1,25_to_34,3,3,25,M,writer,T8H1N,[genre0],,102",
            "0,under_25,1,3,24,M,technician,85711,[genre0],,103",
            "1,35_and_over,2,3,53,F,other,94043,[genre0],,104",
            "1,25_to_34,3,1,25,M,writer,T8H1N,[genre3|genre5],1995,106",
            "1,under_25,1,1,24,M,technician,85711,[genre3|genre5],1995,107",
        ]
    );
    assert_eq!(place.rows("valid"), ["0,under_25,1,2,24,M,technician,85711,[genre1|genre18],1994,108"]);
    assert_eq!(place.rows("test"), ["0,35_and_over,2,1,53,F,other,94043,[genre3|genre5],1995,109"]);
    assert_eq!(
        made.warnings,
        [
            "3 users, where 943 are published (its README)",
            "3 movies, where 1,682 are published (its README)",
            "10 ratings, where 100,000 are published (its README)"
        ]
    );
    let parts: Vec<_> = made.parts.iter().map(|p| (p.part, p.rows, p.positives)).collect();
    assert_eq!(parts, [("train", 8, 6), ("valid", 1, 0), ("test", 1, 0)]);
    let record = std::fs::read_to_string(place.out().join("ml-100k.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["sources"][3]["file"], "ml-100k/u.data");
    assert_eq!(record["sources"][3]["rows"], 10);
    assert_eq!(record["counts"][2]["published"], 100_000);
    assert_eq!(record["parts"][0]["scenarios"]["25_to_34"], 3);
    // Output of `sha256sum` for the users' file.
    assert_eq!(
        record["sources"][1]["sha256"],
        "c0e5a9681a8f30ceaed68a1770386aa294d83693baebb548d5d116bdf82da6db"
    );
}

#[test]
fn ml_100k_errors() {
    let place = small_100k();
    assert_eq!(
        place.refused(false),
        "raw: 3 users, where 943 are published (its README); download it again, or go on with --allow-partial"
    );
    let damaged = "the file is damaged or of another format: download it again";
    let cases = [
        ("u.data", "1\t1\t5\n", format!("ml-100k/u.data line 1: has 3 columns, where 4 belong; {damaged}")),
        (
            "u.data",
            "1\t1\t5\t9\n1\t1\tfive\t9\n",
            format!("ml-100k/u.data line 2, column 'rating': \"five\" is not an integer; {damaged}"),
        ),
        (
            "u.data",
            "1\t1\t6\t9\n",
            format!("ml-100k/u.data line 1, column 'rating': \"6\" is not a rating from 1 to 5; {damaged}"),
        ),
        (
            "u.data",
            "4\t1\t5\t9\n",
            format!(
                "ml-100k/u.data line 1, column 'user': \"4\" is not a user of the users' file; {damaged}"
            ),
        ),
        (
            "u.user",
            "1|young|M|artist|1\n",
            format!("ml-100k/u.user line 1, column 'age': \"young\" is not an integer; {damaged}"),
        ),
        (
            "u.data",
            "1\t1\t5\t9\n1\t2\t5\t9\n",
            "u.data: its 2 rows lie at too few points in time to split them; give a file with more rows"
                .into(),
        ),
    ];
    for (file, bytes, message) in cases {
        place.refused_with(&format!("ml-100k/{file}"), bytes, &message);
    }
    place.remove("ml-100k/u.item");
    assert_eq!(
        place.refused(true),
        "raw: has no u.item among ml-100k/u.data, ml-100k/u.genre, ml-100k/u.user; get it from https://grouplens.org/datasets/movielens/100k/ and unpack it there"
    );
    let place = Place::new("ml-100k");
    assert!(place.refused(true).starts_with("raw: has no u.data, it is empty; get it from "));
    std::fs::remove_dir(place.path("raw")).unwrap();
    let message = place.refused(true);
    assert!(message.starts_with("raw: cannot be read as a folder: "), "{message}");
    assert!(message.ends_with("; give the folder of u.data, u.user, u.item, u.genre"), "{message}");
}

#[test]
fn nothing_is_written_over() {
    let place = small_100k();
    place.make();
    let before = std::fs::read(place.out().join("train.parquet")).unwrap();
    for file in ["ml-100k.toml", "ml-100k.json", "train.parquet"] {
        let recipe = optmsm_recipes::RECIPES[0];
        let job = optmsm_recipes::Job { raw: &place.path("raw"), out: &place.out(), allow_partial: true };
        let message = recipe.run(job, &mut |_| {}).unwrap_err().to_string();
        let path = place.out().join(file);
        assert_eq!(
            message,
            format!("{}: is there already; write to another folder, or remove it", path.display())
        );
        assert_eq!(std::fs::read(place.out().join("train.parquet")).unwrap(), before);
        std::fs::remove_file(path).unwrap();
    }
}

fn small_1m() -> Place {
    let place = Place::new("ml-1m");
    place
        .raw("users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n")
        .raw(
            "movies.dat",
            b"1::Star Wars: Episode IV - A New Hope (1977)::Action|Sci-Fi\n2::Am\xe9lie (2001)::Comedy\n3::Untitled::\n",
        )
        .raw("ratings.dat", ratings("::"));
    place
}

#[test]
fn ml_1m_rows() {
    let place = small_1m();
    place.make();
    assert_eq!(
        place.rows("train"),
        [
            "1,under_25,1,1,1,F,10,48067,[Action|Sci-Fi],1977,105",
            "1,25_to_34,3,2,25,M,15,55117,[Comedy],2001,100",
            "0,35_and_over,2,2,56,M,16,70072,[Comedy],2001,101",
            "1,25_to_34,3,3,25,M,15,55117,[],,102",
            "0,under_25,1,3,1,F,10,48067,[],,103",
            "1,35_and_over,2,3,56,M,16,70072,[],,104",
            "1,25_to_34,3,1,25,M,15,55117,[Action|Sci-Fi],1977,106",
            "1,under_25,1,1,1,F,10,48067,[Action|Sci-Fi],1977,107",
        ]
    );
    assert_eq!(place.rows("valid"), ["0,under_25,1,2,1,F,10,48067,[Comedy],2001,108"]);
    assert_eq!(place.rows("test"), ["0,35_and_over,2,1,56,M,16,70072,[Action|Sci-Fi],1977,109"]);
}

#[test]
fn packed_files() {
    let plain = small_1m();
    plain.make();
    let packed = small_1m();
    packed.remove("ratings.dat");
    packed.raw("ratings.dat.gz", gz(ratings("::")));
    packed.make();
    assert_eq!(packed.rows("train"), plain.rows("train"));
    std::fs::remove_dir_all(packed.out()).unwrap();

    let whole = gz(ratings("::"));
    packed.raw("ratings.dat.gz", &whole[..whole.len() - 9]);
    let message = packed.refused(true);
    assert!(message.starts_with("ratings.dat.gz: cannot be unpacked after line "), "{message}");
    assert!(message.ends_with("; it is damaged or cut short: download it again"), "{message}");
    packed.raw("ratings.dat.gz", ratings("::"));
    assert!(packed.refused(true).starts_with("ratings.dat.gz: cannot be unpacked after line 0 ("));
    packed.raw("deeper/ratings.dat", ratings("::"));
    assert_eq!(
        packed.refused(true),
        "raw: has ratings.dat twice, as deeper/ratings.dat and ratings.dat.gz; take one of them out"
    );
}

#[test]
fn ml_1m_errors() {
    let place = small_1m();
    let damaged = "the file is damaged or of another format: download it again";
    place.refused_with(
        "users.dat",
        "1::F::30::10::48067\n",
        &format!("users.dat line 1, column 'age': \"30\" is not one of the age groups 1, 18, 25, 35, 45, 50, 56; {damaged}"),
    );
    place.refused_with(
        "movies.dat",
        "1::Heat (1995)\n",
        &format!("movies.dat line 1: has 2 columns, where 3 belong; {damaged}"),
    );
}

/// The real data as its owner writes it, from the three files that examples/README.md describes: all but the titles,
/// and a rating is only known to be 4 or 5, or less.
fn raw_again(place: &Place, data: &str) -> std::collections::BTreeSet<Vec<String>> {
    use std::collections::BTreeMap;
    let (mut users, mut movies, mut ratings) = (BTreeMap::new(), BTreeMap::new(), String::new());
    let (mut genres, mut expected) = (vec![], std::collections::BTreeSet::new());
    let mut rows = Vec::new();
    for part in ["train", "valid", "test"] {
        let text = std::fs::read_to_string(format!("{data}/{part}.csv")).unwrap();
        rows.extend(text.lines().skip(1).map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>()));
    }
    for row in &rows {
        let [label, _, user, item, age, gender, occupation, zip, of, year, time] = &row[..] else {
            panic!("another column: {row:?}")
        };
        users.insert(user.parse::<u32>().unwrap(), format!("{user}|{age}|{gender}|{occupation}|{zip}\n"));
        let mut flags = [0; 19];
        for genre in of.split('|') {
            let i = genres.iter().position(|g| g == genre).unwrap_or_else(|| {
                genres.push(genre.to_owned());
                genres.len() - 1
            });
            flags[i] = 1;
        }
        let date = if year.is_empty() { String::new() } else { format!("01-Jan-{year}") };
        let flags: String = flags.iter().map(|flag| format!("|{flag}")).collect();
        movies.insert(item.parse::<u32>().unwrap(), format!("{item}|?|{date}||{flags}\n"));
        let rating = if label == "1" { 5 } else { 1 };
        ratings.push_str(&format!("{user}\t{item}\t{rating}\t{time}\n"));
        let mut wanted = row.clone();
        let mut of: Vec<_> = of.split('|').collect();
        of.sort_by_key(|genre| genres.iter().position(|g| g == genre));
        wanted[8] = format!("[{}]", of.join("|"));
        expected.insert(wanted);
    }
    let genres: String = genres.iter().enumerate().map(|(i, genre)| format!("{genre}|{i}\n")).collect();
    place
        .raw("u.genre", genres)
        .raw("u.user", users.into_values().collect::<String>())
        .raw("u.item", movies.into_values().collect::<String>())
        .raw("u.data", ratings);
    expected
}

#[test]
fn real_ml_100k() {
    let Ok(data) = std::env::var("OPTMSM_ML_100K") else {
        println!("SKIPPED: OPTMSM_ML_100K names no folder; see examples/README.md for the data");
        return;
    };
    let place = Place::new("ml-100k");
    // The folder may hold the owner's files themselves, too; what they should give is then not at hand.
    let expected = raw_again(&place, &data);
    let made = place.make();
    assert_eq!(made.warnings, [""; 0]);
    let counts: Vec<_> = made.counts.iter().map(|c| (c.what.as_str(), c.rows)).collect();
    assert_eq!(counts, [("users", 943), ("movies", 1682), ("ratings", 100_000)]);
    let parts = ["train", "valid", "test"].map(|part| place.rows(part));
    let rows = |part: &[String]| -> Vec<Vec<String>> {
        part.iter().map(|row| row.split(',').map(str::to_owned).collect()).collect()
    };
    let [train, valid, test] = parts.each_ref().map(|part| rows(part));
    assert_eq!(train.len() + valid.len() + test.len(), 100_000);
    // Nothing of a part is as late as the first of the next one, and tenths are met except for equal times.
    let times = |rows: &[Vec<String>]| {
        let times: Vec<i64> = rows.iter().map(|row| row[10].parse().unwrap()).collect();
        (*times.iter().min().unwrap(), *times.iter().max().unwrap())
    };
    assert!(times(&train).1 < times(&valid).0 && times(&valid).1 < times(&test).0);
    assert!(train.len().abs_diff(80_000) < 200 && test.len().abs_diff(10_000) < 200);
    let got: std::collections::BTreeSet<_> = train.into_iter().chain(valid).chain(test).collect();
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "{:?}", got.symmetric_difference(&expected).take(4).collect::<Vec<_>>());
}
