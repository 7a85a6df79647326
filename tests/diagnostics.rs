//! Diagnostics of a model that a predictor gives beside its answers, against the formulas of model.md, written out
//! here.

use optmsm_core::backend::{Backend, Elem};
use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{Combine, Condition, FieldKind, Role};
use optmsm_core::gradcheck::{Case, case, random_batch, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::{AnyModel, Measured};
use optmsm_core::models::{self, Kind};
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions};

fn cpu() -> Cpu {
    Cpu::with(CpuOptions { threads: Some(2), block_rows: 16, ..CpuOptions::default() }).unwrap()
}

fn parameters(case: &Case) -> Vec<HostTensor<f64>> {
    let model = models::build(&case.config, &case.input).unwrap();
    let learner = Learner::new(Reference::<f64>::new(), model, LearnerConfig::default(), 1, 1).unwrap();
    random_parameters(&learner.export().unwrap(), 2)
}

fn predictor<B: Backend>(be: B, case: &Case, max_rows: usize) -> Predictor<B, AnyModel<B>> {
    let model = models::build(&case.config, &case.input).unwrap();
    let narrow = |t: HostTensor<f64>| HostTensor {
        name: t.name,
        shape: t.shape,
        data: t.data.iter().map(|&v| B::Elem::of(v)).collect(),
    };
    let parameters: Vec<_> = parameters(case).into_iter().map(narrow).collect();
    Predictor::new(be, model, &parameters, max_rows).unwrap()
}

/// y = x Wᵀ + b, with ReLU if asked for.
fn linear(parameters: &[HostTensor<f64>], name: &str, x: &[f64], relu: bool) -> Vec<f64> {
    let find = |end: &str| parameters.iter().find(|t| t.name == format!("{name}.{end}")).unwrap();
    let (w, b) = (find("weight"), find("bias"));
    let row = |o: usize| w.data[o * x.len()..][..x.len()].iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    (0..b.data.len()).map(|o| row(o) + b.data[o]).map(|y| if relu { y.max(0.0) } else { y }).collect()
}

/// Σ α by scenario: α = softmax(W_g g + b_g), g = MLP([v · w ; z_s]) for one numeric specific field.
fn gates_by_hand(case: &Case, batch: &Batch) -> Vec<f64> {
    let parameters = parameters(case);
    let find = |name: &str| &parameters.iter().find(|t| t.name == name).unwrap().data;
    let (age, z, q) =
        (find("embeddings.age.weight"), find("scenario.weight"), case.config.hyper.scenario_dim);
    let k = case.config.experts.count(case.input.scenarios);
    let mut sums = vec![0.0; case.input.scenarios * k];
    let Some(Column::Numeric(values)) = batch.columns.last() else { panic!("a numeric field comes last") };
    for (&s, &v) in batch.scenarios.iter().zip(values) {
        let s = s as usize;
        let mut g: Vec<f64> = age.iter().map(|w| f64::from(v) * w).collect();
        g.extend(&z[s * q..][..q]);
        for layer in 0..case.config.specific.hidden.len() {
            g = linear(&parameters, &format!("specific.{layer}"), &g, true);
        }
        let e: Vec<f64> = linear(&parameters, "gate", &g, false).iter().map(|o| o.exp()).collect();
        let sum: f64 = e.iter().sum();
        (0..k).for_each(|i| sums[s * k + i] += e[i] / sum);
    }
    sums
}

#[test]
fn mean_gate_weights_are_those_of_the_formula() {
    for (experts, scenarios) in [(0, 3), (1, 3), (5, 2), (2, 7)] {
        let case = case("gates", |c| {
            c.input.scenarios = scenarios;
            c.input.fields.retain(|f| f.role == Role::Shared || f.kind == FieldKind::Numeric);
            c.config.experts.count = experts;
        });
        let batch = random_batch(&case.input, 75, false, 9);
        let expected = gates_by_hand(&case, &batch);
        fn check<B: Backend>(p: &Predictor<B, AnyModel<B>>, batch: &Batch, expected: &[f64], bound: f64) {
            let mut measured = Measured::new(p.spec());
            let answers = p.predict_measuring(batch, &mut measured).unwrap();
            assert_eq!(answers, p.predict(batch).unwrap());
            let [_, gates] = &measured.by_scenario[..] else { panic!("two measures: outputs, gate") };
            assert_eq!(gates.len(), expected.len());
            for (found, wanted) in gates.iter().zip(expected) {
                assert!((found - wanted).abs() <= bound, "{gates:?} {expected:?}");
            }
            // The means, as they are shown; none of a scenario without rows.
            let shown = p.exhibits(&measured).unwrap();
            let gate = shown.iter().find(|e| e.title == "Gate by scenario").unwrap();
            let experts = expected.len() / measured.rows.len();
            for (at, wanted) in expected.iter().enumerate() {
                let rows = measured.rows[at / experts] as f64;
                let found = gate.values[at].map_or(0.0, |mean| mean * rows);
                assert!((found - wanted).abs() <= bound * (1.0 + rows), "{gate:?} {expected:?}");
            }
            // Sums that are there already stay.
            p.predict_measuring(batch, &mut measured).unwrap();
            for (found, wanted) in measured.by_scenario[1].iter().zip(expected) {
                assert!((found - 2.0 * wanted).abs() <= 2.0 * bound, "{measured:?} {expected:?}");
            }
        }
        for max_rows in [75, 7] {
            let reference = predictor(Reference::<f64>::with_lanes(3, 4), &case, max_rows);
            check(&reference, &batch, &expected, 1e-12);
            // At most 75 weights of at most 1, each from a few hundred f32 operations on numbers of order 1.
            check(
                &predictor(cpu(), &case, max_rows),
                &batch,
                &expected,
                75.0 * 400.0 * f64::from(f32::EPSILON),
            );
        }
        // Each scenario's weights sum to its rows.
        let k = case.config.experts.count(scenarios);
        for (s, sums) in expected.chunks(k).enumerate() {
            let rows = batch.scenarios.iter().filter(|&&of| of as usize == s).count() as f64;
            assert!((sums.iter().sum::<f64>() - rows).abs() < 1e-12);
        }
    }
}

#[test]
fn a_model_without_a_gate_has_no_gate_weights() {
    for combine in [Combine::Select, Combine::Mean] {
        let case = case("no gate", |c| c.config.combine = combine);
        let p = predictor(cpu(), &case, 8);
        let batch = random_batch(&case.input, 20, false, 9);
        let mut measured = Measured::new(p.spec());
        assert_eq!(p.predict_measuring(&batch, &mut measured).unwrap(), p.predict(&batch).unwrap());
        assert_eq!(measured.by_scenario.len(), 1, "the experts' outputs alone");
        assert!(p.exhibits(&measured).unwrap().iter().all(|e| e.title != "Gate by scenario"));
    }
}

/// Norms of W_s and b_s with every matrix made in full: u = ReLU(W_u z_s + b_u), W = reshape(A u + a), or P C Q.
fn norms_by_hand(case: &Case) -> Vec<(Vec<f64>, Vec<f64>)> {
    let parameters = parameters(case);
    let find = |name: &str| parameters.iter().find(|t| t.name == name);
    let (z, q) = (&find("scenario.weight").unwrap().data, case.config.hyper.scenario_dim);
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let of = |l: usize, inputs: usize, outputs: usize, s: usize| {
        let u = linear(&parameters, "hyper.trunk", &z[s * q..][..q], true);
        let bias = norm(&linear(&parameters, &format!("tower.{l}.shift"), &u, false));
        if case.config.hyper.rank == 0 {
            return (norm(&linear(&parameters, &format!("tower.{l}.full"), &u, false)), bias);
        }
        let c = linear(&parameters, &format!("tower.{l}.core"), &u, false);
        let left = &find(&format!("tower.{l}.left")).unwrap().data;
        let right = &find(&format!("tower.{l}.right")).unwrap().data;
        let r = left.len() / inputs;
        let mut w = Vec::new();
        for i in 0..inputs {
            for o in 0..outputs {
                let terms = (0..r * r).map(|ab| left[i * r + ab / r] * c[ab] * right[ab % r * outputs + o]);
                w.push(terms.sum::<f64>());
            }
        }
        (norm(&w), bias)
    };
    let widths = case.config.tower_widths();
    let layers = widths.windows(2).enumerate();
    layers.map(|(l, w)| (0..case.input.scenarios).map(|s| of(l, w[0], w[1], s)).unzip()).collect()
}

#[test]
fn norms_of_generated_weights_are_those_of_the_whole_matrices() {
    fn check<B: Backend>(
        p: &Predictor<B, AnyModel<B>>,
        expected: &[(Vec<f64>, Vec<f64>)],
        bound: f64,
        name: &str,
    ) {
        let shown = p.exhibits(&Measured::new(p.spec())).unwrap();
        let found = shown.iter().find(|e| e.title == "Generated weights by scenario");
        assert_eq!(found.is_some(), !expected.is_empty(), "{name}");
        let Some(found) = found else { return };
        // A row per scenario: weights and bias of layer 0, of layer 1, ….
        let columns = 2 * expected.len();
        assert_eq!(found.values.len(), columns * expected[0].0.len(), "{name}");
        for (l, (weight, bias)) in expected.iter().enumerate() {
            for (s, wanted) in weight.iter().zip(bias).enumerate() {
                let at = s * columns + 2 * l;
                for (found, &wanted) in found.values[at..at + 2].iter().zip([wanted.0, wanted.1]) {
                    let found = found.unwrap();
                    assert!((found - wanted).abs() <= bound * wanted.max(1.0), "{name}: {found} {wanted}");
                }
            }
        }
    }
    let mut seen = 0;
    for case in Kind::OptMsm.cases() {
        let expected = match case.config.hyper.condition {
            Condition::Scenario => norms_by_hand(&case),
            // Every row has weights of its own, or all rows have the same.
            Condition::Instance | Condition::Shared => Vec::new(),
        };
        seen += usize::from(!expected.is_empty());
        check(&predictor(Reference::<f64>::new(), &case, 4), &expected, 1e-12, &case.name);
        // Two layers of the hypernetwork and two products, of widths of at most 35 and numbers of order 1.
        check(&predictor(cpu(), &case, 4), &expected, 400.0 * f64::from(f32::EPSILON), &case.name);
    }
    assert!(seen > 10);
}
