//! Jobs of one process and of threads.

mod suite;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use optmsm_comm::{Alone, Comm, ThreadComm, exchange, threads, world};

/// Runs all ranks; a panic of one is the test's.
fn ranks<T: Send>(size: usize, run: impl Fn(ThreadComm) -> T + Sync) -> Vec<T> {
    let run = &run;
    thread::scope(|scope| {
        let all: Vec<_> = threads(size).into_iter().map(|comm| scope.spawn(move || run(comm))).collect();
        all.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn operations_bring_what_was_sent() {
    suite::operations(&Alone);
    for size in 1..=8 {
        ranks(size, |comm| suite::operations(&comm));
    }
}

#[test]
fn mistakes_are_errors() {
    suite::mistakes(&Alone);
    for size in [1, 2, 4] {
        ranks(size, |comm| suite::mistakes(&comm));
    }
}

#[test]
fn ranks_are_numbered() {
    assert_eq!([Alone.rank(), Alone.size()], [0, 1]);
    let seen = ranks(5, |comm| (comm.rank(), comm.size()));
    assert_eq!(seen, (0..5).map(|rank| (rank, 5)).collect::<Vec<_>>());
}

#[test]
fn a_process_without_launcher_is_alone() {
    let world = world().unwrap();
    assert_eq!(format!("{world:?}"), "Alone");
}

#[test]
fn a_barrier_waits_for_all() {
    let arrived = AtomicUsize::new(0);
    ranks(4, |comm| {
        for round in 1..100 {
            arrived.fetch_add(1, Ordering::SeqCst);
            comm.barrier().unwrap();
            assert_eq!(arrived.load(Ordering::SeqCst), 4 * round);
            comm.barrier().unwrap();
        }
    });
}

#[test]
fn parts_of_another_length_are_an_error() {
    // Rank 0 sends each two bytes, and rank 1 expects one.
    let said = ranks(2, |comm| {
        let sent = if comm.rank() == 0 { [2, 2] } else { [1, 1] };
        let expected = if comm.rank() == 0 { [2, 1] } else { [1, 1] };
        let mut receive = vec![0; expected.iter().sum()];
        let done = comm.alltoallv(&vec![0; sent.iter().sum()], &sent, &mut receive, &expected);
        let said = done.err().map(|error| error.to_string());
        // Both work on.
        suite::operations(&comm);
        said
    });
    assert_eq!(said, [None, Some("rank 0 has sent 2 bytes, and 1 are expected".into())]);
    let said = ranks(3, |comm| {
        let done = comm.allgatherv(&vec![0; comm.rank()], &mut [0; 4], &[0, 2, 2]);
        done.unwrap_err().to_string()
    });
    assert_eq!(said, ["rank 1 has sent 1 bytes, and 2 are expected"; 3]);
    let said = Alone.allgatherv(&[1, 2], &mut [0], &[1]).unwrap_err().to_string();
    assert_eq!(said, "rank 0 has sent 2 bytes, and 1 are expected");
}

#[test]
fn a_rank_that_ends_is_an_error_of_the_others() {
    let said = ranks(4, |comm| {
        comm.barrier().unwrap();
        if comm.rank() == 2 {
            return "ended".into();
        }
        let waiting = exchange(&comm, &vec![vec![1]; 4]).unwrap_err().to_string();
        assert_eq!(comm.barrier().unwrap_err().to_string(), waiting);
        waiting
    });
    let gone = "a rank of the job has ended before the others";
    assert_eq!(said, [gone, gone, "ended", gone]);
}

#[test]
fn copies_of_a_rank_are_the_rank() {
    ranks(2, |comm| {
        drop(comm.clone());
        comm.clone().barrier().unwrap();
        suite::operations(&comm);
    });
}
