//! The model and the optimizers against PyTorch: fixtures made by `fixtures/make.py`, float64.

use optmsm_core::backend::{Mat, MatMut, Penalty, Update, Write};
use optmsm_core::model::Measured;
use optmsm_core::models;
use optmsm_core::optim::{self, Clip, OptimizerConfig, Rule};
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use optmsm_tests::fixtures::{Fixture, deviation};
use optmsm_tests::parity::{OPTIMIZER, gradients_follow_pytorch, optimizers_follow_pytorch};

#[test]
fn logits_penalty_and_every_gradient_equal_pytorch() {
    for f in Fixture::models() {
        let whole = Reference::new().with_whole_fields();
        for be in [Reference::<f64>::new(), Reference::with_lanes(3, 4), whole] {
            let mut learner = f.learner(be.clone());
            let params = learner.export().unwrap();
            let model = models::build(&f.config(), &f.input()).unwrap();
            let predictor = Predictor::new(be, model, &params, 64).unwrap();
            let logits = predictor.logits(&f.batch()).unwrap();
            assert!(deviation(&logits, &f.values("out.logit")) < 1e-10, "{}: logits", f.name);
            let (loss, gradients) = learner.loss_and_gradients(&f.batch()).unwrap();
            assert!(deviation(&[loss.bce], &f.values("out.bce")) < 1e-10, "{}: loss", f.name);
            let penalty = f.lambda() * f.values("out.penalty")[0];
            assert!((loss.penalty - penalty).abs() < 1e-10, "{}: penalty", f.name);
            assert_eq!(names(&params), f.names("param."), "{}", f.name);
            assert_eq!(names(&gradients), f.names("grad."), "{}", f.name);
            for g in &gradients {
                let want = f.values(&format!("grad.{}", g.name));
                // A gradient that is exactly zero (the gate of one expert) has no scale of its own.
                let zero = want.iter().all(|&v| v.abs() < 1e-15) && g.data.iter().all(|&v| v.abs() < 1e-15);
                let off = deviation(&g.data, &want);
                assert!(zero || off < 1e-10, "{}: gradient of {} is off by {off:.1e}", f.name, g.name);
            }
        }
    }
}

/// Names of tensors in their order.
fn names(tensors: &[HostTensor<f64>]) -> Vec<String> {
    let mut names: Vec<_> = tensors.iter().map(|t| t.name.clone()).collect();
    names.sort();
    names
}

#[test]
fn mean_cosines_equal_pytorch() {
    for f in Fixture::all("case_") {
        let Some((shape, cos)) = f.get("out.cos") else { continue };
        let mut learner = f.learner(Reference::<f64>::new());
        let pairs = shape[0] * (shape[0] - 1) / 2;
        let mut measured = Measured::new(learner.spec());
        learner.predict_measuring(&f.batch(), &mut measured).unwrap();
        let named = measured.means(learner.spec());
        assert_eq!(named.len(), 1 + pairs);
        for (name, value) in &named[1..] {
            let mut parts = name.split('.').skip(1).map(|p| p.parse::<usize>().unwrap());
            let (i, j) = (parts.next().unwrap(), parts.next().unwrap());
            assert!((value - cos[i * shape[0] + j]).abs() < 1e-10, "{}: {name}", f.name);
        }
    }
}

/// Experts that are zero, on both sides of ε, and so large that in `f32` their squares would be infinite.
#[test]
fn the_penalty_of_experts_of_every_size_equals_pytorch() {
    let f = &Fixture::all("penalty")[0];
    let (shape, e) = f.get("e").unwrap();
    let [rows, k, m] = shape[..] else { panic!("{shape:?}") };
    let be = Reference::<f64>::new();
    let (mut inv_norm, mut sums, mut d_e) = (vec![0.0; rows * k], vec![0.0; 4], vec![0.0; e.len()]);
    let e = Mat::new(&e, rows, k * m);
    be.orthogonality(MatMut::new(&mut inv_norm, rows, k), MatMut::new(&mut sums, 1, 4), e);
    let mean: Vec<f64> = sums.iter().map(|sum| sum / rows as f64).collect();
    let cos = f.values("cos");
    assert!((mean[0] - f.values("penalty")[0]).abs() < 1e-12, "the penalty is {}", mean[0]);
    assert!(deviation(&mean[1..], &[cos[1], cos[2], cos[k + 2]]) < 1e-12, "{mean:?} {cos:?}");
    let inv_norm = Mat::new(&inv_norm, rows, k);
    be.orthogonality_bwd(MatMut::new(&mut d_e, rows, k * m), e, inv_norm, 1.0 / rows as f64);
    for (at, (got, want)) in d_e.chunks(m).zip(f.values("grad").chunks(m)).enumerate() {
        let zero = want.iter().all(|&v| v == 0.0) && got.iter().all(|&v| v == 0.0);
        assert!(zero || deviation(got, want) < 1e-12, "row {}, expert {}: {got:?} {want:?}", at / k, at % k);
    }
}

#[test]
fn ten_adam_steps_equal_pytorch() {
    for f in Fixture::models() {
        for be in [Reference::<f64>::with_lanes(2, 5), Reference::new().with_whole_fields()] {
            let mut learner = f.learner(be);
            for want in f.values("step10.losses") {
                let loss = learner.step(&f.batch()).unwrap().total();
                assert!((loss - want).abs() < 1e-9 * want.abs(), "{}: loss {loss} against {want}", f.name);
            }
            for t in learner.export().unwrap() {
                let off = deviation(&t.data, &f.values(&format!("step10.{}", t.name)));
                // Adam divides by √v + 1e-8, so a rounding of 1e-16 in a gradient of 1e-8 moves a step by 1e-8 of lr.
                assert!(off < 1e-8, "{}: {} is off by {off:.1e} after ten steps", f.name, t.name);
            }
        }
    }
}

#[test]
fn f32_backends_are_within_the_first_order_bound_of_pytorch() {
    let mut names = Vec::new();
    for isa in Isa::ALL {
        if optmsm_testkit::require(isa.name(), isa.is_available()) {
            names.push(isa.name());
            let options = CpuOptions {
                isa: Some(isa),
                threads: Some(2),
                lanes: 3,
                block_rows: 4,
                ..CpuOptions::default()
            };
            gradients_follow_pytorch(|| Cpu::with(options.clone()).unwrap());
        }
    }
    println!("checked {names:?}");
}

#[test]
fn updates_follow_pytorch() {
    optimizers_follow_pytorch(&Reference::<f64>::new(), 1e-12);
    optimizers_follow_pytorch(&Reference::<f32>::new(), OPTIMIZER);
    optimizers_follow_pytorch(&Cpu::new().unwrap(), OPTIMIZER);
}

#[test]
fn clipping_follows_pytorch() {
    let f = &Fixture::all("optim_clip")[0];
    let be = Reference::<f64>::new();
    let (mut sum, mut w) = (vec![0.0], vec![0.0; 12]);
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let g = f.values(&format!("grad.{name}"));
        be.sum_sq(&mut sum, if i == 0 { Write::Set } else { Write::Add }, &g, g.len());
    }
    assert!((sum[0].sqrt() - f.values("norm")[0]).abs() < 1e-12);
    for max_norm in [0.5, 1.0, 100.0] {
        let config = OptimizerConfig { rule: Rule::Sgd, lr: 1.0, ..OptimizerConfig::default() };
        for name in ["a", "b", "c"] {
            let g = f.values(&format!("grad.{name}"));
            w.fill(0.0);
            let update = optim::Update::new(&config, 1, 1.0, Some(Clip { max_norm, sum_sq: &sum }));
            be.step_dense(&mut w, &g, &mut [], g.len(), &update);
            let got: Vec<f64> = w[..g.len()].iter().map(|w| -w).collect();
            assert!(deviation(&got, &f.values(&format!("clipped_{max_norm:?}.{name}"))) < 1e-12, "{name}");
        }
    }
}
