//! Order of the queue, whatever is asked for: uploads over one another, very many of them, operations that panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use optmsm_core::backend::{Dense, Elementwise, Groups, Mat, MatMut, Memory, Write};
use optmsm_cuda::{Cuda, Precision};
use optmsm_cuda_host::{Host, cuda};

fn host(seed: u64) -> Option<Cuda<Host>> {
    cuda(Precision::F32, seed)
}

fn downloaded(be: &Cuda<Host>, buf: &<Cuda<Host> as Memory>::Buf) -> Vec<f32> {
    let mut got = vec![0.0; be.len(buf)];
    be.download(&mut got, buf, 0).unwrap();
    got
}

#[test]
fn the_last_upload_to_a_place_is_what_stays() {
    for seed in 0..16 {
        let Some(be) = host(seed) else { return };
        let mut buf = be.alloc(6).unwrap();
        be.upload(&mut buf, &[1.0; 6]);
        be.upload(&mut buf, &[2.0; 5]);
        be.upload(&mut buf, &[3.0; 2]);
        assert_eq!(downloaded(&be, &buf), [3.0, 3.0, 2.0, 2.0, 2.0, 1.0], "seed {seed}");
    }
}

#[test]
fn more_uploads_than_a_grid_has_rows_arrive() {
    let Some(be) = host(1) else { return };
    // A grid's y ends at 65535.
    let mut bufs: Vec<_> = (0..700).map(|_| be.alloc_ids(100).unwrap()).collect();
    let mut table = be.alloc_table(70_000, 1, optmsm_core::rounding::TableDtype::F32).unwrap();
    (0..70_000).for_each(|row| be.upload_rows(&mut table, row, &[row as f32]));
    bufs.iter_mut().for_each(|buf| be.upload_ids(buf, &[7; 100]));
    let mut got = vec![0.0; 70_000];
    be.download_rows(&mut got, &table, 0).unwrap();
    assert!(got.iter().enumerate().all(|(row, &v)| v == row as f32));
}

#[test]
fn sums_for_more_groups_than_a_grid_has_rows() {
    let Some(be) = host(2) else { return };
    let (groups, rows) = (66_000, 300);
    let mut offsets = vec![rows as u32; groups + 1];
    offsets[0] = 0;
    // All rows but the last to the first group and to the last one.
    (1..groups).for_each(|g| offsets[g] = 100);
    let mut ids = be.alloc_ids(groups + 1).unwrap();
    be.upload_ids(&mut ids, &offsets);
    let (mut x, mut out) = (be.alloc(rows).unwrap(), be.alloc(groups).unwrap());
    be.upload(&mut x, &vec![1.0; rows]);
    be.col_sum(MatMut::new(&mut out, groups, 1), Write::Set, Mat::new(&x, rows, 1), Groups::Rows(&ids));
    let got = downloaded(&be, &out);
    assert_eq!((got[0], got[groups - 1]), (100.0, 200.0));
    assert!(got[1..groups - 1].iter().all(|&v| v == 0.0));
}

#[test]
fn an_operation_that_panics_leaves_no_half_of_a_launch() {
    let Some(be) = host(3) else { return };
    let (mut y, short) = (be.alloc(8).unwrap(), be.alloc(3).unwrap());
    be.upload(&mut y, &[-1.0; 8]);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    // The second argument is seen to be too short when the launch has its first.
    let src = Mat { buf: &short, offset: 0, rows: 2, cols: 4, stride: 4 };
    let dst = MatMut::new(&mut y, 2, 4);
    let panicked = catch_unwind(AssertUnwindSafe(|| be.copy(dst, Write::Set, src)));
    std::panic::set_hook(hook);
    assert!(panicked.is_err());
    be.relu(MatMut::new(&mut y, 2, 4));
    assert_eq!(downloaded(&be, &y), [0.0; 8]);
}
