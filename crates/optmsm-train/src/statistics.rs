//! Comparison of two configurations over a handful of runs: paired tests, exact where they can be.
//!
//! Differences are taken run by run, between runs of the same seed. Nothing here draws random numbers.

use serde::Serialize;

/// Mean and spread of a value over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Number of values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Standard deviation with n − 1; none of one value.
    pub sd: Option<f64>,
}

impl Spread {
    /// Of any number of values; none of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        let sd = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        (n > 0).then_some(Self { n, mean, sd })
    }

    /// The mean's 95 % confidence interval, by Student's t; none of one value.
    pub fn interval(&self) -> Option<[f64; 2]> {
        let error = self.sd? / (self.n as f64).sqrt();
        let half = t_quantile(0.95, self.n as u32 - 1) * error;
        Some([self.mean - half, self.mean + half])
    }
}

/// Student's paired t-test of differences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedT {
    /// Mean over its standard error.
    pub t: f64,
    /// n − 1.
    pub degrees: u32,
    /// Two-sided.
    pub p: f64,
    /// The mean's 95 % confidence interval.
    pub interval: [f64; 2],
}

/// Spread that the rounding of equal values leaves: differences of metrics, which are near 1, are off by an ε or so each.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

/// Tests whether the mean of `differences` is 0. None when there are fewer than two, or all are equal except for
/// rounding: then nothing says how far they would spread.
pub fn paired_t(differences: &[f64]) -> Option<PairedT> {
    let spread = Spread::of(differences)?;
    let sd = spread.sd.filter(|&sd| sd > ROUNDING * spread.mean.abs().max(1.0))?;
    let (degrees, interval) = (spread.n as u32 - 1, spread.interval()?);
    let t = spread.mean / (sd / (spread.n as f64).sqrt());
    // Where no more than rounding is left of it, the difference may come out below 0.
    let p = (1.0 - t_within(t.abs(), degrees)).max(0.0);
    Some(PairedT { t, degrees, p, interval })
}

/// P(|T| ≤ t) of Student's t with `degrees` ≥ 1: the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
fn t_within(t: f64, degrees: u32) -> f64 {
    let nu = f64::from(degrees);
    let theta = (t / nu.sqrt()).atan();
    let (sin, cos) = (theta.sin(), theta.cos());
    let odd = degrees % 2 == 1;
    // The terms are cosʲ times 2·4…/(3·5…) from j = 1 (odd degrees), or 1·3…/(2·4…) from j = 0 (even), up to j = ν − 2.
    let (mut term, mut sum) = if odd { (cos, cos) } else { (1.0, 1.0) };
    let mut j = if odd { 1 } else { 0 };
    while j + 2 <= i64::from(degrees) - 2 {
        term *= cos * cos * (j + 1) as f64 / (j + 2) as f64;
        sum += term;
        j += 2;
    }
    match degrees {
        1 => theta / std::f64::consts::FRAC_PI_2,
        _ if odd => (theta + sin * sum) / std::f64::consts::FRAC_PI_2,
        _ => sin * sum,
    }
}

/// The t with P(|T| ≤ t) = `within`, by bisection.
fn t_quantile(within: f64, degrees: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1e4); // 12.7 is the largest asked for: 95 %, one degree
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if t_within(middle, degrees) < within { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Wilcoxon's signed-rank test of differences: the exact two-sided p. Zeros are left out, as Wilcoxon does; equal sizes
/// share their mean rank, and the p is that of all 2ⁿ signs of these ranks. None without a difference other than 0, or with
/// more than 1000 of them.
pub fn signed_rank(differences: &[f64]) -> Option<f64> {
    let mut sizes: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    let n = sizes.len();
    if n == 0 || n > 1000 || sizes.iter().any(|d| d.is_nan()) {
        return None;
    }
    sizes.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the ranks, so that mean ranks are whole.
    let mut ranks = Vec::with_capacity(n);
    for tie in sizes.chunk_by(|a, b| a.abs() == b.abs()) {
        let (first, last) = (ranks.len() + 1, ranks.len() + tie.len());
        ranks.resize(last, first + last);
    }
    let positive: usize = ranks.iter().zip(&sizes).filter(|(_, d)| **d > 0.0).map(|(r, _)| r).sum();
    let all: usize = ranks.iter().sum();
    // share[w]: of the 2ⁿ signs, those whose positive ranks sum to w.
    let mut share = vec![0.0; all + 1];
    share[0] = 1.0;
    for &rank in &ranks {
        for w in (0..=all).rev() {
            let with = if w >= rank { share[w - rank] } else { 0.0 };
            share[w] = 0.5 * (share[w] + with);
        }
    }
    let smaller = positive.min(all - positive);
    Some((2.0 * share[..=smaller].iter().sum::<f64>()).min(1.0))
}

/// Holm's adjusted p-values of several tests, in their order: the chance of any false finding stays below the level.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut adjusted, mut least) = (vec![0.0; p.len()], 0.0f64);
    for (rank, &i) in order.iter().enumerate() {
        least = least.max(p[i] * (p.len() - rank) as f64).min(1.0);
        adjusted[i] = least;
    }
    adjusted
}

/// A difference of AUCs on one set of rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delong {
    /// Σ c · AUC.
    pub difference: f64,
    /// Its standard error over draws of rows.
    pub error: f64,
    /// 95 % confidence interval (normal).
    pub interval: [f64; 2],
    /// Two-sided, of the difference being 0; none when the error is 0.
    pub p: Option<f64>,
}

/// Σ c · AUC over predictions for the same rows, and how much other rows of the same kind would change it (DeLong, DeLong
/// and Clarke-Pearson, Biometrics 1988). The models are taken as given, and the rows as independent. None without two
/// rows of each class.
///
/// With `weights` (empty: 1 for every row) the AUC is a ratio of sums over rows, and its variance that of the ratio's linear part:
/// with v_i the weighted share of the other class that a row of a class of n is on the right side of, and w̃_i = n w_i / Σ w its
/// weight among them, Σ_classes Σ_i (w̃_i (v_i − AUC))² / (n (n − 1)), which is DeLong's where weights are equal. A row is one
/// draw whatever its weight; rows of weight 0 are none.
pub fn delong(labels: &[f32], weights: &[f32], contrast: &[(f64, &[f32])]) -> Option<Delong> {
    let weight = |row: usize| weights.get(row).map_or(1.0, |&w| f64::from(w));
    let mut component = vec![0.0; labels.len()];
    for &(c, predictions) in contrast {
        add_placements(c, labels, &weight, predictions, &mut component);
    }
    // Mean, and variance of the mean, over the rows of a class.
    let of = |positive: bool| -> Option<(f64, f64)> {
        let rows = (0..labels.len()).filter(|&r| (labels[r] > 0.5) == positive && weight(r) > 0.0);
        let rows: Vec<usize> = rows.collect();
        let n = rows.len() as f64;
        let scale = n / rows.iter().map(|&r| weight(r)).sum::<f64>();
        let mean = rows.iter().map(|&r| scale * weight(r) * component[r]).sum::<f64>() / n;
        let squares: f64 = rows.iter().map(|&r| (scale * weight(r) * (component[r] - mean)).powi(2)).sum();
        let sd = (squares / (n - 1.0)).sqrt();
        (n > 1.0).then(|| (mean, sd.powi(2) / n))
    };
    let (up, down) = (of(true)?, of(false)?);
    let (difference, error) = (up.0, (up.1 + down.1).sqrt());
    let half = 1.959_963_984_540_054 * error; // the normal's 97.5 % quantile
    let p = (error > 0.0).then(|| normal_beyond((difference / error).abs()));
    Some(Delong { difference, error, interval: [difference - half, difference + half], p })
}

/// Adds `c` times the weighted share of the rows of the other class that each row is on the right side of; a tie counts half.
fn add_placements(
    c: f64,
    labels: &[f32],
    weight: &impl Fn(usize) -> f64,
    predictions: &[f32],
    component: &mut [f64],
) {
    let mut rows: Vec<usize> = (0..labels.len()).collect();
    rows.sort_by(|&a, &b| predictions[a].total_cmp(&predictions[b]));
    // Weight of the rows of labels 1 and 0.
    let masses = |rows: &[usize]| {
        let of = |positive: bool| rows.iter().filter(move |&&r| (labels[r] > 0.5) == positive);
        [true, false].map(|positive| of(positive).map(|&r| weight(r)).sum::<f64>())
    };
    let [positives, negatives] = masses(&rows);
    let (mut up_below, mut down_below) = (0.0, 0.0);
    for tie in rows.chunk_by(|&a, &b| predictions[a] == predictions[b]) {
        let [up, down] = masses(tie);
        for &r in tie {
            component[r] += c * match labels[r] > 0.5 {
                true => (down_below + 0.5 * down) / negatives,
                false => (positives - up_below - 0.5 * up) / positives,
            };
        }
        (up_below, down_below) = (up_below + up, down_below + down);
    }
}

/// P(|Z| > z) of the standard normal, z ≥ 0: √(2/π) ∫ e^{−x²/2} from z on, by the series of erf below 3 and Laplace's
/// continued fraction from there on (Abramowitz and Stegun, 7.1.6 and 7.1.14).
fn normal_beyond(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let scale = 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp();
    if z < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term > 1e-17 * sum {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        return 1.0 - scale * sum;
    }
    let fraction = (1..=60).rev().fold(x, |tail, n| x + 0.5 * f64::from(n) / tail);
    0.5 * scale / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, digits: i32) {
        assert!((a - b).abs() <= 0.5 * 10f64.powi(-digits), "{a} is not {b}");
    }

    #[test]
    fn spread_by_hand() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]), Some(Spread { n: 1, mean: 3.0, sd: None }));
        // Squares of −3, −1, −1, −1, 0, 0, 2, 4 sum to 32.
        let s = Spread::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        close(s.mean, 5.0, 12);
        close(s.sd.unwrap(), (32.0f64 / 7.0).sqrt(), 12);
        // 2.365 is the tables' t for seven degrees; the mean's standard error is √(32/7) / √8.
        let half = 2.365 * (32.0f64 / 7.0 / 8.0).sqrt();
        let [low, high] = s.interval().unwrap();
        close(low, 5.0 - half, 3);
        close(high, 5.0 + half, 3);
        assert_eq!(Spread { n: 1, mean: 3.0, sd: None }.interval(), None);
    }

    /// Upper percentage points as every table of Student's t prints them.
    #[test]
    fn t_agrees_with_the_tables() {
        for (within, degrees, t) in [
            (0.95, 1, 12.706),
            (0.95, 2, 4.303),
            (0.95, 3, 3.182),
            (0.95, 4, 2.776),
            (0.95, 9, 2.262),
            (0.95, 10, 2.228),
            (0.99, 4, 4.604),
            (0.99, 5, 4.032),
            (0.99, 10, 3.169),
            (0.90, 30, 1.697),
            (0.95, 120, 1.980),
        ] {
            close(t_quantile(within, degrees), t, 3);
        }
    }

    /// Student (1908): hours of sleep gained by ten patients under two drugs. The results are those of R's documentation
    /// of `t.test` for the same data, paired.
    #[test]
    fn students_sleep_data() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let test = paired_t(&differences).unwrap();
        close(test.t, -4.0621, 4);
        close(test.p, 0.002833, 6);
        assert_eq!(test.degrees, 9);
        close(test.interval[0], -2.4598858, 7);
        close(test.interval[1], -0.7001142, 7);
    }

    #[test]
    fn nothing_to_test() {
        assert_eq!(paired_t(&[]), None);
        assert_eq!(paired_t(&[0.1]), None);
        assert_eq!(paired_t(&[0.0; 5]), None);
        // Equal differences, whose mean or whose subtraction is rounded: no spread to divide by.
        for n in 2..50 {
            assert_eq!(paired_t(&vec![0.1; n]), None, "{n}");
        }
        let aucs = [(0.95, 0.90), (0.85, 0.80), (0.75, 0.70), (0.65, 0.60), (0.55, 0.50)];
        assert_eq!(paired_t(&aucs.map(|(a, b)| a - b)), None);
        assert_eq!(signed_rank(&[0.0; 5]), None);
    }

    /// Hollander and Wolfe (1973), depression scale of nine patients before and after a therapy: V = 40, one-sided
    /// p = 0.01953 in R's documentation of `wilcox.test`.
    #[test]
    fn hollander_and_wolfe() {
        // Thousandths.
        let before = [1830.0, 500.0, 1620.0, 2480.0, 1680.0, 1880.0, 1550.0, 3060.0, 1300.0];
        let after = [878.0, 647.0, 598.0, 2050.0, 1060.0, 1290.0, 1060.0, 3140.0, 1290.0];
        let differences: Vec<f64> = before.iter().zip(after).map(|(a, b)| a - b).collect();
        close(signed_rank(&differences).unwrap(), 2.0 * 0.01953, 4);
    }

    #[test]
    fn signed_rank_by_hand() {
        // All of one sign: 1 of 2ⁿ signs on either side.
        assert_eq!(signed_rank(&[0.1, 0.2, 0.3, 0.4, 0.5]), Some(2.0 / 32.0));
        assert_eq!(signed_rank(&[-0.1, -0.2, -0.3, -0.4, -0.5, -0.6]), Some(2.0 / 64.0));
        // Ranks 1.5, 1.5, 3; W⁻ = 1.5. Sums ≤ 1.5 of 8: 0, 1.5, 1.5.
        assert_eq!(signed_rank(&[1.0, -1.0, 2.0, 0.0]), Some(6.0 / 8.0));
    }

    #[test]
    fn holm_by_hand() {
        // Sorted 0.01·4, 0.02·3, 0.03·2, 0.04·1, none below the one before.
        let adjusted = holm(&[0.04, 0.01, 0.03, 0.02]);
        for (got, wanted) in adjusted.into_iter().zip([0.06, 0.04, 0.06, 0.06]) {
            close(got, wanted, 12);
        }
        assert_eq!(holm(&[0.7, 0.6]), [1.0, 1.0]);
    }

    #[test]
    fn normal_agrees_with_the_tables() {
        for (z, p, digits) in [
            (0.0, 1.0, 12),
            (1.0, 0.317_310_5, 7),
            (1.96, 0.049_995_8, 7),
            (2.575_829_3, 0.01, 8),
            (3.290_526_7, 0.001, 9),
            (5.0, 5.733_0e-7, 11),
        ] {
            close(normal_beyond(z), p, digits);
        }
    }

    #[test]
    fn delong_by_hand() {
        // Positives 0.8, 0.4; negatives 0.5, 0.1: AUC 3/4, components (1, ½) and (½, 1), each of variance ⅛.
        let (labels, p) = ([1.0, 1.0, 0.0, 0.0], [0.8, 0.4, 0.5, 0.1]);
        let one = delong(&labels, &[], &[(1.0, &p)]).unwrap();
        close(one.difference, 0.75, 12);
        close(one.error, (0.125f64 / 2.0 + 0.125 / 2.0).sqrt(), 12);
        // Against perfect predictions, whose components are all 1.
        let best = [0.9, 0.8, 0.2, 0.1];
        let two = delong(&labels, &[], &[(1.0, &best), (-1.0, &p)]).unwrap();
        close(two.difference, 0.25, 12);
        close(two.error, one.error, 12);
        let same = delong(&labels, &[], &[(1.0, &p), (-1.0, &p)]).unwrap();
        assert_eq!((same.difference, same.error, same.p), (0.0, 0.0, None));
        assert_eq!(delong(&[1.0, 0.0, 0.0], &[], &[(1.0, &[0.1, 0.2, 0.3])]), None);
    }

    /// The definition, pair by pair, on predictions with ties.
    #[test]
    fn delong_equals_its_definition() {
        let labels: Vec<f32> = (0..40).map(|i| f32::from(i * 7 % 5 < 2)).collect();
        let first: Vec<f32> = (0..40).map(|i| (i * 13 % 11) as f32).collect();
        let second: Vec<f32> = (0..40).map(|i| (i * 5 % 8) as f32).collect();
        let kernel = |x: f32, y: f32| if x > y { 1.0 } else { f64::from(x == y) / 2.0 };
        let (ups, downs): (Vec<usize>, Vec<usize>) = (0..40).partition(|&i| labels[i] > 0.5);
        let pair = |i: usize, j: usize| kernel(first[i], first[j]) - kernel(second[i], second[j]);
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let up: Vec<f64> = ups.iter().map(|&i| mean(downs.iter().map(|&j| pair(i, j)).collect())).collect();
        let down: Vec<f64> = downs.iter().map(|&j| mean(ups.iter().map(|&i| pair(i, j)).collect())).collect();
        let part = |v: &[f64]| {
            let m = mean(v.to_vec());
            v.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (v.len() - 1) as f64 / v.len() as f64
        };
        let got = delong(&labels, &[], &[(1.0, &first), (-1.0, &second)]).unwrap();
        close(got.difference, mean(up.clone()), 12);
        close(got.error, (part(&up) + part(&down)).sqrt(), 12);
    }

    /// The formula with weights, pair by pair, on predictions with ties and rows of weight 0.
    #[test]
    fn weighted_delong_equals_its_definition() {
        let labels: Vec<f32> = (0..60).map(|i| f32::from(i * 7 % 5 < 2)).collect();
        let weights: Vec<f32> = (0..60).map(|i| [1.0, 5.0, 0.25, 0.0][i * 3 % 4]).collect();
        let first: Vec<f32> = (0..60).map(|i| (i * 13 % 11) as f32).collect();
        let second: Vec<f32> = (0..60).map(|i| (i * 5 % 8) as f32).collect();
        let kernel = |x: f32, y: f32| if x > y { 1.0 } else { f64::from(x == y) / 2.0 };
        let pair = |i: usize, j: usize| kernel(first[i], first[j]) - kernel(second[i], second[j]);
        let w = |i: usize| f64::from(weights[i]);
        let there = (0..60).filter(|&i| weights[i] > 0.0);
        let (ups, downs): (Vec<usize>, Vec<usize>) = there.partition(|&i| labels[i] > 0.5);
        let mass = |rows: &[usize]| rows.iter().map(|&i| w(i)).sum::<f64>();
        let (of_ups, of_downs) = (mass(&ups), mass(&downs));
        let pairs = ups.iter().flat_map(|&i| downs.iter().map(move |&j| (i, j)));
        let area = pairs.map(|(i, j)| w(i) * w(j) * pair(i, j)).sum::<f64>() / (of_ups * of_downs);
        let up = |i: usize| downs.iter().map(|&j| w(j) * pair(i, j)).sum::<f64>() / of_downs;
        let down = |j: usize| ups.iter().map(|&i| w(i) * pair(i, j)).sum::<f64>() / of_ups;
        let part = |rows: &[usize], mass: f64, of: &dyn Fn(usize) -> f64| {
            let n = rows.len() as f64;
            let squares: f64 = rows.iter().map(|&i| (w(i) / mass * (of(i) - area)).powi(2)).sum();
            n / (n - 1.0) * squares
        };
        let variance = part(&ups, of_ups, &up) + part(&downs, of_downs, &down);
        let got = delong(&labels, &weights, &[(1.0, &first), (-1.0, &second)]).unwrap();
        close(got.difference, area, 12);
        close(got.error, variance.sqrt(), 12);
    }

    #[test]
    fn equal_weights_are_no_weights_to_delong() {
        let labels: Vec<f32> = (0..40).map(|i| f32::from(i * 7 % 5 < 2)).collect();
        let p: Vec<f32> = (0..40).map(|i| (i * 13 % 11) as f32).collect();
        let none = delong(&labels, &[], &[(1.0, &p)]).unwrap();
        assert_eq!(delong(&labels, &[1.0; 40], &[(1.0, &p)]), Some(none));
        let fives = delong(&labels, &[5.0; 40], &[(1.0, &p)]).unwrap();
        close(fives.difference, none.difference, 14);
        close(fives.error, none.error, 14);
        // One row of label 1 has a weight.
        let one: Vec<f32> = (0..40).map(|i| f32::from(labels[i] == 0.0 || i == 0)).collect();
        assert_eq!(delong(&labels, &one, &[(1.0, &p)]), None);
    }

    /// Draws of weighted rows spread as the formula says: within 5 % of it, where 4000 draws have a standard error of 1.1 %.
    #[test]
    fn weighted_delong_is_the_spread_of_other_rows() {
        let stream = optmsm_core::philox::Stream::new(1, "delong");
        let (mut areas, mut variances) = (Vec::new(), Vec::new());
        for draw in 0..4000u64 {
            let (mut labels, mut weights, mut p) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..120 {
                let at = 1000 * draw + 4 * row;
                let positive = stream.uniform(at) < 0.4;
                let score = stream.uniform(at + 1) + if positive { 0.3 } else { 0.0 };
                // Heavier where the score is high, so that weights matter.
                let heavy = stream.uniform(at + 2) < 0.2 + 0.4 * score.min(1.0);
                labels.push(f32::from(positive));
                weights.push(if heavy { 5.0 } else { 1.0 });
                p.push(score as f32);
            }
            let found = delong(&labels, &weights, &[(1.0, &p)]).unwrap();
            areas.push(found.difference);
            variances.push(found.error.powi(2));
        }
        let spread = Spread::of(&areas).unwrap().sd.unwrap();
        let expected = Spread::of(&variances).unwrap().mean.sqrt();
        assert!((spread / expected - 1.0).abs() < 0.05, "{spread} {expected}");
    }
}
