//! A backend against PyTorch.

use optmsm_core::backend::{Backend, Elem, Mat, TableStep};
use optmsm_core::optim::Update;
use optmsm_core::params::HostTensor;
use optmsm_core::rounding::{Rounding, TableDtype};

use crate::bounds::{Chain, Exact, U, named, wide};
use crate::fixtures::{Fixture, deviation};

/// Most that f32 may be off by in [`optimizers_follow_pytorch`]: six steps, each a dozen roundings of numbers up to
/// lr / √(1 − β₂) ≈ 32 lr.
pub const OPTIMIZER: f64 = 6.0 * 12.0 * 32.0 * U;

/// Loss and every gradient of every fixture, within [`Chain::FIXTURES`]; the sizes that errors are relative to are the
/// reference's, which must first agree with PyTorch itself.
///
/// # Panics
/// Where they are not.
pub fn gradients_follow_pytorch<B: Backend>(be: impl Fn() -> B) {
    for f in Fixture::models() {
        let (be, batch) = (be(), f.batch());
        let (place, v) = (format!("{} on {}", f.name, be.name()), be.product_rounding());
        let mut learner = f.learner(be);
        let (loss, gradients) = learner.loss_and_gradients(&batch).unwrap();
        let parameters: Vec<_> =
            learner.export().unwrap().iter().map(|t| fixture_tensor(&f, "param.", t)).collect();
        let mut exact = Exact::of(&f.config(), &f.input(), &parameters, &batch);
        for g in &mut exact.gradients {
            let want = fixture_tensor(&f, "grad.", g);
            let same = deviation(&g.data, &want.data) < 1e-10;
            // A gradient that is exactly zero has no size of its own.
            let zero = g.data.iter().chain(&want.data).all(|v| v.abs() < 1e-15);
            assert!(same || zero, "{}: the reference's {} is another one", f.name, g.name);
            if !zero {
                *g = want;
            }
        }
        assert!((exact.loss.total() - f.values("out.loss")[0]).abs() < 1e-10, "{}: loss", f.name);
        exact.check_loss(loss, Chain::FIXTURES, v, &place);
        exact.check_gradients::<B>(&gradients, Chain::FIXTURES, v, &place);
    }
}

fn fixture_tensor<E: Elem>(f: &Fixture, prefix: &str, like: &HostTensor<E>) -> HostTensor<f64> {
    let data = f.values(&format!("{prefix}{}", like.name));
    let tensor = HostTensor { data, name: like.name.clone(), shape: like.shape.clone() };
    assert_eq!(named(&wide(std::slice::from_ref(like)), &like.name).data.len(), tensor.data.len());
    tensor
}

/// The steps of every fixture's optimizer, within `tolerance` of the largest weight.
///
/// # Panics
/// Where they are not.
pub fn optimizers_follow_pytorch<B: Backend>(be: &B, tolerance: f64) {
    let host = |v: &[f64]| v.iter().map(|&v| B::Elem::of(v)).collect::<Vec<_>>();
    for f in Fixture::all("optim_").iter().filter(|f| f.name != "optim_clip") {
        let config = f.rule();
        let (mut w, mut g) = (be.alloc(15).unwrap(), be.alloc(15).unwrap());
        be.upload(&mut w, &host(&f.values("param")));
        let mut table = be.alloc_table(5, 3, TableDtype::F32).unwrap();
        be.upload_rows(&mut table, 0, &host(&f.values("param")));
        let (count, per_row) = config.state();
        let len = if per_row { 5 } else { 15 };
        let mut state: Vec<_> = (0..count).map(|_| be.alloc(len).unwrap()).collect();
        let mut rows = be.alloc_ids(5).unwrap();
        let dense = f.get("grads").map(|t| t.1);
        for (k, want) in f.values("steps").chunks(15).enumerate() {
            let update = Update::new(&config, k as u64 + 1, 1.0, None);
            if let Some(grads) = &dense {
                be.upload(&mut g, &host(&grads[k * 15..][..15]));
                be.step_dense(&mut w, &g, &mut state, 15, &update);
            } else {
                let ids = f.ids(&format!("rows.{k}"));
                be.upload_ids(&mut rows, &ids);
                be.upload(&mut g, &host(&f.values(&format!("grads.{k}"))));
                let gradient = Mat::new(&g, ids.len(), 3);
                let rounding = Rounding::new(1, k as u32, 0);
                let (table, state) = (&mut table, &mut state[..]);
                let step = TableStep { table, g: gradient, state, average: None, rows: &rows, rounding };
                be.step_rows(step, &update);
            }
            let mut got = host(&[0.0; 15]);
            match &dense {
                Some(_) => be.download(&mut got, &w, 0).unwrap(),
                None => be.download_rows(&mut got, &table, 0).unwrap(),
            }
            let got: Vec<f64> = got.iter().map(|v| v.wide()).collect();
            let off = deviation(&got, want);
            assert!(off < tolerance, "{} on {}: step {k} is off by {off:.1e}", f.name, be.name());
        }
    }
}
