//! Every gradient against finite differences, in f64.

use optmsm_core::backend::{Mat, MatMut, Penalty};
use optmsm_core::gradcheck::{Case, TensorError, all_cases, case, check, check_on, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::{AnyModel, Model};
use optmsm_core::models::{self, Kind};
use optmsm_core::reference::{NORM_EPS, Reference};
use optmsm_tests::bounds::{Chain, Exact};

/// Gradients over lanes and blocks with fields by id, and of a whole batch at once: docs/derivations.md#fields.
fn both_ways(case: &Case) -> [Vec<TensorError>; 2] {
    let whole = Reference::new().with_whole_fields();
    [check(case, false).unwrap(), check_on(&whole, case, false).unwrap()]
}

#[test]
fn every_gradient_matches_finite_differences() {
    for (case, errors) in all_cases().iter().flat_map(|case| both_ways(case).map(|errors| (case, errors))) {
        for e in &errors {
            println!(
                "{:36} {:28} {:.1e} ({} checked, {} skipped)",
                case.name, e.name, e.error, e.checked, e.skipped
            );
        }
        for e in &errors {
            assert!(e.error < 1e-6, "{}: {} is off by {:.2e}", case.name, e.name, e.error);
        }
        let (checked, skipped) = errors.iter().fold((0, 0), |(c, s), e| (c + e.checked, s + e.skipped));
        assert!(skipped * 20 <= checked, "{}: {skipped} of {checked} next to a kink", case.name);
    }
}

#[test]
fn every_parameter_gets_a_gradient() {
    for case in all_cases().iter().filter(|c| !c.name.contains("dropout")) {
        for e in both_ways(case).into_iter().flatten() {
            // With one expert the gate's softmax is constant, and so is the gate's gradient: zero.
            let experts = match case.config.kind {
                Kind::OptMsm => case.config.experts.count,
                Kind::Mmoe => case.config.mmoe.experts.count,
                Kind::Hmoe => case.config.hmoe.experts.count,
                Kind::M3oe => case.config.m3oe.experts.count,
                Kind::M2m => case.config.m2m.experts.count,
                _ => 0,
            };
            let gate = e.name.starts_with("gate") || e.name.starts_with("attention");
            let gate = experts == 1 && gate;
            // So is the softmax over one scenario, which alone reads the scenario's embedding.
            let relation = case.config.kind == Kind::Hmoe && case.input.scenarios == 1;
            let relation = relation && (e.name.starts_with("relation") || e.name.starts_with("scenario"));
            let constant = gate || relation;
            assert_eq!(e.largest > 1e-7, !constant, "{}: {} has no gradient", case.name, e.name);
        }
    }
}

#[test]
fn a_gradient_without_the_penalty_is_caught() {
    let mut kinds = 0;
    for case in Kind::ALL.iter().map(|kind| kind.cases().swap_remove(0)) {
        let model: AnyModel<Reference<f64>> = models::build(&case.config, &case.input).unwrap();
        let has_penalty = model.penalty(&vec![1.0; model.spec().sums()], 1.0) != 0.0;
        assert_eq!(case.config.without_penalty().is_some(), has_penalty, "{}", case.name);
        if !has_penalty {
            continue;
        }
        kinds += 1;
        for be in [Reference::with_lanes(2, 3), Reference::new().with_whole_fields()] {
            let errors = check_on(&be, &case, true).unwrap();
            let worst = errors.iter().map(|e| e.error).fold(0.0, f64::max);
            assert!(worst > 1e-3, "{}: the wrong derivative was off by {worst:.1e} only", case.name);
        }
    }
    assert!(kinds >= 2);
}

/// An expert whose norm is ε, to rounding, or four times that: the penalty pulls at it with 1/ε or, along it, not at all.
#[test]
fn a_batch_next_to_a_kink_is_not_well_conditioned() {
    let case = case("kinks", |_| {});
    // One row: only the penalty's kink can be near.
    let (chain, batch) = (Chain::CASES, case.batch(1, 1));
    let model = models::build(&case.config, &case.input).unwrap();
    let fresh = Learner::new(Reference::<f64>::new(), model, LearnerConfig::default(), 1, 1).unwrap();
    let mut parameters = random_parameters(&fresh.export().unwrap(), 3);
    for (norm, well) in [(1.0, false), (4.0, true)] {
        for tensor in parameters.iter_mut().filter(|t| t.name.starts_with("experts.1.")) {
            tensor.data.fill(if tensor.name == "experts.1.bias" { 1.0 } else { 0.0 });
            if tensor.name == "experts.1.bias" {
                // Of expert 0 one unit is alive, just so.
                tensor.data[..4].copy_from_slice(&[norm * NORM_EPS, -1.0, -1.0, -1.0]);
            }
        }
        let exact = Exact::of(&case.config, &case.input, &parameters, &batch);
        assert_eq!(exact.is_well_conditioned(&case, &parameters, &batch, chain, 0.0), well, "{norm} ε");
    }
}

/// Penalty of one row of experts, 1 / max(‖e‖, ε), and its gradient.
fn penalty(e: &[f64], k: usize) -> (f64, Vec<f64>) {
    let (be, m) = (Reference::<f64>::new(), e.len());
    let (e, mut inv_norm) = (e.to_vec(), vec![0.0; k]);
    let (mut sums, mut d_e) = (vec![0.0; 1 + k * (k - 1) / 2], vec![0.0; m]);
    let terms = sums.len();
    be.orthogonality(MatMut::new(&mut inv_norm, 1, k), MatMut::new(&mut sums, 1, terms), Mat::new(&e, 1, m));
    let inv_norm = Mat::new(&inv_norm, 1, k);
    be.orthogonality_bwd(MatMut::new(&mut d_e, 1, m), Mat::new(&e, 1, m), inv_norm, 1.0);
    (sums[0], d_e)
}

/// Each of three experts on either side of the bound, next to it and far from it.
#[test]
fn the_penaltys_gradient_matches_finite_differences_on_both_sides_of_the_bound() {
    const DIRECTIONS: [[f64; 4]; 3] = [[0.8, 0.6, 0.0, 0.0], [0.0, 0.8, 0.0, 0.6], [0.6, 0.0, -0.8, 0.0]];
    const SIZES: [f64; 6] = [0.01, 0.9, 0.999, 1.001, 1.1, 100.0];
    let at = |sizes: [f64; 3]| {
        let expert = |(d, s): (&[f64; 4], f64)| d.map(|d| d * s * NORM_EPS);
        DIRECTIONS.iter().zip(sizes).flat_map(expert).collect::<Vec<f64>>()
    };
    for sizes in SIZES.map(|a| SIZES.map(|b| SIZES.map(|c| [a, b, c]))).as_flattened().as_flattened() {
        let e = at(*sizes);
        let gradient = penalty(&e, 3).1;
        for (i, d) in gradient.iter().enumerate() {
            // Small enough to stay on its side.
            let step = 1e-5 * NORM_EPS * sizes[i / 4];
            let moved = |by: f64| {
                let mut e = e.clone();
                e[i] += by;
                penalty(&e, 3).0
            };
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            // An expert's largest derivative is about its penalty, at most 1, over its size.
            let scale = 1.0 / (NORM_EPS * sizes[i / 4]);
            assert!((d - difference).abs() < 1e-8 * scale, "{sizes:?}, element {i}: {d} {difference}");
        }
    }
}

/// An expert that dies, or is scaled by 1e-10, is not thrown about: its gradient stays below the bound's, 4 / (K ε) a row.
#[test]
fn the_penaltys_gradient_is_bounded() {
    let e = [0.8, 0.6, 0.1, 0.2, 0.8, 0.4, 0.6, 0.5, 0.8];
    let norm = |d: &[f64]| d.iter().map(|d| d * d).sum::<f64>().sqrt();
    let most = 4.0 / 3.0 / NORM_EPS;
    let mut last = f64::INFINITY;
    for power in 3..40 {
        let mut small = e;
        small[..3].iter_mut().for_each(|v| *v *= 10f64.powi(-power));
        let size = norm(&penalty(&small, 3).1[..3]);
        // Below the bound the penalty is a square of what shrinks.
        assert!(size <= most && size < last, "{size} at 1e-{power}");
        last = size;
    }
    assert!(penalty(&[0.0, 0.0, 0.0, 0.2, 0.8, 0.4], 2).1.iter().all(|&d| d == 0.0));
}
