//! Products in bf16 on the CPU: gradients and steps within derived bounds, rows independent of their batch, bits
//! independent of threads, for every kind of model.

use std::collections::BTreeSet;

use optmsm_core::backend::{Dense, Epilogue, Groups, Layout, Mat, MatMut, Memory, Products, Write};
use optmsm_core::gradcheck::{Case, all_cases};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models;
use optmsm_core::precision::Precision;
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use optmsm_tests::{independence, parity, steps};

fn sets() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| optmsm_testkit::require(isa.name(), isa.is_available()))
}

fn cpu(isa: Option<Isa>, threads: usize) -> Cpu {
    let (threads, precision) = (Some(threads), Precision::Bf16);
    Cpu::with(CpuOptions { isa, threads, lanes: 3, block_rows: 16, precision }).unwrap()
}

/// The first case of each kind.
fn one_of_each_kind() -> impl Iterator<Item = Case> {
    let mut seen = BTreeSet::new();
    all_cases().into_iter().filter(move |case| seen.insert(case.config.kind.name()))
}

/// 1 + 2⁻⁹ is halfway from 1 to the next bf16, and a tie goes to 1: products by packed weights lose the 2⁻⁹, weight gradients
/// do not.
#[test]
fn products_by_packed_weights_round_and_weight_gradients_do_not() {
    let x = 1.0 + 1.0 / 512.0;
    for isa in sets() {
        let be = cpu(Some(isa), 1);
        let buffer = |v: f32| {
            let mut buffer = be.alloc(1).unwrap();
            be.upload_at(&mut buffer, 0, &[v]);
            buffer
        };
        let (value, one) = (buffer(x), buffer(1.0));
        let mut packed = be.alloc_packed(1, 1, 1, Products::Both).unwrap();
        let mat = |buffer| Mat::new(buffer, 1, 1);
        let [mut y, mut d_x, mut d_w] = [0.0; 3].map(buffer);
        be.pack(&mut packed, mat(&one), Layout::OutIn);
        be.linear(MatMut::new(&mut y, 1, 1), mat(&value), &packed, Groups::One(0), Epilogue::NONE);
        be.linear_dx(MatMut::new(&mut d_x, 1, 1), Write::Set, mat(&value), &packed, Groups::One(0), None);
        be.linear_dw(MatMut::new(&mut d_w, 1, 1), Write::Set, mat(&value), mat(&one), Groups::One(0));
        assert_eq!([y[0], d_x[0], d_w[0]], [1.0, 1.0, x], "{}", isa.name());
        // So do weights.
        be.pack(&mut packed, mat(&value), Layout::InOut);
        be.linear(MatMut::new(&mut y, 1, 1), mat(&one), &packed, Groups::One(0), Epilogue::NONE);
        assert_eq!(y[0], 1.0, "{}", isa.name());
    }
}

#[test]
fn gradients_are_within_the_first_order_bound_of_pytorch() {
    sets().for_each(|isa| parity::gradients_follow_pytorch(|| cpu(Some(isa), 2)));
}

#[test]
fn ten_steps_follow_the_reference() {
    for isa in sets() {
        steps::whole_models().iter().for_each(|case| steps::follow(cpu(Some(isa), 2), case, 10));
    }
}

#[test]
fn every_kind_trains_to_the_same_bits_on_any_number_of_threads() {
    for case in one_of_each_kind() {
        let train = |threads| {
            let model = models::build(&case.config, &case.input).unwrap();
            let mut learner =
                Learner::new(cpu(None, threads), model, LearnerConfig::default(), 300, 7).unwrap();
            let losses: Vec<_> =
                (0..20).map(|_| learner.step(&case.batch(300, 1)).unwrap().total()).collect();
            assert!(losses[19] < losses[0], "{} learns nothing: {losses:?}", case.name);
            learner.export().unwrap()
        };
        independence::threads(&case.name, train);
    }
}

#[test]
fn a_row_of_every_kind_is_predicted_the_same_alone_and_in_any_batch() {
    for isa in sets() {
        one_of_each_kind().for_each(|case| independence::rows_alone(cpu(Some(isa), 2), &case));
    }
}
