//! Models on the CUDA backend: on a GPU, and, by the same kernels' source compiled for the CPU, without one. Every
//! check is written once over the device; modules `gpu` and `host` run them all. `OPTMSM_REQUIRE=cuda` fails the ones
//! of `gpu` where there is no device.

use optmsm_core::backend::Backend;
use optmsm_core::gradcheck::{Case, case};
use optmsm_core::learner::Learner;
use optmsm_core::model::AnyModel;
use optmsm_core::params::HostTensor;
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_cuda::{Cuda, CudaOptions, Device, Precision};
use optmsm_tests::bounds::named;
use optmsm_tests::steps::{self, Landing, ROWS, adam, batch_of, learner};
use optmsm_tests::{averages, independence, parity, tables};

/// Opens a device; each call gives a new one.
trait Open<D: Device>: Fn(Precision) -> Cuda<D> {}
impl<D: Device, F: Fn(Precision) -> Cuda<D>> Open<D> for F {}

/// Whether there is a GPU; a test without one is skipped, or fails where it is required.
fn has_gpu() -> bool {
    let found = Cuda::probe();
    if let Err(why) = &found {
        eprintln!("{why}");
    }
    optmsm_testkit::require("cuda", found.is_ok())
}

fn gpu(precision: Precision) -> Cuda {
    Cuda::new(CudaOptions { device: 0, precision }).unwrap()
}

/// The kernels' source on the CPU; an order of launches, blocks and threads for each device that is opened.
mod on_host {
    use std::sync::atomic::{AtomicU64, Ordering};

    use optmsm_cuda::{Cuda, Precision};
    use optmsm_cuda_host::Host;

    pub(crate) fn is_there() -> bool {
        optmsm_cuda_host::cuda(Precision::F32, 0).is_some()
    }

    pub(crate) fn open(precision: Precision) -> Cuda<Host> {
        static SEED: AtomicU64 = AtomicU64::new(1);
        optmsm_cuda_host::cuda(precision, SEED.fetch_add(1, Ordering::Relaxed)).expect("was there before")
    }
}

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        mod gpu {
            $(#[test] fn $name() { if super::has_gpu() { super::$name(super::gpu) } })*
        }
        mod host {
            $(#[test] fn $name() { if super::on_host::is_there() { super::$name(super::on_host::open) } })*
        }
    };
}

checks!(
    f32_gradients_follow_pytorch,
    tf32_gradients_follow_pytorch,
    bf16_gradients_follow_pytorch,
    optimizers_follow_pytorch,
    ten_f32_steps_follow_the_reference,
    ten_tf32_steps_follow_the_reference,
    ten_bf16_steps_follow_the_reference,
    twenty_steps_on_the_cpu_and_on_the_device_agree,
    two_runs_are_bit_equal,
    a_run_continues_on_the_other_backend,
    a_row_is_predicted_the_same_alone_and_in_any_batch,
    narrow_tables_predict_as_rounded_ones,
    steps_on_narrow_tables_are_f32_steps_rounded,
    training_resumes_with_the_same_bits,
    rows_at_rest_resume_with_the_same_bits,
    averages_are_beside_training,
);

fn f32_gradients_follow_pytorch<D: Device>(open: impl Open<D>) {
    parity::gradients_follow_pytorch(|| open(Precision::F32));
}

fn tf32_gradients_follow_pytorch<D: Device>(open: impl Open<D>) {
    parity::gradients_follow_pytorch(|| open(Precision::Tf32));
}

fn bf16_gradients_follow_pytorch<D: Device>(open: impl Open<D>) {
    parity::gradients_follow_pytorch(|| open(Precision::Bf16));
}

fn optimizers_follow_pytorch<D: Device>(open: impl Open<D>) {
    parity::optimizers_follow_pytorch(&open(Precision::F32), parity::OPTIMIZER);
}

fn cpu() -> Cpu {
    Cpu::with(CpuOptions { threads: Some(2), block_rows: 16, ..CpuOptions::default() }).unwrap()
}

fn steps_follow<D: Device>(be: impl Fn() -> Cuda<D>) {
    steps::whole_models().iter().for_each(|case| steps::follow(be(), case, 10));
}

fn ten_f32_steps_follow_the_reference<D: Device>(open: impl Open<D>) {
    steps_follow(|| open(Precision::F32));
}

fn ten_tf32_steps_follow_the_reference<D: Device>(open: impl Open<D>) {
    steps_follow(|| open(Precision::Tf32));
}

fn ten_bf16_steps_follow_the_reference<D: Device>(open: impl Open<D>) {
    steps_follow(|| open(Precision::Bf16));
}

/// Largest difference of two lists of tensors.
fn apart(a: &[HostTensor<f32>], b: &[HostTensor<f32>]) -> f32 {
    let pairs = a.iter().flat_map(|t| t.data.iter().zip(&named(b, &t.name).data));
    pairs.fold(0.0, |most: f32, (x, y)| most.max((x - y).abs()))
}

/// From one seed. After each step the two sides are no further apart than the exact steps from either side and their
/// two bounds.
fn twenty_steps_on_the_cpu_and_on_the_device_agree<D: Device>(open: impl Open<D>) {
    let case = case("cpu and cuda", |_| {});
    for precision in [Precision::F32, Precision::Tf32] {
        let (mut ours, mut theirs) = (learner(open(precision), &case, 5), learner(cpu(), &case, 5));
        assert!(ours.export().unwrap() == theirs.export().unwrap(), "initial values");
        for number in 0..20 {
            let batch = batch_of(&case, 100 + number, |batch| {
                steps::is_well_conditioned(&ours, &case, batch)
                    && steps::is_well_conditioned(&theirs, &case, batch)
            });
            let landed = (
                steps::step(&mut ours, &case, &adam(), &batch),
                steps::step(&mut theirs, &case, &adam(), &batch),
            );
            let (a, b) = (ours.export().unwrap(), theirs.export().unwrap());
            for (one, two) in landed.0.iter().zip(&landed.1) {
                within(one, two, named(&a, &one.exact.name), named(&b, &one.exact.name));
            }
            println!("{precision:?}, step {}: {:.1e} apart", number + 1, apart(&a, &b));
        }
    }
}

fn within(one: &Landing, two: &Landing, a: &HostTensor<f32>, b: &HostTensor<f32>) {
    for i in 0..a.data.len() {
        let off = (f64::from(a.data[i]) - f64::from(b.data[i])).abs();
        let exact = (one.exact.data[i] - two.exact.data[i]).abs();
        let bound = exact + one.bounds[i] + two.bounds[i];
        assert!(off <= bound, "{} [{i}]: {off:.1e} apart, more than {bound:.1e}", a.name);
    }
}

/// With dropout and clipping, on devices that were opened apart.
fn two_runs_are_bit_equal<D: Device>(open: impl Open<D>) {
    for precision in Precision::ALL {
        for dtype in [TableDtype::F32, TableDtype::F16] {
            let run = || {
                let (case, rule) = (tables::training_case(), optmsm_core::optim::Rule::Adam);
                let mut learner = tables::fresh(open(precision), &case, dtype, rule);
                (0..20).for_each(|number| tables::step(&mut learner, number));
                (learner.loss().unwrap(), learner.export().unwrap(), learner.export_state().unwrap())
            };
            assert!(run() == run(), "{precision:?}, {dtype:?}");
        }
    }
}

/// An import gives back the exported numbers, on either side. The next step is right.
fn a_run_continues_on_the_other_backend<D: Device>(open: impl Open<D>) {
    let case = case("resumed", |_| {});
    let (mut device, mut cpu) = (learner(open(Precision::F32), &case, 3), learner(cpu(), &case, 4));
    moves(&mut device, &mut cpu, &case, 0);
    let mut back = learner(open(Precision::F32), &case, 5);
    moves(&mut cpu, &mut back, &case, 4);
}

fn moves<A: Backend<Elem = f32>, B: Backend<Elem = f32>>(
    from: &mut Learner<A, AnyModel<A>>,
    to: &mut Learner<B, AnyModel<B>>,
    case: &Case,
    first: u64,
) {
    for number in first..first + 4 {
        steps::step(from, case, &adam(), &case.batch(ROWS, number));
    }
    let (parameters, state) = (from.export().unwrap(), from.export_state().unwrap());
    to.import(&parameters).unwrap();
    to.import_state(&state, from.steps()).unwrap();
    assert!(
        to.export().unwrap() == parameters && to.export_state().unwrap() == state && to.steps() == first + 4
    );
    let batch = case.batch(ROWS, 50);
    let landed = (steps::step(from, case, &adam(), &batch), steps::step(to, case, &adam(), &batch));
    let (a, b) = (from.export().unwrap(), to.export().unwrap());
    for (one, two) in landed.0.iter().zip(&landed.1) {
        within(one, two, named(&a, &one.exact.name), named(&b, &one.exact.name));
    }
    // The caller goes on from where both agreed.
    to.import(&parameters).unwrap();
    to.import_state(&state, first + 4).unwrap();
}

/// To the bit in every precision: an element of a product is one sum over k whatever tile it falls into.
fn a_row_is_predicted_the_same_alone_and_in_any_batch<D: Device>(open: impl Open<D>) {
    for case in steps::whole_models() {
        Precision::ALL.iter().for_each(|&precision| independence::rows_alone(open(precision), &case));
    }
}

fn narrow_tables_predict_as_rounded_ones<D: Device>(open: impl Open<D>) {
    tables::forward_equals_rounded(|| open(Precision::F32));
}

fn steps_on_narrow_tables_are_f32_steps_rounded<D: Device>(open: impl Open<D>) {
    tables::a_step_is_the_f32_step_rounded(|| open(Precision::Tf32), &[tables::training_case()]);
}

fn training_resumes_with_the_same_bits<D: Device>(open: impl Open<D>) {
    tables::resume_is_bit_equal(|| open(Precision::Tf32));
}

fn rows_at_rest_resume_with_the_same_bits<D: Device>(open: impl Open<D>) {
    averages::looking_and_resuming_change_nothing(|| open(Precision::F32));
}

fn averages_are_beside_training<D: Device>(open: impl Open<D>) {
    averages::averages_leave_training_as_it_was(|| open(Precision::F32));
    averages::exports_predict_as_the_learner(|| open(Precision::F32));
}
