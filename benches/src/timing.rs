//! Clocks and statistics.

use std::time::Instant;

/// Seconds of each of `reps` calls.
pub fn seconds(reps: usize, mut f: impl FnMut()) -> Vec<f64> {
    let once = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..reps).map(once).collect()
}

/// Calls that fill `budget` seconds when one takes `once`, at least 3.
pub fn repetitions(budget: f64, once: f64) -> usize {
    (budget / once.max(1e-7)).clamp(3.0, 5_000.0) as usize
}

/// The middle value; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}
