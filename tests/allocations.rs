//! A warm training step allocates nothing. Alone in its program, so that nothing else allocates meanwhile.

use optmsm_core::config::FieldKind;
use optmsm_core::gradcheck::{case, random_batch};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::models::{self, Kind};
use optmsm_core::optim::{AverageConfig, DecayRows, OptimizerConfig};
use optmsm_core::plan::Plan;
use optmsm_core::precision::Precision;
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_tests::Counting;

#[global_allocator]
static COUNTING: Counting = Counting::new();

#[test]
fn a_warm_step_allocates_nothing() {
    let ways = || TableDtype::ALL.into_iter().zip([false, true, false]).chain([(TableDtype::F32, true)]);
    // Narrow products go with narrow tables.
    let precision = |dtype| if dtype == TableDtype::Bf16 { Precision::Bf16 } else { Precision::F32 };
    for (kind, (dtype, shared)) in Kind::ALL.iter().flat_map(|&kind| ways().map(move |way| (kind, way))) {
        let case = case("allocations", |c| {
            c.config.kind = kind;
            if shared {
                c.set_vocab(5);
                let with_ids = c.input.fields.iter_mut().filter(|f| f.kind != FieldKind::Numeric);
                with_ids.for_each(|f| f.table = Some("ids".into()));
            }
            c.config.tower.dropout = 0.1;
            c.config.experts.dropout = 0.1;
            c.config.embeddings.dtype = dtype;
        });
        // With averages and decay of all rows too, which settles rows now and then.
        let (weight_decay, decay_rows) =
            if shared { (100.0, DecayRows::All) } else { (0.0, DecayRows::Touched) };
        let optimizer = OptimizerConfig { weight_decay, decay_rows, ..OptimizerConfig::default() };
        let average = shared.then(AverageConfig::default);
        let config = LearnerConfig { optimizer, average, clip_norm: Some(1.0), ..LearnerConfig::default() };
        let (threads, precision) = (Some(2), precision(dtype));
        let options = CpuOptions { threads, block_rows: 16, precision, ..CpuOptions::default() };
        let model = models::build(&case.config, &case.input).unwrap();
        let mut learner = Learner::new(Cpu::with(options).unwrap(), model, config, 300, 7).unwrap();
        let mut plans: Vec<Plan<f32>> = Vec::new();
        for seed in 0..8 {
            let mut plan = Plan::default();
            plan.build(&random_batch(&case.input, 300, true, seed), &case.input, true).unwrap();
            plans.push(plan);
        }
        plans.iter().for_each(|p| learner.step_plan(p).unwrap());
        let round = |_| {
            let before = COUNTING.allocations();
            plans.iter().for_each(|p| learner.step_plan(p).unwrap());
            COUNTING.allocations() - before
        };
        assert!(COUNTING.allocations() > 0, "nothing is counted");
        // A worker's scratch grows when it first meets the largest field, which may be late: the best of some rounds. Handing
        // a step to the pool appends to a queue whose blocks hold 63 entries: 8 steps begin at most one.
        let made = (0..8).map(round).min().unwrap_or(u64::MAX);
        assert!(
            made <= 1,
            "{}: {made} allocations in 8 warm steps with {dtype:?}, shared: {shared}",
            kind.name()
        );
    }
}
