//! Code that both MovieLens recipes share.

use std::collections::HashMap;
use std::rc::Rc;

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
    pub(crate) id: String,
    pub(crate) scenario: &'static str,
    pub(crate) age: String,
    pub(crate) gender: String,
    pub(crate) occupation: String,
    pub(crate) zip_code: String,
}

pub(crate) struct Movie {
    pub(crate) id: String,
    pub(crate) genres: Vec<String>,
    pub(crate) year: String,
}

struct Rating {
    user: Rc<User>,
    movie: Rc<Movie>,
    liked: bool,
    time: i64,
}

/// Users, movies and the ratings that join them.
#[derive(Default)]
pub(crate) struct Tables {
    users: HashMap<String, Rc<User>>,
    movies: HashMap<String, Rc<Movie>>,
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
    /// Adds a user.
    pub(crate) fn add_user(&mut self, user: User) {
        self.users.insert(user.id.clone(), Rc::new(user));
    }

    /// Adds a movie.
    pub(crate) fn add_movie(&mut self, movie: Movie) {
        self.movies.insert(movie.id.clone(), Rc::new(movie));
    }

    /// Users and movies that are known.
    pub(crate) fn known(&self) -> (u64, u64) {
        (self.users.len() as u64, self.movies.len() as u64)
    }

    /// Adds a rating, whose user and movie must be known.
    pub(crate) fn rate(&mut self, at: At, [user, movie, rating, time]: [&[u8]; 4]) -> Result<()> {
        let known = self.users.get(at.text("user", user)?).map(Rc::clone);
        let user = known.ok_or_else(|| at.value("user", user, "a user of the users' file"))?;
        let known = self.movies.get(at.text("movie", movie)?).map(Rc::clone);
        let movie = known.ok_or_else(|| at.value("movie", movie, "a movie of the movies' file"))?;
        let liked = match at.int("rating", rating)? {
            1..=3 => false,
            4..=5 => true,
            _ => return Err(at.value("rating", rating, "a rating from 1 to 5")),
        };
        self.ratings.push(Rating { user, movie, liked, time: at.int("timestamp", time)? });
        Ok(())
    }

    /// Writes the ratings, in the order of their file.
    pub(crate) fn write(&self, file: &str, out: &mut Output) -> Result<()> {
        let split = TimeSplit::new(file, self.ratings.iter().map(|r| r.time).collect())?;
        for r in &self.ratings {
            let Rating { user, movie, .. } = r;
            out.row(split.part(r.time), r.liked, user.scenario)
                .text(&user.id)
                .text(&movie.id)
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
