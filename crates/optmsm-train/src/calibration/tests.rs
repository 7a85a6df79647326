use optmsm_core::philox::Stream;

use super::*;

/// Rows of one scenario for all.
fn rows(logits: &[f64], labels: &[f64], weights: &[f64]) -> Vec<Row> {
    let rows = logits.iter().zip(labels).zip(weights);
    rows.map(|((&logit, &label), &weight)| Row { logit, weight, positive: label > 0.5 }).collect()
}

/// Cases that scikit-learn calibrated.
fn cases() -> Vec<serde_json::Value> {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/fixtures/calibration.json")).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn numbers(case: &serde_json::Value, key: &str) -> Vec<f64> {
    case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn case_rows(case: &serde_json::Value) -> Vec<Row> {
    rows(&numbers(case, "logits"), &numbers(case, "labels"), &numbers(case, "weights"))
}

/// Gradient of the mean cross-entropy of smoothed labels by slope (times the logits' size) and intercept, by its definition.
fn gradient(rows: &[Row], a: f64, b: f64) -> [f64; 2] {
    let positives = rows.iter().filter(|r| r.positive).count() as f64;
    let negatives = rows.len() as f64 - positives;
    let largest = rows.iter().map(|r| r.logit.abs()).fold(0.0, f64::max);
    let weight: f64 = rows.iter().map(|r| r.weight).sum();
    rows.iter().fold([0.0; 2], |[of_a, of_b], r| {
        let target = if r.positive { (positives + 1.0) / (positives + 2.0) } else { 1.0 / (negatives + 2.0) };
        let d = r.weight * (1.0 / (1.0 + (-a * r.logit - b).exp()) - target) / weight;
        [of_a + d * r.logit / largest, of_b + d]
    })
}

#[test]
fn platt_agrees_with_scikit_learn_and_its_gradient_is_zero() {
    for case in cases() {
        let (rows, wanted) = (case_rows(&case), numbers(&case, "platt"));
        let (a, b) = platt::fit(&rows);
        for (got, wanted) in [(a, wanted[0]), (b, wanted[1])] {
            assert!((got - wanted).abs() <= 1e-4 * wanted.abs(), "{}: {got} {wanted}", case["name"]);
        }
        // Weights in another unit are the same weights.
        let millionths: Vec<Row> = rows.iter().map(|r| Row { weight: 1e-6 * r.weight, ..*r }).collect();
        let (other_a, other_b) = platt::fit(&millionths);
        assert!((a - other_a).abs() < 1e-9 && (b - other_b).abs() < 1e-9, "{other_a} {other_b}");
        let [of_a, of_b] = gradient(&rows, a, b);
        assert!(of_a.abs() < 1e-9 && of_b.abs() < 1e-9, "{}: {of_a} {of_b}", case["name"]);
    }
}

#[test]
fn isotonic_agrees_with_scikit_learn() {
    for case in cases() {
        let (logits, probabilities) = isotonic::fit(&case_rows(&case));
        for (z, wanted) in numbers(&case, "at").into_iter().zip(numbers(&case, "isotonic")) {
            let got = isotonic::at(z, &logits, &probabilities);
            assert!((got - wanted).abs() < 1e-9, "{} at {z}: {got} {wanted}", case["name"]);
        }
    }
}

/// The value at a row is the largest over all rows before it of the smallest over all rows after it of the mean between them.
#[test]
fn isotonic_equals_its_min_max_formula() {
    let stream = Stream::new(3, "isotonic");
    for n in [1, 2, 7, 40] {
        let at = |i: u64, what: u64| stream.uniform(3 * i + what);
        let all: Vec<Row> = (0..n)
            .map(|i| Row { logit: i as f64, weight: 0.5 + at(i, 0), positive: at(i, 1) < at(i, 2) })
            .collect();
        let mean = |rows: &[Row]| {
            let weight: f64 = rows.iter().map(|r| r.weight).sum();
            rows.iter().filter(|r| r.positive).map(|r| r.weight).sum::<f64>() / weight
        };
        let (logits, probabilities) = isotonic::fit(&all);
        for i in 0..all.len() {
            let least = |a: usize| (i..all.len()).map(|b| mean(&all[a..=b])).fold(f64::INFINITY, f64::min);
            let wanted = (0..=i).map(least).fold(0.0, f64::max);
            let got = isotonic::at(i as f64, &logits, &probabilities);
            assert!((got - wanted).abs() < 1e-12, "{i} of {n}: {got} {wanted}");
        }
    }
}

#[test]
fn labels_that_are_told_apart_get_a_finite_slope_and_falling_ones_a_level() {
    let apart = rows(&[-2.0, -1.0, 1.0, 2.0], &[0.0, 0.0, 1.0, 1.0], &[1.0; 4]);
    let (a, b) = platt::fit(&apart);
    // Targets ¼ and ¾ are met best by a slope of some size, with the middle at 0.
    assert!((0.5..1.5).contains(&a) && b.abs() < 1e-9, "{a} {b}");
    let falling = rows(&[-2.0, -1.0, 1.0, 2.0], &[1.0, 1.0, 0.0, 0.0], &[1.0; 4]);
    let close = |got: (f64, f64), wanted: (f64, f64)| {
        assert!((got.0 - wanted.0).abs() < 1e-12 && (got.1 - wanted.1).abs() < 1e-12, "{got:?} {wanted:?}");
    };
    close(platt::fit(&falling), (1.0, 0.0));
    // One logit for all says nothing of the slope: σ(3 + b) is the mean of the targets ⅔ of one row and ¼ of two.
    let share: f64 = (2.0 / 3.0 + 2.0 * 0.25) / 3.0;
    let one = rows(&[3.0; 3], &[0.0, 1.0, 0.0], &[1.0; 3]);
    close(platt::fit(&one), (1.0, (share / (1.0 - share)).ln() - 3.0));
    // Falling labels pool to one value.
    assert_eq!(isotonic::fit(&falling), (vec![-2.0, 2.0], vec![0.5, 0.5]));
    // Logits so large that their squares are not finite in 32 bits.
    let large = rows(&[-3e38, -2e38, 2e38, 1e38], &[0.0, 1.0, 1.0, 0.0], &[1.0; 4]);
    let (a, b) = platt::fit(&large);
    assert!(a > 0.0 && a < 1e-36 && b.abs() < 1.0, "{a} {b}");
}

/// Rows of three scenarios, whose true logits are 0.5 z − 1, 2 z + 1 and z; of the last there are few.
struct World {
    logits: Vec<f64>,
    labels: Vec<f32>,
    scenarios: Vec<u32>,
}

fn world() -> World {
    let stream = Stream::new(5, "world");
    let (mut logits, mut labels, mut scenarios) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..30_000u64 {
        let scenario = if i % 600 == 0 { 2 } else { (i % 2) as u32 };
        let z = 6.0 * stream.uniform(2 * i) - 3.0;
        let truth = [0.5 * z - 1.0, 2.0 * z + 1.0, z][scenario as usize];
        logits.push(z);
        labels.push(f32::from(stream.uniform(2 * i + 1) < 1.0 / (1.0 + (-truth).exp())));
        scenarios.push(scenario);
    }
    World { logits, labels, scenarios }
}

impl World {
    fn rows<'a>(&'a self, weights: &'a [f32]) -> Labelled<'a> {
        let Self { logits, labels, scenarios } = self;
        Labelled { logits, labels, weights, scenarios, count: 4 }
    }
}

#[test]
fn each_scenario_with_enough_rows_has_a_function_of_its_own() {
    let world = world();
    let fit = Fit::new(Method::Platt, &world.rows(&[])).unwrap();
    for (scenario, (slope, intercept)) in [(0.5, -1.0), (2.0, 1.0)].into_iter().enumerate() {
        let Some(Map::Platt { slope: a, intercept: b }) = fit.scenarios[scenario] else { panic!("{fit:?}") };
        // 15,000 rows: standard errors of both are at most 0.05.
        assert!((a - slope).abs() < 0.2 && (b - intercept).abs() < 0.2, "{a} {b}");
    }
    assert_eq!(fit.scenarios[2..], [None, None]);
    assert_eq!(fit.at(0.7, 2), fit.all.at(0.7));
    let fit = Fit::new(Method::Isotonic, &world.rows(&[])).unwrap();
    for z in [-2.5f64, -1.0, 0.0, 1.0, 2.5] {
        for (scenario, truth) in [(0, 0.5 * z - 1.0), (1, 2.0 * z + 1.0)] {
            let truth = 1.0 / (1.0 + (-truth).exp());
            assert!((f64::from(fit.at(z, scenario)) - truth).abs() < 0.06, "{scenario} at {z}");
        }
    }
    assert!(fit.is_sound(4) && !fit.is_sound(3));
}

#[test]
fn a_row_without_weight_is_as_good_as_absent_and_a_fold_as_rows_without_weight() {
    let world = world();
    let folds = world.rows(&[]).folds();
    for method in [Method::Platt, Method::Isotonic] {
        let crossed = Fit::new(method, &world.rows(&[])).unwrap().crossed(&world.rows(&[]));
        for fold in 0..FOLDS {
            let weights: Vec<f32> = folds.iter().map(|&f| f32::from(f != fold)).collect();
            let without = Fit::new(method, &world.rows(&weights)).unwrap();
            for row in (0..folds.len()).filter(|&row| folds[row] == fold).step_by(97) {
                assert_eq!(crossed[row], without.at(world.logits[row], world.scenarios[row]));
            }
        }
    }
    // Rows of one scenario and label are spread evenly.
    for (scenario, label) in [(0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0), (2, 0.0), (2, 1.0)] {
        let mut sizes = [0; FOLDS];
        for (row, &fold) in folds.iter().enumerate() {
            sizes[fold] += usize::from(world.scenarios[row] == scenario && world.labels[row] == label);
        }
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
    }
}

/// Scenarios with these numbers of rows of labels 0 and 1, whose logits rise with their number and say nothing of the label.
fn counted(of: &[[usize; 2]]) -> World {
    let mut world = World { logits: Vec::new(), labels: Vec::new(), scenarios: Vec::new() };
    for (scenario, numbers) in of.iter().enumerate() {
        for (label, &number) in numbers.iter().enumerate() {
            for i in 0..number {
                world.logits.push(i as f64 / number as f64 - 0.5);
                world.labels.push(label as f32);
                world.scenarios.push(scenario as u32);
            }
        }
    }
    world
}

/// Ten rows of each label are enough, wherever they are: every part has a fifth of them.
#[test]
fn rows_of_a_label_are_spread_over_the_parts() {
    for of in [vec![[3, 1]; 40], vec![[60, 12]], vec![[1, 10], [9, 0]], vec![[13, 1], [4, 7], [2, 3], [1, 0]]]
    {
        let World { logits, labels, scenarios } = &counted(&of);
        // A row in three has no weight, which takes no turn from the others.
        for weights in [vec![], (0..labels.len()).map(|i| f32::from(i % 3 > 0 || of.len() < 40)).collect()] {
            let rows = Labelled { logits, labels, weights: &weights, scenarios, count: of.len() };
            let folds = rows.folds();
            for label in [0.0, 1.0] {
                let mut sizes = [0; FOLDS];
                for (row, &fold) in folds.iter().enumerate() {
                    let counts = weights.get(row).is_none_or(|&w| w > 0.0);
                    sizes[fold] += usize::from(counts && labels[row] == label);
                }
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{of:?} {sizes:?}");
            }
            for method in [Method::Platt, Method::Isotonic] {
                let crossed = Fit::new(method, &rows).unwrap().crossed(&rows);
                assert!(crossed.iter().all(|p| (0.0..=1.0).contains(p)), "{of:?}");
            }
        }
    }
}

/// Of 55 rows of a label, 44 are left without a part: fewer than a scenario needs, but its function is judged all the same.
#[test]
fn a_scenario_that_has_a_function_is_judged_with_one() {
    let mut world = counted(&[[200, 55], [300, 300]]);
    world.logits.iter_mut().zip(&world.labels).for_each(|(z, y)| *z += f64::from(*y));
    let World { logits, labels, scenarios } = &world;
    let rows = Labelled { logits, labels, weights: &[], scenarios, count: 2 };
    let (folds, crossed) = (rows.folds(), Fit::new(Method::Platt, &rows).unwrap().crossed(&rows));
    for fold in 0..FOLDS {
        let others = (0..255).filter(|&row| folds[row] != fold);
        let others = others.map(|i| Row { logit: logits[i], weight: 1.0, positive: labels[i] == 1.0 });
        let (slope, intercept) = platt::fit(&others.collect::<Vec<_>>());
        for row in (0..255).filter(|&row| folds[row] == fold) {
            assert_eq!(crossed[row], Map::Platt { slope, intercept }.at(logits[row]), "{row}");
        }
    }
}

#[test]
fn rows_of_one_label_are_no_fit() {
    let mut world = world();
    for (label, &scenario) in world.labels.iter_mut().zip(&world.scenarios) {
        if scenario == 1 {
            *label = 1.0;
        }
    }
    let fit = Fit::new(Method::Platt, &world.rows(&[])).unwrap();
    assert!(fit.scenarios[0].is_some() && fit.scenarios[1].is_none());
    world.labels.fill(0.0);
    world.labels[..9].fill(1.0);
    for method in [Method::Platt, Method::Isotonic] {
        let problem = Fit::new(method, &world.rows(&[])).unwrap_err();
        assert_eq!(problem, "has 9 rows of its rarer label, but at least 10 are needed");
    }
}

#[test]
fn a_map_keeps_what_is_no_number_and_probabilities_of_large_logits() {
    let maps = [
        Map::Platt { slope: 0.5, intercept: -1.0 },
        Map::Isotonic { logits: vec![-1.0, 2.0], probabilities: vec![0.25, 0.75] },
    ];
    assert!(maps.iter().all(|map| map.is_sound() && map.at(f64::NAN).is_nan()));
    // By hand: σ(0) and the middle of the line.
    assert_eq!((maps[0].at(2.0), maps[1].at(0.5)), (0.5, 0.5));
    assert_eq!((maps[0].at(-1e6), maps[0].at(1e6)), (0.0, 1.0));
    assert_eq!(
        (maps[1].at(-1e6), maps[1].at(-1.0), maps[1].at(2.0), maps[1].at(1e6)),
        (0.25, 0.25, 0.75, 0.75)
    );
    for unsound in [
        Map::Platt { slope: 0.0, intercept: 0.0 },
        Map::Platt { slope: 1.0, intercept: f64::NAN },
        Map::Isotonic { logits: vec![], probabilities: vec![] },
        Map::Isotonic { logits: vec![1.0, 1.0], probabilities: vec![0.1, 0.2] },
        Map::Isotonic { logits: vec![1.0, 2.0], probabilities: vec![0.3, 0.2] },
        Map::Isotonic { logits: vec![1.0, 2.0], probabilities: vec![0.3, 1.2] },
        Map::Isotonic { logits: vec![1.0, 2.0], probabilities: vec![0.3] },
    ] {
        assert!(!unsound.is_sound(), "{unsound:?}");
    }
}
