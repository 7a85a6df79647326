//! Queued launches, with their arguments and what they read and write.

use std::ffi::c_void;
use std::ops::Range;

use crate::kernels::Kernel;

/// One launch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The kernel that runs.
    pub kernel: Kernel,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    params: Range<usize>,
    regions: Range<usize>,
}

/// One argument in [`Work`]'s words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    word: usize,
    /// Width in bytes.
    pub bytes: usize,
    /// Whether it is a pointer.
    pub pointer: bool,
}

/// Part of an allocation: `start..end` in bytes, of which each `stride` bytes `width` belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Start of the allocation.
    pub base: u64,
    /// First byte, from `base`.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Bytes from row to row.
    pub stride: u64,
    /// Bytes of a row.
    pub width: u64,
    /// Whether it is written.
    pub write: bool,
}

impl Region {
    /// Whether both hold a byte in common. May say yes where strides differ and rows interleave.
    pub fn overlaps(&self, other: &Region) -> bool {
        if self.base != other.base || self.start >= other.end || other.start >= self.end {
            return false;
        }
        if self.stride != other.stride || self.stride == 0 {
            return true;
        }
        // Rows of equal stride: those of `other` begin `shift` behind some of this region's, wherever strides begin.
        let shift = (other.start % self.stride + self.stride - self.start % self.stride) % self.stride;
        shift < self.width || shift + other.width > self.stride
    }
}

/// Launches in order, and the upload that they begin with.
#[derive(Debug, Default)]
pub struct Work {
    /// Slot of the uploaded stage and how many of its bytes are used.
    pub stage: Option<(usize, usize)>,
    launches: Vec<Launch>,
    words: Vec<u64>,
    arguments: Vec<Argument>,
    regions: Vec<Region>,
    /// The launch that is being built. After a panic it stays here, and the next one takes its place.
    open: Option<Launch>,
}

impl Work {
    /// The launches.
    pub fn launches(&self) -> &[Launch] {
        &self.launches
    }

    /// Arguments of a launch.
    pub fn arguments(&self, launch: &Launch) -> &[Argument] {
        &self.arguments[launch.params.clone()]
    }

    /// Memory that a launch reads and writes.
    pub fn regions(&self, launch: &Launch) -> &[Region] {
        &self.regions[launch.regions.clone()]
    }

    /// The words that hold the arguments of a launch: equal words, equal arguments.
    pub fn words(&self, launch: &Launch) -> &[u64] {
        match self.arguments(launch) {
            [] => &[],
            [first, .., last] | [first @ last] => &self.words[first.word..last.word + last.bytes.div_ceil(8)],
        }
    }

    /// Pointers to the arguments of a launch, as `cuLaunchKernel` takes them; valid until the work changes.
    pub fn pointers(&self, launch: &Launch, to: &mut Vec<*mut c_void>) {
        to.clear();
        to.extend(self.arguments(launch).iter().map(|a| (&raw const self.words[a.word]).cast_mut().cast()));
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.stage = None;
        self.open = None;
        self.launches.clear();
        self.words.clear();
        self.arguments.clear();
        self.regions.clear();
    }

    pub(crate) fn begin(&mut self, kernel: Kernel, grid: [u32; 3], block: u32, shared: u32) {
        if let Some(Launch { params, regions, .. }) = self.open.take() {
            if let Some(Argument { word, .. }) = self.arguments.get(params.start) {
                self.words.truncate(*word);
            }
            self.arguments.truncate(params.start);
            self.regions.truncate(regions.start);
        }
        let (params, regions) = (self.arguments.len()..0, self.regions.len()..0);
        self.open = Some(Launch { kernel, grid, block, shared, params, regions });
    }

    pub(crate) fn argument(&mut self, bytes: &[u8], pointer: bool) {
        self.arguments.push(Argument { word: self.words.len(), bytes: bytes.len(), pointer });
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.words.push(u64::from_ne_bytes(word));
        }
    }

    pub(crate) fn region(&mut self, region: Region) {
        if region.start < region.end {
            self.regions.push(region);
        }
    }

    pub(crate) fn end(&mut self) {
        if let Some(mut launch) = self.open.take() {
            (launch.params.end, launch.regions.end) = (self.arguments.len(), self.regions.len());
            self.launches.push(launch);
        }
    }
}
