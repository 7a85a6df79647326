//! Columns that are known only after the click, and those that look like it.

use super::*;

#[test]
fn outcomes_are_left_out_by_their_values() {
    let place = Place::empty();
    let header = "click,domain,user,dwell,revenue,clk_ts,flag,words,things,noisy,copy,note,price,good,hour";
    for (rows, one_in) in [(400, 5), (4_000, 40), (3_000, 2)] {
        let mut data = format!("{header}\n");
        for i in 0..rows {
            let clicked = chance(i, one_in) == 1;
            let of = |n: usize| (i * 31 + i / n) % n;
            let when = |yes: bool, then: String, other: &str| if yes { then } else { other.into() };
            let values = [
                u8::from(clicked).to_string(),
                of(3).to_string(),
                format!("u{}", of(50)),
                when(clicked, (1 + of(90)).to_string(), "0"),
                when(clicked && of(3) > 0, format!("{}.5", of(20)), "0.0"),
                when(clicked, (1_700_000_000 + i).to_string(), ""),
                when(clicked, "no".into(), "yes"),
                when(clicked && of(4) > 0, "purchase".into(), ""),
                when(clicked, format!("[{}, {}]", of(9), of(5)), "[]"),
                // Overlaps a little.
                format!("{}.25", if clicked { 40 + of(60) } else { of(41) }),
                u8::from(clicked != (i % 100 == 7)).to_string(),
                when(clicked, "bought".into(), ["none", "seen"][i % 2]),
                format!("{}.5", of(37)),
                (2 * of(7) + usize::from(clicked == (i % 3 > 0))).to_string(),
                of(24).to_string(),
            ];
            writeln!(data, "{}", values.map(|v| format!("\"{v}\"")).join(",")).unwrap();
        }
        place.write("log.csv", data);
        let written = starts(&place, "log.csv", &[]);
        for name in ["dwell", "revenue", "clk_ts", "flag", "words", "things"] {
            let why = left(&written, name);
            assert!(
                why.contains("unless the label is 1, as what is known only after the click"),
                "{name}: {why}"
            );
        }
        for name in ["noisy", "copy", "note"] {
            let why = left(&written, name);
            assert!(why.contains("known only after the click"), "{name}: {why}");
        }
        let config: toml::Table = toml::from_str(&written).unwrap();
        for name in ["user", "price", "good", "hour"] {
            assert!(field(&config, name).is_some(), "{name} of {rows} in {written}");
        }
    }
}

#[test]
fn what_happened_before_is_no_outcome() {
    let place = Place::empty();
    let before = ["user_click_rate_7d", "clicks_last_30d", "hist_watch_time", "avg_dwell", "clicked_before"];
    let after = ["watch_time", "skip", "dismiss_reason", "is_hate"];
    let mut data = format!("label,scenario,user,{},{}\n", before.join(","), after.join(","));
    for i in 0..4_000 {
        // Users with an even number click far more often: an AUC of about 0.8.
        let clicked = chance(i, 4) == 1;
        let user = 2 * (i * 31 % 25) + usize::from(clicked != (i % 10 < 8));
        let taste = if user % 2 == 0 { 60 + i % 40 } else { i % 62 };
        let word = |yes: bool, text: &'static str| if yes { text } else { "" };
        writeln!(
            data,
            "{},s{},u{user},0.{taste:02},{},{taste}.{:03},{taste}.25,{},{}.5,{},{},{}",
            u8::from(clicked),
            i % 3,
            taste / 4,
            i % 1_000,
            u8::from(taste > 50),
            taste + if clicked { 20 } else { 0 },
            u8::from(!clicked && i % 3 == 0),
            word(!clicked && i % 5 == 0, ["not for me", "seen"][i % 2]),
            u8::from(!clicked && i % 50 == 0),
        )
        .unwrap();
    }
    place.write("d.csv", data);
    let written = starts(&place, "d.csv", &[]);
    let config: toml::Table = toml::from_str(&written).unwrap();
    for name in before {
        assert!(field(&config, name).is_some(), "{name} in {written}");
    }
    for name in after {
        let why = left(&written, name);
        assert!(why.contains("known only after the click"), "{name}: {why}");
    }
    assert!(left(&written, "dismiss_reason").contains("it is empty unless the label is 0"), "{written}");
}
