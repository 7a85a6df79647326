//! Errors as a program matches them: by variant and data, never by text.

use std::error::Error as _;
use std::io;

use optmsm_core::batch::{Batch, Column, Row, Value};
use optmsm_core::config::{EmbeddingsConfig, FieldKind, FieldSpec, InputSpec, ModelConfig, Pooling, Role};
use optmsm_core::error::{BatchPart, Error, Result, TensorErrorKind};
use optmsm_core::learner::Learner;
use optmsm_core::models::OptMsm;
use optmsm_core::params::{HostTensor, TensorSource};
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_core::rounding::TableDtype;

const VALUES: [Value<'static>; 3] = [Value::Id(1), Value::Ids(&[0, 2]), Value::Number(0.5)];

fn input() -> InputSpec {
    let field = |name, kind| FieldSpec::new(name, Role::Shared, kind);
    let fields = vec![
        field("user", FieldKind::Categorical { vocab: 5 }),
        field("tags", FieldKind::Multi { vocab: 4, pooling: Pooling::Mean }),
        field("price", FieldKind::Numeric),
    ];
    InputSpec { scenarios: 2, fields }
}

fn config() -> ModelConfig {
    let embeddings = EmbeddingsConfig { dtype: TableDtype::F16 };
    ModelConfig { embeddings, ..ModelConfig::default() }
}

/// A batch of `rows` rows that fit.
fn batch(rows: usize) -> Batch {
    let mut batch = Batch::new(&input());
    (0..rows).for_each(|_| batch.push(&input(), Row::new(0, &VALUES).label(1.0)).unwrap());
    batch
}

fn learner() -> Learner<Reference<f64>, OptMsm> {
    let model = OptMsm::new(&config(), &input()).unwrap();
    Learner::builder(Reference::new(), model).max_rows(4).build().unwrap()
}

#[test]
fn a_setting_has_its_key() {
    let error = OptMsm::new(&ModelConfig { init_std: -1.0, ..config() }, &input()).unwrap_err();
    assert!(matches!(&error, Error::Config { key, .. } if key == "model.init_std"), "{error:?}");
}

#[test]
fn a_batch_has_part_and_row() {
    fn place<T>(result: Result<T>) -> (BatchPart, Option<usize>) {
        match result.map(|_| ()).unwrap_err() {
            Error::Batch { part, row, .. } => (part, row),
            other => panic!("{other:?}"),
        }
    }
    let field = |name: &str| BatchPart::Field(name.into());
    let mut two = batch(2);
    let mut push = |row| place(two.push(&input(), row));
    let wrong = [Value::Id(5), VALUES[1], VALUES[2]];
    assert_eq!(push(Row::new(0, &wrong).label(0.0)), (field("user"), Some(2)));
    assert_eq!(push(Row::new(2, &VALUES).label(0.0)), (BatchPart::Scenario, Some(2)));
    assert_eq!(push(Row::new(0, &VALUES)), (BatchPart::Label, Some(2)));
    assert_eq!(push(Row::new(0, &VALUES).label(0.0).weight(f32::NAN)), (BatchPart::Weight, Some(2)));
    assert_eq!(push(Row::new(0, &[VALUES[0]; 4]).label(0.0)), (BatchPart::Batch, Some(2)));

    let changed = |change: &dyn Fn(&mut Batch)| {
        let mut batch = batch(3);
        change(&mut batch);
        place(batch.validate(&input()))
    };
    assert_eq!(changed(&|b| b.scenarios[2] = 2), (BatchPart::Scenario, Some(2)));
    assert_eq!(changed(&|b| b.labels[1] = 0.5), (BatchPart::Label, Some(1)));
    assert_eq!(changed(&|b| b.labels.truncate(2)), (BatchPart::Label, None));
    assert_eq!(changed(&|b| b.weights = vec![1.0, -1.0, 1.0]), (BatchPart::Weight, Some(1)));
    assert_eq!(changed(&|b| drop(b.columns.pop())), (BatchPart::Batch, None));
    let ids = |ids: Vec<u32>| move |b: &mut Batch| b.columns[0] = Column::Categorical(ids.clone());
    assert_eq!(changed(&ids(vec![0, 0, 5])), (field("user"), Some(2)));
    assert_eq!(changed(&ids(vec![0])), (field("user"), None));
    // Lists of 2, 0 and 3 entries: entry 1 is of row 0, entries 2 to 4 are of row 2.
    let lists = |ids: [u32; 5], weights: [f32; 5]| {
        let (offsets, ids, weights) = (vec![0, 2, 2, 5], ids.to_vec(), weights.to_vec());
        move |b: &mut Batch| {
            let (offsets, ids, weights) = (offsets.clone(), ids.clone(), weights.clone());
            b.columns[1] = Column::Multi { offsets, ids, weights };
        }
    };
    assert_eq!(changed(&lists([0, 4, 0, 0, 0], [1.0; 5])), (field("tags"), Some(0)));
    assert_eq!(changed(&lists([0, 0, 4, 0, 0], [1.0; 5])), (field("tags"), Some(2)));
    assert_eq!(changed(&lists([0; 5], [1.0, 1.0, 1.0, 1.0, f32::NAN])), (field("tags"), Some(2)));
    let numbers = |b: &mut Batch| b.columns[2] = Column::Numeric(vec![0.0, f32::INFINITY, 0.0]);
    assert_eq!(changed(&numbers), (field("price"), Some(1)));

    let mut learner = learner();
    assert_eq!(place(learner.step(&batch(0))), (BatchPart::Batch, None));
    assert_eq!(place(learner.step(&batch(5))), (BatchPart::Batch, None));
    let (tensors, model) = (learner.export().unwrap(), learner.model().clone());
    let predictor = Predictor::new(Reference::new(), model, &tensors, 4).unwrap();
    assert_eq!(place(predictor.predict_into(&mut [0.0], &batch(2))), (BatchPart::Predictions, None));
}

/// A checkpoint that cannot be read.
struct Unreadable;

impl TensorSource<f64> for Unreadable {
    fn tensor(&self, name: &str, _: &[usize]) -> Result<Vec<f64>> {
        let gone = io::Error::from(io::ErrorKind::PermissionDenied);
        Err(Error::tensor(name, TensorErrorKind::Read(gone.into())))
    }
}

#[test]
fn a_tensor_has_its_name_and_both_shapes() {
    let mut learner = learner();
    let tensors = learner.export().unwrap();
    let first = &tensors[0];
    let mut import = |source: &dyn TensorSource<f64>| learner.import(source).unwrap_err();
    let error = import(&Vec::new());
    assert!(
        matches!(&error, Error::Tensor { name, kind: TensorErrorKind::Missing, .. } if *name == first.name)
    );
    let mut other = tensors.clone();
    other[0] = HostTensor { name: first.name.clone(), shape: vec![1, 2], data: vec![0.0; 2] };
    match import(&other) {
        Error::Tensor { name, kind: TensorErrorKind::Shape { found, expected, .. }, .. } => {
            assert_eq!((name, found, expected), (first.name.clone(), vec![1, 2], first.shape.clone()));
        }
        error => panic!("{error:?}"),
    }
    let error = import(&Unreadable);
    let Error::Tensor { kind: TensorErrorKind::Read(source), .. } = &error else { panic!("{error:?}") };
    let said = source.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(said, Some(io::ErrorKind::PermissionDenied));
    let chain = error.source().and_then(|kind| kind.source()).and_then(|e| e.downcast_ref::<io::Error>());
    assert_eq!(chain.map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
}

#[test]
fn rows_of_a_table_have_their_place() {
    let mut learner = learner();
    let tables = learner.spec().embedding().tables().to_vec();
    let user = &tables[0];
    let mut set = |name: &str, first, data: &[f64]| match learner.set_rows(name, first, data).unwrap_err() {
        Error::Tensor { name, kind, .. } => (name, kind),
        other => panic!("{other:?}"),
    };
    assert!(matches!(set("none", 0, &[]), (name, TensorErrorKind::Unknown) if name == "none"));
    let (name, kind) = set(&user.name, 4, &vec![0.0; 2 * user.width]);
    assert_eq!(name, user.name);
    match kind {
        TensorErrorKind::Rows { first, numbers, table, .. } => {
            assert_eq!((first, numbers, table), (4, 2 * user.width, [5, user.width]));
        }
        other => panic!("{other:?}"),
    }
    // The largest f16 is 65504.
    let mut rows = vec![0.0; 2 * user.width];
    rows[user.width] = 1e5;
    match set(&user.name, 1, &rows).1 {
        TensorErrorKind::Range { row, value, dtype, decaying, .. } => {
            assert_eq!((row, value, dtype, decaying), (2, 1e5, "f16", false));
        }
        other => panic!("{other:?}"),
    }
}
