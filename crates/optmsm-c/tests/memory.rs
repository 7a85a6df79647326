//! Memory does not grow with calls: after many of them, as many bytes are allocated as after a few.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use common::{Held, Place, rows};
use serde_json::Value;

/// The system's allocator, with the bytes that are in use.
struct Counted;

static BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: the system's own allocator does it all.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn in_use() -> isize {
    BYTES.load(Ordering::Relaxed)
}

/// The only test of this program: another one would allocate meanwhile.
#[test]
fn memory_stays_as_it_is_over_many_calls() {
    let (place, all) = (Place::trained(), rows(12));
    let (held, text) = (Held::of(&all), Value::from(all.clone()).to_string());
    let (columns, one) = (held.columns(), Held::of(&all[..1]));
    let (user, items) = ([0, 1, 5].map(|n| one.column(n)), [2, 3, 4].map(|n| held.column(n)));
    let call = |model: &common::Loaded, i: usize| match i % 4 {
        0 => drop(model.score(&columns, 12).unwrap()),
        1 => drop(model.candidates(&user, &items, 12).unwrap()),
        2 => drop(model.json(text.as_bytes(), 12).unwrap()),
        _ => drop(model.score(&columns[1..], 12).unwrap_err()),
    };
    let model = place.load();
    (0..100).for_each(|i| call(&model, i));
    let few = in_use();
    (0..100_000).for_each(|i| call(&model, i));
    assert_eq!(in_use(), few);
    drop(model);
    // Of many models that are freed, not one is left. The pool of threads keeps some hundred bytes of each thread that ended, until
    // it comes to free them.
    let before = in_use();
    let model = place.load();
    let size = in_use() - before;
    drop(model);
    (0..200).for_each(|_| drop(place.load()));
    let left = in_use() - before;
    assert!(left < size, "{left} bytes are left, and a model has {size}");
}
