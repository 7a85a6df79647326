//! One rank of a job that trains, by the launcher that has started it: `hashes GROUPS THREADS STEPS`. Rank 0 prints a hash over all
//! that training leaves, by kind of model, and by rule and type of tables.

use std::sync::Arc;

use optmsm_comm::Comm;
use optmsm_core::gradcheck::Case;
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models::{self, Kind};
use optmsm_core::optim::Rule;
use optmsm_core::params::HostTensor;
use optmsm_core::ranks::Job;
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_tests::averages::{resting, resting_case};
use optmsm_tests::tables::with_dtype;

/// Rows of a batch: no multiple of the groups.
const ROWS: usize = 37;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    let [groups, threads, steps] = numbers[..] else { panic!("hashes GROUPS THREADS STEPS") };
    let comm = optmsm_comm::world().unwrap_or_else(|e| panic!("{e}"));
    let run = |name: &str, case: &Case, model: AnyModel<Cpu>, config: &LearnerConfig| {
        let hash = trained(&comm, (groups, threads, steps), case, model, config);
        if comm.rank() == 0 {
            println!("{hash:016x} {name}");
        }
    };
    let clipped = LearnerConfig { clip_norm: Some(1.0), ..LearnerConfig::default() };
    for case in Kind::ALL.iter().filter_map(|kind| kind.cases().into_iter().next()) {
        run(&case.name, &case, models::build(&case.config, &case.input).expect("a model"), &clipped);
    }
    let case = resting_case();
    for rule in [Rule::Sgd, Rule::Adam, Rule::AdamW, Rule::Adagrad, Rule::RowwiseAdagrad] {
        for (dtype, decay) in
            [(TableDtype::F32, Some(0.9)), (TableDtype::Bf16, Some(0.6)), (TableDtype::F16, None)]
        {
            let name = format!("{rule:?}, {dtype:?}");
            run(&name, &case, with_dtype(&case, dtype), &resting(rule, 0.3, decay));
        }
    }
}

/// Trains, and hashes parameters, rows, optimizer state and predictions.
fn trained(
    comm: &Arc<dyn Comm>,
    (groups, threads, steps): (usize, usize, usize),
    case: &Case,
    model: AnyModel<Cpu>,
    config: &LearnerConfig,
) -> u64 {
    let options = CpuOptions { threads: Some(threads), block_rows: 4, lanes: 3, ..CpuOptions::default() };
    let be = Cpu::with(options).expect("a backend");
    let job = Job::new(Arc::clone(comm), groups).expect("a job");
    let mut learner = Learner::in_job(be, model, config.clone(), (ROWS, 7), job).expect("a learner");
    for step in 0..steps as u64 {
        // Now and then there are rows for a few groups alone.
        learner.step(&case.batch(if step % 9 == 8 { 3 } else { ROWS }, step)).expect("a step");
    }
    let predictions = learner.predict(&case.batch(2 * ROWS, 99)).expect("predictions");
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    for HostTensor { name, data, .. } in
        learner.export().expect("parameters").into_iter().chain(learner.export_state().expect("state"))
    {
        hash.add(name.as_bytes());
        data.iter().for_each(|v| hash.add(&v.to_bits().to_le_bytes()));
    }
    predictions.iter().for_each(|v| hash.add(&v.to_bits().to_le_bytes()));
    hash.0
}

/// FNV-1a.
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    }
}
