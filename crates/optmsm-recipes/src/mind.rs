//! MIND small: impressions of news, one row for each news shown.
//!
//! Twice through the training impressions: once for the points in time, once for the rows. Memory: the news, about 1 kB
//! each, and 8 bytes an impression: under 100 MB.
//!
//! The scenario is how long a user's history is. It is known when the request comes, before any news is chosen, and is one
//! for all news of an impression, which are then ranked by one tower. A category of news would put the candidates of
//! one request into different scenarios, and is a property of the item, which the model has as a field.

use std::collections::HashMap;

use optmsm_data::{ColumnType, Result, Split};

use crate::output::Output;
use crate::raw::{Line, Raw};
use crate::split::TimeSplit;
use crate::{Published, Recipe, time};

/// The owner publishes counts of the large MIND only.
const BY: &str = "RecZoo's MIND_small_x1";
const COUNTED: &str = "counted by its users";

pub(crate) const RECIPE: Recipe = Recipe {
    name: "mind",
    title: "MIND small",
    page: "https://msnews.github.io/",
    files: &[
        "MINDsmall_train/behaviors.tsv",
        "MINDsmall_train/news.tsv",
        "MINDsmall_dev/behaviors.tsv",
        "MINDsmall_dev/news.tsv",
    ],
    any_file: false,
    licence: "Microsoft Research License Terms: research only",
    scenario: "clicks in the user's history: none (0), short (1 to 10), medium (11 to 50), long (more)",
    label: "clicked (-1)",
    split: "MINDsmall_dev is the test; the last 10 % of the training impressions in time validate",
    published: &[
        Published { what: "training impressions", rows: 156_965, by: COUNTED },
        Published { what: "test impressions", rows: 73_152, by: COUNTED },
        Published { what: "training candidates", rows: 5_843_444, by: BY },
        Published { what: "test candidates", rows: 2_740_998, by: BY },
    ],
    columns: &[
        ("impression_id", ColumnType::Int64),
        ("user_id", ColumnType::Text),
        ("news_id", ColumnType::Text),
        ("category", ColumnType::Text),
        ("subcategory", ColumnType::Text),
        ("title", ColumnType::Texts),
        ("history", ColumnType::Texts),
        ("history_category", ColumnType::Texts),
        ("hour", ColumnType::Int64),
        ("timestamp", ColumnType::Int64),
    ],
    config: include_str!("mind.toml"),
    cook,
};

/// News of a history that are kept: the newest.
const LONGEST: usize = 20;

struct News {
    category: String,
    subcategory: String,
    title: Vec<String>,
}

type AllNews = HashMap<String, News>;

/// An impression: number, user, time, history and news shown, the last two as they are written.
struct Impression<'a> {
    line: Line<'a>,
    id: i64,
    user: &'a str,
    time: i64,
    history: &'a str,
    shown: &'a str,
}

impl<'a> Impression<'a> {
    fn read(line: Line<'a>) -> Result<Self> {
        let [id, user, when, history, shown] = line.columns(b"\t")?;
        let at = line.at;
        let time = time::american(at.text("time", when)?)
            .ok_or_else(|| at.value("time", when, "a time such as 11/9/2019 1:05:09 PM"))?;
        Ok(Self {
            line,
            id: at.int("impression", id)?,
            user: at.text("user", user)?,
            time,
            history: at.text("history", history)?,
            shown: at.text("impressions", shown)?,
        })
    }

    /// Writes a row for each news shown; their number.
    fn write(&self, part: Split, news: &AllNews, out: &mut Output) -> Result<u64> {
        let history: Vec<&str> = self.history.split_ascii_whitespace().rev().collect();
        let scenario = match history.len() {
            0 => "none",
            1..=10 => "short",
            11..=50 => "medium",
            _ => "long",
        };
        let recent = &history[..history.len().min(LONGEST)];
        // A history may name news that neither part describes.
        let categories: Vec<&str> =
            recent.iter().filter_map(|id| news.get(*id)).map(|n| n.category.as_str()).collect();
        let mut rows = 0;
        for shown in self.shown.split_ascii_whitespace() {
            let wrong = |wanted| self.line.at.value("impressions", shown.as_bytes(), wanted);
            let (id, label) = match shown.rsplit_once('-') {
                Some((id, "0")) => (id, false),
                Some((id, "1")) => (id, true),
                _ => return Err(wrong("a news with -0 or -1; files without clicks cannot be used")),
            };
            let about = news.get(id).ok_or_else(|| wrong("one of the news, with -0 or -1"))?;
            out.row(part, label, scenario)
                .int(self.id)
                .text(self.user)
                .text(id)
                .text(&about.category)
                .text(&about.subcategory)
                .texts(&about.title)
                .texts(recent)
                .texts(&categories)
                .int(self.time.rem_euclid(86_400) / 3600)
                .int(self.time)
                .end()?;
            rows += 1;
        }
        Ok(rows)
    }
}

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let &[train, train_news, test, test_news] = raw.files() else { return Ok(()) };
    let mut news = AllNews::new();
    for file in [train_news, test_news] {
        read_news(raw, file, &mut news)?;
    }
    let (mut lines, mut times) = (raw.lines(train)?, Vec::new());
    while let Some(line) = lines.next()? {
        times.push(Impression::read(line)?.time);
    }
    raw.count("training impressions", lines.rows())?;
    raw.record(lines.done());
    let split = TimeSplit::without_test(train, times)?;

    let (mut lines, mut candidates) = (raw.lines(train)?, 0);
    while let Some(line) = lines.next()? {
        let impression = Impression::read(line)?;
        candidates += impression.write(split.part(impression.time), &news, out)?;
    }
    raw.count("training candidates", candidates)?;

    let (mut lines, mut candidates) = (raw.lines(test)?, 0);
    while let Some(line) = lines.next()? {
        candidates += Impression::read(line)?.write(Split::Test, &news, out)?;
    }
    raw.count("test impressions", lines.rows())?;
    raw.count("test candidates", candidates)?;
    raw.record(lines.done());
    Ok(())
}

fn read_news(raw: &mut Raw, file: &str, news: &mut AllNews) -> Result<()> {
    let mut lines = raw.lines(file)?;
    while let Some(line) = lines.next()? {
        // Number, category, subcategory, title, abstract, address, entities of the title and of the abstract.
        let [id, category, subcategory, title, ..]: [&[u8]; 8] = line.columns(b"\t")?;
        let text = |column, value| line.at.text(column, value);
        let title = text("title", title)?.to_lowercase();
        let about = News {
            category: text("category", category)?.to_owned(),
            subcategory: text("subcategory", subcategory)?.to_owned(),
            title: title
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        // Most news of the test part are in the training part, too.
        news.entry(text("news", id)?.to_owned()).or_insert(about);
    }
    raw.count(&format!("news of {file}"), lines.rows())?;
    raw.record(lines.done());
    Ok(())
}
