use std::path::Path;
use std::sync::mpsc::channel;

use optmsm_data::{BLOCK_ROWS, DataConfig, Dataset, FieldConfig, Schema, StreamConfig, StreamMode};

use super::*;

const ROWS: usize = 4 * BLOCK_ROWS + 1234;

/// Rows whose one field has a value of its own in each: the same on disk and in memory.
fn data(folder: &Path) -> (Schema, Rows, Rows) {
    let path = folder.join("rows.csv");
    let mut text = "label,scenario,row\n".to_string();
    (0..ROWS).for_each(|i| text += &format!("{},{},r{i}\n", i % 2, ["x", "y", "z"][i % 3]));
    std::fs::write(&path, text).unwrap();
    let config = DataConfig { fields: vec![FieldConfig::new("row")], ..DataConfig::default() };
    let schema = Schema::fit(&config, &path).unwrap();
    let load = |mode| {
        let stream = StreamConfig { mode, ..StreamConfig::default() };
        Rows::load(&(&path).into(), &schema, None, &stream, &folder.join("cache")).unwrap()
    };
    let (disk, memory) = (load(StreamMode::Always), load(StreamMode::Never));
    assert!(matches!(&disk, Rows::Disk(_)) && matches!(&memory, Rows::Memory(Dataset { .. })));
    (schema, disk, memory)
}

/// Ids of the rows of each batch from `begin` on, and the scenarios.
fn batches(
    schema: &Schema,
    data: &Rows,
    window: usize,
    begin: (u64, u64),
    fallback: Option<(u32, f64)>,
) -> Vec<(Vec<u32>, Vec<u32>)> {
    let input = schema.input_spec();
    let input = InputSpec { scenarios: input.scenarios + 1, ..input };
    let (factors, dropped) = (&[][..], Vec::new());
    let job = &Job::default();
    let order =
        Order { data, input: &input, batch_size: 1000, job, seed: 7, window, factors, fallback, dropped };
    let (plans, planned) = sync_channel(1);
    let (_spare, spare) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || order.run(begin, 2, &plans, &spare));
        let ids = |cut: Cut<f32>| {
            let plan = &cut.plans()[0];
            // Plans are ordered by scenario: back to the order of the batch.
            let (mut ids, mut scenarios) = (vec![0; plan.rows()], vec![0; plan.rows()]);
            for (i, &place) in plan.order.iter().enumerate() {
                (ids[place as usize], scenarios[place as usize]) =
                    (plan.columns[0].ids[i], plan.scenarios[i]);
            }
            (ids, scenarios)
        };
        planned.iter().map(|plan| ids(plan.unwrap())).collect()
    })
}

#[test]
fn each_pass_takes_every_row_once_in_another_order() {
    let folder = tempfile::tempdir().unwrap();
    let (schema, disk, memory) = data(folder.path());
    for (data, window) in [(&disk, 1), (&disk, 2), (&disk, 100), (&memory, 1)] {
        let all = batches(&schema, data, window, (0, 0), None);
        let passes: Vec<_> = all.chunks(ROWS.div_ceil(1000)).collect();
        assert_eq!(passes.len(), 2);
        let mut orders = Vec::new();
        for pass in passes {
            // ⌈ROWS / 1000⌉ batches that differ by one row at most.
            let sizes: Vec<_> = pass.iter().map(|(ids, _)| ids.len()).collect();
            let (least, most) = (ROWS / sizes.len(), ROWS.div_ceil(sizes.len()));
            assert!(least < most && most <= 1000 && sizes.iter().sum::<usize>() == ROWS);
            assert!(sizes.iter().all(|n| (least..=most).contains(n)), "{sizes:?}");
            let ids: Vec<u32> = pass.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
            let mut sorted = ids.clone();
            sorted.sort_unstable();
            // Id 0 is out-of-vocabulary; every value has an id of its own.
            assert!(sorted.iter().copied().eq(1..=ROWS as u32), "window {window}");
            orders.push(ids);
        }
        assert_ne!(orders[0], orders[1]);
        assert!(!orders[0].is_sorted());
    }
}

#[test]
fn a_pass_that_begins_in_the_middle_goes_on_as_the_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let (schema, disk, _) = data(folder.path());
    for window in [1, 2, 100] {
        let fallback = Some((3, 0.1));
        let all = batches(&schema, &disk, window, (0, 0), fallback);
        for first in [1, 7, 8, 9, 16, 17, 33] {
            assert_eq!(
                batches(&schema, &disk, window, (0, first as u64), fallback),
                all[first..],
                "batch {first}"
            );
        }
        let pass = ROWS.div_ceil(1000);
        assert_eq!(batches(&schema, &disk, window, (1, 3), fallback), all[pass + 3..]);
    }
}

#[test]
fn the_fallback_takes_its_share_of_rows_by_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let (schema, disk, memory) = data(folder.path());
    let fed = |data: &Rows, window| {
        let mut fed: Vec<u32> = Vec::new();
        for (ids, scenarios) in &batches(&schema, data, window, (0, 0), Some((3, 0.1)))[..ROWS.div_ceil(1000)]
        {
            fed.extend(ids.iter().zip(scenarios).filter(|(_, s)| **s == 3).map(|(id, _)| id));
        }
        fed.sort_unstable();
        fed
    };
    let rows = fed(&disk, 1);
    // Five standard deviations of a share of 0.1.
    assert!(
        (rows.len() as f64 - 0.1 * ROWS as f64).abs() < 5.0 * (0.09 * ROWS as f64).sqrt(),
        "{}",
        rows.len()
    );
    // Which rows they are depends neither on windows nor on where the rows lie.
    assert_eq!(fed(&disk, 3), rows);
    assert_eq!(fed(&memory, 1), rows);
}

fn columns() -> [Column; 2] {
    let offsets = (0..=ROWS as u32).map(|row| 3 * row).collect();
    let lists = Column::Multi { offsets, ids: vec![2; 3 * ROWS], weights: Vec::new() };
    [Column::Categorical(vec![2; ROWS]), lists]
}

fn ids(column: &Column) -> &[u32] {
    match column {
        Column::Categorical(ids) | Column::Multi { ids, .. } => ids,
        Column::Numeric(_) => &[],
    }
}

#[test]
fn the_share_of_dropped_ids_is_the_rate() {
    let rows: Vec<u64> = (0..ROWS as u64).collect();
    for mut column in columns() {
        drop_ids(&mut column, &rows, &Stream::new(3, "field"), 0.1);
        let n = ids(&column).len() as f64;
        let dropped = ids(&column).iter().filter(|&&id| id == 0).count() as f64;
        // Five standard errors of a binomial share.
        assert!((dropped / n - 0.1).abs() < 5.0 * (0.09 / n).sqrt(), "{dropped} of {n}");
    }
}

#[test]
fn an_id_is_dropped_for_its_row_wherever_it_stands() {
    let (forth, back): (Vec<u64>, Vec<u64>) = ((0..ROWS as u64).collect(), (0..ROWS as u64).rev().collect());
    let stream = Stream::new(3, "field");
    for column in columns() {
        let dropped = |rows| {
            let mut column = column.clone();
            drop_ids(&mut column, rows, &stream, 0.5);
            ids(&column).to_vec()
        };
        let width = ids(&column).len() / ROWS;
        let (a, b) = (dropped(&forth), dropped(&back));
        assert!(a.chunks(width).eq(b.chunks(width).rev()));
    }
}
