//! Douban: ratings of books, movies and music by the same users; quoted files with tabs between columns.
//!
//! All ratings are held in memory, 24 bytes each and their names once: under 100 MB.

use std::collections::HashMap;

use optmsm_data::{ColumnType, Result};

use crate::history::{Rating, Ratings};
use crate::output::Output;
use crate::raw::{Raw, Row};
use crate::{Published, Recipe, time};

/// The owner publishes no counts of these files.
const BY: &str = "the benchmark Scenario-Wise Rec";

pub(crate) const RECIPE: Recipe = Recipe {
    name: "douban",
    title: "Douban ratings of books, movies and music",
    page: "https://www.kaggle.com/datasets/fengzhujoey/douban-datasetratingreviewside-information",
    files: &[
        "bookreviews_cleaned.txt",
        "moviereviews_cleaned.txt",
        "musicreviews_cleaned.txt",
        "users_cleaned.txt",
    ],
    any_file: false,
    licence: "terms of its page",
    scenario: "what is rated: book, movie, music",
    label: "rating of 4 or 5; rows without a rating are left out",
    split: "by time over all three: the first 80 % of the ratings, the next 10 %, the last 10 %",
    published: &[
        Published { what: "book reviews", rows: 227_251, by: BY },
        Published { what: "movie reviews", rows: 1_278_401, by: BY },
        Published { what: "music reviews", rows: 179_847, by: BY },
    ],
    columns: &[
        ("user_id", ColumnType::Text),
        ("item_id", ColumnType::Text),
        ("living_place", ColumnType::Text),
        ("join_year", ColumnType::Text),
        ("liked", ColumnType::Texts),
        ("timestamp", ColumnType::Int64),
    ],
    config: include_str!("douban.toml"),
    cook,
};

/// Scenarios and the column of the item, in the order of the files.
const SCENARIOS: [(&str, &str); 3] = [("book", "book_id"), ("movie", "movie_id"), ("music", "music_id")];

#[derive(Default)]
struct User {
    place: String,
    year: String,
}

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let &[book, movie, music, users] = raw.files() else { return Ok(()) };
    let users = read_users(raw, users)?;
    let mut ratings = Ratings::new();
    for (scenario, (file, (name, item))) in [book, movie, music].into_iter().zip(SCENARIOS).enumerate() {
        // Labels and comments of a review were written with its rating.
        let mut rows = raw.table(file, b'\t', ["user_id", item, "rating", "time"])?;
        let mut unrated = 0;
        while let Some(row) = rows.next()? {
            let Some(liked) = liked(row)? else {
                unrated += 1;
                continue;
            };
            let time = time::date_time(row.text(3)?);
            ratings.rows.push(Rating {
                scenario: scenario as u8,
                user: ratings.users.number(row.text(0)?),
                // Numbers of books, movies and music begin anew.
                item: ratings.items.number(&format!("{name}:{}", row.text(1)?)),
                liked,
                time: time.ok_or_else(|| row.wrong(3, "a time such as 2016-05-04 13:00:59"))?,
            });
        }
        raw.count(&format!("{name} reviews"), rows.rows())?;
        raw.count(&format!("{name} reviews without a rating"), unrated)?;
        raw.record(rows.done());
    }
    let unknown = User::default();
    ratings.each("the reviews", |ratings, r, part, liked| {
        let name = ratings.users.text(r.user);
        let user = users.get(name).unwrap_or(&unknown);
        out.row(part, r.liked, SCENARIOS[usize::from(r.scenario)].0)
            .text(name)
            .text(ratings.items.text(r.item))
            .text(&user.place)
            .text(&user.year)
            .texts(liked.iter().map(|&item| ratings.items.text(item)))
            .int(r.time)
            .end()
    })
}

/// Whether a rating is 4 or 5; none if there is none, which some rows write as a number below 1.
fn liked(row: Row<'_, 4>) -> Result<Option<bool>> {
    let text = row.text(2)?;
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(rating) if rating < 1.0 => Ok(None),
        Ok(rating) if rating <= 5.0 => Ok(Some(rating >= 4.0)),
        _ => Err(row.wrong(2, "a rating from 1 to 5")),
    }
}

fn read_users(raw: &mut Raw, file: &str) -> Result<HashMap<String, User>> {
    let (mut rows, mut users) =
        (raw.table(file, b'\t', ["UID", "living_place", "join_time"])?, HashMap::new());
    while let Some(row) = rows.next()? {
        let joined = row.text(2)?;
        let year = joined.get(..4).filter(|year| year.bytes().all(|b| b.is_ascii_digit()));
        let user = User { place: row.text(1)?.to_owned(), year: year.unwrap_or_default().to_owned() };
        users.insert(row.text(0)?.to_owned(), user);
    }
    raw.count("users", rows.rows())?;
    raw.record(rows.done());
    Ok(users)
}
