//! Device memory of the CPU: an access past its end faults.

use std::ffi::c_void;
use std::ptr;

/// Device allocations start at such addresses.
const ALIGN: usize = 256;
/// Written between the end of an allocation and its guard page.
const CANARY: u8 = 0xC5;

/// An allocation: it starts at a multiple of 256 bytes and ends less than 256 bytes before a page that cannot be accessed; there is one
/// before its first page too. Fresh memory is 0xFF (NaN as f32, f16 and bf16).
#[derive(Debug)]
pub struct Memory {
    mapping: *mut c_void,
    mapped: usize,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; all access is through the raw pointer, under its user's promises.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `bytes` (which may be 0) of fresh memory.
    ///
    /// # Errors
    /// The system has no memory or address space for it.
    pub fn alloc(bytes: usize) -> Result<Self, String> {
        // SAFETY: a query without arguments that could be wrong.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let refused = || format!("no memory for {bytes} bytes: {}", std::io::Error::last_os_error());
        // Room up to a multiple of 256 holds at least one such multiple, even when nothing is asked for.
        let room = bytes.max(1).checked_next_multiple_of(ALIGN).ok_or_else(refused)?;
        let body = room.checked_next_multiple_of(page).ok_or_else(refused)?;
        let mapped = body.checked_add(2 * page).ok_or_else(refused)?;
        // SAFETY: a fresh anonymous mapping, of no access.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(refused());
        }
        // SAFETY: page + body < mapped.
        let first = unsafe { mapping.cast::<u8>().add(page) };
        // SAFETY: the pages between the two guards, all of this mapping.
        if unsafe { libc::mprotect(first.cast(), body, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            let message = refused();
            // SAFETY: the mapping made above, which nothing uses.
            unsafe { libc::munmap(mapping, mapped) };
            return Err(message);
        }
        // SAFETY: room <= body; the pages are writable from `first` on for `body` bytes.
        let start = unsafe {
            let start = first.add(body - room);
            ptr::write_bytes(first, CANARY, body);
            ptr::write_bytes(start, 0xFF, bytes);
            start
        };
        Ok(Self { mapping, mapped, start, bytes })
    }

    /// The first byte's address, a multiple of 256.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// The number of bytes asked for.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether no byte was asked for.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Gives the memory back, having checked that nothing was written beside it.
    ///
    /// # Errors
    /// Where something was.
    pub fn free(self) -> Result<(), String> {
        self.check()
    }

    /// Whether the bytes between the allocation and its guard pages are as they were.
    ///
    /// # Errors
    /// The offset of a byte that is not.
    pub fn check(&self) -> Result<(), String> {
        // SAFETY: a query without arguments that could be wrong.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        // SAFETY: the pages between the guards, which `alloc` made readable.
        let body = unsafe {
            std::slice::from_raw_parts(self.mapping.cast::<u8>().add(page), self.mapped - 2 * page)
        };
        let before = self.start as usize - self.mapping as usize - page;
        let beside = body[..before]
            .iter()
            .enumerate()
            .chain(body[before + self.bytes..].iter().enumerate().map(|(i, b)| (before + self.bytes + i, b)));
        match beside.into_iter().find(|&(_, &byte)| byte != CANARY) {
            None => Ok(()),
            Some((at, _)) => Err(format!(
                "a write beside an allocation of {} bytes, at offset {}",
                self.bytes,
                at as i64 - before as i64
            )),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping that `alloc` made, given back once.
        unsafe { libc::munmap(self.mapping, self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_memory_is_nan_and_aligned_and_ends_near_its_guard() {
        for bytes in [0, 1, 255, 256, 257, 4095, 4096, 4097, 100_000] {
            let memory = Memory::alloc(bytes).unwrap();
            assert_eq!(memory.as_ptr() as usize % ALIGN, 0);
            assert_eq!((memory.len(), memory.is_empty()), (bytes, bytes == 0));
            let end = memory.as_ptr() as usize + bytes;
            assert!(end.next_multiple_of(4096) - end < 256 || bytes == 0, "{bytes}");
            // SAFETY: the allocation's own bytes.
            let content = unsafe { std::slice::from_raw_parts(memory.as_ptr(), bytes) };
            assert!(content.iter().all(|&b| b == 0xFF));
            memory.free().unwrap();
        }
        assert!(Memory::alloc(usize::MAX).is_err());
    }

    #[test]
    fn writes_beside_it_are_found() {
        for (bytes, offset) in [(100, 100), (100, 255), (300, -1), (0, 0)] {
            let memory = Memory::alloc(bytes).unwrap();
            // SAFETY: still between the guard pages.
            unsafe { *memory.as_ptr().offset(offset) = 1 };
            let message = memory.free().unwrap_err();
            assert!(message.ends_with(&format!("offset {offset}")), "{message}");
        }
    }
}
