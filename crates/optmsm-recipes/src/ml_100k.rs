//! MovieLens-100K: `u.data` with tabs between columns, `u.user` and `u.item` with `|`, titles in Latin-1.

use optmsm_data::Result;

use crate::movielens::{self, Movie, Tables, User};
use crate::output::Output;
use crate::raw::Raw;
use crate::{Published, Recipe};

pub(crate) const RECIPE: Recipe = Recipe {
    name: "ml-100k",
    title: "MovieLens-100K",
    page: "https://grouplens.org/datasets/movielens/100k/",
    files: &["u.data", "u.user", "u.item", "u.genre"],
    any_file: false,
    licence: movielens::LICENCE,
    scenario: movielens::SCENARIO,
    label: movielens::LABEL,
    split: movielens::SPLIT,
    published: &[
        Published { what: "ratings", rows: 100_000, by: "its README" },
        Published { what: "users", rows: 943, by: "its README" },
        Published { what: "movies", rows: 1_682, by: "its README" },
    ],
    columns: movielens::COLUMNS,
    config: include_str!("movielens.toml"),
    cook,
};

/// Genres of the data: flags at the end of a movie's line, in the order of `u.genre`.
const GENRES: usize = 19;

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let mut tables = Tables::default();

    let mut genres: Vec<String> = Vec::new();
    let mut lines = raw.lines("u.genre")?;
    while let Some(line) = lines.next()? {
        let [name, number] = line.columns(b"|")?;
        if line.at.int("number", number)? != genres.len() as i64 || genres.len() == GENRES {
            return Err(line.at.value("number", number, "the number of the genre, from 0 to 18 in turn"));
        }
        genres.push(line.at.text("genre", name)?.to_owned());
    }
    raw.record(lines.done());

    let mut lines = raw.lines("u.user")?;
    while let Some(line) = lines.next()? {
        let [id, age, gender, occupation, zip_code] = line.columns(b"|")?;
        let text = |column, value| line.at.text(column, value).map(str::to_owned);
        let user = User {
            id: text("user", id)?,
            scenario: movielens::age_group(line.at.int("age", age)?),
            age: text("age", age)?,
            gender: text("gender", gender)?,
            occupation: text("occupation", occupation)?,
            zip_code: text("zip code", zip_code)?,
        };
        tables.add_user(user);
    }
    raw.record(lines.done());
    raw.count("users", tables.known().0)?;

    let mut lines = raw.lines("u.item")?;
    while let Some(line) = lines.next()? {
        // Number, title, release date, date of the video, address, flags.
        let columns: [&[u8]; 5 + GENRES] = line.columns(b"|")?;
        let mut flagged = Vec::new();
        for (flag, genre) in columns[5..].iter().zip(&genres) {
            if line.at.label(genre, flag)? {
                flagged.push(genre.clone());
            }
        }
        let id = line.at.text("movie", columns[0])?.to_owned();
        tables.add_movie(Movie { id, genres: flagged, year: movielens::year(columns[2]) });
    }
    raw.record(lines.done());
    raw.count("movies", tables.known().1)?;

    let mut lines = raw.lines("u.data")?;
    while let Some(line) = lines.next()? {
        tables.rate(line.at, line.columns(b"\t")?)?;
    }
    raw.count("ratings", lines.rows())?;
    raw.record(lines.done());
    tables.write("u.data", out)
}
