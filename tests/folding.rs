//! Folded tables and requests: the same predictions as without, for every kind of model.

use optmsm_core::backend::{Backend, Elem};
use optmsm_core::batch::{Batch, Column, Request};
use optmsm_core::config::Kind;
use optmsm_core::error::Error;
use optmsm_core::fold::FoldOptions;
use optmsm_core::gradcheck::{Case, all_cases, case, random_batch};
use optmsm_core::model::AnyModel;
use optmsm_core::predictor::Predictor;
use optmsm_core::reference::Reference;
use optmsm_core::rounding::TableDtype;
use optmsm_tests::predictors::{cpu, predictor};

/// Room for no table, for some, for every one.
const BUDGETS: [usize; 3] = [0, 400, usize::MAX];

/// How far apart sums of the same terms in another order may be, over the size of the logit and 1: the terms of these models
/// are below 64 and fewer than 64.
fn apart<E: Elem>() -> f64 {
    let unit = if size_of::<E>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    64.0 * 64.0 * unit
}

fn check<B: Backend>(be: impl Fn() -> B) {
    for case in all_cases() {
        let batch = random_batch(&case.input, 75, false, 9);
        let expected = predictor(be(), &case, 32).logits(&batch).unwrap();
        let mut beside = None;
        for memory in BUDGETS {
            let options = FoldOptions { memory, ..FoldOptions::default() };
            let folded = predictor(be(), &case, 32).fold(options).unwrap();
            let found = folded.logits(&batch).unwrap();
            for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let (found, expected) = (found.wide(), expected.wide());
                let error = (found - expected).abs() / expected.abs().max(1.0);
                let text = format!("{}, {memory} bytes, row {row}: {found} and {expected}", case.name);
                assert!(error <= apart::<B::Elem>(), "{text}");
            }
            let bytes = folded.folded().unwrap().bytes;
            // Those of scenarios and numbers, which are beside the budget.
            let beside = *beside.get_or_insert(bytes);
            assert!(bytes - beside <= memory, "{}: {bytes} bytes, {beside} of them beside", case.name);
            every_row_alone(&folded, &batch, &found);
            requests(&folded, &case, &batch);
        }
    }
}

/// A prediction depends on its row alone.
fn every_row_alone<B: Backend>(folded: &Predictor<B, AnyModel<B>>, batch: &Batch, found: &[B::Elem]) {
    for row in [0, 31, 32, 74] {
        let mut alone = Batch::new(folded.spec().input());
        alone.push_row(batch, row);
        assert_eq!(folded.logits(&alone).unwrap(), [found[row]], "row {row}");
    }
}

/// Columns of the fields that `own` is true of; the others are empty.
fn some(case: &Case, batch: &Batch, rows: &[u32], own: impl Fn(usize) -> bool) -> Batch {
    let mut some = Batch::new(&case.input);
    some.push_rows(batch, rows);
    some.scenarios.clear();
    for (field, column) in some.columns.iter_mut().enumerate().filter(|(field, _)| !own(*field)) {
        *column = Column::new(case.input.fields[field].kind);
    }
    some
}

/// One user and many candidates, whichever fields are the user's: what the whole rows get.
fn requests<B: Backend>(folded: &Predictor<B, AnyModel<B>>, case: &Case, batch: &Batch) {
    let fields = case.input.fields.len();
    for user_has in [0, 1, (1 << fields) - 1, 0b010101 & ((1 << fields) - 1), 0b101011 & ((1 << fields) - 1)]
    {
        let of_user = |field: usize| user_has >> field & 1 == 1;
        for count in [0usize, 1, 40] {
            let mut user = some(case, batch, &[3], of_user);
            user.scenarios = vec![batch.scenarios[3]];
            let rows: Vec<u32> = (10..10 + count as u32).collect();
            let items = some(case, batch, &rows, |field| !of_user(field));
            let request = Request::new(&case.input, &user, items, count).unwrap();
            let mut common = Batch::new(&case.input);
            common.push_row(batch, 3);
            let mut whole = Batch::new(&case.input);
            for &row in &rows {
                let mut one = Batch::new(&case.input);
                one.push_rows(batch, &[row]);
                for field in (0..fields).filter(|&field| of_user(field)) {
                    one.columns[field] = common.columns[field].clone();
                }
                one.scenarios.clone_from(&common.scenarios);
                whole.push_row(&one, 0);
            }
            assert_eq!(*request.rows(), whole, "{}", case.name);
            let (found, expected) = (folded.score(&request).unwrap(), folded.predict(&whole).unwrap());
            assert_eq!(found.len(), count);
            for (found, expected) in found.iter().zip(expected) {
                let error = f64::from((found - expected).abs());
                // σ is at most a quarter as steep as its logit; a probability is rounded to f32.
                let allowed = apart::<B::Elem>() + f64::from(f32::EPSILON);
                assert!(error <= allowed, "{}: {found} and {expected}", case.name);
            }
        }
    }
}

#[test]
fn folding_changes_nothing_on_the_reference() {
    check(Reference::<f64>::new);
}

#[test]
fn folding_changes_nothing_on_the_cpu() {
    check(cpu);
}

#[test]
fn layers_that_read_fields_are_folded() {
    let folded = |kind: Kind| {
        let case = case("kind", |case| case.config.kind = kind);
        let predictor = predictor(Reference::<f64>::new(), &case, 4).fold(FoldOptions::default()).unwrap();
        predictor.folded().unwrap().clone()
    };
    let report = folded(Kind::OptMsm);
    // The experts read three fields, the specific encoding three and the scenario.
    assert_eq!((report.layers, report.fields, report.left_out.len()), (2, 6, 0));
    // Tables of user, tags, slot and words and the scenario's, and two vectors: 15 experts' outputs and 4 of the encoding.
    assert_eq!(report.bytes, 4 * (15 * (5 + 4 + 1) + 4 * (3 + 4 + 1 + 3)));
    // As docs/derivations.md#folding lists them.
    let all = [
        (Kind::OptMsm, 2),
        (Kind::Dnn, 1),
        (Kind::SharedBottom, 1),
        (Kind::Mmoe, 1),
        (Kind::Hmoe, 2),
        (Kind::M2m, 1),
        (Kind::Ple, 2),
        (Kind::Dcnv2, 1),
        (Kind::Star, 1),
        (Kind::Hamur, 1),
    ];
    for &kind in Kind::ALL {
        let layers = all.iter().find(|(own, _)| *own == kind).map_or(0, |(_, layers)| *layers);
        assert_eq!(folded(kind).layers, layers, "{}", kind.name());
    }
}

#[test]
fn the_smallest_tables_are_folded_first() {
    let case = case("budget", |_| {});
    let fold = |memory| {
        let options = FoldOptions { memory, dtype: TableDtype::F32 };
        predictor(Reference::<f64>::new(), &case, 4).fold(options).unwrap().folded().unwrap().clone()
    };
    // slot 3 × 4, words 4 × 4, tags 4 × 15, user 5 × 15 elements.
    assert_eq!(fold(4 * (12 + 16)).left_out, ["user", "tags"]);
    assert_eq!(fold(4 * (12 + 16 + 60)).left_out, ["user"]);
    assert_eq!(fold(4 * (12 + 16) - 1).left_out, ["user", "tags", "words"]);
}

#[test]
fn narrow_tables_round_each_term_once() {
    let case = case("narrow", |_| {});
    let batch = random_batch(&case.input, 40, false, 5);
    let exact = predictor(Reference::<f64>::new(), &case, 40).logits(&batch).unwrap();
    for (dtype, unit) in [(TableDtype::F16, 1.0 / 2048.0), (TableDtype::Bf16, 1.0 / 256.0)] {
        let options = FoldOptions { dtype, ..FoldOptions::default() };
        let folded = predictor(cpu(), &case, 40).fold(options).unwrap();
        let found = folded.logits(&batch).unwrap();
        let worst = found.iter().zip(&exact).map(|(f, e)| (f64::from(*f) - e).abs() / e.abs().max(1.0));
        let worst = worst.fold(0.0, f64::max);
        // Rounded at all, and by no more than the terms of a sum together.
        assert!(worst > 0.0 && worst < 64.0 * unit, "{dtype:?}: {worst}");
    }
}

#[test]
fn a_request_that_does_not_fit_is_refused() {
    let case = case("refused", |_| {});
    let batch = random_batch(&case.input, 4, false, 5);
    let user = |own: fn(usize) -> bool| {
        let mut user = some(&case, &batch, &[0], own);
        user.scenarios = vec![0];
        user
    };
    let items = |own: fn(usize) -> bool| some(&case, &batch, &[1, 2], own);
    let refused = |user: &Batch, items: Batch, count| match Request::new(&case.input, user, items, count) {
        Err(error @ Error::Batch { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let first: fn(usize) -> bool = |field| field == 0;
    let rest: fn(usize) -> bool = |field| field > 0;
    assert!(Request::new(&case.input, &user(first), items(rest), 2).is_ok());
    let wrong = "values of the user";
    for (user, items, count) in
        [(user(first), items(|_| true), 2), (user(|_| false), items(rest), 2), (user(first), items(rest), 3)]
    {
        let text = refused(&user, items, count);
        assert!(text.contains(wrong), "{text}");
    }
    // A list that all candidates repeat has a bound.
    let mut long = user(|field| field < 2);
    long.columns[1] = Column::Multi { offsets: vec![0, 1 << 20], ids: vec![1; 1 << 20], weights: Vec::new() };
    let others: fn(usize) -> bool = |field| field > 1;
    assert!(Request::new(&case.input, &long, items(others), 2).is_ok());
    let mut none = items(|_| false);
    none.columns.iter_mut().for_each(Column::clear);
    let mut whole = user(|_| true);
    whole.columns[1] = long.columns[1].clone();
    assert!(refused(&whole, none, 17).contains("1048576 values for each of 17 candidates"));
    let mut many = user(first);
    many.scenarios.push(1);
    assert!(refused(&many, items(rest), 2).contains("2 scenarios of the user"));
    let mut numbers = user(first);
    numbers.columns[0] = Column::Numeric(vec![1.0]);
    assert!(refused(&numbers, items(rest), 2).contains("different kinds"));
}
