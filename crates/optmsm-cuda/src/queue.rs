//! Uploads and launches recorded but not yet submitted.
//!
//! Uploads are gathered in one stage and unpacked by one kernel, so a training step begins with one copy. Launches are
//! submitted together: at the end of a step, before something is read back, or when there are many.

use crate::device::SLOTS;
use crate::device::{Device, Stage};
use crate::error::{CudaError, DeviceResult};
use crate::kernels::Kernel;
use crate::work::{Region, Work};

/// Launches that are submitted together at most: far more than a step has.
const MOST: usize = 2048;
/// Bytes of a stage at least: the inputs of a large batch.
const STAGE: usize = 1 << 25;
/// Bytes of a piece at most.
const PIECE: usize = 1 << 20;
/// Pieces that wait at most: a grid's y ends at 65535, and each new piece is compared with those before.
const PIECES: usize = 1024;
/// Bytes of the first workspace.
const WORKSPACE: usize = 1 << 24;
/// Bytes up to which it grows so that the operations of a submission need not take turns.
const WORKSPACES: usize = 1 << 28;
/// Bytes of device memory that a [`crate::Cuda`] takes at most beside what it is asked for: stages of uploads and workspaces. One
/// operation whose sums need more than a workspace makes it grow further.
pub const RESERVED: usize = SLOTS * STAGE + WORKSPACES;
/// Bytes that one block of `unpack` copies.
const UNPACK: usize = 1 << 14;

/// A piece of a stage and where it goes; as in kernels/memory.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Piece {
    to: u64,
    from: u32,
    bytes: u32,
}

/// Memory for partial sums.
#[derive(Debug, Default)]
struct Room {
    address: u64,
    capacity: usize,
    /// Handed out since the last submission: what is left is behind it.
    used: usize,
    /// Asked for since then.
    asked: usize,
    /// Most that a submission asked for.
    wanted: usize,
    /// Whether there was no memory to grow to that.
    short: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    work: Work,
    stage: Option<Stage>,
    used: usize,
    pieces: Vec<(Piece, Region)>,
    workspace: Room,
    retired: Vec<u64>,
    dead: Vec<u64>,
    failed: Option<CudaError>,
}

impl Queue {
    /// Copies `src` to the `region` at address `to`, in order with the launches.
    pub(crate) fn upload(&mut self, device: &impl Device, to: u64, region: Region, src: &[u8]) {
        let mut done = 0;
        while done < src.len() && self.failed.is_none() {
            let take = (src.len() - done).min(PIECE);
            let start = region.start + done as u64;
            let (end, width) = (start + take as u64, take as u64);
            let region = Region { start, end, stride: width, width, ..region };
            if self.pieces.len() == PIECES {
                self.submit(device);
            } else if self.pieces.iter().any(|(_, earlier)| earlier.overlaps(&region)) {
                // Pieces of one launch arrive in any order: this one has to be of the next.
                self.launch(device);
            }
            if !self.make_room(device, take) {
                return;
            }
            let Some(stage) = &self.stage else { return };
            let from = &src[done..done + take];
            // SAFETY: `make_room` left `take` bytes from `used` on inside the stage, which nobody else has.
            unsafe { stage.host.as_ptr().add(self.used).copy_from_nonoverlapping(from.as_ptr(), take) };
            let piece = Piece { to: to + done as u64, from: self.used as u32, bytes: take as u32 };
            self.pieces.push((piece, region));
            self.used = (self.used + take).next_multiple_of(16);
            done += take;
        }
    }

    /// Whether a piece of at most [`PIECE`] bytes fits into the stage beside the list of pieces: into a new one where it would not.
    fn make_room(&mut self, device: &impl Device, bytes: usize) -> bool {
        let list = (self.pieces.len() + 1) * size_of::<Piece>();
        if let Some(stage) = &self.stage {
            if self.used + bytes.next_multiple_of(16) + list <= stage.capacity {
                return true;
            }
            self.submit(device);
        }
        match device.stage(STAGE) {
            Ok(stage) => (self.stage, self.used) = (Some(stage), 0),
            Err(e) => self.fail(e),
        }
        self.stage.is_some()
    }

    /// Launches the kernel that carries the uploaded pieces to their places.
    fn unpack(&mut self) {
        let Some(stage) = &self.stage else { return };
        if self.pieces.is_empty() {
            return;
        }
        let (first, count) = (self.used, self.pieces.len());
        let mut most = 0;
        for (i, (piece, _)) in self.pieces.iter().enumerate() {
            most = most.max(piece.bytes as usize);
            let at = first + i * size_of::<Piece>();
            assert!(at + size_of::<Piece>() <= stage.capacity, "the list of pieces is inside the stage");
            // SAFETY: inside the stage by the assertion; Piece has no padding and any alignment is allowed.
            unsafe { stage.host.as_ptr().add(at).cast::<Piece>().write_unaligned(*piece) };
        }
        self.used += count * size_of::<Piece>();
        let grid = [most.div_ceil(UNPACK) as u32, count as u32, 1];
        self.work.begin(Kernel::Unpack, grid, 256, 0);
        self.work.argument(&stage.device.to_ne_bytes(), true); // const unsigned char* stage
        self.work.argument(&(first as u32).to_ne_bytes(), false); // unsigned pieces_at
        for (_, region) in self.pieces.drain(..) {
            self.work.region(region);
        }
        self.work.end();
    }

    /// Begins a launch; what was uploaded before comes first.
    pub(crate) fn launch(&mut self, device: &impl Device) -> &mut Work {
        self.unpack();
        if self.work.launches().len() >= MOST {
            self.submit(device);
        }
        &mut self.work
    }

    /// `bytes` of memory for the partial sums of one operation, at a multiple of 256: `(address, region)`. They are the
    /// operation's until the next call.
    pub(crate) fn workspace(&mut self, device: &impl Device, bytes: usize) -> (u64, Region) {
        let bytes = bytes.next_multiple_of(256);
        let room = &mut self.workspace;
        room.asked += bytes;
        let turns = room.used == 0 && !room.short && room.wanted.min(WORKSPACES) > room.capacity;
        if bytes > room.capacity || turns {
            let (needed, wanted) = (bytes.max(WORKSPACE), room.wanted.min(WORKSPACES));
            let capacity = if wanted > needed { wanted.next_power_of_two() } else { needed };
            match device.alloc(capacity) {
                Ok(new) => self.move_to(new, capacity),
                // Operations go on taking turns.
                Err(_) if bytes <= room.capacity => room.short = true,
                Err(_) => {
                    // Without the old one, and what else is given back, there may be enough.
                    self.move_to(0, 0);
                    self.relinquish(device);
                    match device.alloc(needed) {
                        Ok(new) => self.move_to(new, needed),
                        Err(e) => self.fail(e),
                    }
                }
            }
        }
        let room = &mut self.workspace;
        // From the start again, over what earlier launches wrote: the hazards keep the order.
        let start = if room.used + bytes > room.capacity { 0 } else { room.used };
        room.used = start + bytes;
        let (base, start, width) = (room.address, start as u64, bytes as u64);
        (base + start, Region { base, start, end: start + width, stride: width, width, write: false })
    }

    /// The workspace is from now on at another address.
    fn move_to(&mut self, address: u64, capacity: usize) {
        let room = &mut self.workspace;
        let old = std::mem::replace(&mut room.address, address);
        (room.capacity, room.used) = (capacity, 0);
        self.retired.extend((old != 0).then_some(old));
    }

    /// Hands everything to the device.
    pub(crate) fn submit(&mut self, device: &impl Device) {
        self.unpack();
        if let Some(stage) = self.stage.take() {
            self.work.stage = Some((stage.slot, self.used));
        }
        if !self.work.launches().is_empty()
            && self.failed.is_none()
            && let Err(e) = device.submit(&self.work)
        {
            self.failed = Some(e);
        }
        self.work.clear();
        let room = &mut self.workspace;
        room.wanted = room.wanted.max(std::mem::take(&mut room.asked));
        room.used = 0;
        self.dead.append(&mut self.retired);
    }

    /// Submits, then reads.
    pub(crate) fn read(&mut self, device: &impl Device, dst: &mut [u8], src: u64) -> DeviceResult<()> {
        self.submit(device);
        // A failure stays: nothing after it can be trusted.
        let done = self.failed.clone().map_or_else(|| device.read(dst, src), Err);
        done.inspect_err(|e| self.fail(e.clone()))
    }

    /// Notes the first failure; operations return nothing, so it is told at the next download.
    pub(crate) fn fail(&mut self, e: CudaError) {
        self.failed.get_or_insert(e);
    }

    /// Memory that nothing queued later uses.
    pub(crate) fn retire(&mut self, ptr: u64) {
        self.retired.push(ptr);
    }

    /// Memory, for which what was retired is given back.
    pub(crate) fn alloc(&mut self, device: &impl Device, bytes: usize) -> DeviceResult<u64> {
        self.bury(device);
        let memory = device.alloc(bytes);
        if memory.is_err() && self.relinquish(device) { device.alloc(bytes) } else { memory }
    }

    /// Gives back what was retired, though queued launches use it: these are submitted first. Whether there was any.
    fn relinquish(&mut self, device: &impl Device) -> bool {
        if self.retired.is_empty() && self.dead.is_empty() {
            return false;
        }
        self.submit(device);
        self.bury(device);
        true
    }

    /// Gives back what was retired before the last submission.
    fn bury(&mut self, device: &impl Device) {
        if self.work.launches().is_empty() && self.pieces.is_empty() {
            self.dead.append(&mut self.retired);
        }
        for ptr in self.dead.drain(..) {
            // SAFETY: retired once, by the owner of the allocation or by `workspace`, and no queued launch has it.
            unsafe { device.free(ptr) };
        }
    }

    /// Drops what is queued and gives all memory back.
    pub(crate) fn abandon(&mut self, device: &impl Device) {
        self.work.clear();
        self.pieces.clear();
        let room = std::mem::take(&mut self.workspace);
        self.retired.extend((room.address != 0).then_some(room.address));
        self.bury(device);
    }
}

#[cfg(test)]
mod tests;
