//! What `footprint` says is what a learner takes. Alone in its program, so that nothing else allocates meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use optmsm_core::config::FieldKind;
use optmsm_core::gradcheck::{all_cases, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig, footprint};
use optmsm_core::model::OptMsm;
use optmsm_core::optim::{OptimizerConfig, Rule};
use optmsm_core::plan::Plan;
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

/// Rows of the largest batch: three lanes, of more than a block.
const ROWS: usize = 200;

#[test]
fn a_learner_takes_what_its_footprint_says() {
    let rules = [Rule::Adam, Rule::Sgd, Rule::RowwiseAdagrad];
    let mut number = 0;
    for mut case in all_cases() {
        number += 1;
        case.config.embeddings.dtype = TableDtype::ALL[number % 3];
        let tables = OptimizerConfig { rule: rules[number % 3], ..OptimizerConfig::default() };
        let config = LearnerConfig { embedding_optimizer: Some(tables), ..LearnerConfig::default() };
        let options = CpuOptions { threads: Some(1), block_rows: 32, lanes: 3, ..CpuOptions::default() };
        let model = OptMsm::new(&case.config, &case.input).unwrap();
        let batch = random_batch(&case.input, ROWS, true, 1);
        let mut plan = Plan::default();
        plan.build(&batch, &case.input, true).unwrap();
        let lists = case.input.fields.iter().zip(&plan.columns).map(|(field, column)| match field.kind {
            FieldKind::Multi { .. } => column.ids.len(),
            _ => 0,
        });
        let lists: Vec<usize> = lists.collect();

        let said = footprint(options.counting(), model.clone(), config.clone(), ROWS, &lists).unwrap();
        let cpu = Cpu::new(options).unwrap();
        // The pool's thread has its memory before it is asked for.
        Learner::new(cpu, model.clone(), config.clone(), 1, 1).unwrap();
        let cpu =
            Cpu::new(CpuOptions { threads: Some(1), block_rows: 32, lanes: 3, ..CpuOptions::default() })
                .unwrap();
        let before = LIVE.bytes();
        let learner = Learner::new(cpu, model, config, ROWS, 1).unwrap();
        let fixed = LIVE.bytes() - before;
        // Lists grow when they come.
        let mut learner = learner;
        learner.step_plan(&plan).unwrap();
        let taken = LIVE.bytes() - before;
        let name = &case.name;
        assert!(fixed <= taken, "{name}");
        // What is no backend's memory: names and shapes, lists of buffers, one logit a row and one offset a scenario in the
        // host's form of a lane, the step's thread-local panels.
        let (rest, most) = (taken as i64 - said.total() as i64, 64 << 10);
        assert!((0..most).contains(&rest), "{name}: {taken} bytes, {said:?} = {}", said.total());
        let parts =
            [said.parameters, said.optimizer, said.gradients, said.prepared, said.activations, said.inputs];
        assert!(parts.iter().zip(0..).all(|(&part, i)| part > 0 || i == 1), "{name}: {said:?}");
    }
}
