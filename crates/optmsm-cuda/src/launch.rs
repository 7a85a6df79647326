//! Building a launch, argument by argument.

use std::sync::MutexGuard;

use crate::device::Device;
use crate::kernels::Kernel;
use crate::memory::{Shared, Span};
use crate::queue::Queue;
use crate::work::{Region, Work};

/// A value that a kernel takes as it is.
///
/// # Safety
/// `repr(C)` without padding: its bytes are read.
pub(crate) unsafe trait Plain: Copy {}

/// Memory for partial sums of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workspace {
    address: u64,
    region: Region,
}

impl Workspace {
    /// The rest of it, behind the first `elements` numbers.
    pub(crate) fn after(self, elements: usize) -> Self {
        Self { address: self.address + 4 * elements as u64, ..self }
    }
}

/// The launches of one operation: nobody else's come between them.
pub(crate) struct Recording<'a, D: Device> {
    device: &'a D,
    queue: MutexGuard<'a, Queue>,
}

impl<'a, D: Device> Recording<'a, D> {
    pub(crate) fn new(shared: &'a Shared<D>) -> Self {
        Self { device: &shared.device, queue: shared.queue() }
    }

    /// Begins a launch of `grid` blocks of `block` threads.
    pub(crate) fn launch(&mut self, kernel: Kernel, grid: [usize; 3], block: u32) -> Launcher<'_> {
        self.launch_with(kernel, grid, block, 0)
    }

    /// The same with `shared` bytes of dynamic shared memory.
    pub(crate) fn launch_with(
        &mut self,
        kernel: Kernel,
        grid: [usize; 3],
        block: u32,
        shared: usize,
    ) -> Launcher<'_> {
        let [x, y, z] = grid;
        assert!(x <= i32::MAX as usize && y <= 65_535 && z <= 65_535, "{kernel:?}: a grid of {grid:?}");
        let work = self.queue.launch(self.device);
        work.begin(kernel, grid.map(|n| n as u32), block, shared as u32);
        Launcher { work }
    }

    /// Room for partial sums of `elements` numbers: until the next call, or the end of the recording.
    pub(crate) fn workspace(&mut self, elements: usize) -> Workspace {
        let (address, region) = self.queue.workspace(self.device, 4 * elements);
        Workspace { address, region }
    }
}

/// One launch in the making.
pub(crate) struct Launcher<'a> {
    work: &'a mut Work,
}

impl Launcher<'_> {
    fn argument(self, bytes: &[u8], pointer: bool) -> Self {
        self.work.argument(bytes, pointer);
        self
    }

    fn span<D: Device>(self, span: Span<D>, write: bool) -> Self {
        self.work.region(span.region(write));
        self.argument(&span.pointer().to_ne_bytes(), true)
    }

    /// Memory that the kernel only reads.
    pub(crate) fn read<D: Device>(self, span: Span<D>) -> Self {
        self.span(span, false)
    }

    /// Memory that the kernel writes, and perhaps reads.
    pub(crate) fn write<D: Device>(self, span: Span<D>) -> Self {
        self.span(span, true)
    }

    /// [`Launcher::read`], or a null pointer.
    pub(crate) fn read_or_null<D: Device>(self, span: Option<Span<D>>) -> Self {
        match span {
            Some(span) => self.read(span),
            None => self.argument(&0u64.to_ne_bytes(), true),
        }
    }

    /// Partial sums that the kernel reads.
    pub(crate) fn read_workspace(self, w: Workspace) -> Self {
        self.work.region(w.region);
        self.argument(&w.address.to_ne_bytes(), true)
    }

    /// Partial sums that the kernel writes.
    pub(crate) fn write_workspace(self, w: Workspace) -> Self {
        self.work.region(Region { write: true, ..w.region });
        self.argument(&w.address.to_ne_bytes(), true)
    }

    /// Memory behind a pointer inside a [`Plain`] argument.
    pub(crate) fn also<D: Device>(self, span: Span<D>, write: bool) -> Self {
        self.work.region(span.region(write));
        self
    }

    /// A number of elements, rows or columns, as `unsigned`.
    pub(crate) fn size(self, v: usize) -> Self {
        let v = u32::try_from(v).unwrap_or_else(|_| panic!("{v} elements are more than a kernel's u32"));
        self.u32(v)
    }

    /// An `unsigned`.
    pub(crate) fn u32(self, v: u32) -> Self {
        self.argument(&v.to_ne_bytes(), false)
    }

    /// An `unsigned long long`.
    pub(crate) fn u64(self, v: u64) -> Self {
        self.argument(&v.to_ne_bytes(), false)
    }

    /// A `float`.
    pub(crate) fn f32(self, v: f32) -> Self {
        self.argument(&v.to_ne_bytes(), false)
    }

    /// A struct by value.
    pub(crate) fn plain<P: Plain>(self, v: &P) -> Self {
        // SAFETY: `Plain` promises that every byte is initialised.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const *v).cast::<u8>(), size_of::<P>()) };
        self.argument(bytes, false)
    }

    /// Queues it.
    pub(crate) fn go(self) {
        self.work.end();
    }
}
