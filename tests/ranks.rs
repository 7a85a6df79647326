//! Training by several ranks: by the definition it is training by one, and its bits do not depend on how many ranks there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use optmsm_comm::{Comm, Seat, ThreadComm, threads};
use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_core::elem::Elem;
use optmsm_core::gradcheck::{Case, all_cases, case};
use optmsm_core::learner::{Learner, LearnerConfig, StepLoss, Trace};
use optmsm_core::model::{AnyModel, Measured};
use optmsm_core::models;
use optmsm_core::optim::{OptimizerConfig, Rule};
use optmsm_core::params::HostTensor;
use optmsm_core::ranks::{AllRows, Cut, Job, Traffic, traffic};
use optmsm_core::reference::Reference;
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_tests::averages::{resting, resting_case};
use optmsm_tests::tables::with_dtype;

/// Rows of a batch: no multiple of 8, so that groups differ in size.
const ROWS: usize = 77;
/// Steps, the last of which has rows for two of eight groups alone.
const STEPS: u64 = 4;

fn cpu(threads: usize) -> Cpu {
    Cpu::with(CpuOptions { threads: Some(threads), block_rows: 4, lanes: 3, ..CpuOptions::default() })
        .unwrap()
}

/// All that a training run leaves, and what it says of itself.
#[derive(Debug, PartialEq)]
struct Outcome<E> {
    parameters: Vec<HostTensor<E>>,
    state: Vec<HostTensor<E>>,
    losses: Vec<StepLoss>,
    predictions: Vec<f32>,
    measured: [Vec<f64>; 2],
    logits: Vec<E>,
}

fn rows_of(step: u64) -> usize {
    if step + 1 == STEPS { 2 } else { ROWS }
}

fn train<B: Backend>(
    learner: &mut Learner<B, AnyModel<B>>,
    case: &Case,
    steps: std::ops::Range<u64>,
) -> Outcome<B::Elem> {
    let mut losses = Vec::new();
    for step in steps {
        losses.push(learner.step(&case.batch(rows_of(step), step)).unwrap());
    }
    let mut measured = Measured::new(learner.spec());
    let predictions = learner.predict_measuring(&case.batch(2 * ROWS + 5, 99), &mut measured).unwrap();
    let mut trace = Trace::default();
    learner.trace(&mut trace).unwrap();
    Outcome {
        parameters: learner.export().unwrap(),
        state: learner.export_state().unwrap(),
        losses,
        predictions,
        measured: [measured.sums, measured.by_scenario.concat()],
        logits: trace.logits,
    }
}

/// Outcome of rank 0 of `ranks` after `run` on each of them; all predict the same.
fn in_ranks<E: Elem>(ranks: usize, groups: usize, run: impl Fn(Job) -> Outcome<E> + Sync) -> Outcome<E> {
    let outcomes: Vec<_> = thread::scope(|scope| {
        let run = &run;
        let start = |comm| scope.spawn(move || run(Job::new(Arc::new(comm), groups).unwrap()));
        let running: Vec<_> = threads(ranks).into_iter().map(start).collect();
        // A rank that panics leaves the others waiting for it.
        let join = |rank: thread::ScopedJoinHandle<'_, Outcome<E>>| rank.join();
        running.into_iter().map(|rank| join(rank).unwrap_or_else(|_| std::process::exit(101))).collect()
    });
    for (rank, other) in outcomes.iter().enumerate().skip(1) {
        assert!(other.predictions == outcomes[0].predictions, "rank {rank} predicts otherwise");
        assert!(other.losses == outcomes[0].losses, "rank {rank} has other losses");
        let shapes = |o: &Outcome<E>| {
            o.parameters.iter().chain(&o.state).map(|t| (t.name.clone(), t.shape.clone())).collect::<Vec<_>>()
        };
        assert_eq!(shapes(other), shapes(&outcomes[0]), "rank {rank} exports other tensors");
    }
    outcomes.into_iter().next().unwrap()
}

fn learner<B: Backend>(
    be: B,
    model: AnyModel<B>,
    config: &LearnerConfig,
    job: Job,
) -> Learner<B, AnyModel<B>> {
    Learner::in_job(be, model, config.clone(), (ROWS, 7), job).unwrap()
}

/// Plain gradient descent: what a rule divides by the root of a tiny gradient would turn rounding into steps.
fn descent() -> LearnerConfig {
    let optimizer =
        OptimizerConfig { rule: Rule::Sgd, lr: 0.05, momentum: 0.9, ..OptimizerConfig::default() };
    LearnerConfig { optimizer, clip_norm: Some(0.5), ..LearnerConfig::default() }
}

/// Numbers that differ by more than the rounding of sums of a few hundred terms in another order.
fn differ(a: &[HostTensor<f64>], b: &[HostTensor<f64>]) -> Option<String> {
    let bound = |v: f64| 2048.0 * f64::EPSILON * v.abs().max(1.0);
    a.iter().zip(b).find_map(|(a, b)| {
        let at = a.data.iter().zip(&b.data).position(|(a, b)| (a - b).abs() > bound(*a))?;
        Some(format!("{}[{at}]: {} and {}", a.name, a.data[at], b.data[at]))
    })
}

#[test]
fn groups_take_the_step_of_the_whole_batch() {
    for case in all_cases() {
        let model = || models::build(&case.config, &case.input).unwrap();
        let new = |job| learner(Reference::<f64>::new(), model(), &descent(), job);
        let whole = train(&mut new(Job::default()), &case, 0..STEPS);
        for (ranks, groups) in [(1, 2), (4, 8)] {
            let parts = in_ranks(ranks, groups, |job| train(&mut new(job), &case, 0..STEPS));
            let place = format!("{}, {ranks} ranks with {groups} groups", case.name);
            assert_eq!(differ(&whole.parameters, &parts.parameters), None, "{place}");
            assert_eq!(differ(&whole.state, &parts.state), None, "{place}");
            for (a, b) in whole.losses.iter().zip(&parts.losses) {
                assert!((a.total() - b.total()).abs() < 1e-12 * a.total().abs(), "{place}: {a:?} and {b:?}");
            }
            assert_eq!(whole.logits.len(), parts.logits.len(), "{place}");
        }
    }
}

#[test]
fn every_kind_has_the_bits_of_one_rank_on_any_number_of_ranks() {
    for case in all_cases() {
        let config = LearnerConfig { clip_norm: Some(1.0), ..LearnerConfig::default() };
        let run = |ranks, threads| {
            let model = || models::build(&case.config, &case.input).unwrap();
            in_ranks(ranks, 8, |job| {
                train(&mut learner(cpu(threads), model(), &config, job), &case, 0..STEPS)
            })
        };
        let one = run(1, 1);
        for (ranks, threads) in [(1, 2), (2, 1), (4, 2), (8, 1)] {
            assert!(run(ranks, threads) == one, "{} on {ranks} ranks of {threads} threads", case.name);
        }
    }
}

/// Groups without rows stand anywhere between those that have some.
#[test]
fn fewer_rows_than_groups_lose_nothing() {
    let case = case("few rows", |_| {});
    for rows in [1, 5, 7, 9, 11, 15] {
        let model = || models::build(&case.config, &case.input).unwrap();
        let new = |job| learner(Reference::<f64>::new(), model(), &descent(), job);
        let take = |mut learner: Learner<_, _>| {
            learner.step(&case.batch(rows, 3)).unwrap();
            train(&mut learner, &case, 0..0)
        };
        let whole = take(new(Job::default()));
        let one = in_ranks(1, 16, |job| take(new(job)));
        assert_eq!(differ(&whole.parameters, &one.parameters), None, "{rows} rows");
        for ranks in [2, 4, 16] {
            assert!(in_ranks(ranks, 16, |job| take(new(job))) == one, "{rows} rows on {ranks} ranks");
        }
    }
}

/// Shared out over shards, averages are shown as they are; and what a job cannot do is said before anything moves.
#[test]
fn exhibits_are_of_the_averages_and_mistakes_change_nothing() {
    let case = resting_case();
    let config = resting(Rule::Adam, 0.3, Some(0.6));
    let shown = |job: Job, looks: bool| {
        let mut learner = learner(cpu(1), with_dtype(&case, TableDtype::F32), &config, job);
        let measured = Measured::new(learner.spec());
        for step in 0..3 {
            learner.step(&case.batch(ROWS, step)).unwrap();
            if looks {
                learner.predict(&case.batch(3, 9)).unwrap();
                let mut unlabelled = case.batch(ROWS, step);
                unlabelled.labels.clear();
                assert!(learner.step(&unlabelled).unwrap_err().to_string().contains("no labels"));
                assert_eq!(learner.steps(), step + 1);
            }
        }
        learner.step(&case.batch(ROWS, 3)).unwrap();
        format!("{:?}", learner.exhibits(&measured).unwrap())
    };
    let job = || Job::new(Arc::new(threads(1).swap_remove(0)), 4).unwrap();
    assert_eq!(shown(job(), true), shown(job(), false));
}

#[test]
fn every_rule_and_type_has_the_bits_of_one_rank_on_any_number_of_ranks() {
    let case = resting_case();
    for rule in [Rule::Sgd, Rule::Adam, Rule::AdamW, Rule::Adagrad, Rule::RowwiseAdagrad] {
        for (dtype, shrink, decay) in [
            (TableDtype::F32, 0.0, None),
            (TableDtype::F32, 0.5, Some(0.6)),
            (TableDtype::Bf16, 0.3, Some(0.9)),
            (TableDtype::F16, 0.0, Some(0.05)),
        ] {
            let config = resting(rule, shrink, decay);
            let run = |ranks| {
                in_ranks(ranks, 4, |job| {
                    train(&mut learner(cpu(1), with_dtype(&case, dtype), &config, job), &case, 0..STEPS)
                })
            };
            let one = run(1);
            for ranks in [2, 4] {
                assert!(run(ranks) == one, "{rule:?}, {dtype:?}, {shrink}, {decay:?} on {ranks} ranks");
            }
        }
    }
}

/// A checkpoint knows no number of ranks: training goes on from it on any other with the same bits, and one process reads it.
#[test]
fn any_number_of_ranks_goes_on_from_any_other() {
    let case = resting_case();
    for (rule, dtype, decay) in [
        (Rule::Adam, TableDtype::F32, Some(0.6)),
        (Rule::RowwiseAdagrad, TableDtype::Bf16, Some(0.9)),
        (Rule::Sgd, TableDtype::F16, None),
    ] {
        let config = resting(rule, 0.3, decay);
        let new = |job| learner(cpu(1), with_dtype(&case, dtype), &config, job);
        let whole = in_ranks(1, 4, |job| train(&mut new(job), &case, 0..STEPS));
        for (before, after) in [(1, 4), (4, 1), (2, 4), (4, 2)] {
            let stopped = in_ranks(before, 4, |job| train(&mut new(job), &case, 0..2));
            let resumed = in_ranks(after, 4, |job| {
                let mut learner = new(job);
                // It has been elsewhere before.
                learner.step(&case.batch(ROWS, 50)).unwrap();
                learner.import(&stopped.parameters).unwrap();
                learner.import_state(&stopped.state, 2).unwrap();
                train(&mut learner, &case, 2..STEPS)
            });
            let place = format!("{rule:?}, {dtype:?}: {before} ranks, then {after}");
            assert!(resumed.parameters == whole.parameters, "{place}: parameters");
            assert!(resumed.state == whole.state, "{place}: state");
            assert!(resumed.predictions == whole.predictions, "{place}: predictions");
        }
        let mut alone = learner(cpu(1), with_dtype(&case, dtype), &config, Job::default());
        alone.import(&whole.parameters).unwrap();
        alone.import_state(&whole.state, STEPS).unwrap();
        assert!(alone.export().unwrap() == whole.parameters && alone.export_state().unwrap() == whole.state);
    }
}

/// A single sum over ranks, as a reduction in the transport would be, has other bits: the tests above can fail.
#[test]
fn sums_by_rank_would_differ() {
    let case = case("negative control", |_| {});
    let config = descent();
    let run = |ranks: usize, groups| {
        let model = || models::build(&case.config, &case.input).unwrap();
        in_ranks(ranks, groups, |job| train(&mut learner(cpu(1), model(), &config, job), &case, 0..STEPS))
    };
    // As many groups as ranks is what a reduction makes of it: its order follows from the ranks.
    assert!(run(2, 2).parameters != run(4, 4).parameters);
}

/// Counts the bytes that a rank sends to others.
#[derive(Debug)]
struct Counting(ThreadComm, AtomicUsize);

impl Counting {
    fn sent(&self, bytes: usize) {
        self.1.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Comm for Counting {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn barrier(&self) -> optmsm_comm::Result<()> {
        self.0.barrier()
    }

    fn alltoallv(
        &self,
        send: &[u8],
        counts: &[usize],
        receive: &mut [u8],
        received: &[usize],
    ) -> optmsm_comm::Result<()> {
        self.sent(send.len() - counts[self.rank()]);
        self.0.alltoallv(send, counts, receive, received)
    }

    fn allgatherv(&self, send: &[u8], receive: &mut [u8], counts: &[usize]) -> optmsm_comm::Result<()> {
        self.sent(send.len() * (self.size() - 1));
        self.0.allgatherv(send, receive, counts)
    }

    fn bcast(&self, data: &mut [u8], root: usize) -> optmsm_comm::Result<()> {
        self.0.bcast(data, root)
    }

    fn abort(&self, code: i32) -> ! {
        self.0.abort(code)
    }
}

#[test]
fn steps_send_the_bytes_of_the_formula() {
    for case in all_cases() {
        let model = || models::build(&case.config, &case.input).unwrap();
        for (ranks, clip_norm, rows) in [(2, None, ROWS), (4, Some(1.0), ROWS), (4, None, 2)] {
            let (config, batch) = (LearnerConfig { clip_norm, ..descent() }, case.batch(rows, 1));
            let outcomes: Vec<_> = thread::scope(|scope| {
                let start = |comm: ThreadComm| {
                    let (model, config, batch, case) = (&model, &config, &batch, &case);
                    scope.spawn(move || {
                        let comm = Arc::new(Counting(comm, AtomicUsize::new(0)));
                        let job = Job::new(comm.clone(), 8).unwrap();
                        let mut own = Batch::new(&case.input);
                        own.push_rows(batch, &job.own_rows(rows).map(|row| row as u32).collect::<Vec<_>>());
                        let all = AllRows { scenarios: &batch.scenarios, weights: &batch.weights };
                        let mut cut = Cut::default();
                        cut.build(&mut own, all, &case.input, &job).unwrap();
                        let mut learner = learner(cpu(1), model(), config, job);
                        let before = comm.1.load(Ordering::Relaxed);
                        learner.step_cut(&cut).unwrap();
                        (comm.1.load(Ordering::Relaxed) - before, cut.touched().to_vec())
                    })
                };
                let running: Vec<_> = threads(ranks).into_iter().map(start).collect();
                running.into_iter().map(|r| r.join().unwrap_or_else(|_| std::process::exit(101))).collect()
            });
            let (sent, touched): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
            let job = Job::new(Arc::new(Seat { rank: 0, size: ranks }), 8).unwrap();
            let said = traffic::<Cpu, _>(&model(), clip_norm.is_some(), &job, rows, &touched);
            let said: Vec<usize> = said.iter().map(Traffic::total).collect();
            assert_eq!(said, sent, "{}, {ranks} ranks, {rows} rows, {clip_norm:?}", case.name);
        }
    }
}

#[test]
fn jobs_that_cannot_be_shared_out_are_refused() {
    let rank = |size: usize| -> Arc<dyn Comm> { Arc::new(threads(size).swap_remove(0)) };
    for (ranks, groups, says) in [
        (1, 3, "config `train.groups`: must be a power of two, got 3; take 1, 2, 4, 8 or so on"),
        (1, 0, "config `train.groups`: must be a power of two, got 0; take 1, 2, 4, 8 or so on"),
        (1, 1 << 32, "config `train.groups`: must be at most 65536, got 4294967296; lower it"),
        (
            4,
            2,
            "config `train.groups`: is 2, which 4 ranks cannot share out equally; set it to 4 or more; results depend on \
             it, so keep it for all runs that you compare",
        ),
        (
            3,
            4,
            "config `train.groups`: is 4, which 3 ranks cannot share out equally; start 2 or 4 ranks, and set it to at \
             least as many",
        ),
    ] {
        assert_eq!(Job::new(rank(ranks), groups).unwrap_err().to_string(), says);
    }
}
