//! The execution of a block: barriers, shuffles, shared memory, arguments; and what happens to kernels that break the rules.

mod common;

use common::{Array, kernels, launch};
use optmsm_testkit::rng::Rng;

const THREADS: u32 = 128;

#[test]
fn sums_by_barriers_do_not_depend_on_the_seed() {
    let Some(kernels) = kernels() else { return };
    let blocks = 5;
    // Whole numbers: every order of summation is exact.
    let numbers: Vec<f32> = (0..blocks * THREADS).map(|i| (i * 7 % 101) as f32).collect();
    let expected: Vec<f32> = numbers.chunks(THREADS as usize).map(|c| c.iter().sum()).collect();
    let x = Array::new(&numbers);
    for seed in 0..50 {
        let out = Array::<f32>::fresh(blocks as usize);
        launch!(kernels, "tree_sum", [blocks, 1, 1], THREADS, THREADS * 4, seed, x.pointer(), out.pointer());
        assert_eq!(out.get(), expected);
        let out = Array::<f32>::fresh((blocks * THREADS) as usize);
        launch!(kernels, "helper_sum", [blocks, 1, 1], THREADS, 0, seed, x.pointer(), out.pointer());
        assert!(out.get().iter().enumerate().all(|(i, &sum)| sum == expected[i / THREADS as usize]));
    }
}

#[test]
fn a_missing_barrier_gives_a_wrong_sum() {
    let Some(kernels) = kernels() else { return };
    let x = Array::new(&[1.0f32; THREADS as usize]);
    let wrong = (0..20).filter(|&seed| {
        let out = Array::<f32>::fresh(1);
        launch!(
            kernels,
            "tree_sum_without_barriers",
            [1, 1, 1],
            THREADS,
            THREADS * 4,
            seed,
            x.pointer(),
            out.pointer()
        );
        out.get()[0] != THREADS as f32
    });
    assert!(wrong.count() > 0);
}

#[test]
fn collectives_of_a_warp() {
    let Some(kernels) = kernels() else { return };
    let threads = 96;
    let mut rng = Rng::new(1);
    let mut numbers: Vec<u32> = (0..threads).map(|_| rng.below(50) as u32).collect();
    numbers[40] = 77;
    let x = Array::new(&numbers);
    for seed in 0..20 {
        let out = Array::<u32>::fresh(5 * threads);
        launch!(kernels, "collectives", [1, 1, 1], threads as u32, 0, seed, x.pointer(), out.pointer());
        let out = out.get();
        for t in 0..threads {
            let warp = t / 32 * 32;
            assert_eq!(out[t], numbers[warp + 3]);
            assert_eq!(out[threads + t], numbers[t ^ 5]);
            assert_eq!(out[2 * threads + t], numbers[if t % 32 + 4 < 32 { t + 4 } else { t }]);
            let ballot =
                (0..32).map(|lane| u32::from(numbers[warp + lane].is_multiple_of(3)) << lane).sum::<u32>();
            assert_eq!(out[3 * threads + t], ballot);
            assert_eq!(out[4 * threads + t], u32::from(warp == 32) * 2 + numbers[t] % 2);
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Descriptors {
    from: [*const f32; 4],
    scale: [f32; 4],
    count: u32,
}

#[test]
fn arguments_by_value() {
    let Some(kernels) = kernels() else { return };
    assert_eq!(kernels.parameter_sizes("by_value"), Some(&[8, size_of::<Descriptors>(), 4, 4, 4, 8][..]));
    let n = 100;
    let first = Array::new(&(0..n).map(|i| i as f32).collect::<Vec<_>>());
    let second = Array::new(&(0..n).map(|i| (i * i) as f32).collect::<Vec<_>>());
    let none = std::ptr::null();
    let fields = Descriptors {
        from: [first.pointer(), second.pointer(), none, none],
        scale: [2.0, 0.5, f32::NAN, f32::NAN],
        count: 2,
    };
    let out = Array::<f32>::fresh(n as usize);
    launch!(
        kernels,
        "by_value",
        [4, 1, 1],
        32,
        0,
        3,
        out.pointer(),
        fields,
        n,
        0.25f32,
        -1i32,
        0x1_0000_0002u64
    );
    let expected: Vec<f32> = (0..n).map(|i| -(0.25 + 2.0 * i as f32 + 0.5 * (i * i) as f32)).collect();
    assert_eq!(out.get(), expected);
}

#[test]
fn gemm_is_compiled_for_each_precision() {
    let Some(kernels) = kernels() else { return };
    for (name, number) in [("precision_f32", 1u32), ("precision_tf32", 2), ("precision_bf16", 3)] {
        let out = Array::<u32>::fresh(1);
        launch!(kernels, name, [1, 1, 1], 32, 0, 0, out.pointer());
        assert_eq!(out.get(), [number]);
    }
}

#[test]
fn every_block_of_a_grid_runs_once() {
    let Some(kernels) = kernels() else { return };
    for grid in [[1, 1, 1], [2, 1, 1], [1, 3, 1], [7, 5, 4], [64, 1, 2]] {
        let blocks = grid.iter().product::<u32>();
        for seed in 0..10 {
            let out = Array::new(&vec![0u32; blocks as usize]);
            launch!(kernels, "grid_index", grid, 32, 0, seed, out.pointer());
            assert_eq!(out.get(), (1..=blocks).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_barrier_does_not_wait_for_threads_that_have_returned() {
    let Some(kernels) = kernels() else { return };
    for seed in 0..20 {
        let out = Array::<u32>::fresh(32);
        launch!(kernels, "early_return", [1, 1, 1], 256, 0, seed, out.pointer());
        assert_eq!(out.get(), (0..32).rev().collect::<Vec<_>>());
    }
}

#[test]
fn shared_memory_begins_as_nan_in_every_block() {
    let Some(kernels) = kernels() else { return };
    let out = Array::new(&[0.0f32; 32]);
    launch!(kernels, "unwritten", [3, 1, 1], 32, 128, 0, out.pointer());
    assert!(out.get().iter().all(|v| v.is_nan()));
}

#[test]
fn launches_that_a_device_would_refuse() {
    let Some(kernels) = kernels() else { return };
    let refuse = |name: &str, grid, block, count: usize, what: &str| {
        let args = vec![std::ptr::null_mut(); count];
        // SAFETY: refused before an argument is read.
        let message = unsafe { kernels.launch(name, grid, block, 0, &args, 0) }.unwrap_err();
        assert!(message.contains(what), "{message}");
    };
    refuse("nothing", [1, 1, 1], 32, 2, "no kernel nothing");
    refuse("tree_sum", [1, 1, 1], 32, 3, "2 parameters");
    refuse("tree_sum", [1, 1, 1], 160, 2, "to 128");
    refuse("tree_sum", [1, 1, 1], 48, 2, "multiple of 32");
    refuse("collectives", [1, 1, 1], 1056, 2, "to 1024");
    refuse("tree_sum", [1, 65536, 1], 32, 2, "grid");
    refuse("tree_sum", [0, 1, 1], 32, 2, "grid");
    assert!(kernels.kernels().contains(&"tree_sum".to_string()));
}

#[test]
fn the_broken_kernel_runs_when_it_breaks_no_rule() {
    let Some(kernels) = kernels() else { return };
    let x = Array::new(&[1.0f32; 64]);
    launch!(kernels, "broken", [1, 1, 1], 64, 64 * 4, 7, x.pointer(), 99u32);
    assert_eq!(x.get(), [1.0; 64]);
}

/// Not a rule of `broken`: the kernel `large_frame`.
const LARGE_FRAME: u32 = 100;

/// Runs `broken` with `rule` in a process of its own and returns what it said; the process must have been ended by a signal.
fn break_rule(test: &str, rule: u32) -> Option<String> {
    const CHILD: &str = "OPTMSM_BROKEN_KERNEL";
    let kernels = kernels()?;
    if std::env::var(CHILD).is_ok_and(|r| r == rule.to_string()) {
        let x = Array::new(&[1.0f32; 64]);
        if rule == LARGE_FRAME {
            launch!(kernels, "large_frame", [1, 1, 1], 64, 0, 7, x.pointer());
        } else {
            launch!(kernels, "broken", [1, 1, 1], 64, 64 * 4, 7, x.pointer(), rule);
        }
        return None;
    }
    if std::env::var(CHILD).is_ok() {
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let child = std::process::Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, rule.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(
        std::os::unix::process::ExitStatusExt::signal(&child.status).is_some(),
        "{} {said}",
        child.status
    );
    Some(said)
}

#[test]
fn lanes_that_never_come_are_reported() {
    let Some(said) = break_rule("lanes_that_never_come_are_reported", 1) else { return };
    for what in [
        "deadlock: kernel broken",
        "threads 5..=5 wait at __syncthreads",
        "__shfl_xor_sync",
        "threads 32..=63 have returned",
    ] {
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn a_partial_mask_is_reported() {
    let Some(said) = break_rule("a_partial_mask_is_reported", 2) else { return };
    assert!(said.contains("kernel broken") && said.contains("mask 0x0000ffff"), "{said}");
}

#[test]
fn a_read_past_an_allocation_is_reported() {
    let Some(said) = break_rule("a_read_past_an_allocation_is_reported", 3) else { return };
    assert!(said.contains("kernel broken, block (0, 0, 0), thread") && said.contains("no access"), "{said}");
}

#[test]
fn lanes_at_different_collectives_are_reported() {
    let Some(said) = break_rule("lanes_at_different_collectives_are_reported", 4) else { return };
    assert!(said.contains("__syncwarp") && said.contains("__ballot_sync"), "{said}");
}

#[test]
fn a_write_past_dynamic_shared_memory_is_reported() {
    let Some(said) = break_rule("a_write_past_dynamic_shared_memory_is_reported", 5) else { return };
    assert!(said.contains("kernel broken") && said.contains("no access"), "{said}");
}

#[test]
fn lanes_at_shuffles_of_two_places_are_reported() {
    let Some(said) = break_rule("lanes_at_shuffles_of_two_places_are_reported", 0) else { return };
    assert!(said.contains("deadlock") || said.contains("while other lanes"), "{said}");
}

#[test]
fn threads_at_different_barriers_are_reported() {
    let Some(said) = break_rule("threads_at_different_barriers_are_reported", 6) else { return };
    assert!(said.contains("__syncthreads") && said.contains("while other threads"), "{said}");
}

#[test]
fn a_thread_that_needs_too_large_a_stack_is_reported() {
    let Some(said) = break_rule("a_thread_that_needs_too_large_a_stack_is_reported", LARGE_FRAME) else {
        return;
    };
    assert!(said.contains("kernel large_frame") && said.contains("no access"), "{said}");
}
