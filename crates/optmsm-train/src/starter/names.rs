//! Names of columns: words by which labels, scenarios, users and outcomes are told.

use std::collections::HashMap;

/// Names of a label, the most telling first.
pub(super) const LABELS: [&str; 12] = [
    "label",
    "click",
    "clicked",
    "is_click",
    "isclick",
    "is_clicked",
    "clk",
    "y",
    "target",
    "ctr_label",
    "response",
    "conversion",
];
/// Names of a scenario, the most telling first.
pub(super) const SCENARIOS: [&str; 12] = [
    "scenario",
    "domain",
    "scene",
    "tab",
    "channel",
    "page",
    "placement",
    "site",
    "slot",
    "surface",
    "pid",
    "position",
];
/// The first of them that name nothing else: a longer name with one of them as a word is one, too.
pub(super) const SURE: usize = 3;
/// Names of what the rows of a user have in common.
pub(super) const USERS: [&str; 8] =
    ["user_id", "user", "userid", "uid", "member_id", "visitor_id", "customer_id", "reviewer_id"];
/// Words in the names of what is known only after the click.
const OUTCOMES: [&str; 46] = [
    "click",
    "clicked",
    "clicks",
    "clk",
    "like",
    "liked",
    "follow",
    "forward",
    "comment",
    "share",
    "purchase",
    "purchased",
    "buy",
    "bought",
    "paid",
    "order",
    "ordered",
    "cart",
    "checkout",
    "revenue",
    "gmv",
    "conversion",
    "converted",
    "cvr",
    "dwell",
    "stay",
    "watch",
    "play",
    "long_view",
    "install",
    "outcome",
    "is_rand",
    "skip",
    "skipped",
    "dislike",
    "disliked",
    "hate",
    "hide",
    "hidden",
    "dismiss",
    "dismissed",
    "unfollow",
    "unlike",
    "unsubscribe",
    "report",
    "bounce",
];
/// Words in the names of what sums up earlier rows: `avg_dwell`, `clicked_before`.
pub(super) const EARLIER: [&str; 22] = [
    "hist",
    "history",
    "historical",
    "past",
    "prev",
    "previous",
    "prior",
    "before",
    "last",
    "recent",
    "lifetime",
    "ever",
    "since",
    "avg",
    "average",
    "mean",
    "rate",
    "ctr",
    "count",
    "counts",
    "cnt",
    "num",
];
/// Words in the names of points in time.
pub(super) const TIMES: [&str; 8] =
    ["timestamp", "time", "date", "datetime", "ts", "time_ms", "created", "updated"];
/// Words in the names of numbers that mean more the larger they are.
pub(super) const AMOUNTS: [&str; 22] = [
    "age", "price", "cost", "count", "cnt", "num", "amount", "score", "rate", "ratio", "ctr", "days", "len",
    "length", "size", "duration", "rating", "distance", "height", "width", "views", "total",
];

/// Whether a name, in small letters, is one of the words or has one in it.
pub(super) fn word_in(name: &str, words: &[&str]) -> bool {
    let mut parts = name.split(|c: char| !c.is_alphanumeric());
    words.contains(&name) || parts.any(|part| words.contains(&part))
}

/// Whether a name, in small letters, is that of an outcome, not of how many there were before, as in `clicks_7d`.
pub(super) fn is_outcome(name: &str) -> bool {
    let window = |part: &str| {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &part[digits.len()..];
        digits.parse::<u32>().is_ok() && ["h", "d", "w", "m", "y", "day", "days"].contains(&unit)
    };
    let mut parts = name.split(|c: char| !c.is_alphanumeric());
    word_in(name, &OUTCOMES) && !word_in(name, &EARLIER) && !parts.any(window)
}

/// A name in small letters and digits, without `id` behind a word: `Scenario-ID` is `scenario`.
pub(super) fn key(name: &str) -> String {
    let plain: String = name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    plain.strip_suffix("id").filter(|key| key.len() > 2).map(str::to_owned).unwrap_or(plain)
}

/// The first of `names` that a fitting column has.
pub(super) fn by_name(
    keys: &HashMap<String, Vec<usize>>,
    names: &[&str],
    fits: impl Fn(usize) -> bool,
) -> Option<usize> {
    let fitting = |name: &&str| keys.get(&key(name))?.iter().copied().find(|&i| fits(i));
    names.iter().find_map(fitting)
}
