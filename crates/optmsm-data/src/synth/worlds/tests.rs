//! Each world is what it is said to be, by its own truth.

use super::super::tests::auc;
use super::super::world::{Row, World};
use super::*;

/// A world of its usual size, and its rows.
fn made(world: SynthWorld) -> (SynthConfig, World, Vec<Row>) {
    let config = world.config();
    config.validate().unwrap();
    let made = World::new(&config);
    let rows = (0..config.rows).map(|i| made.row(i)).collect();
    (config, made, rows)
}

/// Log-odds of some rows, were they shown in each scenario.
fn log_odds(config: &SynthConfig, world: &World, rows: &[Row]) -> Vec<Vec<f64>> {
    let of = |row: &Row| {
        let log_price = row.price.map(|p| (p.ln() - 2.5) / 0.8);
        (0..config.scenarios.len()).map(|s| world.log_odds(row, log_price, s)).collect()
    };
    rows.iter().map(of).collect()
}

/// Correlation of the log-odds in two scenarios.
fn correlation(odds: &[Vec<f64>], a: usize, b: usize) -> f64 {
    let n = odds.len() as f64;
    let mean = |f: &dyn Fn(&Vec<f64>) -> f64| odds.iter().map(f).sum::<f64>() / n;
    let (of_a, of_b) = (mean(&|o| o[a]), mean(&|o| o[b]));
    let product = |x: usize, y: usize, of_x: f64, of_y: f64| mean(&|o| (o[x] - of_x) * (o[y] - of_y));
    product(a, b, of_a, of_b) / (product(a, a, of_a, of_a) * product(b, b, of_b, of_b)).sqrt()
}

#[test]
fn labels_follow_the_probabilities_in_every_scenario() {
    for world in SynthWorld::ALL {
        let (config, _, rows) = made(world);
        let mut sums = vec![(0.0, 0.0); config.scenarios.len()];
        for r in rows {
            let (difference, variance) = &mut sums[r.scenario];
            *difference += f64::from(u8::from(r.label)) - r.probability;
            *variance += r.probability * (1.0 - r.probability);
        }
        for (s, (difference, variance)) in sums.into_iter().enumerate() {
            // A sum of independent Bernoulli draws: beyond 5 sigma once in about two million.
            assert!(difference.abs() < 5.0 * f64::sqrt(variance), "{world:?}, scenario {s}: {difference}");
        }
    }
}

#[test]
fn ceilings_leave_room_on_both_sides() {
    for world in SynthWorld::ALL {
        let (config, _, rows) = made(world);
        let [.., test] = config.splits();
        let ceiling = auc(rows[test.start as usize..].iter().map(|r| (r.probability, r.label)).collect());
        println!("{}: {ceiling:.4}", world.name());
        assert!((0.75..0.9).contains(&ceiling), "{world:?}: {ceiling}");
    }
}

#[test]
fn scenarios_conflict() {
    let (config, world, rows) = made(SynthWorld::Conflict);
    let odds = log_odds(&config, &world, &rows[..5000]);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let correlation = correlation(&odds, a, b);
        assert!(correlation < -0.2, "{a} and {b}: {correlation}");
    }
    // Nothing is left of the mean over the scenarios but the biases.
    let bias: f64 = config.scenarios.iter().map(|s| s.bias).sum();
    assert!(odds.iter().all(|o| (o.iter().sum::<f64>() - bias).abs() < 1e-9));
}

#[test]
fn a_scenario_is_small_and_like_the_others() {
    let (config, world, rows) = made(SynthWorld::Small);
    let [train, valid, test] = config.splits().map(|r| &rows[r.start as usize..r.end as usize]);
    let count = |rows: &[Row]| rows.iter().filter(|r| r.scenario == 2).count();
    assert_eq!(count(train), 500);
    // A quarter of the rows to judge by: 1500 of 6000, within five standard errors.
    for part in [valid, test] {
        assert!(count(part).abs_diff(1500) < (5.0 * (6000.0 * 0.25 * 0.75f64).sqrt()) as usize);
    }
    // Whatever the number of rows is, and whichever are made.
    let more = SynthConfig { rows: 5003, ..config.clone() };
    let other = World::new(&more);
    assert_eq!(count(&(0..4003).map(|i| other.row(i)).collect::<Vec<_>>()), 500);
    let odds = log_odds(&config, &world, &rows[..5000]);
    for other in [0, 1] {
        let correlation = correlation(&odds, 2, other);
        assert!(correlation > 0.8, "{correlation}");
    }
}

#[test]
fn ten_scenarios_are_alike_in_groups() {
    let (config, world, rows) = made(SynthWorld::Ten);
    let mut odds = log_odds(&config, &world, &rows[..5000]);
    // Takes out the part that all share by the mean over one scenario of each group.
    for o in &mut odds {
        let mean = o[..GROUPS].iter().sum::<f64>() / GROUPS as f64;
        o.iter_mut().for_each(|v| *v -= mean);
    }
    for a in 0..10 {
        for b in 0..a {
            let correlation = correlation(&odds, a, b);
            assert_eq!(correlation > 0.5, a % GROUPS == b % GROUPS, "{a} and {b}: {correlation}");
        }
    }
}

/// The largest elements that remain as a matrix is eliminated, largest first: as many as its rank are not zero.
fn pivots(mut matrix: Vec<Vec<f64>>, n: usize) -> Vec<f64> {
    let mut found = Vec::new();
    for _ in 0..n {
        let places = (0..matrix.len()).flat_map(|r| (0..matrix[0].len()).map(move |c| (r, c)));
        let size = |&(r, c): &(usize, usize)| matrix[r][c].abs();
        let (r, c) = places.max_by(|a, b| size(a).total_cmp(&size(b))).unwrap();
        let pivot = matrix.swap_remove(r);
        for row in &mut matrix {
            let factor = row[c] / pivot[c];
            row.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= factor * p);
        }
        found.push(pivot[c].abs());
    }
    found
}

#[test]
fn many_scenarios_lie_in_three_dimensions() {
    let (config, world, rows) = made(SynthWorld::Many);
    let mut odds = log_odds(&config, &world, &rows[..300]);
    // Leaves out the part that all share from the differences between scenarios.
    for o in &mut odds {
        let first = o[0];
        o.iter_mut().for_each(|v| *v -= first);
    }
    let pivots = pivots(odds, RANK + 1);
    assert!(pivots[RANK - 1] > 0.5 && pivots[RANK] < 1e-9, "{pivots:?}");
    // Every scenario has rows to train on; the largest has many times as many as the smallest.
    let mut counts = vec![0; 200];
    rows[..config.splits()[0].end as usize].iter().for_each(|r| counts[r.scenario] += 1);
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least > 20 && most / least > 20, "{least}, {most}");
}

#[test]
fn scenarios_differ_by_a_constant_or_not_at_all() {
    for world in [SynthWorld::Shift, SynthWorld::Alike] {
        let (config, made, rows) = made(world);
        let apart = |s: usize| config.scenarios[s].bias - config.scenarios[0].bias;
        assert_eq!(apart(1) == 0.0, world == SynthWorld::Alike);
        for o in log_odds(&config, &made, &rows[..5000]) {
            assert!((0..4).all(|s| (o[s] - o[0] - apart(s)).abs() < 1e-9), "{world:?}: {o:?}");
        }
    }
}

#[test]
fn interactions_have_no_main_effects() {
    let (config, world, rows) = made(SynthWorld::Interactions);
    let odds = log_odds(&config, &world, &rows);
    type Value = fn(&World, &Row) -> usize;
    let fields: [(&str, Value); 6] = [
        ("segment", |w, r| w.users[r.user].segment),
        ("category", |w, r| w.items[r.item].category),
        ("item", |_, r| r.item),
        ("user", |_, r| r.user),
        ("position", |_, r| r.position),
        ("device", |_, r| r.device),
    ];
    let mut tested = 0;
    for s in 0..config.scenarios.len() {
        for (name, value) in fields {
            let mut by_value = std::collections::BTreeMap::<usize, [f64; 3]>::new();
            for (row, o) in rows.iter().zip(&odds) {
                let own = o[s] - config.scenarios[s].bias;
                let [n, sum, squares] = by_value.entry(value(&world, row)).or_default();
                (*n, *sum, *squares) = (*n + 1.0, *sum + own, *squares + own * own);
            }
            // The mean over the rows of a value, whose other side is drawn at random.
            for (v, [n, sum, squares]) in by_value.into_iter().filter(|(_, [n, ..])| *n >= 200.0) {
                let error = (squares - sum * sum / n).sqrt() / n;
                assert!((sum / n).abs() < 5.0 * error, "scenario {s}, {name} {v}: {} ± {error}", sum / n);
                tested += 1;
            }
        }
    }
    assert!(tested > 400, "{tested}");
    // Sees that the rest is large, and no scenario's is another's.
    let correlations = [(0, 1), (0, 2), (1, 3)].map(|(a, b)| correlation(&odds, a, b));
    assert!(correlations.iter().all(|c| c.abs() < 0.5), "{correlations:?}");
}
