use sha2::{Digest, Sha256};

use super::*;

fn csv(config: &SynthConfig, range: Range<u64>) -> String {
    let mut out = Vec::new();
    write_csv(config, range, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Chance that a click ranks above a non-click, by counting pairs of sorted scores.
pub(super) fn auc(mut rows: Vec<(f64, bool)>) -> f64 {
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins, mut clicks) = (0.0, 0.0, 0.0);
    for (_, label) in &rows {
        if *label {
            wins += below;
            clicks += 1.0;
        } else {
            below += 1.0;
        }
    }
    wins / (clicks * below)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let config = SynthConfig::default();
    assert_eq!(csv(&config, 0..500), csv(&config, 0..500));
    let other = SynthConfig { seed: 2, ..config.clone() };
    assert_ne!(csv(&config, 0..500), csv(&other, 0..500));
}

/// The hash was taken before other worlds were added, of `optmsm synth --rows 20000`.
#[test]
fn the_demo_is_what_it_was() {
    let hash = Sha256::digest(csv(&SynthConfig::default(), 0..20_000));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "dd44067f831a4e729fc715c683758e34e7675ca4bacebf7f14db4dd4e90cc7dc");
}

#[test]
fn ranges_put_together_are_the_whole() {
    for world in SynthWorld::ALL {
        let config = SynthConfig { rows: 1003, ..world.config() };
        let [train, valid, test] = config.splits();
        assert_eq!([&train, &valid, &test], [&(0..803), &(803..903), &(903..1003)]);
        let whole = csv(&config, 0..1003);
        let body = |range| csv(&config, range).strip_prefix(HEADER).unwrap().to_owned();
        assert_eq!(whole, [HEADER.to_owned(), body(train), body(valid), body(test)].concat());
        assert_eq!(whole.lines().count(), 1004);
    }
}

#[test]
fn scenarios_have_their_shares() {
    let config = SynthConfig::default();
    let world = World::new(&config);
    let n = 50_000;
    let mut counts = [0.0; 4];
    (0..n).for_each(|i| counts[world.row(i).scenario] += 1.0);
    for (count, s) in counts.iter().zip(&config.scenarios) {
        let sigma = (n as f64 * s.share * (1.0 - s.share)).sqrt();
        assert!((count - n as f64 * s.share).abs() < 5.0 * sigma, "{}: {count}", s.name);
    }
}

#[test]
fn the_ceiling_is_where_it_should_be_and_one_tower_for_all_is_below_it() {
    let config = SynthConfig::default();
    let world = World::new(&config);
    let rows: Vec<_> = (0..60_000).map(|i| world.row(i)).collect();
    let ceiling = auc(rows.iter().map(|r| (r.probability, r.label)).collect());
    assert!((0.80..0.85).contains(&ceiling), "{ceiling}");
    for s in 0..4 {
        let here: Vec<_> = rows.iter().filter(|r| r.scenario == s).collect();
        let own = auc(here.iter().map(|r| (r.probability, r.label)).collect());
        // The best that a scenario-blind model can know: the mean of the log-odds, weighted by share.
        let log_price = |r: &world::Row| r.price.map(|p| (p.ln() - 2.5) / 0.8);
        let blind = |r: &world::Row| -> f64 {
            (0..4).map(|t| config.scenarios[t].share * world.log_odds(r, log_price(r), t)).sum()
        };
        let blind = auc(here.iter().map(|r| (blind(r), r.label)).collect());
        // The blind model leans to home, which has most rows, and loses most elsewhere.
        let least = if s == 0 { 0.01 } else { 0.05 };
        assert!(own - blind > least, "scenario {s}: own {own}, blind {blind}");
    }
}

#[test]
fn a_name_with_a_delimiter_is_quoted() {
    let mut config = SynthConfig::default();
    config.scenarios[0].name = "home, \"new\"".into();
    let text = csv(&config, 0..50);
    assert!(text.contains(",\"home, \"\"new\"\"\",u"), "{text}");
}

#[test]
fn settings_that_cannot_work_are_errors() {
    let with = |change: fn(&mut SynthConfig)| {
        let mut config = SynthConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert_eq!(with(|c| c.users = 0), "config `synth.users`: must be at least 1, got 0; raise it");
    assert_eq!(
        with(|c| c.scenarios.clear()),
        "config `synth.scenarios`: must be at least 1, got 0; raise it"
    );
    assert_eq!(
        with(|c| c.scenarios[1].share = 0.0),
        "config `synth.scenarios.search.share`: must be a finite number above 0, got 0; change it"
    );
    assert_eq!(
        with(|c| c.scenarios[1].name = "home".into()),
        "config `synth.scenarios`: 'home' is named twice; rename or drop one"
    );
    assert_eq!(
        with(|c| c.world = SynthWorld::Ten),
        "config `synth.scenarios`: are 4, but the world 'ten' has 10; begin with SynthWorld::config"
    );
}
