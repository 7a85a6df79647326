//! Whether one column gives the label away, as outcomes do that are known only after the click.
//!
//! Judged by values, not by names: a column leaks where every row that has another value than one has the label 1 (it is zero or empty
//! unless clicked), or where it predicts the label nearly alone on rows that it was not fitted on. An id that every row has for
//! itself says nothing of other rows, and a good feature predicts far worse.

/// Knowledge of one distinct value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distinct {
    /// The number that it is.
    pub number: Option<f64>,
    /// Whether it says that there is nothing: a missing value, zero, `false`, an empty list.
    pub nothing: bool,
}

/// How a column gives the label away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leak {
    /// Other values than one come nearly only with one label.
    Only {
        /// Place of that one value.
        value: usize,
        /// The label.
        label: bool,
        /// Rows with another value.
        rows: u64,
        /// Those of them with the label.
        with: u64,
    },
    /// It predicts the label.
    Alone {
        /// AUC on rows that it was not fitted on.
        auc: f64,
    },
}

/// Rows with another value that must all have the label 1, at least.
const FEWEST: u64 = 10;
/// Chance of that among independent labels, at most.
const CHANCE: f64 = 1e-6;
/// Share of the label 0 among more of them that is still nearly none, of the share that all rows have.
const EXCEPTIONS: f64 = 0.05;
/// Rows of each label that an AUC needs.
const LEAST: u64 = 20;
/// AUC of a column that predicts the label alone, and what it must exceed beyond doubt.
const ALONE: (f64, f64) = (0.95, 0.9);
/// The same of a column whose name is that of an outcome.
const SUSPECT: (f64, f64) = (0.75, 0.65);
/// Runs that the numbers of a column are cut into, at most.
const RUNS: u64 = 64;

/// Judges a column: `codes` are the places in `values` of the value of each row, `labels` whether its label is 1. A `suspect` has the name
/// of an outcome, and needs to predict less well, or may say only that there was no click.
pub fn leak(values: &[Distinct], codes: &[u32], labels: &[bool], suspect: bool) -> Option<Leak> {
    let mut counts = vec![Count::default(); values.len()];
    for (&code, &label) in codes.iter().zip(labels) {
        counts[code as usize].add(label);
    }
    let total = counts.iter().copied().fold(Count::default(), Count::plus);
    if total.positives == 0 || total.negatives == 0 {
        return None;
    }
    let only = |label: bool| {
        let counts: Vec<Count> = counts.iter().map(|count| count.of(label)).collect();
        let (value, Count { positives: with, negatives }) = only(values, &counts, total.of(label))?;
        Some(Leak::Only { value, label, rows: with + negatives, with })
    };
    // Goods that are sold out are never bought, and this is known before.
    let skipped = || suspect.then(|| only(false)).flatten();
    only(true).or_else(skipped).or_else(|| alone(values, &counts, codes, labels, suspect))
}

/// Rows by label.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    positives: u64,
    negatives: u64,
}

impl Count {
    fn add(&mut self, label: bool) {
        *(if label { &mut self.positives } else { &mut self.negatives }) += 1;
    }

    fn plus(self, other: Self) -> Self {
        let (positives, negatives) = (self.positives + other.positives, self.negatives + other.negatives);
        Self { positives, negatives }
    }

    /// The same where the rows with this label are the positive ones.
    fn of(self, label: bool) -> Self {
        let Self { positives, negatives } = self;
        if label { self } else { Self { positives: negatives, negatives: positives } }
    }

    fn rows(self) -> u64 {
        self.positives + self.negatives
    }
}

/// Whether rows are positive nearly wherever the column has another value than most negative ones, or neither that nor nothing: that value, and
/// the rows with others.
fn only(values: &[Distinct], counts: &[Count], total: Count) -> Option<(usize, Count)> {
    let (value, _) = counts.iter().enumerate().max_by_key(|(_, count)| count.negatives)?;
    let base = total.positives as f64 / total.rows() as f64;
    let judge = |with_nothing: bool| {
        let others = values.iter().zip(counts).enumerate();
        let others = others.filter(|&(i, (known, _))| i != value && (with_nothing || !known.nothing));
        let found = others.map(|(_, (_, count))| *count).fold(Count::default(), Count::plus);
        let (rows, negatives) = (found.rows(), found.negatives);
        let all = negatives == 0 && rows >= FEWEST && base.powf(rows as f64) <= CHANCE;
        // By the rule of three a share is below 3 / rows where none was seen.
        let nearly = negatives as f64 + 3.0 <= EXCEPTIONS * rows as f64 * (1.0 - base);
        (all || nearly).then_some((value, found))
    };
    judge(true).or_else(|| judge(false))
}

/// Whether the mean label by value, of one half of the rows, predicts the labels of the other half.
fn alone(
    values: &[Distinct],
    counts: &[Count],
    codes: &[u32],
    labels: &[bool],
    suspect: bool,
) -> Option<Leak> {
    let runs = runs(values, counts);
    let mut halves = [(); 2].map(|()| vec![Count::default(); values.len()]);
    for (row, (&code, &label)) in codes.iter().zip(labels).enumerate() {
        halves[half(row)][runs[code as usize]].add(label);
    }
    let [first, second] = &halves;
    let (wins, pairs) = [(first, second), (second, first)]
        .map(|(fitted, scored)| wins(fitted, scored))
        .into_iter()
        .fold((0.0, 0.0), |(wins, pairs), (w, p)| (wins + w, pairs + p));
    let total = counts.iter().copied().fold(Count::default(), Count::plus);
    let auc = wins / pairs;
    let (least, sure) = if suspect { SUSPECT } else { ALONE };
    let enough = total.positives.min(total.negatives) >= LEAST;
    (enough && auc >= least && auc - 2.0 * error(sure, total) >= sure).then_some(Leak::Alone { auc })
}

/// The half that a row belongs to: neighbours, which may be of one session, are put apart at random.
fn half(row: usize) -> usize {
    let mixed = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 63) as usize
}

/// The run of each value: of numbers as many as there are rows for, of others each value is one.
fn runs(values: &[Distinct], counts: &[Count]) -> Vec<usize> {
    let mut runs: Vec<usize> = (0..values.len()).collect();
    let (mut numbers, mut others) = (Vec::new(), 0);
    for (i, value) in values.iter().enumerate() {
        match value.number {
            Some(number) => numbers.push((number, i)),
            None => others += u64::from(!value.nothing && counts[i].rows() > 0),
        }
    }
    if others > 0 {
        return runs;
    }
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rows: u64 = numbers.iter().map(|&(_, i)| counts[i].rows()).sum();
    let length = rows / RUNS.min(rows.isqrt()).max(1) + 1;
    // A run is named by the first value in it, so that it is no value's that is no number.
    let (mut before, mut run, mut name) = (0, None, 0);
    for (_, i) in numbers {
        if run != Some(before / length) {
            (run, name) = (Some(before / length), i);
        }
        runs[i] = name;
        before += counts[i].rows();
    }
    runs
}

/// Pairs of a row with the label 1 and one with the label 0 in `scored` that the means of `fitted` put in order, half of those that they
/// leave equal; and all such pairs.
fn wins(fitted: &[Count], scored: &[Count]) -> (f64, f64) {
    let total = fitted.iter().copied().fold(Count::default(), Count::plus);
    let base = total.positives as f64 / total.rows().max(1) as f64;
    let mean = |c: &Count| (c.positives as f64 + base) / (c.rows() as f64 + 1.0);
    let mut by_mean: Vec<(f64, Count)> =
        fitted.iter().map(mean).zip(scored.iter().copied()).filter(|(_, c)| c.rows() > 0).collect();
    by_mean.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut below, mut positives) = (0.0, 0.0, 0.0);
    for equal in by_mean.chunk_by(|a, b| a.0 == b.0) {
        let here = equal.iter().map(|&(_, count)| count).fold(Count::default(), Count::plus);
        wins += here.positives as f64 * (below + 0.5 * here.negatives as f64);
        below += here.negatives as f64;
        positives += here.positives as f64;
    }
    (wins, positives * below)
}

/// Standard error of an AUC (Hanley and McNeil, 1982).
fn error(auc: f64, total: Count) -> f64 {
    let (positives, negatives) = (total.positives as f64, total.negatives as f64);
    let (above, below) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let variance =
        auc * (1.0 - auc) + (positives - 1.0) * (above - auc * auc) + (negatives - 1.0) * (below - auc * auc);
    (variance / (positives * negatives)).sqrt()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use optmsm_testkit::rng::Rng;

    /// Judges a column of numbers; none is a missing value.
    fn judge(rows: &[(Option<f64>, bool)], suspect: bool) -> Option<Leak> {
        let mut values = vec![Distinct { number: None, nothing: true }];
        let (mut codes, mut places) = (Vec::new(), HashMap::new());
        for (number, _) in rows {
            let Some(number) = *number else {
                codes.push(0);
                continue;
            };
            codes.push(*places.entry(number.to_bits()).or_insert_with(|| {
                values.push(Distinct { number: Some(number), nothing: number == 0.0 });
                values.len() as u32 - 1
            }));
        }
        let labels: Vec<bool> = rows.iter().map(|r| r.1).collect();
        leak(&values, &codes, &labels, suspect)
    }

    /// Judges a number that is made from whether a row is clicked, on `rows` rows of which one in `one_in` is.
    fn of(
        rows: usize,
        one_in: usize,
        suspect: bool,
        number: impl Fn(&mut Rng, bool) -> Option<f64>,
    ) -> Option<Leak> {
        let mut rng = Rng::new(rows as u64);
        let rows: Vec<_> = (0..rows)
            .map(|_| {
                let click = rng.below(one_in) == 0;
                (number(&mut rng, click), click)
            })
            .collect();
        judge(&rows, suspect)
    }

    fn is_only(leak: Option<Leak>) -> bool {
        matches!(leak, Some(Leak::Only { .. }))
    }

    #[test]
    fn what_is_zero_or_missing_unless_clicked_is_an_outcome() {
        for (rows, one_in) in [(200, 5), (3_000, 2), (30_000, 200)] {
            let dwell = |rng: &mut Rng, click| Some(if click { 1.0 + rng.below(90) as f64 } else { 0.0 });
            let time = |rng: &mut Rng, click: bool| click.then(|| 1.7e9 + rng.below(9_000) as f64);
            let purchase = |rng: &mut Rng, click: bool| Some(f64::from(u8::from(click && rng.below(2) == 0)));
            let inverted = |_: &mut Rng, click: bool| Some(f64::from(u8::from(!click)));
            let constant =
                |rng: &mut Rng, click: bool| Some(if click && rng.below(3) > 0 { 7.0 } else { -1.0 });
            assert!(is_only(of(rows, one_in, false, dwell)), "dwell time of {rows}");
            assert!(is_only(of(rows, one_in, false, time)), "click time of {rows}");
            assert!(is_only(of(rows, one_in, false, purchase)), "purchase of {rows}");
            assert!(is_only(of(rows, one_in, false, inverted)), "inverted label of {rows}");
            assert!(is_only(of(rows, one_in, false, constant)), "-1 unless clicked of {rows}");
        }
        // A log is not perfect: one row in 2,000 has a dwell time without a click.
        let nearly =
            |rng: &mut Rng, click: bool| Some(if click || rng.below(2_000) == 0 { 5.0 } else { 0.0 });
        assert!(is_only(of(30_000, 10, false, nearly)));
        // Missing in some rows, zero in others.
        let mixed = |rng: &mut Rng, click| if click { Some(9.0) } else { (rng.below(2) == 0).then_some(0.0) };
        assert!(is_only(of(300, 4, false, mixed)));
    }

    #[test]
    fn what_comes_only_without_a_click_is_an_outcome_by_its_name() {
        for (rows, one_in) in [(400, 2), (3_000, 4), (20_000, 10)] {
            let skip = |rng: &mut Rng, click: bool| Some(f64::from(u8::from(!click && rng.below(3) == 0)));
            let reason = |rng: &mut Rng, click: bool| {
                let given = rng.below(2) == 0;
                (!click && given).then(|| rng.below(4) as f64)
            };
            for (number, what) in [(&skip as &dyn Fn(&mut Rng, bool) -> _, "skip"), (&reason, "reason")] {
                let found = of(rows, one_in, true, number);
                assert!(
                    matches!(found, Some(Leak::Only { label: false, .. })),
                    "{what} of {rows}: {found:?}"
                );
                assert_eq!(of(rows, one_in, false, number), None, "sold out, like {what} of {rows}");
            }
        }
    }

    #[test]
    fn what_predicts_the_label_alone_is_an_outcome() {
        let auc = |leak| match leak {
            Some(Leak::Alone { auc }) => auc,
            other => panic!("{other:?}"),
        };
        // Seconds on the page, which a row without a click has, too.
        let stay =
            |rng: &mut Rng, click| Some(if click { 8.0 + 50.0 * rng.uniform() } else { 9.0 * rng.uniform() });
        assert!(auc(of(400, 5, false, stay)) > 0.97);
        assert!(auc(of(20_000, 20, false, stay)) > 0.98);
        // Far from zero on both sides of it.
        let swing = |rng: &mut Rng, click| {
            let size = if click { 5.0 + rng.uniform() } else { 4.0 * rng.uniform() };
            Some(if rng.below(2) == 0 { size } else { -size })
        };
        assert!(auc(of(5_000, 3, false, swing)) > 0.98);
        // The label with one row in 25 wrong.
        let copy = |rng: &mut Rng, click: bool| Some(f64::from(1 + u8::from(click != (rng.below(25) == 0))));
        assert!((0.95..0.97).contains(&auc(of(5_000, 2, false, copy))));
        // Weaker, and by its name an outcome.
        let weak = |rng: &mut Rng, click| Some(rng.uniform() + if click { 0.6 } else { 0.0 });
        assert_eq!(of(5_000, 4, false, weak), None);
        assert!(auc(of(5_000, 4, true, weak)) > 0.85);
    }

    #[test]
    fn features_stay() {
        for (rows, one_in) in [(60, 2), (400, 10), (20_000, 30)] {
            let good = |rng: &mut Rng, click| Some(rng.uniform() + if click { 0.4 } else { 0.0 });
            let id = |rng: &mut Rng, _| Some(f64::from(rng.bits()));
            let noise = |rng: &mut Rng, _| (rng.below(3) > 0).then(|| rng.below(50) as f64);
            let rare = |rng: &mut Rng, _| Some(f64::from(u8::from(rng.below(60) == 0)));
            let constant = |_: &mut Rng, _| Some(1.0);
            let missing = |_: &mut Rng, _| None;
            assert_eq!(of(rows, one_in, false, good), None, "good of {rows}");
            assert_eq!(of(rows, one_in, true, id), None, "id of {rows}");
            assert_eq!(of(rows, one_in, true, noise), None, "noise of {rows}");
            assert_eq!(of(rows, one_in, true, rare), None, "rare flag of {rows}");
            assert_eq!(of(rows, one_in, true, constant), None, "constant of {rows}");
            assert_eq!(of(rows, one_in, true, missing), None, "missing of {rows}");
        }
        // Users with a taste: half of them click four times as often as the others.
        let user = |rng: &mut Rng, click: bool| {
            Some((2 * rng.below(50) + usize::from(click == (rng.below(5) > 0))) as f64)
        };
        assert_eq!(of(5_000, 2, false, user), None);
        // Too few rows to tell, and labels of one class.
        let copy = |_: &mut Rng, click: bool| Some(f64::from(u8::from(click)));
        assert_eq!(of(12, 3, true, copy), None);
        assert_eq!(judge(&[(Some(1.0), true), (Some(2.0), true)], true), None);
    }
}
