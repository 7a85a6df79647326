//! A learner takes the memory that `footprint` says. The test is alone in its program, so that nothing else allocates
//! meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use optmsm_core::backend::{Backend, Memory};
use optmsm_core::config::FieldKind;
use optmsm_core::gradcheck::{Case, all_cases, random_batch};
use optmsm_core::learner::{Footprint, Learner, LearnerConfig, footprint};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::optim::{AverageConfig, OptimizerConfig, Rule};
use optmsm_core::plan::Plan;
use optmsm_core::ranks::Job;
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::{Cpu, CpuOptions};

/// The system's allocator, with the bytes that are allocated at the moment.
struct Live(AtomicUsize);

#[global_allocator]
static LIVE: Live = Live(AtomicUsize::new(0));

impl Live {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Live {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Lanes that every batch here is cut into.
const LANES: usize = 3;
/// Memory that is no backend's, however wide the model is: names and shapes, lists of buffers and ranges; and the elements
/// that a buffer leaves free before its first cache line, at most 60 bytes of each. It grows with the number of tensors, of
/// which PLE has the most: below a thousand.
const STRUCTURE: usize = (64 << 10) + 60 * 1000;
/// Memory that a worker keeps for a step, for widths as small as these: panels of its products, sums of a field.
const SCRATCH: usize = 256 << 10;

/// A model of the case on any backend.
fn model<B: Backend>(case: &Case) -> AnyModel<B> {
    models::build(&case.config, &case.input).unwrap()
}

/// Bytes that a learner takes before and after its first step, and the footprints that say so.
fn measure(case: &Case, config: &LearnerConfig, rows: usize) -> ([usize; 2], [Footprint; 2]) {
    let options = CpuOptions { threads: Some(1), block_rows: 32, lanes: LANES, ..CpuOptions::default() };
    let mut plan = Plan::default();
    plan.build(&random_batch(&case.input, rows, true, 1), &case.input, true).unwrap();
    let lists = case.input.fields.iter().zip(&plan.columns).map(|(field, column)| match field.kind {
        FieldKind::Multi { .. } => column.ids.len(),
        _ => 0,
    });
    let lists: Vec<usize> = lists.collect();
    let none = vec![0; lists.len()];
    let said = [&none, &lists].map(|lists| {
        footprint(options.counting(), model(case), config.clone(), rows, lists, Job::default()).unwrap()
    });
    let cpu = Cpu::with(options).unwrap();
    // Its thread has what it needs before anything is measured.
    cpu.run_step(|| ());
    let before = LIVE.bytes();
    let mut learner = Learner::new(cpu, model(case), config.clone(), rows, 1).unwrap();
    let fixed = LIVE.bytes() - before;
    // Memory for lists grows when they come.
    learner.step_plan(&plan).unwrap();
    let grown = LIVE.bytes() - before;
    // Its thread would give memory back while the next one is measured.
    std::mem::forget(learner);
    ([fixed, grown], said)
}

#[test]
fn a_learner_takes_what_its_footprint_says() {
    let rules = [Rule::Adam, Rule::Sgd, Rule::RowwiseAdagrad];
    for (number, mut case) in all_cases().into_iter().enumerate() {
        case.config.embeddings.dtype = TableDtype::ALL[number % 3];
        let tables = OptimizerConfig { rule: rules[number % 3], ..OptimizerConfig::default() };
        let average = (number % 2 == 0).then(AverageConfig::default);
        let config = LearnerConfig { embedding_optimizer: Some(tables), average, ..LearnerConfig::default() };
        let ([fixed, grown], [without, with]) = measure(&case, &config, 200);
        let name = case.name.clone();
        let over = |taken: usize, said: Footprint| taken.checked_sub(said.total());
        assert!(over(fixed, without).is_some_and(|over| over < STRUCTURE), "{name}: {fixed} {without:?}");
        assert!(over(grown, with).is_some_and(|over| over < STRUCTURE + SCRATCH), "{name}: {grown} {with:?}");
        let Footprint { parameters, optimizer, gradients, prepared, activations, inputs } = with;
        assert!(
            [parameters, optimizer, gradients, prepared, activations, inputs].iter().all(|&part| part > 0)
        );

        // All growth with a wider model and ten times the rows is counted to the byte, except a lane's logits. The host
        // keeps a copy of those.
        let wide = &mut case.config;
        wide.embedding_dim *= 3;
        wide.hyper.trunk *= 2;
        let hidden = [&mut wide.experts.hidden, &mut wide.specific.hidden, &mut wide.tower.hidden];
        hidden.into_iter().flatten().for_each(|width| *width *= 4);
        let ([wider, _], [said, _]) = measure(&case, &config, 2000);
        let logits = 4 * (2000usize.div_ceil(LANES) - 200usize.div_ceil(LANES));
        assert_eq!(wider - fixed, said.total() - without.total() + logits, "{name}");
    }
}
