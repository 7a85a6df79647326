//! Calls of the backend to NVIDIA's driver, against a stand-in that is stricter than the driver.

use std::sync::{Mutex, MutexGuard, PoisonError};

use optmsm_core::backend::{Backend, Mat, MatMut, Memory, Write};
use optmsm_core::error::{BackendErrorKind, Error, Result};
use optmsm_core::gradcheck::{case, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::{AnyModel, Model};
use optmsm_core::models;
use optmsm_core::params::HostTensor;
use optmsm_core::plan::Plan;
use optmsm_core::predictor::Predictor;
use optmsm_core::rounding::TableDtype;
use optmsm_cuda::{Cuda, CudaError, CudaOptions, Precision};
use optmsm_cuda_host::{Held, StandIn};

/// The stand-in is one a process, and so are its counters.
fn alone() -> Option<(&'static StandIn, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    let stand_in = StandIn::load()?;
    Some((stand_in, ONE.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn open() -> Cuda {
    Cuda::new(CudaOptions { device: 0, precision: Precision::F32 }).expect("the stand-in opens")
}

#[test]
fn what_is_missing_is_said() {
    let Some((driver, _one)) = alone() else { return };
    let message = |change: &[(&str, i64)], back: &[(&str, i64)]| {
        change.iter().for_each(|(what, value)| driver.set(what, *value));
        let error = Cuda::new(CudaOptions::default()).map(|_| ()).unwrap_err().to_string();
        back.iter().for_each(|(what, value)| driver.set(what, *value));
        error
    };
    let none = message(&[("devices", 0)], &[("devices", 1)]);
    assert!(
        none.starts_with(
            "backend cuda: the NVIDIA driver sees no device (cuInit failed with CUDA_ERROR_NO_DEVICE"
        ),
        "{none}"
    );
    let old = message(&[("version", 11080)], &[("version", 12080)]);
    assert_eq!(
        old,
        "backend cuda: the driver is of CUDA 11.8, at least 12.0 is needed; update it, or use the CPU"
    );
    let pascal = message(&[("major", 6), ("minor", 1)], &[("major", 9), ("minor", 0)]);
    assert_eq!(
        pascal,
        "backend cuda: stand-in has compute capability 6.1, at least 8.0 is needed; use the CPU"
    );
    let fourth = Cuda::new(CudaOptions { device: 3, ..CudaOptions::default() }).map(|_| ()).unwrap_err();
    assert_eq!(fourth.to_string(), "backend cuda: there is no device 3: the driver sees 1, numbered from 0");
    let devices = Cuda::probe().unwrap();
    assert_eq!((devices.len(), devices[0].name.as_str(), devices[0].capability), (1, "stand-in", (9, 0)));
}

#[test]
fn memory_that_is_short_is_said_with_sizes() {
    let Some((driver, _one)) = alone() else { return };
    let be = open();
    let _some = be.alloc(1000).unwrap();
    let error = be.alloc(1 << 32).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("backend cuda: 4294967296 elements of one matrix are more than"), "{error}");
    let error = be.alloc_table(1 << 30, 8, TableDtype::F32).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "backend cuda: no memory on the device for 34.4 GB more: 17.2 GB of 17.2 GB are free; lower "
        ),
        "{error}"
    );
    // It is an answer, not the end: smaller ones fit.
    let mut buf = be.alloc(3).unwrap();
    be.upload(&mut buf, &[1.0, 2.0, 3.0]);
    let mut got = [0.0; 3];
    be.download(&mut got, &buf, 0).unwrap();
    assert_eq!(got, [1.0, 2.0, 3.0]);
    assert!(driver.count("cuMemGetInfo_v2") > 0);
}

#[test]
fn memory_that_was_dropped_is_there_again_whatever_is_queued() {
    let Some((driver, _one)) = alone() else { return };
    driver.set("memory", 1 << 28);
    let be = open();
    for _ in 0..4 {
        // Zeroing the first one is still queued when the next one is asked for.
        let some = be.alloc(3 << 24);
        assert!(some.is_ok(), "{some:?}");
    }
    driver.set("memory", 1 << 34);
}

#[test]
fn memory_is_not_given_back_under_launches_that_still_run() {
    let Some((driver, _one)) = alone() else { return };
    for seed in 0..2 {
        driver.set("seed", seed);
        let be = open();
        let (mut from, mut to) = (be.alloc(1000).unwrap(), be.alloc(1000).unwrap());
        be.upload(&mut from, &[5.0; 1000]);
        be.download(&mut [0.0], &from, 0).unwrap();
        be.run_step(|| be.copy(MatMut::new(&mut to, 1, 1000), Write::Set, Mat::new(&from, 1, 1000)));
        // Submitted, and nobody has waited for it.
        drop(from);
        let _next = be.alloc(1000).unwrap();
        let mut got = [0.0; 1000];
        be.download(&mut got, &to, 0).unwrap();
        assert!(got == [5.0; 1000], "seed {seed}");
    }
}

#[test]
fn a_failed_call_is_told_at_the_next_download_and_stays() {
    let Some((driver, _one)) = alone() else { return };
    let be = open();
    let mut buf = be.alloc(4).unwrap();
    driver.fail("cuLaunchKernel", 719, 0);
    be.upload(&mut buf, &[1.0; 4]);
    let first = be.download(&mut [0.0; 4], &buf, 0).unwrap_err().to_string();
    driver.fail("cuLaunchKernel", 0, 0);
    assert!(first.contains("cuLaunchKernel failed with CUDA_ERROR_LAUNCH_FAILED"), "{first}");
    assert!(first.contains("blocks, 256 threads"), "{first}");
    // Work after it was computed from nothing, and later work is not even tried.
    let launches = driver.count("cuLaunchKernel");
    be.run_step(|| be.fill(MatMut::new(&mut buf, 1, 4), 1.0));
    assert_eq!(driver.count("cuLaunchKernel"), launches);
    assert_eq!(be.download(&mut [0.0; 4], &buf, 0).unwrap_err().to_string(), first);
}

#[test]
fn uploads_of_any_size_arrive_whatever_the_streams_do() {
    let Some((driver, _one)) = alone() else { return };
    for seed in 0..8 {
        driver.set("seed", seed);
        let be = open();
        let sizes = [1usize, 3, 4, 1000, 300_000, 9_000_000, 5, 70_000];
        let mut bufs: Vec<_> = sizes.iter().map(|&n| be.alloc(n).unwrap()).collect();
        let value = |round: usize, n: usize, i: usize| (round * 31 + n * 7 + i) as f32;
        for round in 0..5 {
            for (buf, &n) in bufs.iter_mut().zip(&sizes) {
                be.upload(buf, &(0..n).map(|i| value(round, n, i)).collect::<Vec<_>>());
            }
            // Without this the rounds pile up in one submission.
            be.run_step(|| ());
        }
        for (buf, &n) in bufs.iter().zip(&sizes) {
            let mut got = vec![0.0; n];
            be.download(&mut got, buf, 0).unwrap();
            assert!(got.iter().enumerate().all(|(i, &v)| v == value(4, n, i)), "{n} numbers, seed {seed}");
        }
    }
}

#[test]
fn everything_is_given_back() {
    let Some((driver, _one)) = alone() else { return };
    let before = driver.held();
    assert_eq!(before, Held::default());
    let be = open();
    let mut buf = be.alloc(10_000).unwrap();
    for _ in 0..5 {
        be.upload(&mut buf, &[2.0; 10_000]);
        be.run_step(|| ());
    }
    let held = driver.held();
    assert_eq!((held.streams, held.events, held.graphs, held.executables), (2, 4, 1, 1), "{held:?}");
    // In either order.
    drop(be);
    drop(buf);
    assert_eq!(driver.held(), before);
}

/// b = a, or b += a.
fn copy(be: &Cuda, write: Write, to: &mut <Cuda as Memory>::Buf, from: &<Cuda as Memory>::Buf) {
    let (rows, cols) = (1, be.len(from));
    be.copy(MatMut::new(to, rows, cols), write, Mat::new(from, rows, cols));
}

#[test]
fn a_graph_is_for_work_of_the_same_order() {
    let Some((driver, _one)) = alone() else { return };
    let be = open();
    let [mut a, mut b, mut c, mut d] = [0; 4].map(|_| be.alloc(8).unwrap());
    for seed in 0..10u8 {
        driver.set("seed", seed.into());
        let v = f32::from(seed) + 1.0;
        be.upload(&mut a, &[v; 8]);
        be.upload(&mut c, &[-v; 8]);
        be.download(&mut [0.0], &a, 0).unwrap();
        // The same kernels: side by side until the graph is there, then one after the other.
        be.run_step(|| {
            copy(&be, Write::Set, &mut b, &a);
            copy(&be, Write::Set, &mut d, if seed < 4 { &c } else { &b });
        });
        let mut got = [0.0; 8];
        be.download(&mut got, &d, 0).unwrap();
        assert_eq!(got, [if seed < 4 { -v } else { v }; 8], "round {seed}");
    }
}

#[test]
fn graphs_are_few_and_those_that_failed_are_given_back() {
    let Some((driver, _one)) = alone() else { return };
    let be = open();
    let (mut a, b) = (be.alloc(8).unwrap(), be.alloc(8).unwrap());
    let mut run =
        |launches: usize| be.run_step(|| (0..launches).for_each(|_| copy(&be, Write::Add, &mut a, &b)));
    (1..20).flat_map(|n| [n; 2]).for_each(&mut run);
    let held = driver.held();
    assert_eq!((held.graphs, held.executables), (16, 16));
    // The one that was used least recently went: the newest are there.
    let made = driver.count("cuGraphCreate");
    (8..20).for_each(&mut run);
    assert_eq!(driver.count("cuGraphCreate"), made);
    for call in ["cuGraphAddKernelNode_v2", "cuGraphInstantiateWithFlags"] {
        let be = open();
        let (mut a, b) = (be.alloc(8).unwrap(), be.alloc(8).unwrap());
        be.run_step(|| ());
        driver.fail(call, 400, 0);
        (0..2).for_each(|_| be.run_step(|| copy(&be, Write::Add, &mut a, &b)));
        driver.fail(call, 0, 0);
        let error = be.download(&mut [0.0], &a, 0).unwrap_err().to_string();
        assert!(error.contains(call), "{error}");
        assert_eq!((driver.held().graphs, driver.held().executables), (16, 16), "{call}");
    }
}

#[test]
fn a_device_that_cannot_be_opened_holds_nothing() {
    let Some((driver, _one)) = alone() else { return };
    for call in ["cuStreamCreate", "cuEventCreate", "cuModuleLoadDataEx", "cuModuleGetFunction"] {
        for after in 0..3 {
            driver.fail(call, 400, after);
            let error = Cuda::new(CudaOptions::default()).map(|_| ()).map_err(|e| e.to_string());
            driver.fail(call, 0, 0);
            if let Err(error) = error {
                assert!(error.contains(call) && error.contains("CUDA_ERROR_INVALID_HANDLE"), "{error}");
            }
            assert_eq!(driver.held(), Held::default(), "{call} after {after}");
        }
    }
}

#[test]
fn errors_of_the_driver_are_typed() {
    let Some((driver, _one)) = alone() else { return };
    driver.fail("cuDeviceGetCount", 1, 0);
    let error = Cuda::probe().unwrap_err();
    driver.fail("cuDeviceGetCount", 0, 0);
    assert!(matches!(&error, CudaError::NoDevice(why) if why.contains("cuDeviceGetCount")), "{error:?}");

    let be = open();
    let (kind, error) = matched(be.alloc_table(1 << 30, 8, TableDtype::F32));
    let CudaError::OutOfMemory { asked, free, .. } = error else { panic!("{error:?}") };
    assert_eq!(kind, BackendErrorKind::OutOfMemory { asked, free: Some(free) });
    assert_eq!(asked, 1 << 35);
    let (kind, error) = matched(be.alloc(1 << 32));
    assert_eq!((kind, error), (BackendErrorKind::TooLarge, CudaError::TooMany { elements: 1 << 32 }));
    let (kind, error) = matched(Cuda::new(CudaOptions { device: 3, ..CudaOptions::default() }));
    assert_eq!((kind, error), (BackendErrorKind::Unavailable, CudaError::Ordinal { ordinal: 3, count: 1 }));
    let buf = be.alloc(4).unwrap();
    driver.fail("cuMemcpyDtoHAsync_v2", 719, 0);
    let (kind, error) = matched(be.download(&mut [0.0; 4], &buf, 0));
    driver.fail("cuMemcpyDtoHAsync_v2", 0, 0);
    assert_eq!(kind, BackendErrorKind::Failed);
    assert!(
        matches!(&error, CudaError::Call { code, .. } if code == "CUDA_ERROR_LAUNCH_FAILED"),
        "{error:?}"
    );
}

/// The kind of a failure, and its source.
fn matched<T>(result: Result<T>) -> (BackendErrorKind, CudaError) {
    match result.map(|_| ()).unwrap_err() {
        Error::Backend { backend, kind, source, .. } if backend == "cuda" => {
            (kind, *source.downcast().expect("an error of this crate"))
        }
        other => panic!("{other:?}"),
    }
}

/// A model with every kind of field, and batches of it.
fn learner<B: Backend<Elem = f32>>(be: B, rows: usize) -> (Learner<B, AnyModel<B>>, Vec<Plan<f32>>) {
    let case = case("driver", |c| {
        c.config.experts.dropout = 0.2;
        c.config.tower.dropout = 0.1;
    });
    let model = models::build(&case.config, &case.input).unwrap();
    let config = LearnerConfig { clip_norm: Some(0.5), ..LearnerConfig::default() };
    let plan = |seed| {
        let mut plan = Plan::default();
        plan.build(&random_batch(&case.input, rows, true, seed), &case.input, true).unwrap();
        plan
    };
    (Learner::new(be, model, config, rows, 3).unwrap(), (0..12).map(plan).collect())
}

#[test]
fn a_warm_step_is_one_copy_and_one_graph_and_waits_for_nothing() {
    let Some((driver, _one)) = alone() else { return };
    let (mut learner, plans) = learner(open(), 40);
    // Seen, then built; and lists get the memory that they need.
    plans.iter().for_each(|plan| learner.step_plan(plan).unwrap());
    learner.loss().unwrap();
    let calls = [
        "cuGraphLaunch",
        "cuMemcpyHtoDAsync_v2",
        "cuLaunchKernel",
        "cuMemAlloc_v2",
        "cuMemHostAlloc",
        "cuMemFree_v2",
        "cuGraphCreate",
        "cuGraphInstantiateWithFlags",
        "cuStreamSynchronize",
        "cuMemcpyDtoHAsync_v2",
    ];
    let counts = || calls.map(|call| driver.count(call));
    let before = counts();
    plans.iter().for_each(|plan| learner.step_plan(plan).unwrap());
    let steps = plans.len() as u64;
    let made: Vec<_> =
        calls.iter().zip(counts().iter().zip(before)).map(|(c, (now, was))| (*c, now - was)).collect();
    let want =
        calls.map(|call| (call, if call == "cuGraphLaunch" || call.contains("HtoD") { steps } else { 0 }));
    assert_eq!(made, want);
    // Steps update what changed of the graph, and not all of it.
    let (nodes, set) =
        (driver.count("cuGraphAddKernelNode_v2"), driver.count("cuGraphExecKernelNodeSetParams_v2"));
    learner.step_plan(&plans[0]).unwrap();
    let set = driver.count("cuGraphExecKernelNodeSetParams_v2") - set;
    assert!(set > 0 && set < nodes / 2, "{set} nodes of at most {nodes} were told");
    // The loss is one wait.
    let before = driver.count("cuStreamSynchronize");
    learner.loss().unwrap();
    assert_eq!(driver.count("cuStreamSynchronize") - before, 1);
}

#[test]
fn training_through_the_driver_is_that_of_the_kernels_alone() {
    let Some((driver, _one)) = alone() else { return };
    let run = |be: &dyn Fn(u64) -> Vec<HostTensor<f32>>| (1..4).map(be).collect::<Vec<_>>();
    let through_driver = run(&|seed| {
        driver.set("seed", seed as i64);
        let (mut learner, plans) = learner(open(), 40);
        plans.iter().for_each(|plan| learner.step_plan(plan).unwrap());
        learner.export().unwrap()
    });
    let alone = run(&|seed| {
        let (mut learner, plans) = learner(optmsm_cuda_host::cuda(Precision::F32, seed).unwrap(), 40);
        plans.iter().for_each(|plan| learner.step_plan(plan).unwrap());
        learner.export().unwrap()
    });
    let all: Vec<_> = through_driver.iter().chain(&alone).collect();
    assert!(all[0].iter().all(|t| t.data.iter().all(|v| v.is_finite())));
    assert!(all.iter().all(|one| *one == all[0]), "the order of launches changed a bit");
}

#[test]
fn a_predictor_answers_several_threads() {
    let Some((_driver, _one)) = alone() else { return };
    let (learner, _) = learner(open(), 40);
    let params = learner.export().unwrap();
    let model = learner.model().clone();
    let batches: Vec<_> = (0..6)
        .map(|i| random_batch(Model::<Cuda>::spec(&model).input(), 1 + 7 * i as usize, false, i))
        .collect();
    let predictor = Predictor::new(open(), model, &params, 16).unwrap();
    let want: Vec<_> = batches.iter().map(|b| predictor.predict(b).unwrap()).collect();
    std::thread::scope(|scope| {
        for first in 0..4 {
            let (predictor, batches, want) = (&predictor, &batches, &want);
            scope.spawn(move || {
                for i in (0..30).map(|i| (first + i) % batches.len()) {
                    assert_eq!(predictor.predict(&batches[i]).unwrap(), want[i]);
                }
            });
        }
    });
}
