//! Every gradient against finite differences, in f64.

use optmsm_core::gradcheck::{all_cases, case, check};

#[test]
fn every_gradient_matches_finite_differences() {
    for case in all_cases() {
        let errors = check(&case, false).unwrap();
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
        for e in check(case, false).unwrap() {
            // With one expert the gate's softmax is constant, and so is the gate's gradient: zero.
            let constant = case.config.experts.count == 1 && e.name.starts_with("gate");
            assert_eq!(e.largest > 1e-7, !constant, "{}: {} has no gradient", case.name, e.name);
        }
    }
}

#[test]
fn a_gradient_without_the_penalty_is_caught() {
    let errors = check(&case("control", |_| {}), true).unwrap();
    let worst = errors.iter().filter(|e| e.name.starts_with("experts")).map(|e| e.error).fold(0.0, f64::max);
    assert!(worst > 1e-3, "the wrong derivative was off by {worst:.1e} only");
}
