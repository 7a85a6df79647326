//! How much memory an input takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Bytes that are in use, and the most that were.
struct Counting {
    live: AtomicUsize,
    most: AtomicUsize,
}

#[global_allocator]
static COUNTING: Counting = Counting { live: AtomicUsize::new(0), most: AtomicUsize::new(0) };

impl Counting {
    fn add(&self, bytes: usize) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        self.most.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        self.live.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.add(size);
        self.live.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

/// Does what takes at most so many MiB, alone: nobody else's memory is counted.
///
/// # Panics
/// If it takes more.
pub(crate) fn within<T>(mib: usize, work: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = COUNTING.live.load(Relaxed);
    COUNTING.most.store(before, Relaxed);
    let done = work();
    let taken = COUNTING.most.load(Relaxed).saturating_sub(before) >> 20;
    assert!(taken <= mib, "{taken} MiB, {mib} may be taken");
    done
}
