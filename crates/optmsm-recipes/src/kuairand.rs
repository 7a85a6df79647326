//! KuaiRand-1K and -Pure: the standard logs joined with the features of users and videos.
//!
//! Twice through the logs: once for the points in time, once for the rows. Memory: 8 bytes a row for the split, then about
//! 60 bytes a video and 150 a user: under 400 MB for KuaiRand-1K.

use optmsm_data::{ColumnType, Result};

use crate::lookup::{Lookup, Texts};
use crate::output::Output;
use crate::raw::{Raw, Row};
use crate::split::TimeSplit;
use crate::{Published, Recipe, time};

const PAGE: &str = "https://kuairand.com";
const LICENCE: &str = "CC BY-SA 4.0";
const SCENARIO: &str = "tab: where in the app the video was shown, t0 to t14";
const LABEL: &str = "is_click";
const SPLIT: &str = "by time: the first 80 % of the standard logs' rows, the next 10 %, the last 10 %";
const BY: &str = "its README";

pub(crate) const ONE_K: Recipe = Recipe {
    name: "kuairand-1k",
    title: "KuaiRand-1K",
    page: PAGE,
    files: &[
        "log_standard_4_08_to_4_21_1k.csv",
        "log_standard_4_22_to_5_08_1k.csv",
        "user_features_1k.csv",
        "video_features_basic_1k.csv",
    ],
    any_file: false,
    licence: LICENCE,
    scenario: SCENARIO,
    label: LABEL,
    split: SPLIT,
    published: &[
        Published { what: "interactions", rows: 11_713_045, by: BY },
        Published { what: "users", rows: 1_000, by: BY },
    ],
    columns: COLUMNS,
    config: include_str!("kuairand.toml"),
    cook,
};

pub(crate) const PURE: Recipe = Recipe {
    name: "kuairand-pure",
    title: "KuaiRand-Pure",
    files: &[
        "log_standard_4_08_to_4_21_pure.csv",
        "log_standard_4_22_to_5_08_pure.csv",
        "user_features_pure.csv",
        "video_features_basic_pure.csv",
    ],
    published: &[
        Published { what: "interactions", rows: 1_436_609, by: BY },
        Published { what: "users", rows: 27_285, by: BY },
    ],
    ..ONE_K
};

/// Features of a user, as their file names them. Numbers of followers and the like are there as ranges, too; the ranges
/// are taken.
const USER: [&str; 27] = [
    "user_id",
    "user_active_degree",
    "is_lowactive_period",
    "is_live_streamer",
    "is_video_author",
    "follow_user_num_range",
    "fans_user_num_range",
    "friend_user_num_range",
    "register_days_range",
    "onehot_feat0",
    "onehot_feat1",
    "onehot_feat2",
    "onehot_feat3",
    "onehot_feat4",
    "onehot_feat5",
    "onehot_feat6",
    "onehot_feat7",
    "onehot_feat8",
    "onehot_feat9",
    "onehot_feat10",
    "onehot_feat11",
    "onehot_feat12",
    "onehot_feat13",
    "onehot_feat14",
    "onehot_feat15",
    "onehot_feat16",
    "onehot_feat17",
];
const USER_FEATURES: usize = USER.len() - 1;

const COLUMNS: &[(&str, ColumnType)] = &[
    ("user_id", ColumnType::Int64),
    ("video_id", ColumnType::Int64),
    ("hour", ColumnType::Int64),
    ("weekday", ColumnType::Int64),
    ("author_id", ColumnType::Int64),
    ("video_type", ColumnType::Text),
    ("upload_type", ColumnType::Text),
    ("music_type", ColumnType::Text),
    ("tag", ColumnType::Texts),
    ("duration_ms", ColumnType::Int64),
    ("age_days", ColumnType::Int64),
    (USER[1], ColumnType::Text),
    (USER[2], ColumnType::Text),
    (USER[3], ColumnType::Text),
    (USER[4], ColumnType::Text),
    (USER[5], ColumnType::Text),
    (USER[6], ColumnType::Text),
    (USER[7], ColumnType::Text),
    (USER[8], ColumnType::Text),
    (USER[9], ColumnType::Text),
    (USER[10], ColumnType::Text),
    (USER[11], ColumnType::Text),
    (USER[12], ColumnType::Text),
    (USER[13], ColumnType::Text),
    (USER[14], ColumnType::Text),
    (USER[15], ColumnType::Text),
    (USER[16], ColumnType::Text),
    (USER[17], ColumnType::Text),
    (USER[18], ColumnType::Text),
    (USER[19], ColumnType::Text),
    (USER[20], ColumnType::Text),
    (USER[21], ColumnType::Text),
    (USER[22], ColumnType::Text),
    (USER[23], ColumnType::Text),
    (USER[24], ColumnType::Text),
    (USER[25], ColumnType::Text),
    (USER[26], ColumnType::Text),
    ("time_ms", ColumnType::Int64),
];

const VIDEO: [&str; 8] = [
    "video_id",
    "author_id",
    "video_type",
    "upload_dt",
    "upload_type",
    "video_duration",
    "music_type",
    "tag",
];

/// The columns of a log that are read. What a user did after the click (play_time_ms, long_view, is_like, …) is not.
const LOG: [&str; 6] = ["user_id", "video_id", "date", "hourmin", "is_click", "tab"];

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let &[early, late, users, videos] = raw.files() else { return Ok(()) };
    let mut times = Vec::new();
    for log in [early, late] {
        let mut rows = raw.table(log, b',', ["time_ms"])?;
        while let Some(row) = rows.next()? {
            times.push(row.int(0)?);
        }
        raw.record(rows.done());
    }
    raw.count("interactions", times.len() as u64)?;
    let split = TimeSplit::new("the standard logs", times)?;

    let mut texts = Texts::new();
    let users = read_users(raw, users, &mut texts)?;
    let videos = read_videos(raw, videos, &mut texts)?;

    for log in [early, late] {
        let mut rows = raw.table(log, b',', ["time_ms", LOG[0], LOG[1], LOG[2], LOG[3], LOG[4], LOG[5]])?;
        while let Some(row) = rows.next()? {
            write(out, row, split, &texts, &users, &videos)?;
        }
    }
    Ok(())
}

fn read_users(raw: &mut Raw, file: &str, texts: &mut Texts) -> Result<Lookup<USER_FEATURES>> {
    let (mut rows, mut users) = (raw.table(file, b',', USER)?, Lookup::new());
    while let Some(row) = rows.next()? {
        let mut features = [0; USER_FEATURES];
        for (i, feature) in features.iter_mut().enumerate() {
            *feature = texts.number(row.text(i + 1)?);
        }
        if !users.add(row.int(0)?, features) {
            return Err(row.wrong(0, "a new user: it stands there twice"));
        }
    }
    raw.count("users", rows.rows())?;
    raw.record(rows.done());
    Ok(users)
}

/// Author + 1, type, day of the upload + 1, type of the upload, milliseconds + 1, type of the music, tags; 0 is missing.
fn read_videos(raw: &mut Raw, file: &str, texts: &mut Texts) -> Result<Lookup<7>> {
    let (mut rows, mut videos) = (raw.table(file, b',', VIDEO)?, Lookup::new());
    while let Some(row) = rows.next()? {
        let features = [
            whole(row, 1)?,
            texts.number(row.text(2)?),
            day(row)?,
            texts.number(row.text(4)?),
            whole(row, 5)?,
            texts.number(row.text(6)?),
            texts.number(row.text(7)?),
        ];
        if !videos.add(row.int(0)?, features) {
            return Err(row.wrong(0, "a new video: it stands there twice"));
        }
    }
    raw.count("videos", videos.len())?;
    raw.record(rows.done());
    Ok(videos)
}

/// A whole number, which may be written as 17200.0, plus 1; 0 if it is missing.
fn whole(row: Row<'_, 8>, i: usize) -> Result<u32> {
    let text = row.text(i)?;
    if text.is_empty() {
        return Ok(0);
    }
    let number = text.parse::<f64>().ok().filter(|v| (0.0..f64::from(u32::MAX)).contains(v));
    number.map(|v| v as u32 + 1).ok_or_else(|| row.wrong(i, "a number of at least 0"))
}

/// Day of the upload plus 1; 0 if it is missing.
fn day(row: Row<'_, 8>) -> Result<u32> {
    const UPLOAD: usize = 3;
    let text = row.text(UPLOAD)?;
    if text.is_empty() {
        return Ok(0);
    }
    let day = time::date(text).and_then(|day| u32::try_from(day).ok());
    day.map(|day| day + 1).ok_or_else(|| row.wrong(UPLOAD, "a date such as 2020-07-08"))
}

fn write(
    out: &mut Output,
    row: Row<'_, 7>,
    split: TimeSplit,
    texts: &Texts,
    users: &Lookup<USER_FEATURES>,
    videos: &Lookup<7>,
) -> Result<()> {
    let (at, user, video) = (row.int(0)?, row.int(1)?, row.int(2)?);
    let user_features = users.get(user).ok_or_else(|| row.wrong(1, "a user of the users' file"))?;
    let features = videos.get(video).ok_or_else(|| row.wrong(2, "a video of the videos' file"))?;
    let [author, kind, upload, upload_type, duration, music, tags] = *features;
    let date = row.int(3)?;
    let today = time::days(date / 10_000, date / 100 % 100, date % 100)
        .ok_or_else(|| row.wrong(3, "a date such as 20220421"))?;
    let hour = row.int(4)? / 100;
    if !(0..24).contains(&hour) {
        return Err(row.wrong(4, "hour and minute such as 2359"));
    }
    let label = row.label(5)?;
    let tab = row.int(6)?;
    if !(0..15).contains(&tab) {
        return Err(row.wrong(6, "a tab from 0 to 14"));
    }
    let known = |number: u32| (number > 0).then(|| i64::from(number) - 1);
    let mut written = out
        .row(split.part(at), label, &format!("t{tab}"))
        .int(user)
        .int(video)
        .int(hour)
        // 1970-01-01 was a Thursday; 0 is Monday.
        .int((today + 3) % 7)
        .int(known(author))
        .text(texts.text(kind))
        .text(texts.text(upload_type))
        .text(texts.text(music))
        .texts(texts.text(tags).split(',').map(str::trim).filter(|tag| !tag.is_empty()))
        .int(known(duration))
        .int(known(upload).map(|upload| (today - upload).max(0)));
    for &feature in user_features {
        written = written.text(texts.text(feature));
    }
    written.int(at).end()
}
