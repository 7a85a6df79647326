//! Tests that cross crates; each file beside this folder is one subject. Here is what several of them use.

pub mod averages;
pub mod bounds;
pub mod fixtures;
pub mod independence;
pub mod parity;
pub mod predictors;
pub mod steps;
pub mod tables;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, counting: for the `#[global_allocator]` of a program with one test alone in it.
pub struct Counting(AtomicU64);

impl Counting {
    /// Nothing counted yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Allocations so far.
    pub fn allocations(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}
