//! Tables that several fields read, and tables that training leaves alone.

use optmsm_core::backend::Backend;
use optmsm_core::config::FieldKind;
use optmsm_core::gradcheck::{Case, all_cases, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models::{self, Kind};
use optmsm_core::optim::{OptimizerConfig, Rule};
use optmsm_core::params::HostTensor;
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions};

const ROWS: usize = 60;

fn learner<B: Backend>(be: B, case: &Case, config: LearnerConfig) -> Learner<B, AnyModel<B>> {
    Learner::new(be, models::build(&case.config, &case.input).unwrap(), config, ROWS, 7).unwrap()
}

/// The cases of fields that share a table, of all kinds.
fn shared_cases() -> Vec<Case> {
    let cases: Vec<_> = all_cases().into_iter().filter(|c| c.name.contains("a table of")).collect();
    assert_eq!(cases.len(), 3 * Kind::ALL.len());
    cases
}

fn find<'a, E>(tensors: &'a [HostTensor<E>], name: &str) -> &'a [E] {
    &tensors.iter().find(|t| t.name == format!("embeddings.{name}.weight")).unwrap().data
}

fn cpu(threads: usize) -> Cpu {
    Cpu::with(CpuOptions { threads: Some(threads), block_rows: 16, ..CpuOptions::default() }).unwrap()
}

/// Separate tables of the same rows give the same loss, and gradients whose sum is the shared table's, element by element.
#[test]
fn the_gradient_of_a_shared_table_is_the_sum_of_those_of_its_fields() {
    for case in shared_cases() {
        let sharing: Vec<String> =
            case.input.fields.iter().filter(|f| f.table.is_some()).map(|f| f.name.clone()).collect();
        let mut apart = case.clone();
        apart.input.fields.iter_mut().for_each(|f| f.table = None);
        for be in [Reference::<f64>::with_lanes(2, 7), Reference::new().with_whole_fields()] {
            let mut one = learner(be.clone(), &case, LearnerConfig::default());
            let mut many = learner(be, &apart, LearnerConfig::default());
            let parameters = random_parameters(&one.export().unwrap(), 5);
            one.import(&parameters).unwrap();
            let copies = many.export().unwrap().into_iter().map(|mut t| {
                let own = parameters.iter().find(|p| p.name == t.name);
                t.data = own.map_or_else(|| find(&parameters, "ids").to_vec(), |p| p.data.clone());
                t
            });
            many.import(&copies.collect::<Vec<_>>()).unwrap();
            for seed in 0..5 {
                let batch = case.batch(ROWS, seed);
                let (loss, gradients) = one.loss_and_gradients(&batch).unwrap();
                let (loss_apart, gradients_apart) = many.loss_and_gradients(&batch).unwrap();
                assert_eq!(loss, loss_apart, "{}", case.name);
                let got = find(&gradients, "ids");
                for (i, &g) in got.iter().enumerate() {
                    let sum: f64 = sharing.iter().map(|field| find(&gradients_apart, field)[i]).sum();
                    assert_eq!(g, sum, "{}, seed {seed}, element {i}", case.name);
                }
                assert!(got.iter().any(|&g| g != 0.0));
            }
        }
    }
}

/// A plain step by hand: w − lr · (sum of gradients), once for a row however many fields hold its id.
#[test]
fn a_row_moves_once_a_step() {
    let optimizer = OptimizerConfig { rule: Rule::Sgd, lr: 0.5, ..OptimizerConfig::default() };
    let config = LearnerConfig { optimizer, ..LearnerConfig::default() };
    for case in shared_cases() {
        let mut it = learner(Reference::<f64>::with_lanes(2, 7), &case, config.clone());
        let batch = case.batch(ROWS, 3);
        let before = it.export().unwrap();
        let (_, gradients) = it.loss_and_gradients(&batch).unwrap();
        it.step(&batch).unwrap();
        let after = it.export().unwrap();
        let (w, g, moved) = (find(&before, "ids"), find(&gradients, "ids"), find(&after, "ids"));
        for i in 0..w.len() {
            // One product and one difference, each rounded once.
            let allowed = f64::EPSILON * (w[i].abs() + 0.5 * g[i].abs());
            assert!((moved[i] - (w[i] - 0.5 * g[i])).abs() <= allowed, "{}", case.name);
        }
    }
}

#[test]
fn shared_tables_train_bit_equal_for_any_number_of_threads() {
    let config = LearnerConfig { clip_norm: Some(0.1), ..LearnerConfig::default() };
    for case in shared_cases() {
        let train = |threads| {
            let mut it = learner(cpu(threads), &case, config.clone());
            (0..5).for_each(|seed| _ = it.step(&case.batch(ROWS, seed)).unwrap());
            (it.export().unwrap(), it.export_state().unwrap())
        };
        let one = train(1);
        assert!(one == train(3) && one == train(4), "{}", case.name);
    }
}

/// A table of a field alone that names it is the field's own table under another name.
#[test]
fn a_name_for_one_field_changes_the_name_alone() {
    let plain = optmsm_core::gradcheck::case("plain", |_| {});
    let mut named = plain.clone();
    named.input.fields[0].table = Some("people".into());
    let mut it = learner(Reference::<f64>::new(), &plain, LearnerConfig::default());
    let parameters = random_parameters(&it.export().unwrap(), 2);
    it.import(&parameters).unwrap();
    let mut other = learner(Reference::<f64>::new(), &named, LearnerConfig::default());
    let rename = |tensors: &[HostTensor<f64>]| -> Vec<HostTensor<f64>> {
        let name = |n: &str| n.replace("embeddings.user.", "embeddings.people.");
        tensors.iter().map(|t| HostTensor { name: name(&t.name), ..t.clone() }).collect()
    };
    other.import(&rename(&parameters)).unwrap();
    (0..3).for_each(|seed| {
        let batch = plain.batch(ROWS, seed);
        assert_eq!(it.step(&batch).unwrap(), other.step(&batch).unwrap());
    });
    assert!(rename(&it.export().unwrap()) == other.export().unwrap());
}

#[test]
fn a_frozen_table_stays_and_has_no_state_and_no_part_in_the_norm() {
    let free = optmsm_core::gradcheck::case("frozen", |_| {});
    let mut frozen = free.clone();
    let lists = frozen.input.fields.iter_mut().filter(|f| matches!(f.kind, FieldKind::Multi { .. }));
    lists.for_each(|f| f.frozen = true);
    for whole in [false, true] {
        let be =
            || if whole { Reference::<f64>::new().with_whole_fields() } else { Reference::with_lanes(2, 7) };
        let mut it = learner(be(), &frozen, LearnerConfig::default());
        let before = it.export().unwrap();
        (0..3).for_each(|seed| _ = it.step(&frozen.batch(ROWS, seed)).unwrap());
        let after = it.export().unwrap();
        for (a, b) in before.iter().zip(&after) {
            let stays = a.name.contains("tags") || a.name.contains("words");
            assert_eq!(a.data == b.data, stays, "{}", a.name);
        }
        let state = it.export_state().unwrap();
        assert!(state.iter().any(|t| t.name.contains("user")));
        assert!(!state.iter().any(|t| t.name.contains("tags") || t.name.contains("words")));
        let mut again = learner(be(), &frozen, LearnerConfig::default());
        again.import(&after).unwrap();
        again.import_state(&state, 3).unwrap();
        let batch = frozen.batch(ROWS, 9);
        assert_eq!(again.step(&batch).unwrap(), it.step(&batch).unwrap());
        assert!(again.export().unwrap() == it.export().unwrap());
    }
    // Clipping goes by the norm n of what moves, so plain SGD moves it by max_norm n / (n + 1e-6).
    let optimizer = OptimizerConfig { rule: Rule::Sgd, lr: 1.0, ..OptimizerConfig::default() };
    let config = LearnerConfig { optimizer, clip_norm: Some(1e-3), ..LearnerConfig::default() };
    let mut it = learner(Reference::<f64>::new(), &frozen, config);
    it.import(&random_parameters(&it.export().unwrap(), 5)).unwrap();
    let before = it.export().unwrap();
    let (_, gradients) = it.loss_and_gradients(&frozen.batch(ROWS, 1)).unwrap();
    let moving = gradients.iter().filter(|g| !g.name.contains("tags") && !g.name.contains("words"));
    let norm = moving.flat_map(|g| &g.data).map(|g| g * g).sum::<f64>().sqrt();
    it.step(&frozen.batch(ROWS, 1)).unwrap();
    let after = it.export().unwrap();
    let squares = before.iter().zip(&after).flat_map(|(a, b)| a.data.iter().zip(&b.data));
    let moved = squares.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    // Some hundred differences of numbers below 4, each off by an ulp: 1e-12 is a hundred times the root of their squares' sum.
    assert!((moved - 1e-3 * norm / (norm + 1e-6)).abs() < 1e-12, "{moved} {norm}");
}

#[test]
fn tables_that_cannot_be_shared_are_errors() {
    let error = |change: &dyn Fn(&mut Case)| {
        let case = optmsm_core::gradcheck::case("errors", |c| change(c));
        models::build::<Cpu>(&case.config, &case.input).unwrap_err().to_string()
    };
    let name = |c: &mut Case, field: usize, table: &str| c.input.fields[field].table = Some(table.into());
    let cases = [
        (
            error(&|c| [0, 3].into_iter().for_each(|f| name(c, f, "ids"))),
            "config `data.fields.slot.table`: has 3 ids, but field 'user', which shares table 'ids', has 5; give both the same ids, or tables of their own",
        ),
        (
            error(&|c| name(c, 3, "user")),
            "config `data.fields.slot.table`: table 'user' of fields 'slot' and 'user' is named in one of them; name it in both to share it, or rename it",
        ),
        (
            error(&|c| name(c, 2, "ids")),
            "config `data.fields.price.table`: means something for a field with ids only; leave it out",
        ),
        (
            error(&|c| c.input.fields[2].frozen = true),
            "config `data.fields.price.freeze`: means something for a field with ids only; leave it out",
        ),
        (
            error(&|c| {
                [1, 4].into_iter().for_each(|f| name(c, f, "words and tags"));
                c.input.fields[4].frozen = true;
            }),
            "config `data.fields.words.freeze`: differs from that of field 'tags', which shares table 'words and tags'; set it in both or in neither",
        ),
    ];
    for (got, wanted) in cases {
        assert_eq!(got, wanted);
    }
}
