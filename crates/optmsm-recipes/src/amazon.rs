//! Amazon reviews of 2014, 5-core: three categories, one JSON object a line, packed with gzip.
//!
//! All ratings are held in memory, 24 bytes each and their names once: under 60 MB.

use std::borrow::Cow;

use optmsm_data::{ColumnType, Result};
use serde::Deserialize;

use crate::history::{Rating, Ratings};
use crate::output::Output;
use crate::raw::{Line, Raw};
use crate::{Published, Recipe};

const BY: &str = "its page";

pub(crate) const RECIPE: Recipe = Recipe {
    name: "amazon",
    title: "Amazon reviews of 2014, 5-core",
    page: "https://jmcauley.ucsd.edu/data/amazon/index_2014.html",
    files: &[
        "reviews_Beauty_5.json",
        "reviews_Clothing_Shoes_and_Jewelry_5.json",
        "reviews_Health_and_Personal_Care_5.json",
    ],
    any_file: false,
    licence: "none stated; its page asks to cite its papers",
    scenario: "category: beauty, clothing, health",
    label: "rating of 4 or 5",
    split: "by time over all categories: the first 80 % of the reviews, the next 10 %, the last 10 %; a day stays together",
    published: &[
        Published { what: "beauty reviews", rows: 198_502, by: BY },
        Published { what: "clothing reviews", rows: 278_677, by: BY },
        Published { what: "health reviews", rows: 346_355, by: BY },
    ],
    columns: &[
        ("user_id", ColumnType::Text),
        ("item_id", ColumnType::Text),
        ("liked", ColumnType::Texts),
        ("timestamp", ColumnType::Int64),
    ],
    config: include_str!("amazon.toml"),
    cook,
};

/// Scenarios, in the order of the files.
const SCENARIOS: [&str; 3] = ["beauty", "clothing", "health"];

/// Fields that are read of a review. The text, its summary and the votes came with the rating or after it.
#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow, rename = "reviewerID")]
    user: Cow<'a, str>,
    #[serde(borrow)]
    asin: Cow<'a, str>,
    overall: f64,
    #[serde(rename = "unixReviewTime")]
    time: i64,
}

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let mut ratings = Ratings::new();
    for (scenario, (name, file)) in SCENARIOS.iter().zip(raw.files()).enumerate() {
        let mut lines = raw.lines(file)?;
        while let Some(line) = lines.next()? {
            let review = read(line)?;
            ratings.rows.push(Rating {
                scenario: scenario as u8,
                user: ratings.users.number(&review.user),
                item: ratings.items.number(&review.asin),
                liked: review.overall >= 4.0,
                time: review.time,
            });
        }
        raw.count(&format!("{name} reviews"), lines.rows())?;
        raw.record(lines.done());
    }
    ratings.each("the reviews", |ratings, r, part, liked| {
        out.row(part, r.liked, SCENARIOS[usize::from(r.scenario)])
            .text(ratings.users.text(r.user))
            .text(ratings.items.text(r.item))
            .texts(liked.iter().map(|&item| ratings.items.text(item)))
            .int(r.time)
            .end()
    })
}

fn read(line: Line<'_>) -> Result<Review<'_>> {
    let review: Review = serde_json::from_slice(line.bytes).map_err(|e| {
        // Its line is always the first one: each line is read for itself.
        let text = e.to_string();
        let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
        line.at.row(format!("is not a review as JSON ({why})"))
    })?;
    if !(1.0..=5.0).contains(&review.overall) {
        return Err(line.at.value("overall", review.overall.to_string().as_bytes(), "a rating from 1 to 5"));
    }
    Ok(review)
}
