//! Measurements on a GPU. They are written over any backend, so that a test runs all of them, small, where there is no
//! device.

pub mod measure;
pub mod ops;
pub mod products;
pub mod report;

use std::error::Error;
use std::time::Instant;

use optmsm_core::backend::{Backend, Mat, MatMut, Write};

use crate::timing::median;
use crate::work::random;

/// Result of measuring.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Bytes that buffers take turns over, several times the device's L2.
    pub beyond_cache: usize,
    /// Seconds of a timed submission at least.
    pub submission: f64,
    /// Timed submissions, of which the median counts.
    pub repeats: usize,
    /// Elements of the large copy.
    pub copied: usize,
    /// Rows and columns of the product that shows what cuBLAS reaches.
    pub square: usize,
}

impl Effort {
    /// For figures: 256 MB of buffers, and a copy of 1 GB.
    pub const FULL: Self =
        Self { beyond_cache: 256 << 20, submission: 2e-3, repeats: 9, copied: 256 << 20, square: 8192 };
    /// For a look whether everything runs.
    pub const LOOK: Self = Self { beyond_cache: 0, submission: 0.0, repeats: 1, copied: 1 << 12, square: 64 };
}

/// Times queued operations on a backend.
#[derive(Debug)]
pub struct Timer<'a, B: Backend<Elem = f32>> {
    /// The backend.
    pub be: &'a B,
    /// How thoroughly.
    pub effort: Effort,
    probe: B::Buf,
}

/// Something measured, with what bounds it from below.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What.
    pub name: String,
    /// Rows of the batch.
    pub rows: usize,
    /// Median seconds of a call.
    pub seconds: f64,
    /// Bytes that must be read and written.
    pub bytes: f64,
    /// Arithmetic, two per multiply-add; 0 where it does not count.
    pub flop: f64,
}

impl<'a, B: Backend<Elem = f32>> Timer<'a, B> {
    /// A timer.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(be: &'a B, effort: Effort) -> Result<Self> {
        Ok(Self { be, effort, probe: be.alloc(1)? })
    }

    /// Waits for everything that is queued.
    ///
    /// # Errors
    /// When the device failed.
    pub fn wait(&self) -> Result<()> {
        Ok(self.be.download(&mut [0.0], &self.probe, 0)?)
    }

    /// Median seconds of one of many calls that are queued, submitted together, and waited for once. Queueing is not
    /// timed; what is timed begins with the submission. `f` gets the number of the call.
    ///
    /// # Errors
    /// When the device failed.
    pub fn call(&self, mut f: impl FnMut(usize)) -> Result<f64> {
        let mut run = |calls: usize| -> Result<f64> {
            (0..calls).for_each(&mut f);
            let start = Instant::now();
            self.wait()?;
            Ok(start.elapsed().as_secs_f64() / calls as f64)
        };
        if self.effort.repeats == 1 {
            return run(2);
        }
        // A few to see how long they take; then often enough that the wait itself does not count, and few enough for
        // one submission.
        let first = [run(4)?, run(4)?, run(4)?];
        let calls = (self.effort.submission / first[2].max(1e-9)).clamp(4.0, 256.0) as usize;
        // The first time, kernels are launched one by one, and the second time a graph is built.
        let times = (0..2 + self.effort.repeats).map(|_| run(calls)).collect::<Result<Vec<_>>>()?;
        Ok(median(&times[2..]))
    }

    /// Buffers that calls of `bytes` each take turns over.
    pub fn slots(&self, bytes: usize) -> usize {
        (self.effort.beyond_cache / bytes.max(1)).clamp(2, 64)
    }

    /// Bytes per second, read and written, of a copy that no cache holds: the rate that other operations are compared
    /// with.
    ///
    /// # Errors
    /// When memory is short, or the device failed.
    pub fn copy_rate(&self) -> Result<Measured> {
        let (cols, n) = (1024, self.effort.copied);
        let (src, mut dst) = (self.be.alloc(n)?, self.be.alloc(n)?);
        let rows = n / cols;
        let seconds = self.call(|_| {
            self.be.copy(MatMut::new(&mut dst, rows, cols), Write::Set, Mat::new(&src, rows, cols));
        })?;
        let bytes = 8.0 * (rows * cols) as f64;
        Ok(Measured { name: "copy".into(), rows, seconds, bytes, flop: 0.0 })
    }
}

/// A matrix in one of several places, for calls in turn.
///
/// A place begins in the last row of the place before, and calls go through the places to and fro: so each call's
/// result overlaps the one before, and a device keeps them in order instead of running them side by side.
#[derive(Debug)]
pub struct Rotation<B: Backend> {
    buf: B::Buf,
    slots: usize,
    rows: usize,
    cols: usize,
}

impl<B: Backend<Elem = f32>> Rotation<B> {
    /// `slots` places with random numbers in [-0.5, 0.5), at least two.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(be: &B, slots: usize, rows: usize, cols: usize, name: &str) -> Result<Self> {
        assert!(slots >= 2 && rows >= 1, "{slots} places of {rows} rows");
        let len = ((slots - 1) * (rows - 1).max(1) + rows) * cols;
        let mut buf = be.alloc(len)?;
        // A million numbers say as much as many, and are there sooner.
        let some = len.min(1 << 20);
        let mut drawn = be.alloc(some)?;
        be.upload(&mut drawn, &random(some, name));
        for first in (0..len).step_by(some.max(1)) {
            let cols = some.min(len - first);
            let to = MatMut { buf: &mut buf, offset: first, rows: 1, cols, stride: cols };
            be.copy(to, Write::Set, Mat::new(&drawn, 1, cols));
        }
        Ok(Self { buf, slots, rows, cols })
    }

    fn offset(&self, call: usize) -> usize {
        let turn = call % (2 * (self.slots - 1));
        let slot = turn.min(2 * (self.slots - 1) - turn);
        slot * (self.rows - 1).max(1) * self.cols
    }

    /// To read in this call.
    pub fn mat(&self, call: usize) -> Mat<'_, B::Buf> {
        let offset = self.offset(call);
        Mat { buf: &self.buf, offset, rows: self.rows, cols: self.cols, stride: self.cols }
    }

    /// To write in this call.
    pub fn mat_mut(&mut self, call: usize) -> MatMut<'_, B::Buf> {
        let offset = self.offset(call);
        MatMut { buf: &mut self.buf, offset, rows: self.rows, cols: self.cols, stride: self.cols }
    }
}

#[cfg(test)]
mod tests {
    use optmsm_core::reference::Reference;

    use super::*;

    #[test]
    fn places_of_successive_calls_overlap_by_a_row() {
        let r = Rotation::new(&Reference::<f32>::new(), 4, 5, 3, "x").unwrap();
        let firsts: Vec<_> = (0..9).map(|call| r.offset(call) / 3).collect();
        assert_eq!(firsts, [0, 4, 8, 12, 8, 4, 0, 4, 8]);
        assert_eq!(r.mat(3).end(), r.buf.len());
    }
}
