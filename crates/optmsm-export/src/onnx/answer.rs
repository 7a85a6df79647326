//! From the logit to the probability.

use super::builder::{Builder, Name};
use super::fields::axis;
use super::proto::Elem;
use crate::answer::{Answer, Curves, Padded};

/// Adds the output `probability` of logits `[N]`. An unknown scenario, whose number is that of none, ends the run here at the latest: a
/// shift is gathered, though it may be 0.
pub(super) fn probability(b: &mut Builder, answer: &Answer, logit: &str, scenario: &str) {
    let shifts = b.doubles(&[answer.shifts.len()], &answer.shifts);
    let shift = b.op("Gather", &[&shifts, scenario], vec![]);
    let z = b.cast(logit, Elem::Double);
    let z = b.op("Add", &[&z, &shift], vec![]);
    let p = match &answer.curves {
        Curves::Plain => sigmoid(b, &z),
        Curves::Lines(lines) => {
            let [slope, intercept] = [0, 1].map(|part| {
                let by_scenario: Vec<f64> = lines.iter().map(|line| line[part]).collect();
                let constant = b.doubles(&[lines.len()], &by_scenario);
                b.op("Gather", &[&constant, scenario], vec![])
            });
            let z = b.op("Mul", &[&z, &slope], vec![]);
            let z = b.op("Add", &[&z, &intercept], vec![]);
            sigmoid(b, &z)
        }
        Curves::Points(points) => between(b, &Padded::of(points), &z, scenario),
    };
    b.named("Cast", &[&p], crate::fields::OUTPUTS[0], vec![super::builder::int("to", Elem::Float as i64)]);
}

fn sigmoid(b: &mut Builder, z: &str) -> Name {
    let one = b.doubles(&[], &[1.0]);
    let minus = b.op("Neg", &[z], vec![]);
    let e = b.op("Exp", &[&minus], vec![]);
    let sum = b.op("Add", &[&e, &one], vec![]);
    b.op("Div", &[&one, &sum], vec![])
}

/// Linear between the points of a row's scenario.
fn between(b: &mut Builder, points: &Padded, z: &str, scenario: &str) -> Name {
    let shape = [points.rows, points.width];
    let (logits, probabilities) =
        (b.doubles(&shape, &points.logits), b.doubles(&shape, &points.probabilities));
    let last = b.integers(&[points.rows, 1], &points.last);
    let [logits, probabilities, last] =
        [&logits, &probabilities, &last].map(|constant| b.op("Gather", &[constant, scenario], vec![]));
    let (zero, one) = (b.integers(&[], &[0]), b.integers(&[], &[1]));
    let column = b.unsqueeze(z, 1);
    // Points whose logit is below z: the next one is the upper end.
    let less = b.op("Less", &[&logits, &column], vec![]);
    let less = b.cast(&less, Elem::Int64);
    let above = b.sum(&less, 1, true);
    let below = b.op("Sub", &[&above, &one], vec![]);
    let below = b.op("Max", &[&below, &zero], vec![]);
    let above = b.op("Min", &[&above, &last], vec![]);
    let mut at = |list: &str, place: &str| b.op("GatherElements", &[list, place], axis(1));
    let (l0, l1) = (at(&logits, &below), at(&logits, &above));
    let (p0, p1) = (at(&probabilities, &below), at(&probabilities, &above));
    let (rise, step) = (b.op("Sub", &[&column, &l0], vec![]), b.op("Sub", &[&l1, &l0], vec![]));
    let share = b.op("Div", &[&rise, &step], vec![]);
    let difference = b.op("Sub", &[&p1, &p0], vec![]);
    let part = b.op("Mul", &[&share, &difference], vec![]);
    let inside = b.op("Add", &[&p0, &part], vec![]);
    // Both ends are the same point outside.
    let outside = b.op("Equal", &[&below, &above], vec![]);
    let p = b.op("Where", &[&outside, &p0, &inside], vec![]);
    let nan = b.op("IsNaN", &[&column], vec![]);
    let p = b.op("Where", &[&nan, &column, &p], vec![]);
    let axis = b.axis(&[1]);
    b.op("Squeeze", &[&p, &axis], vec![])
}
