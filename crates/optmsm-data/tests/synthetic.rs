//! The synthetic data through the whole crate: written, fitted, read back, and read without allocating.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;

use common::*;
use optmsm_core::batch::Batch;
use optmsm_data::synth::{self, SynthConfig};
use optmsm_data::{Dataset, Extra, Need, RecordBuffer, RowReader, Schema};

/// Counts the allocations of the thread that asks.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise about `layout` is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above with this `layout`, by the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_large_file_comes_back_row_for_row() {
    let files = Files::new();
    let synth = SynthConfig { rows: 40_000, ..SynthConfig::default() };
    let path = files.path("all.csv");
    synth::write_csv(&synth, 0..synth.rows, File::create(&path).unwrap()).unwrap();
    let mut config = synth::data_config();
    let schema = Schema::fit(&config, &path).unwrap();
    let names: Vec<_> = schema.scenarios.iter().map(|s| s.name.as_str()).collect();
    assert_eq!((schema.rows, names), (40_000, vec!["ads", "home", "mail", "search"]));
    let set = Dataset::load(&path, &schema).unwrap();
    let spec = schema.input_spec();
    set.batch.validate(&spec).unwrap();
    assert_eq!((set.rows(), set.extra.groups.len(), set.extra.probabilities.len()), (40_000, 40_000, 40_000));

    // Every categorical value and every label, against a split of the text that knows nothing of the crate.
    let text = std::fs::read_to_string(&path).unwrap();
    let vocabulary = |field: usize| schema.fields[field].encoding.vocabulary().expect("a field with values");
    let (offsets, tag_ids, _) = lists(&set.batch, 4);
    for (row, line) in text.lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(set.batch.labels[row].to_string(), cells[0]);
        assert_eq!(schema.scenarios[set.batch.scenarios[row] as usize].name, cells[1]);
        for (field, cell) in [(0, 2), (1, 3), (2, 4), (3, 5), (6, 8), (7, 9)] {
            assert_eq!(vocabulary(field).value(ids(&set.batch, field)[row]).as_deref(), Some(cells[cell]));
        }
        let tags = &tag_ids[offsets[row] as usize..offsets[row + 1] as usize];
        let tags: Vec<_> = tags.iter().map(|&id| vocabulary(4).value(id).unwrap()).collect();
        assert_eq!(tags.join("|"), cells[6]);
        assert_eq!(set.extra.probabilities[row], cells[10].parse::<f32>().unwrap());
        if let Ok(price) = cells[7].parse::<f64>() {
            assert!((f64::from(numbers(&set.batch, 5)[row]) - price.ln_1p()).abs() < 1e-6);
        }
    }

    // Ids of a file that was read in pieces are those of the whole.
    config.group = None;
    let mut reader = RowReader::open(&path, &schema, Need::Unlabelled).unwrap();
    let (mut batch, mut extra) = (Batch::new(&spec), Extra::default());
    while reader.read(&mut batch, &mut extra, 997).unwrap() == 997 {}
    assert_eq!(batch.columns, set.batch.columns);
}

#[test]
fn reading_allocates_nothing_once_the_buffers_have_grown() {
    let files = Files::new();
    let path = files.path("all.csv");
    synth::write_csv(&SynthConfig::default(), 0..20_000, File::create(&path).unwrap()).unwrap();
    let schema = Schema::fit(&synth::data_config(), &path).unwrap();
    let mut reader = RowReader::open(&path, &schema, Need::Labelled).unwrap();
    let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
    let mut records = RecordBuffer::default();
    // Twice the rows of the later reads: no later batch can be larger than this one.
    reader.read_records(&mut batch, &mut extra, &mut records, 4000).unwrap();
    reader.read(&mut batch, &mut extra, 10).unwrap();
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..3 {
        batch.clear();
        extra.clear();
        assert_eq!(reader.read(&mut batch, &mut extra, 2000).unwrap(), 2000);
        batch.clear();
        extra.clear();
        assert_eq!(reader.read_records(&mut batch, &mut extra, &mut records, 2000).unwrap(), 2000);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}
