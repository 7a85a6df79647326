//! Metrics by hand, by counting, and against what may not change them.

use super::*;
use crate::philox::Stream;

fn rows<'a>(labels: &'a [f32], scenarios: &'a [u32], groups: &'a [u64]) -> Rows<'a> {
    Rows { labels, weights: &[], scenarios, groups }
}

#[test]
fn auc_by_hand_with_ties() {
    // Pairs (neg, pos): 0.1<0.4 ✓, 0.1<0.8 ✓, 0.4=0.4 ½, 0.4<0.8 ✓: 3.5 of 4.
    assert_eq!(auc(&[0.1, 0.4, 0.4, 0.8], &[0.0, 0.0, 1.0, 1.0]), Some(0.875));
    assert_eq!(auc(&[0.3; 5], &[0.0, 1.0, 0.0, 1.0, 1.0]), Some(0.5));
    assert_eq!(auc(&[0.3, 0.4], &[1.0, 1.0]), None);
    assert_eq!(auc(&[], &[]), None);
    assert_eq!(auc(&[f32::NAN, 0.4], &[1.0, 0.0]), None);
}

#[test]
fn auc_equals_counting_all_pairs() {
    let s = Stream::new(1, "auc");
    for n in [2, 3, 17, 200] {
        let p: Vec<f32> = (0..n).map(|i| (s.uniform(i) * 10.0).floor() as f32 / 10.0).collect();
        let y: Vec<f32> = (0..n).map(|i| f32::from(s.uniform(i + 1000) < 0.3 || i == 0)).collect();
        let (mut right, mut all) = (0.0, 0.0);
        for (pi, _) in p.iter().zip(&y).filter(|(_, y)| **y == 1.0) {
            for (pj, _) in p.iter().zip(&y).filter(|(_, y)| **y == 0.0) {
                right += if pi > pj {
                    1.0
                } else if pi == pj {
                    0.5
                } else {
                    0.0
                };
                all += 1.0;
            }
        }
        assert_eq!(auc(&p, &y), (all > 0.0).then(|| right / all));
    }
}

#[test]
fn report_by_hand() {
    let p = [0.2, 0.6, 0.9, 0.5];
    let y = [0.0, 1.0, 1.0, 1.0];
    let report = evaluate(&p, rows(&y, &[0, 0, 1, 1], &[7, 7, 8, 8]), 3);
    assert_eq!(report.overall.get(&AUC), Some(1.0));
    // Group 8 has one class, so only group 7 counts.
    assert_eq!(report.overall.get(&GAUC), Some(1.0));
    let expected = -(0.8f64.ln() + 0.6f64.ln() + 0.9f64.ln() + 0.5f64.ln()) / 4.0;
    assert!((report.overall.get(&LOG_LOSS).unwrap() - expected).abs() < 1e-7);
    assert!((report.overall.get(&CALIBRATION).unwrap() - 2.2 / 3.0).abs() < 1e-7);
    assert_eq!((report.scenarios[1].get(&AUC), report.scenarios[1].positives), (None, 2));
    assert_eq!(report.scenarios[2], Metrics::default());
}

#[test]
fn ece_by_hand() {
    // 15 rows: a bin each. |p − y| = 0.1 for all.
    let y: Vec<f32> = (0..15).map(|i| f32::from(i % 2 == 0)).collect();
    let p: Vec<f32> =
        y.iter().enumerate().map(|(i, &y)| if y == 1.0 { 0.9 } else { 0.1 } + i as f32 * 1e-6).collect();
    let ece = evaluate(&p, rows(&y, &[0; 15], &[]), 1).overall.get(&ECE).unwrap();
    assert!((ece - 0.1).abs() < 1e-4, "{ece}");
    // One prediction for all: the gap is mean p − mean y, whatever the order.
    let constant = evaluate(&[0.5; 15], rows(&y, &[0; 15], &[]), 1).overall.get(&ECE).unwrap();
    assert!((constant - (8.0 / 15.0 - 0.5)).abs() < 1e-7, "{constant}");
}

#[test]
fn nothing_depends_on_row_order_or_a_monotone_transform() {
    let s = Stream::new(2, "order");
    let p: Vec<f32> = (0..300).map(|i| (s.uniform(i) * 20.0).floor() as f32 / 20.0).collect();
    let y: Vec<f32> = (0..300).map(|i| f32::from(s.uniform(i + 999) < 0.4)).collect();
    let (rp, ry): (Vec<_>, Vec<_>) = p.iter().copied().rev().zip(y.iter().copied().rev()).unzip();
    let groups: Vec<u64> = (0..300).map(|i| i % 7).collect();
    let back: Vec<u64> = groups.iter().copied().rev().collect();
    let (a, b) =
        (evaluate(&p, rows(&y, &[0; 300], &groups), 1), evaluate(&rp, rows(&ry, &[0; 300], &back), 1));
    assert_eq!((a.overall.get(&AUC), a.overall.get(&GAUC)), (b.overall.get(&AUC), b.overall.get(&GAUC)));
    assert!((a.overall.get(&ECE).unwrap() - b.overall.get(&ECE).unwrap()).abs() < 1e-12);
    let squared: Vec<f32> = p.iter().map(|p| p * p).collect();
    assert_eq!(auc(&squared, &y), a.overall.get(&AUC));
}

#[test]
fn relative_improvement_by_hand() {
    assert!((rela_impr(0.8, 0.75).unwrap() - 0.2).abs() < 1e-12);
    assert_eq!((rela_impr(0.8, 0.5), rela_impr(0.8, 0.4)), (None, None));
}

#[test]
fn every_metric_has_a_name_of_its_own_and_costs_least_at_its_best() {
    for (i, metric) in METRICS.iter().enumerate() {
        assert!(METRICS[..i].iter().all(|m| m.key != metric.key && m.title != metric.title));
        let (best, worse) = match metric.better {
            Better::Higher => (0.9, 0.8),
            Better::Lower => (0.1, 0.2),
            Better::Near(best) => (best + 0.1, best - 0.2),
        };
        assert!(metric.better.cost(best) < metric.better.cost(worse), "{}", metric.key);
    }
}

/// 300 rows on 20 predictions in 7 groups and no group, in 3 scenarios, with weights 0, ½, 1, 2, 5.
struct Weighted {
    p: Vec<f32>,
    y: Vec<f32>,
    w: Vec<f32>,
    scenarios: Vec<u32>,
    groups: Vec<u64>,
}

impl Weighted {
    fn new(seed: u64) -> Self {
        let s = Stream::new(seed, "weighted");
        let take = |i: u64, n: f64| (s.uniform(i) * n) as u32;
        Self {
            p: (0..300).map(|i| take(i, 20.0) as f32 / 20.0).collect(),
            y: (0..300).map(|i| f32::from(s.uniform(i + 1000) < 0.4)).collect(),
            w: (0..300).map(|i| [0.0, 0.5, 1.0, 2.0, 5.0][take(i + 2000, 5.0) as usize]).collect(),
            scenarios: (0..300).map(|i| take(i + 3000, 3.0)).collect(),
            groups: (0..300).map(|i| u64::from(take(i + 4000, 8.0))).collect(),
        }
    }

    /// Its rows with these numbers, those of a number that comes again as often.
    fn rows(&self, numbers: &[usize]) -> Self {
        Self {
            p: numbers.iter().map(|&i| self.p[i]).collect(),
            y: numbers.iter().map(|&i| self.y[i]).collect(),
            w: numbers.iter().map(|&i| self.w[i]).collect(),
            scenarios: numbers.iter().map(|&i| self.scenarios[i]).collect(),
            groups: numbers.iter().map(|&i| self.groups[i]).collect(),
        }
    }

    fn report(&self) -> Report {
        let Self { p, y, w, scenarios, groups } = self;
        evaluate(p, Rows { labels: y, weights: w, scenarios, groups }, 3)
    }
}

#[test]
fn weighted_metrics_by_their_definition() {
    let rows = Weighted::new(3);
    let found = rows.report().overall;
    let Weighted { p, y, w, groups, .. } = &rows;
    let all: Vec<usize> = (0..300).collect();
    let auc = |set: &[usize]| {
        let (mut right, mut pairs) = (0.0, 0.0);
        for &i in set.iter().filter(|&&i| y[i] == 1.0) {
            for &j in set.iter().filter(|&&j| y[j] == 0.0) {
                let w = f64::from(w[i]) * f64::from(w[j]);
                right += w * (f64::from(u8::from(p[i] > p[j])) + 0.5 * f64::from(u8::from(p[i] == p[j])));
                pairs += w;
            }
        }
        right / pairs
    };
    let sum = |of: &dyn Fn(usize) -> f64| (0..300).map(|i| f64::from(w[i]) * of(i)).sum::<f64>();
    let close = |found: Option<f64>, wanted: f64| {
        assert!((found.unwrap() - wanted).abs() < 1e-12, "{found:?} {wanted}");
    };
    close(found.get(&AUC), auc(&all));
    let clicks = sum(&|i| f64::from(y[i]));
    close(found.get(&CALIBRATION), sum(&|i| f64::from(p[i])) / clicks);
    let loss = |i: usize| -f64::from(if y[i] == 1.0 { p[i].max(1e-7) } else { 1.0 - p[i] }).ln();
    assert!((found.get(&LOG_LOSS).unwrap() - sum(&loss) / sum(&|_| 1.0)).abs() < 1e-6);
    close(found.weight, sum(&|_| 1.0));
    close(found.effective_rows, sum(&|_| 1.0).powi(2) / sum(&|i| f64::from(w[i])));
    assert_eq!(found.rows, w.iter().filter(|&&w| w > 0.0).count() as u64);
    let (mut of_groups, mut mass) = (0.0, 0.0);
    for group in 1..8 {
        let set: Vec<usize> = (0..300).filter(|&i| groups[i] == group).collect();
        let weight: f64 = set.iter().map(|&i| f64::from(w[i])).sum();
        (of_groups, mass) = (of_groups + auc(&set) * weight, mass + weight);
    }
    close(found.get(&GAUC), of_groups / mass);
}

#[test]
fn a_whole_weight_counts_as_so_many_rows() {
    let mut rows = Weighted::new(4);
    rows.w.iter_mut().for_each(|w| *w = (2.0 * *w).min(6.0));
    let copies: Vec<usize> = (0..300).flat_map(|i| vec![i; rows.w[i] as usize]).collect();
    let mut copied = rows.rows(&copies);
    copied.w.clear();
    let (weighted, copied) = (rows.report(), copied.report());
    let both = |report: &Report| [vec![report.overall.clone()], report.scenarios.clone()].concat();
    for (weighted, copied) in both(&weighted).iter().zip(both(&copied)) {
        // Whole numbers, so these are exact; the bins of the ECE hold whole rows.
        assert_eq!((weighted.get(&AUC), weighted.weight), (copied.get(&AUC), Some(copied.rows as f64)));
        for (a, b) in [
            (weighted.get(&GAUC), copied.get(&GAUC)),
            (weighted.get(&LOG_LOSS), copied.get(&LOG_LOSS)),
            (weighted.get(&CALIBRATION), copied.get(&CALIBRATION)),
        ] {
            assert!((a.unwrap() - b.unwrap()).abs() < 1e-12, "{a:?} {b:?}");
        }
    }
}

#[test]
fn equal_weights_are_no_weights_and_a_weight_of_0_is_no_row() {
    let mut rows = Weighted::new(5);
    let weighing: Vec<usize> = (0..300).filter(|&i| rows.w[i] > 0.0).collect();
    assert_eq!(rows.report(), rows.rows(&weighing).report());
    // A scenario whose rows all have the weight 0 is one without rows.
    let mut without = rows.rows(&weighing);
    without.w.iter_mut().zip(&without.scenarios).for_each(|(w, &s)| *w = if s == 1 { 0.0 } else { *w });
    let found = without.report().scenarios[1].clone();
    assert_eq!(found, Metrics { weight: Some(0.0), ..Metrics::default() });
    rows.w.clear();
    let unweighted = rows.report();
    assert_eq!((unweighted.overall.weight, unweighted.overall.effective_rows), (None, None));
    for weight in [1.0, 0.1, 5.0, 1e-30] {
        rows.w = vec![weight; 300];
        assert_eq!(rows.report(), unweighted, "{weight}");
    }
}

#[test]
fn weighted_metrics_do_not_depend_on_the_order_of_rows() {
    let mut rows = Weighted::new(6);
    rows.w.iter_mut().for_each(|w| *w *= 0.1);
    let report = rows.report();
    for step in [7, 101, 299] {
        let numbers: Vec<usize> = (0..300).map(|i| i * step % 300).collect();
        assert_eq!(rows.rows(&numbers).report(), report, "{step}");
    }
}

/// Of weights that are not whole, the area is rounded, but never above 1.
#[test]
fn a_perfect_ranking_has_an_area_of_1() {
    let s = Stream::new(7, "perfect");
    for n in 2..200u64 {
        let p: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
        let y: Vec<f32> = (0..n).map(|i| f32::from(2 * i >= n)).collect();
        let w: Vec<f32> = (0..n).map(|i| 0.1 + s.uniform(1000 * n + i) as f32).collect();
        let found =
            evaluate(&p, Rows { weights: &w, ..rows(&y, &vec![0; n as usize], &[]) }, 1).overall.get(&AUC);
        assert!(found.is_some_and(|auc| auc <= 1.0 && auc > 1.0 - 1e-12), "{found:?}");
    }
}
