//! MovieLens-1M: files of lines with `::` between columns, titles in Latin-1.

use optmsm_data::Result;

use crate::movielens::{self, Movie, Tables, User};
use crate::output::Output;
use crate::raw::Raw;
use crate::{Published, Recipe};

pub(crate) const RECIPE: Recipe = Recipe {
    name: "ml-1m",
    title: "MovieLens-1M",
    page: "https://grouplens.org/datasets/movielens/1m/",
    files: &["ratings.dat", "users.dat", "movies.dat"],
    any_file: false,
    licence: movielens::LICENCE,
    scenario: movielens::SCENARIO,
    label: movielens::LABEL,
    split: movielens::SPLIT,
    published: &[
        Published { what: "ratings", rows: 1_000_209, by: "its README" },
        Published { what: "users", rows: 6_040, by: "its README" },
    ],
    columns: movielens::COLUMNS,
    config: include_str!("movielens.toml"),
    cook,
};

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let mut tables = Tables::default();

    let mut lines = raw.lines("users.dat")?;
    while let Some(line) = lines.next()? {
        let [id, gender, age, occupation, zip_code] = line.columns(b"::")?;
        let text = |column, value| line.at.text(column, value).map(str::to_owned);
        // An age is the first year of one of seven groups, 1 for the youngest.
        let group = line.at.int("age", age)?;
        if ![1, 18, 25, 35, 45, 50, 56].contains(&group) {
            return Err(line.at.value("age", age, "one of the age groups 1, 18, 25, 35, 45, 50, 56"));
        }
        let user = User {
            id: text("user", id)?,
            scenario: movielens::age_group(group),
            age: text("age", age)?,
            gender: text("gender", gender)?,
            occupation: text("occupation", occupation)?,
            zip_code: text("zip code", zip_code)?,
        };
        tables.add_user(user);
    }
    raw.record(lines.done());
    raw.count("users", tables.known().0)?;

    let mut lines = raw.lines("movies.dat")?;
    while let Some(line) = lines.next()? {
        let [id, title, genres] = line.columns(b"::")?;
        let genres = line.at.text("genres", genres)?;
        let movie = Movie {
            id: line.at.text("movie", id)?.to_owned(),
            genres: genres.split('|').filter(|g| !g.is_empty()).map(str::to_owned).collect(),
            // A title ends in its year: "Heat (1995)".
            year: movielens::year(title.trim_ascii_end().strip_suffix(b")").unwrap_or_default()),
        };
        tables.add_movie(movie);
    }
    raw.record(lines.done());
    raw.count("movies", tables.known().1)?;

    let mut lines = raw.lines("ratings.dat")?;
    while let Some(line) = lines.next()? {
        tables.rate(line.at, line.columns(b"::")?)?;
    }
    raw.count("ratings", lines.rows())?;
    raw.record(lines.done());
    tables.write("ratings.dat", out)
}
