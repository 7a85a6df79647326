//! Expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015) over bins of equal mass.

use super::curves::{Smooth, bins, smooth};
use super::set::Set;
use super::{Better, Kind, Metric, Needs};

/// Expected calibration error over 15 bins of equal mass; undefined without rows.
pub const ECE: Metric =
    Metric { key: "ece", title: "ECE", kind: Kind::Level, better: Better::Lower, needs: Needs::Rows, of };

/// Σ_bins |Σ w p − Σ w y| / Σ w. Bins have equal mass; equal predictions share their mean label, so that a bin
/// border inside a tie does not depend on the order of the rows.
fn of(set: &Set) -> Option<f64> {
    if set.rows.is_empty() {
        return None;
    }
    let smooth = smooth(&set.rows);
    let gap = |bin: &[Smooth]| bin.iter().map(|r| r.w * (r.p - r.y)).sum::<f64>().abs();
    let mass: f64 = smooth.iter().map(|r| r.w).sum();
    Some(bins(&smooth).into_iter().map(gap).sum::<f64>() / mass)
}
