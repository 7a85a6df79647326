//! Every kind of field in every kind of model, by what a field means: a test compares two ways to say the same, and makes sure
//! that what says something else gives another result. Shared tables are in shared.rs, 16-bit ones in tables.rs.

use std::collections::BTreeSet;

use optmsm_core::backend::{Backend, Elem};
use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{FieldKind, FieldSpec, Pooling};
use optmsm_core::gradcheck::{Case, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig, StepLoss};
use optmsm_core::model::AnyModel;
use optmsm_core::models::{self, Kind};
use optmsm_core::params::HostTensor;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_tests::bounds::{Chain, Exact, U, named, wide};

const ROWS: usize = 60;
/// Ids of every table; more than rows name.
const IDS: usize = 90;

/// A kind's first case, which has fields of every kind: ids `user` and `slot`, lists `tags` (means) and `words` (sums), numbers
/// `price` and `age`.
fn case(kind: Kind) -> Case {
    let mut case = kind.cases().swap_remove(0);
    case.set_vocab(IDS);
    case
}

/// A kind on a backend: a cell of the matrix except for the field.
struct Cell<'a, B> {
    case: Case,
    open: &'a dyn Fn() -> B,
    place: String,
}

/// Everything that a model says of a batch.
#[derive(PartialEq)]
struct Said<E> {
    logits: Vec<E>,
    loss: StepLoss,
    gradients: Vec<HostTensor<E>>,
}

impl<E: Elem> Said<E> {
    fn gradient(&self, field: &str) -> &HostTensor<E> {
        named(&self.gradients, &tensor(field))
    }

    /// Fails unless another way to say the same gives the same: logits and loss to the bit, gradients but for the order of sums,
    /// which depends on the form of a field.
    fn agrees(&self, other: &Self, exact: &Exact, place: &str) {
        assert!(self.logits == other.logits, "{place}: other logits");
        assert!(self.loss == other.loss, "{place}: {:?}, not {:?}", other.loss, self.loss);
        for (i, g) in exact.gradients.iter().enumerate() {
            let [a, b] = [self, other].map(|said| named(&said.gradients, &g.name));
            // Both are the exact gradient but for their own roundings.
            let bound = 2.0 * exact.gradient_bound(i, Chain::CASES, 0.0) * E::epsilon().wide() / (2.0 * U);
            for (a, b) in a.data.iter().zip(&b.data) {
                let off = (*a - *b).wide().abs();
                assert!(off <= bound, "{place}: {} is off by {off:.1e}, more than {bound:.1e}", g.name);
            }
        }
    }
}

/// The tensor of a field.
fn tensor(field: &str) -> String {
    format!("embeddings.{field}.weight")
}

impl<B: Backend> Cell<'_, B> {
    fn learner(&self, case: &Case) -> Learner<B, AnyModel<B>> {
        let model = models::build(&case.config, &case.input).unwrap();
        Learner::new((self.open)(), model, LearnerConfig::default(), ROWS, 7).unwrap()
    }

    /// Numbers that f32 holds for the parameters, whatever forms the fields have.
    fn parameters(&self) -> Vec<HostTensor<B::Elem>> {
        let model = models::build(&self.case.config, &self.case.input).unwrap();
        let be = Reference::<f64>::new();
        let learner: Learner<_, AnyModel<_>> =
            Learner::new(be, model, LearnerConfig::default(), 1, 7).unwrap();
        let narrow = |t: HostTensor<f64>| HostTensor {
            data: t.data.iter().map(|&v| B::Elem::of(f64::from(v as f32))).collect(),
            name: t.name,
            shape: t.shape,
        };
        random_parameters(&learner.export().unwrap(), 5).into_iter().map(narrow).collect()
    }

    fn batch(&self) -> Batch {
        self.case.batch(ROWS, 3)
    }

    fn say(&self, case: &Case, parameters: &Vec<HostTensor<B::Elem>>, batch: &Batch) -> Said<B::Elem> {
        let model: AnyModel<B> = models::build(&case.config, &case.input).unwrap();
        let logits = Predictor::new((self.open)(), model, parameters, ROWS).unwrap().logits(batch).unwrap();
        let mut learner = self.learner(case);
        learner.import(parameters).unwrap();
        let (loss, gradients) = learner.loss_and_gradients(batch).unwrap();
        Said { logits, loss, gradients }
    }

    fn exact(&self, parameters: &[HostTensor<B::Elem>], batch: &Batch) -> Exact {
        Exact::of(&self.case.config, &self.case.input, &wide(parameters), batch)
    }

    /// The case with another form of some fields.
    fn with(&self, fields: &[&str], change: impl Fn(&mut FieldSpec)) -> Case {
        let mut case = self.case.clone();
        case.input.fields.iter_mut().filter(|f| fields.contains(&f.name.as_str())).for_each(change);
        case
    }

    /// The column of a field.
    fn column<'b>(&self, batch: &'b mut Batch, field: &str) -> &'b mut Column {
        let place = self.case.input.fields.iter().position(|f| f.name == field).unwrap();
        &mut batch.columns[place]
    }
}

/// Runs a test for every kind, on the reference in `f64` in both of its ways and on the CPU.
macro_rules! every_kind {
    ($holds:ident) => {
        for &kind in Kind::ALL {
            let case = case(kind);
            let place = |on: &str| format!("{} on {on}", kind.name());
            let lanes = || Reference::<f64>::with_lanes(2, 7);
            $holds(&Cell { case: case.clone(), open: &lanes, place: place("the reference in lanes") });
            let whole = || Reference::<f64>::new().with_whole_fields();
            $holds(&Cell { case: case.clone(), open: &whole, place: place("the reference as a whole") });
            let options = CpuOptions { threads: Some(2), block_rows: 16, ..CpuOptions::default() };
            let cpu = || Cpu::with(options.clone()).unwrap();
            $holds(&Cell { case, open: &cpu, place: place("the CPU") });
        }
    };
}

/// Ids of each row.
fn ids(column: &Column) -> Vec<&[u32]> {
    match column {
        Column::Categorical(ids) => ids.chunks(1).collect(),
        Column::Multi { offsets, ids, .. } => {
            offsets.windows(2).map(|w| &ids[w[0] as usize..w[1] as usize]).collect()
        }
        Column::Numeric(_) => panic!("no ids"),
    }
}

#[test]
fn a_row_of_a_table_is_read_by_its_id_alone() {
    fn holds<B: Backend>(cell: &Cell<B>) {
        let (batch, parameters) = (cell.batch(), cell.parameters());
        let before = cell.say(&cell.case, &parameters, &batch);
        for field in ["user", "slot", "tags", "words"] {
            let place = format!("{field} in {}", cell.place);
            let mut copy = batch.clone();
            let rows = ids(cell.column(&mut copy, field));
            let present: BTreeSet<u32> = rows.iter().flat_map(|ids| ids.iter().copied()).collect();
            let g = before.gradient(field);
            let width = g.shape[1];
            for (id, g) in g.data.chunks(width).enumerate() {
                let none = g.iter().all(|&g| g == B::Elem::of(0.0));
                assert!(none || present.contains(&(id as u32)), "{place}: id {id} in no row has a gradient");
            }
            assert!(g.data.iter().any(|&g| g != B::Elem::of(0.0)), "{place}: no gradient");
            let mut moved = parameters.clone();
            let table = moved.iter_mut().find(|t| t.name == tensor(field)).unwrap();
            let some: Vec<u32> = present.iter().copied().step_by(2).collect();
            for &id in &some {
                table.data[id as usize * width..][..width].iter_mut().for_each(|v| *v += B::Elem::of(4.0));
            }
            let after = cell.say(&cell.case, &moved, &batch);
            let mut changed = 0;
            for (row, ids) in rows.iter().enumerate() {
                let reads = ids.iter().any(|id| some.contains(id));
                let same = before.logits[row] == after.logits[row];
                assert!(same || reads, "{place}: row {row} reads an id that it does not have");
                changed += usize::from(!same);
            }
            assert!(changed > 0, "{place}: no row reads its ids");
        }
    }
    every_kind!(holds);
}

#[test]
fn a_list_of_one_id_is_the_field_with_that_id() {
    fn holds<B: Backend>(cell: &Cell<B>) {
        let (batch, parameters) = (cell.batch(), cell.parameters());
        let (want, exact) = (cell.say(&cell.case, &parameters, &batch), cell.exact(&parameters, &batch));
        for (pooling, weighted) in [(Pooling::Mean, false), (Pooling::Sum, true)] {
            let place = format!("{pooling:?}, weights {weighted}, in {}", cell.place);
            let form = FieldKind::Multi { vocab: IDS, pooling };
            let lists = cell.with(&["user", "slot"], |f| f.kind = form);
            let mut batch = batch.clone();
            for field in ["user", "slot"] {
                let column = cell.column(&mut batch, field);
                let Column::Categorical(ids) = column.clone() else { panic!("{field} has lists") };
                let weights = vec![1.0; if weighted { ROWS } else { 0 }];
                *column = Column::Multi { offsets: (0..=ROWS as u32).collect(), ids, weights };
            }
            want.agrees(&cell.say(&lists, &parameters, &batch), &exact, &place);
            if let Column::Multi { weights, .. } = cell.column(&mut batch, "user") {
                *weights = vec![0.5; ROWS];
            }
            assert!(
                cell.say(&lists, &parameters, &batch).logits != want.logits,
                "{place}: weights are not read"
            );
        }
    }
    every_kind!(holds);
}

/// Lists of 1, 2 or 4 ids, so that weights can be divided by their length without rounding.
#[test]
fn a_mean_is_a_sum_of_weights_over_the_length() {
    fn holds<B: Backend>(cell: &Cell<B>) {
        let parameters = cell.parameters();
        let lengths: Vec<usize> = (0..ROWS).map(|row| [1, 2, 4][row % 3]).collect();
        let count: usize = lengths.iter().sum();
        let lists = |divided: bool| {
            let mut batch = cell.batch();
            for (salt, field) in ["tags", "words"].into_iter().enumerate() {
                let mut offsets = vec![0];
                lengths.iter().for_each(|&n| offsets.push(offsets[offsets.len() - 1] + n as u32));
                let ids = (0..count).map(|i| ((i * i + 7 * salt) % IDS) as u32).collect();
                let weight = |i: usize| 0.3 + (i % 11) as f32 / 7.0;
                let by = lengths.iter().flat_map(|&n| std::iter::repeat_n(n as f32, n));
                let weights = (0..count).map(weight).zip(by);
                let weights = weights.map(|(w, n)| if divided { w / n } else { w }).collect();
                *cell.column(&mut batch, field) = Column::Multi { offsets, ids, weights };
            }
            batch
        };
        let pooled =
            |pooling| cell.with(&["tags", "words"], |f| f.kind = FieldKind::Multi { vocab: IDS, pooling });
        let mean = cell.say(&pooled(Pooling::Mean), &parameters, &lists(false));
        let sum = cell.say(&pooled(Pooling::Sum), &parameters, &lists(true));
        assert!(mean == sum, "{}: another result", cell.place);
        let other = cell.say(&pooled(Pooling::Sum), &parameters, &lists(false));
        assert!(mean.logits != other.logits, "{}: a sum is a mean", cell.place);
    }
    every_kind!(holds);
}

/// An empty list is one with an id that weighs nothing, and reads no table.
#[test]
fn an_empty_list_adds_nothing() {
    fn holds<B: Backend>(cell: &Cell<B>) {
        let parameters = cell.parameters();
        for field in ["tags", "words"] {
            let place = format!("{field} in {}", cell.place);
            // Every second row has its list.
            let lists = |rest: &[u32]| {
                let mut batch = cell.batch();
                let column = cell.column(&mut batch, field);
                let (mut offsets, mut ids, mut weights) = (vec![0], Vec::new(), Vec::new());
                for row in 0..ROWS as u32 {
                    let own = [row % 5, row % 7];
                    let list = if row % 2 == 0 { &own } else { rest };
                    ids.extend_from_slice(list);
                    weights.extend(list.iter().map(|_| if row % 2 == 0 { 1.0 } else { 0.0 }));
                    offsets.push(ids.len() as u32);
                }
                *column = Column::Multi { offsets, ids, weights };
                batch
            };
            let empty = cell.say(&cell.case, &parameters, &lists(&[]));
            assert!(empty == cell.say(&cell.case, &parameters, &lists(&[3])), "{place}: another result");
            let mut other = parameters.clone();
            let table = other.iter_mut().find(|t| t.name == tensor(field)).unwrap();
            table.data.iter_mut().for_each(|v| *v += B::Elem::of(4.0));
            let after = cell.say(&cell.case, &other, &lists(&[])).logits;
            for (row, (a, b)) in empty.logits.iter().zip(&after).enumerate() {
                assert!(row % 2 == 0 || a == b, "{place}: row {row} reads a table without an id");
            }
            assert!(empty.logits != after, "{place}: no row reads its ids");
        }
    }
    every_kind!(holds);
}

/// A number v is v times its field's vector, as a list of the only id of a table with the weight v.
#[test]
fn a_number_weighs_its_vector() {
    fn holds<B: Backend>(cell: &Cell<B>) {
        let (batch, parameters) = (cell.batch(), cell.parameters());
        let (want, exact) = (cell.say(&cell.case, &parameters, &batch), cell.exact(&parameters, &batch));
        for field in ["price", "age"] {
            let place = format!("{field} in {}", cell.place);
            let lists =
                cell.with(&[field], |f| f.kind = FieldKind::Multi { vocab: 1, pooling: Pooling::Sum });
            let mut weighing = batch.clone();
            let column = cell.column(&mut weighing, field);
            let Column::Numeric(weights) = column.clone() else { panic!("{field} is no number") };
            *column = Column::Multi { offsets: (0..=ROWS as u32).collect(), ids: vec![0; ROWS], weights };
            let mut rows = parameters.clone();
            let own = rows.iter_mut().find(|t| t.name == tensor(field)).unwrap();
            own.shape = vec![1, own.data.len()];
            let got = cell.say(&lists, &rows, &weighing);
            want.agrees(&got, &exact, &place);
            if let Column::Multi { weights, .. } = cell.column(&mut weighing, field) {
                weights.iter_mut().for_each(|w| *w *= 0.5);
            }
            assert!(
                cell.say(&lists, &rows, &weighing).logits != want.logits,
                "{place}: the number is not read"
            );
        }
    }
    every_kind!(holds);
}

/// Everything else moves as it does beside tables that are free.
#[test]
fn a_frozen_table_stays_as_it_is() {
    fn holds<B: Backend>(cell: &Cell<B>) {
        for frozen in [&["user"][..], &["words", "slot"], &["user", "tags", "slot", "words"]] {
            let place = format!("{frozen:?} in {}", cell.place);
            let mut free = cell.learner(&cell.case);
            let mut held = cell.learner(&cell.with(frozen, |f| f.frozen = true));
            let before = held.export().unwrap();
            [&mut free, &mut held].into_iter().for_each(|it| _ = it.step(&cell.batch()).unwrap());
            let is_held = |name: &str| frozen.iter().any(|field| name == tensor(field));
            for (held, free) in held.export().unwrap().iter().zip(free.export().unwrap()) {
                assert!(is_held(&held.name) || held.data == free.data, "{place}: {} differs", held.name);
            }
            (0..5).for_each(|seed| _ = held.step(&cell.case.batch(ROWS, seed)).unwrap());
            for (before, after) in before.iter().zip(held.export().unwrap()) {
                let same = before.data == after.data;
                assert_eq!(same, is_held(&after.name), "{place}: whether {} stays", after.name);
            }
        }
    }
    every_kind!(holds);
}
