//! What both MovieLens recipes do.

use std::collections::HashMap;

use optmsm_data::{ColumnType, Result};

use crate::output::Output;
use crate::raw::At;
use crate::split::TimeSplit;

pub(crate) const LICENCE: &str =
    "research only, no redistribution, commercial use by permission: the README in the archive";
pub(crate) const SCENARIO: &str = "age group of the user: under_25, 25_to_34, 35_and_over";
pub(crate) const LABEL: &str = "rating of 4 or 5";
pub(crate) const SPLIT: &str =
    "by time over all users: the first 80 % of the ratings, the next 10 %, the last 10 %";

pub(crate) const COLUMNS: &[(&str, ColumnType)] = &[
    ("user_id", ColumnType::Text),
    ("item_id", ColumnType::Text),
    ("age", ColumnType::Text),
    ("gender", ColumnType::Text),
    ("occupation", ColumnType::Text),
    ("zip_code", ColumnType::Text),
    ("genres", ColumnType::Texts),
    ("release_year", ColumnType::Text),
    ("timestamp", ColumnType::Int64),
];

pub(crate) struct User {
    pub(crate) scenario: &'static str,
    pub(crate) age: String,
    pub(crate) gender: String,
    pub(crate) occupation: String,
    pub(crate) zip_code: String,
}

pub(crate) struct Movie {
    pub(crate) genres: Vec<String>,
    pub(crate) year: String,
}

struct Rating {
    user: String,
    movie: String,
    liked: bool,
    time: i64,
}

/// Users, movies and the ratings that join them.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) users: HashMap<String, User>,
    pub(crate) movies: HashMap<String, Movie>,
    ratings: Vec<Rating>,
}

/// Scenario of an age in years.
pub(crate) fn age_group(age: i64) -> &'static str {
    match age {
        ..25 => "under_25",
        25..35 => "25_to_34",
        _ => "35_and_over",
    }
}

/// Last four characters, if they are a year.
pub(crate) fn year(text: &[u8]) -> String {
    let digits = text.last_chunk::<4>().filter(|year| year.iter().all(u8::is_ascii_digit));
    digits.map_or_else(String::new, |year| String::from_utf8_lossy(year).into_owned())
}

impl Tables {
    /// Adds a rating, whose user and movie must be known.
    pub(crate) fn rate(&mut self, at: At, [user, movie, rating, time]: [&[u8]; 4]) -> Result<()> {
        let (user, movie) = (at.text("user", user)?, at.text("movie", movie)?);
        if !self.users.contains_key(user) {
            return Err(at.value("user", user.as_bytes(), "a user of the users' file"));
        }
        if !self.movies.contains_key(movie) {
            return Err(at.value("movie", movie.as_bytes(), "a movie of the movies' file"));
        }
        let liked = match at.int("rating", rating)? {
            1..=3 => false,
            4..=5 => true,
            _ => return Err(at.value("rating", rating, "a rating from 1 to 5")),
        };
        let time = at.int("timestamp", time)?;
        self.ratings.push(Rating { user: user.to_owned(), movie: movie.to_owned(), liked, time });
        Ok(())
    }

    /// Writes the ratings, in the order of their file.
    pub(crate) fn write(&self, file: &str, out: &mut Output) -> Result<()> {
        let split = TimeSplit::new(file, self.ratings.iter().map(|r| r.time).collect())?;
        for r in &self.ratings {
            let (user, movie) = (&self.users[&r.user], &self.movies[&r.movie]);
            out.row(split.part(r.time), r.liked, user.scenario)
                .text(&r.user)
                .text(&r.movie)
                .text(&user.age)
                .text(&user.gender)
                .text(&user.occupation)
                .text(&user.zip_code)
                .texts(&movie.genres)
                .text(&movie.year)
                .int(r.time)
                .end()?;
        }
        Ok(())
    }
}
