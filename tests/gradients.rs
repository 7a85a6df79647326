//! Every gradient against finite differences, in f64.

use optmsm_core::gradcheck::{Case, TensorError, all_cases, case, check, check_on};
use optmsm_core::reference::Reference;

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
            let constant = case.config.experts.count == 1 && e.name.starts_with("gate");
            assert_eq!(e.largest > 1e-7, !constant, "{}: {} has no gradient", case.name, e.name);
        }
    }
}

#[test]
fn a_gradient_without_the_penalty_is_caught() {
    for be in [Reference::with_lanes(2, 3), Reference::new().with_whole_fields()] {
        let errors = check_on(&be, &case("control", |_| {}), true).unwrap();
        let experts = errors.iter().filter(|e| e.name.starts_with("experts"));
        let worst = experts.map(|e| e.error).fold(0.0, f64::max);
        assert!(worst > 1e-3, "the wrong derivative was off by {worst:.1e} only");
    }
}
