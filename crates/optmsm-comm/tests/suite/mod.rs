//! Every operation of a job against what it must bring: each rank knows what all ranks send, without asking them.

use optmsm_comm::{Comm, exchange, gather, share};

/// Rounds of different lengths; the last has long parts too, which MPI sends in another way than short ones.
const ROUNDS: usize = 12;

/// Bytes of rank `from` for rank `to`: ragged, some of them none.
fn part(round: usize, from: usize, to: usize) -> Vec<u8> {
    let length = match (round, (round + 3 * from + 5 * to) % 7) {
        (0, _) | (_, 0) => 0,
        // Ranks that only receive, and ranks that only send.
        (1, _) if from > 0 => 0,
        (2, _) if to > 0 => 0,
        (round, kind @ 3..) if round + 1 == ROUNDS => 30_000 * kind + from,
        (round, kind) => kind * round + to,
    };
    (0..length).map(|i| (31 * round + 59 * from + 101 * to + i + i / 256) as u8).collect()
}

fn lengths(parts: &[Vec<u8>]) -> Vec<usize> {
    parts.iter().map(Vec::len).collect()
}

/// Calls all operations, many times.
pub(crate) fn operations(comm: &dyn Comm) {
    let (rank, size) = (comm.rank(), comm.size());
    for round in 0..ROUNDS {
        let parts = |rank| (0..size).map(|to| part(round, rank, to)).collect::<Vec<_>>();
        let (send, expected) =
            (parts(rank), (0..size).map(|from| part(round, from, rank)).collect::<Vec<_>>());
        let mut receive = vec![7; expected.concat().len()];
        comm.alltoallv(&send.concat(), &lengths(&send), &mut receive, &lengths(&expected)).unwrap();
        assert!(receive == expected.concat(), "alltoallv, round {round}");
        assert!(exchange(comm, &send).unwrap() == expected, "exchange, round {round}");

        // As a rank sends to rank 0 above, all send to all.
        let expected: Vec<Vec<u8>> = (0..size).map(|from| part(round, from, 0)).collect();
        let mut receive = vec![7; expected.concat().len()];
        comm.allgatherv(&send[0], &mut receive, &lengths(&expected)).unwrap();
        assert!(receive == expected.concat(), "allgatherv, round {round}");
        assert!(gather(comm, &send[0]).unwrap() == expected, "gather, round {round}");

        for root in 0..size {
            let expected = part(round, root, 1);
            let mut data = if rank == root { expected.clone() } else { vec![7; expected.len()] };
            comm.bcast(&mut data, root).unwrap();
            assert!(data == expected, "bcast from {root}, round {round}");
            let mut data = if rank == root { expected.clone() } else { vec![7; round] };
            share(comm, &mut data, root).unwrap();
            assert!(data == expected, "share from {root}, round {round}");
        }
        comm.barrier().unwrap();
    }
}

/// Arguments that cannot be right, all the same on every rank; the job works on.
pub(crate) fn mistakes(comm: &dyn Comm) {
    let size = comm.size();
    let mut two = vec![0; 2 * size];
    let (ones, twos) = (vec![1; size], vec![2; size]);
    let said = |result: optmsm_comm::Result<()>, text: &str| {
        let said = result.unwrap_err().to_string();
        assert!(said.contains(text), "{said}");
    };
    said(comm.alltoallv(&[1, 2], &[2, 0, 0, 0, 0, 0, 0, 0, 0], &mut two, &twos), "9 of them for");
    said(comm.alltoallv(&vec![0; size], &twos, &mut two, &twos), "counts of bytes sent: [2");
    said(comm.alltoallv(&vec![0; 2 * size], &twos, &mut two, &ones), "counts of bytes received: [1");
    said(
        comm.alltoallv(&vec![0; 2 * size], &vec![usize::MAX; size], &mut two, &twos),
        "counts of bytes sent",
    );
    said(comm.allgatherv(&[1, 2], &mut two, &ones), "counts of bytes received: [1");
    said(comm.bcast(&mut two, size), "there is none");
    said(exchange(comm, &vec![Vec::new(); size + 1]).map(drop), "counts of bytes sent");
    assert_eq!(
        gather(comm, &[comm.rank() as u8]).unwrap(),
        (0..size).map(|rank| [rank as u8]).collect::<Vec<_>>()
    );
}
