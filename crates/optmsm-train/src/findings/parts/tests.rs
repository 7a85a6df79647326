//! Exhibits made by hand, on both sides of each bound.

use super::*;

/// An exhibit by scenario, of columns a, b, ….
fn exhibit(title: &str, shows: Shows, values: &[&[Option<f64>]]) -> ExhibitReport {
    let names = |count: usize| "abcdef".chars().take(count).map(String::from).collect();
    ExhibitReport {
        title: title.into(),
        says: String::new(),
        rows: names(values.len()),
        columns: names(values[0].len()),
        by_scenario: true,
        values: values.iter().map(|row| row.to_vec()).collect(),
        full: None,
        shows,
    }
}

fn gate(evenness: f64, values: &[&[Option<f64>]]) -> ExhibitReport {
    exhibit("gate", Shows::Gate { evenness: Some(evenness) }, values)
}

/// Findings, each with the exhibit that it is of.
fn found(exhibits: &[ExhibitReport]) -> Vec<String> {
    find(exhibits).into_iter().map(|f| format!("{}: {}", f.place, f.what)).collect()
}

#[test]
fn an_even_gate_is_found_and_one_that_chooses_is_not() {
    let choosing: &[&[_]] = &[&[Some(0.7), Some(0.3)], &[None, None], &[Some(0.2), Some(0.8)]];
    assert_eq!(found(&[gate(0.95, choosing)]), [""; 0]);
    let even = "gate: the weights are nearly even in all rows (entropy at least 0.970 of the maximum)";
    assert_eq!(found(&[gate(0.97, choosing)]), [even]);
    // Of one weight, or of no rows, there is nothing to say.
    assert_eq!(found(&[gate(1.0, &[&[Some(1.0)], &[Some(1.0)]]), gate(1.0, &[&[None, None]])]), [""; 0]);
}

#[test]
fn a_gate_that_is_the_same_in_all_scenarios_is_found() {
    let of = |second: f64| gate(0.5, &[&[Some(0.5), Some(0.5)], &[Some(second), Some(1.0 - second)]]);
    let same = "gate: the mean weights differ by at most 0.015 between scenarios";
    assert_eq!((found(&[of(0.515)]), found(&[of(0.525)])), (vec![same.to_string()], Vec::new()));
    // Of a single scenario with rows nothing can be told.
    assert_eq!(found(&[gate(0.5, &[&[Some(0.5), Some(0.5)], &[None, None]])]), [""; 0]);
}

#[test]
fn a_part_without_weight_in_any_scenario_is_found() {
    // A third of 0.05 is 0.0167.
    let of = |c: f64| gate(0.5, &[&[Some(0.9), Some(0.1), Some(0.01)], &[Some(0.3), Some(0.7), Some(c)]]);
    assert_eq!(found(&[of(0.016)]), ["gate: almost no weight in any scenario for c"]);
    assert_eq!(found(&[of(0.017)]), [""; 0]);
}

#[test]
fn dead_experts_are_found_and_are_not_called_disjoint() {
    let outputs = |b: f64| {
        exhibit(
            "outputs",
            Shows::Outputs,
            &[&[Some(2.0), Some(0.0), Some(1.0)], &[Some(1.0), Some(b), Some(0.5)]],
        )
    };
    assert_eq!(found(&[outputs(0.0021)]), [""; 0]);
    assert_eq!(found(&[outputs(0.0019)]), ["outputs: outputs of 0 in (almost) all rows of b"]);
    let none = exhibit("outputs", Shows::Outputs, &[&[Some(0.0), Some(0.0)]]);
    assert_eq!(found(&[none]), ["outputs: outputs of 0 in (almost) all rows of a, b"]);
    assert_eq!(found(&[exhibit("outputs", Shows::Outputs, &[&[None, None]])]), [""; 0]);

    let cosines = |bc: f64, non_negative| {
        let (ab, ac, bc) = (Some(0.0), Some(0.3), Some(bc));
        let shows = Shows::Cosines { non_negative };
        exhibit("cosines", shows, &[&[None, ab, ac], &[ab, None, bc], &[ac, bc, None]])
    };
    let pairs = |apart| {
        format!(
            "cosines: {apart} of 3 pairs are orthogonal only since at most one of the two is active (mean |cos| below 0.05)"
        )
    };
    assert_eq!(found(&[cosines(0.051, true)]), [pairs(1)]);
    assert_eq!(found(&[cosines(0.049, true)]), [pairs(2)]);
    assert_eq!(found(&[cosines(0.049, false)]), [""; 0]);
    // The other way round, too: what is dead is known before.
    assert_eq!(
        found(&[cosines(0.0, true), outputs(0.0)]),
        ["outputs: outputs of 0 in (almost) all rows of b"]
    );
}

#[test]
fn generated_weights_that_are_equal_are_found() {
    let of = |scenarios: usize, first: f64| {
        let apart = vec![("layer 0".to_string(), first), ("layer 1".to_string(), 0.5)];
        exhibit("generated", Shows::Generated { apart }, &vec![&[Some(1.0)][..]; scenarios])
    };
    let same = "generated: the weights of layer 0 are the same in all scenarios (at most 0.90 % of their norm apart)";
    assert_eq!((found(&[of(2, 0.009)]), found(&[of(2, 0.011)])), (vec![same.to_string()], Vec::new()));
    assert_eq!(found(&[of(1, 0.0)]), [""; 0]);
}
