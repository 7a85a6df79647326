use std::sync::Mutex;

use super::*;

/// A device of `free` bytes that notes what happens to it, and on which nothing runs.
#[derive(Debug)]
struct Notes {
    stage: Vec<u128>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    memory: Vec<(u64, usize)>,
    submitted: usize,
}

impl Notes {
    fn new(free: usize) -> Self {
        Self { stage: vec![0; STAGE / 16], state: Mutex::new(State { free, ..State::default() }) }
    }

    fn submitted(&self) -> usize {
        self.state.lock().unwrap().submitted
    }
}

impl Device for Notes {
    fn name(&self) -> String {
        "notes".into()
    }

    fn alloc(&self, bytes: usize) -> DeviceResult<u64> {
        let mut state = self.state.lock().unwrap();
        if bytes > state.free {
            return Err(CudaError::OutOfMemory { asked: bytes, free: state.free, total: 0 });
        }
        state.free -= bytes;
        // Never the same address twice.
        let at = (state.memory.len() as u64 + 1) << 32;
        state.memory.push((at, bytes));
        Ok(at)
    }

    unsafe fn free(&self, ptr: u64) {
        let mut state = self.state.lock().unwrap();
        let bytes = state.memory.iter_mut().find(|(at, _)| *at == ptr).map(|(_, n)| std::mem::take(n));
        state.free += bytes.filter(|&n| n > 0).expect("memory that is held");
    }

    fn stage(&self, _: usize) -> DeviceResult<Stage> {
        let host = std::ptr::NonNull::new(self.stage.as_ptr().cast_mut().cast()).unwrap();
        Ok(Stage { slot: 0, host, device: 1 << 40, capacity: STAGE })
    }

    fn submit(&self, work: &Work) -> DeviceResult<()> {
        let mut state = self.state.lock().unwrap();
        state.submitted += work.launches().len();
        for region in work.launches().iter().flat_map(|l| work.regions(l)) {
            let held = state.memory.iter().any(|&(at, n)| at == region.base && region.end <= n as u64);
            assert!(held, "{region:?} of {:?}", state.memory);
        }
        Ok(())
    }

    fn read(&self, _: &mut [u8], _: u64) -> DeviceResult<()> {
        Err(CudaError::Other("nothing to read".into()))
    }
}

const MB: usize = 1 << 20;

/// A launch that uses `bytes` of workspace.
fn one(queue: &mut Queue, device: &Notes, bytes: usize) -> Region {
    let (address, region) = queue.workspace(device, bytes);
    assert_eq!(address, region.base + region.start);
    let work = queue.launch(device);
    work.begin(Kernel::SumSqJoin, [1, 1, 1], 32, 0);
    work.region(Region { write: true, ..region });
    work.end();
    region
}

#[test]
fn parts_of_a_submission_do_not_share_the_workspace_once_it_has_grown() {
    let (device, mut queue) = (Notes::new(1 << 30), Queue::default());
    let round = |queue: &mut Queue| {
        let regions = [0; 5].map(|_| one(queue, &device, 6 * MB));
        queue.submit(&device);
        (0..5).flat_map(|i| (0..i).map(move |j| (i, j))).any(|(i, j)| regions[i].overlaps(&regions[j]))
    };
    assert!(round(&mut queue), "30 MB in a first workspace of 16");
    assert!(!round(&mut queue));
    assert_eq!(queue.failed, None);
}

#[test]
fn a_workspace_that_cannot_grow_is_shared() {
    let (device, mut queue) = (Notes::new(20 * MB), Queue::default());
    for _ in 0..3 {
        (0..5).for_each(|_| _ = one(&mut queue, &device, 6 * MB));
        queue.submit(&device);
        assert_eq!(queue.failed, None);
    }
    assert_eq!(device.submitted(), 15);
}

#[test]
fn a_workspace_that_must_grow_takes_the_place_of_the_old_one() {
    let (device, mut queue) = (Notes::new(50 * MB), Queue::default());
    one(&mut queue, &device, MB);
    // Beside the first 16 MB there is no room. What is queued there runs first.
    one(&mut queue, &device, 40 * MB);
    assert_eq!((queue.failed.clone(), device.submitted()), (None, 1));
    queue.submit(&device);
    one(&mut queue, &device, 60 * MB);
    assert!(matches!(queue.failed, Some(CudaError::OutOfMemory { asked, .. }) if asked == 60 * MB));
}

#[test]
fn an_old_workspace_is_kept_for_the_launches_that_use_it() {
    let (device, mut queue) = (Notes::new(1 << 30), Queue::default());
    one(&mut queue, &device, MB);
    one(&mut queue, &device, 40 * MB);
    queue.alloc(&device, MB).unwrap();
    // The device looks whether memory is held.
    queue.submit(&device);
    assert_eq!((queue.failed, device.submitted()), (None, 2));
}

#[test]
fn memory_is_given_back_after_the_launches_that_use_it() {
    let (device, mut queue) = (Notes::new(10 * MB), Queue::default());
    let first = queue.alloc(&device, 6 * MB).unwrap();
    let work = queue.launch(&device);
    work.begin(Kernel::ZeroWords, [1, 1, 1], 32, 0);
    work.region(Region { base: first, start: 0, end: 64, stride: 64, width: 64, write: true });
    work.end();
    queue.retire(first);
    // There is room beside it.
    let second = queue.alloc(&device, 4 * MB).unwrap();
    assert_eq!(device.submitted(), 0);
    // There is not.
    let third = queue.alloc(&device, 5 * MB).unwrap();
    assert_eq!(device.submitted(), 1);
    queue.retire(second);
    queue.retire(third);
    queue.alloc(&device, 10 * MB).unwrap();
}

#[test]
fn what_a_read_says_stays() {
    let (device, mut queue) = (Notes::new(0), Queue::default());
    let error = queue.read(&device, &mut [0], 0).unwrap_err();
    assert_eq!(queue.failed, Some(error));
}

#[test]
fn a_launch_that_was_not_ended_leaves_nothing() {
    let mut work = Work::default();
    let region = Region { base: 1, start: 0, end: 8, stride: 8, width: 8, write: true };
    for _ in 0..2 {
        work.begin(Kernel::Copy, [1, 1, 1], 32, 0);
        work.argument(&[1; 24], false);
        work.region(region);
    }
    assert!(work.launches().is_empty());
    work.begin(Kernel::Fill, [1, 1, 1], 32, 0);
    work.argument(&[2; 8], true);
    work.end();
    let [launch] = work.launches() else { panic!("{:?}", work.launches()) };
    assert_eq!(work.words(launch), [0x0202_0202_0202_0202]);
    assert_eq!((work.arguments(launch).len(), work.regions(launch).len()), (1, 0));
}
