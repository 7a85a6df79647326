//! KuaiRand: small files of its format, worked out by hand.
#![allow(missing_docs)]

mod common;

use common::Place;

const LOG: &str = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n";

/// A row of a log; what the user did after the click is filled with ones.
fn log(user: &str, video: &str, date: &str, hourmin: &str, time: i64, click: &str, tab: &str) -> String {
    format!("{user},{video},{date},{hourmin},{time},{click},1,1,1,1,1,1,9999,8888,1,1,1,0,{tab}\n")
}

fn users() -> String {
    let encrypted: String = (0..18).map(|i| format!(",onehot_feat{i}")).collect();
    let head = "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,register_days_range";
    let row = |user: &str, active: &str, last: &str| {
        let encrypted: String = (0..17).map(|i| format!(",{i}")).collect();
        format!("{user},{active},0,0,1,5,\"(0,10]\",312,\"[100,1k)\",0,0,3624,730+{encrypted},{last}\n")
    };
    format!("{head}{encrypted}\n{}{}", row("0", "full_active", "17.0"), row("7", "UNKNOWN", ""))
}

const VIDEOS: &str = "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,music_id,music_type,tag
3,441,NORMAL,2022-04-01,ShortImport,1,17200.0,720,1280,989206467,4.0,\"12,65\"
4,5,AD,,LongCamera,1,,720,1280,1,9.0,
";

/// Ten rows; 1009 validates, 1010 tests.
fn small() -> Place {
    let place = Place::new("kuairand-pure");
    let early = [
        log("0", "3", "20220408", "0", 1002, "1", "1"),
        log("0", "4", "20220408", "2359", 1001, "0", "0"),
        log("7", "3", "20220408", "1200", 1003, "0", "14"),
        log("0", "3", "20220409", "0", 1004, "1", "1"),
        log("0", "3", "20220409", "0", 1005, "1", "1"),
    ];
    let late = [
        log("0", "3", "20220422", "0", 1010, "1", "1"),
        log("0", "3", "20220422", "100", 1009, "0", "2"),
        log("0", "3", "20220422", "0", 1006, "1", "1"),
        log("0", "3", "20220422", "0", 1007, "1", "1"),
        log("0", "3", "20220422", "0", 1008, "1", "1"),
    ];
    place
        .raw("KuaiRand-Pure/data/log_standard_4_08_to_4_21_pure.csv", LOG.to_owned() + &early.concat())
        .raw("KuaiRand-Pure/data/log_standard_4_22_to_5_08_pure.csv", LOG.to_owned() + &late.concat())
        .raw("KuaiRand-Pure/data/user_features_pure.csv", users())
        .raw("KuaiRand-Pure/data/video_features_basic_pure.csv", VIDEOS);
    place
}

#[test]
fn rows() {
    let place = small();
    let made = place.make();
    let encrypted: String = (0..17).map(|i| format!(",{i}")).collect();
    let zero = format!("full_active,0,0,1,(0,10],[100,1k),0,730+{encrypted},17.0");
    let seven = format!("UNKNOWN,0,0,1,(0,10],[100,1k),0,730+{encrypted},");
    // 2022-04-08 is a Friday, day 4 of a week that begins on Monday with 0; the video is a week old.
    let three =
        |hour, weekday, age| format!("3,{hour},{weekday},441,NORMAL,ShortImport,4.0,[12|65],17200,{age}");
    let train = place.rows("train");
    assert_eq!(
        train[..4],
        [
            format!("1,t1,0,{},{zero},1002", three(0, 4, 7)),
            format!("0,t0,0,4,23,4,5,AD,LongCamera,9.0,[],,,{zero},1001"),
            format!("0,t14,7,{},{seven},1003", three(12, 4, 7)),
            format!("1,t1,0,{},{zero},1004", three(0, 5, 8)),
        ]
    );
    assert_eq!(train.len(), 8);
    assert_eq!(place.rows("valid"), [format!("0,t2,0,{},{zero},1009", three(1, 4, 21))]);
    assert_eq!(place.rows("test"), [format!("1,t1,0,{},{zero},1010", three(0, 4, 21))]);
    assert_eq!(
        made.warnings,
        [
            "10 interactions, where 1,436,609 are published (its README)",
            "2 users, where 27,285 are published (its README)"
        ]
    );
    // No column tells what followed the click.
    let columns = place.columns();
    for answer in ["is_click", "long_view", "play_time_ms", "is_like", "is_hate"] {
        assert!(!columns.iter().any(|column| column == answer));
    }
}

#[test]
fn errors() {
    let place = small();
    let damaged = "the file is damaged or of another format: download it again";
    let [early, users, videos] = [
        "KuaiRand-Pure/data/log_standard_4_08_to_4_21_pure.csv",
        "KuaiRand-Pure/data/user_features_pure.csv",
        "KuaiRand-Pure/data/video_features_basic_pure.csv",
    ];
    let with = |row: String| LOG.to_owned() + &row;
    let cases = [
        (
            early,
            "user_id,video_id\n".into(),
            "line 1: has no column 'time_ms' among user_id, video_id".to_owned(),
        ),
        (early, with("0,3,20220408\n".into()), "line 2: has 3 columns, where 19 belong".into()),
        (
            early,
            with(log("0", "3", "20220408", "0", 1, "2", "1")),
            "line 2, column 'is_click': \"2\" is not 0 or 1".into(),
        ),
        (
            early,
            with(log("0", "3", "20220431", "0", 1, "1", "1")),
            "line 2, column 'date': \"20220431\" is not a date such as 20220421".into(),
        ),
        (
            early,
            with(log("0", "3", "20220408", "2400", 1, "1", "1")),
            "line 2, column 'hourmin': \"2400\" is not hour and minute such as 2359".into(),
        ),
        (
            early,
            with(log("0", "3", "20220408", "0", 1, "1", "15")),
            "line 2, column 'tab': \"15\" is not a tab from 0 to 14".into(),
        ),
        (
            early,
            with(log("0", "9", "20220408", "0", 1, "1", "1")),
            "line 2, column 'video_id': \"9\" is not a video of the videos' file".into(),
        ),
        (
            early,
            with(log("8", "3", "20220408", "0", 1, "1", "1")),
            "line 2, column 'user_id': \"8\" is not a user of the users' file".into(),
        ),
        (
            videos,
            VIDEOS.replace("17200.0", "long"),
            "line 2, column 'video_duration': \"long\" is not a number of at least 0".into(),
        ),
        (
            videos,
            VIDEOS.replace("2022-04-01", "2022-4"),
            "line 2, column 'upload_dt': \"2022-4\" is not a date such as 2020-07-08".into(),
        ),
        (
            videos,
            VIDEOS.replace("\n4,", "\n3,"),
            "line 3, column 'video_id': \"3\" is not a new video: it stands there twice".into(),
        ),
        (
            users,
            self::users().replace("\n7,", "\nseven,"),
            "line 3, column 'user_id': \"seven\" is not an integer".into(),
        ),
    ];
    for (file, text, message) in cases {
        place.refused_with(file, text, &format!("{file} {message}; {damaged}"));
    }
    assert_eq!(
        place.refused(false),
        "raw: 10 interactions, where 1,436,609 are published (its README); download it again, or go on with --allow-partial"
    );
}
