//! In-vehicle coupon recommendation (UCI 603): a survey of drivers who were shown coupons, one CSV.

use optmsm_data::{ColumnType, Result};

use crate::output::Output;
use crate::raw::Raw;
use crate::{Published, Recipe, split};

const FILE: &str = "in-vehicle-coupon-recommendation.csv";

pub(crate) const RECIPE: Recipe = Recipe {
    name: "coupon",
    title: "in-vehicle coupon recommendation",
    page: "https://archive.ics.uci.edu/dataset/603/in+vehicle+coupon+recommendation",
    files: &[FILE],
    any_file: false,
    licence: "CC BY 4.0",
    scenario: "coupon: its five kinds",
    label: "Y: the driver accepts the coupon",
    split: "by a hash of the row without its label: 80 %, 10 %, 10 %; equal rows stay together",
    published: &[Published { what: "rows", rows: 12_684, by: "its page" }],
    columns: &COLUMNS,
    config: include_str!("coupon.toml"),
    cook,
};

/// Label, scenario, and the rest in the order of the file, less `direction_opp`, the contrary of `direction_same`, and `car`, which
/// is blank in 99 % of the rows and not in every copy.
const NAMES: [&str; 24] = [
    "Y",
    "coupon",
    "destination",
    "passanger",
    "weather",
    "temperature",
    "time",
    "expiration",
    "gender",
    "age",
    "maritalStatus",
    "has_children",
    "education",
    "occupation",
    "income",
    "Bar",
    "CoffeeHouse",
    "CarryAway",
    "RestaurantLessThan20",
    "Restaurant20To50",
    "toCoupon_GEQ5min",
    "toCoupon_GEQ15min",
    "toCoupon_GEQ25min",
    "direction_same",
];

const COLUMNS: [(&str, ColumnType); NAMES.len() - 2] = {
    let mut columns = [("", ColumnType::Text); NAMES.len() - 2];
    let mut i = 0;
    while i < columns.len() {
        columns[i].0 = NAMES[i + 2];
        i += 1;
    }
    columns
};

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let mut table = raw.table(FILE, b',', NAMES)?;
    let mut key = Vec::new();
    while let Some(row) = table.next()? {
        let scenario = row.text(1)?;
        if scenario.is_empty() {
            return Err(row.wrong(1, "a kind of coupon"));
        }
        key.clear();
        for i in 1..NAMES.len() {
            key.extend_from_slice(row.bytes(i));
            key.push(b'\n'); // in no value
        }
        let mut written = out.row(split::by_hash(&key), row.label(0)?, scenario);
        for i in 2..NAMES.len() {
            written = written.text(row.text(i)?);
        }
        written.end()?;
    }
    raw.count("rows", table.rows())?;
    raw.record(table.done());
    Ok(())
}
