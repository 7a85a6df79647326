//! Products against plain loops, in buffers that end with the last element that a kernel may touch: under Miri, valgrind or
//! a sanitizer a register too far is an error. Elements are small integers, so every sum is exact and equality is asked for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::bf16;
use crate::isa::Isa;

/// Contents of a gap between two rows, and of an output before it is set.
const NAN: f32 = f32::NAN;

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// Small integers in a fixed order.
struct Integers(u32);

impl Integers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 24) as f32 % 7.0 - 3.0
    }
}

/// A matrix whose buffer ends with its last row.
#[derive(Clone)]
struct Matrix {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Matrix {
    fn new(rows: usize, cols: usize, gap: usize, mut value: impl FnMut() -> f32) -> Self {
        let stride = cols + gap;
        let data = (0..extent(rows, stride, cols)).map(|i| if i % stride < cols { value() } else { NAN });
        Self { data: data.collect(), rows, cols, stride }
    }

    fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.stride + j]
    }

    fn rows(&self) -> Rows<'_> {
        Rows { data: &self.data, stride: self.stride }
    }

    fn rows_mut(&mut self) -> RowsMut<'_> {
        RowsMut { data: &mut self.data, stride: self.stride }
    }

    /// Every element is `want(row, column)`, and gaps are untouched.
    fn check(&self, what: &str, want: impl Fn(usize, usize) -> f32) {
        for i in 0..self.rows {
            for j in 0..self.cols {
                assert_eq!(self.at(i, j), want(i, j), "{what}: ({i}, {j})");
            }
        }
        for (at, v) in self.data.iter().enumerate() {
            assert!(at % self.stride < self.cols || v.is_nan(), "{what}: {v} was written in a gap, at {at}");
        }
    }
}

/// Around registers and tiles of every set; a few of them where each step takes a microsecond.
fn sizes(most: usize) -> Vec<usize> {
    let all: &[usize] = if cfg!(miri) {
        &[0, 1, 5, 9, 13]
    } else {
        &[0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16, 17, 25, 31, 32, 33, 65]
    };
    all.iter().copied().filter(|&n| n <= most).collect()
}

/// The transpose.
fn transpose(b: &Matrix) -> Matrix {
    let mut at = 0;
    Matrix::new(b.cols, b.rows, 2, || {
        at += 1;
        b.at((at - 1) % b.rows, (at - 1) / b.rows)
    })
}

/// B in panels that end with the last word.
fn panels(isa: Isa, bf16: bool, b: &Matrix) -> Vec<f32> {
    let (k, n) = (b.rows, b.cols);
    if !bf16 {
        let mut packed = vec![0.0; n.next_multiple_of(isa.panel()) * k];
        pack(isa, &mut packed, b.rows(), k, n);
        return packed;
    }
    let mut packed = vec![0.0; n.next_multiple_of(isa.panel()) * bf16::words(k)];
    for (index, panel) in packed.chunks_mut((isa.panel() * bf16::words(k)).max(1)).enumerate() {
        pack_panel_bf16(isa, panel, Weight { rows: b.rows(), transposed: false, k, n }, index);
    }
    packed
}

#[test]
fn an_element_of_bf16_is_one_chain_wherever_it_is_and_on_every_set() {
    let mut integers = Integers(4);
    // Numbers that bf16 rounds, and sums whose order shows in the last bits.
    let mut number = || (integers.next() + integers.next() / 97.0) * (integers.next() / 5.0).exp2();
    for (m, n, k) in [(1, 70, 9), (7, 97, 64), (19, 130, 33), (26, 33, 128)] {
        let (a, b) = (Matrix::new(m, k, 3, &mut number), Matrix::new(k, n, 1, &mut number));
        let chain = |i: usize, j: usize| {
            let column: Vec<f32> = (0..k).map(|q| b.at(q, j)).collect();
            let [mut x, mut y] = [0, 1].map(|_| vec![0.0; bf16::words(k)]);
            bf16::pair_columns(&mut x, &a.data[i * a.stride..][..k]);
            bf16::pair_columns(&mut y, &column);
            x.iter().zip(&y).fold(0.0, |acc, (&x, &y)| bf16::dot(acc, x, y))
        };
        for isa in isas() {
            let turned = transpose(&b);
            let b = panels(isa, true, &b);
            for (index, panel) in b.chunks_exact(isa.panel() * bf16::words(k)).enumerate() {
                let mut same = panel.to_vec();
                pack_panel_bf16(
                    isa,
                    &mut same,
                    Weight { rows: turned.rows(), transposed: true, k, n },
                    index,
                );
                let columns = isa.panel().min(n - index * isa.panel());
                for (row, same) in panel.chunks_exact(isa.panel()).zip(same.chunks_exact(isa.panel())) {
                    let bits =
                        |words: &[f32]| words[..columns].iter().map(|w| w.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(row), bits(same), "{}, panel {index}", isa.name());
                }
            }
            let mut c = Matrix::new(m, n, 2, || NAN);
            let (add, relu, bias, mask) = (false, false, None, None);
            multiply(
                isa,
                Product { m, n, k, a: a.rows(), b: &b, bf16: true, c: c.rows_mut(), add, relu, bias, mask },
            );
            c.check(&format!("{} {m}x{n}x{k}", isa.name()), chain);
        }
    }
}

#[test]
fn products_touch_nothing_outside() {
    let mut rng = Integers(1);
    for isa in isas() {
        let ragged = sizes(33).into_iter().flat_map(|m| sizes(65).into_iter().map(move |n| (m, n)));
        let depths = [(0, 3), (1, 0), (6, 2)];
        let ragged = ragged.flat_map(|(m, n)| depths.map(|(k, gap)| (m, n, k, gap)));
        // Rows of A that are pages apart, enough of them for every tile, by several panels; last, more than one block of rows, and
        // more pairs of panels than pass together.
        let pages = [(25, 6), (49, 0), (if cfg!(miri) { 26 } else { 1100 }, 5)];
        let pages = pages.map(|(m, k)| (m, 4 * isa.panel() + 1, k, 2048 - k));
        let large = (!cfg!(miri)).then_some((250, 130, 1100, 1));
        for (m, n, k, gap) in ragged.chain(pages).chain(large) {
            let mut next = || rng.next();
            let a = Matrix::new(m, k, gap, &mut next);
            let gap = gap % 5;
            let b = Matrix::new(k, n, gap, &mut next);
            let (bias, mask) = (Matrix::new(1, n, 0, &mut next), Matrix::new(m, n, gap, &mut next));
            let before = Matrix::new(m, n, gap, &mut next);
            // Small integers are bf16 numbers, too.
            let packed = [false, true].map(|bf16| panels(isa, bf16, &b));
            let sum = |i: usize, j: usize| (0..k).map(|q| a.at(i, q) * b.at(q, j)).sum::<f32>();
            for (add, bf16) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut c = if add { before.clone() } else { Matrix::new(m, n, gap, || NAN) };
                let p = Product {
                    bf16,
                    m,
                    n,
                    k,
                    a: a.rows(),
                    b: &packed[usize::from(bf16)],
                    c: c.rows_mut(),
                    add,
                    relu: !add,
                    bias: (!add).then_some(&bias.data),
                    mask: add.then_some(mask.rows()),
                };
                multiply(isa, p);
                c.check(&format!("{} {m}x{n}x{k}, add {add}, bf16 {bf16}", isa.name()), |i, j| match add {
                    false => (sum(i, j) + bias.at(0, j)).max(0.0),
                    true if mask.at(i, j) <= 0.0 => before.at(i, j),
                    true => before.at(i, j) + sum(i, j),
                });
            }
        }
    }
}

#[test]
fn reductions_touch_nothing_outside() {
    let mut rng = Integers(2);
    let deep = if cfg!(miri) { 3 } else { 300 };
    for isa in isas() {
        for (m, n) in sizes(33).into_iter().flat_map(|m| sizes(65).into_iter().map(move |n| (m, n))) {
            for (k, gap) in [(0, 3), (1, 0), (deep, 2)] {
                let mut next = || rng.next();
                let (a, b) = (Matrix::new(k, m, gap, &mut next), Matrix::new(k, n, gap, &mut next));
                let before = Matrix::new(m, n, gap, &mut next);
                let mut c = before.clone();
                accumulate(isa, Reduction { m, n, k, a: a.rows(), b: b.rows(), c: c.rows_mut() });
                c.check(&format!("{} {m}x{n}x{k}", isa.name()), |i, j| {
                    before.at(i, j) + (0..k).map(|q| a.at(q, i) * b.at(q, j)).sum::<f32>()
                });
            }
        }
    }
}

/// Values, occurrences of each, N and d; checks both products.
fn check_by_value(isa: Isa, lists: &[usize], n: usize, d: usize, value: &mut impl FnMut() -> f32) {
    let (count, gap) = (lists.len(), d % 3);
    let mut starts = vec![0];
    lists.iter().for_each(|&len| starts.push(starts[starts.len() - 1] + len as u32));
    let occurrences = starts[count] as usize;
    let (x, w) = (Matrix::new(count, d, gap, &mut *value), Matrix::new(n, d, gap, &mut *value));
    let d_y = Matrix::new(occurrences, n, 0, &mut *value);
    let coefs = Matrix::new(1, occurrences, 0, &mut *value);
    let (mut g, mut d_w) = (Matrix::new(count, d, gap, || NAN), Matrix::new(n, d, gap, || NAN));
    let row = |i: usize| (&d_y.data[i * n..(i + 1) * n], coefs.at(0, i));
    by_value(
        isa,
        ByValue {
            count,
            outputs: n,
            width: d,
            g: g.rows_mut(),
            d_w: d_w.rows_mut(),
            x: x.rows(),
            w: w.rows(),
            starts: &starts,
            occurrence: row,
        },
    );
    if d_y.data.iter().any(|v| v.is_nan()) {
        return;
    }
    let sum = |u: usize, o: usize| {
        (starts[u] as usize..starts[u + 1] as usize).map(|i| coefs.at(0, i) * d_y.at(i, o)).sum::<f32>()
    };
    let what = format!("{} {lists:?}, N {n}, d {d}", isa.name());
    g.check(&what, |u, j| (0..n).map(|o| sum(u, o) * w.at(o, j)).sum());
    d_w.check(&what, |o, j| (0..count).map(|u| sum(u, o) * x.at(u, j)).sum());
}

#[test]
fn sums_by_value_touch_nothing_outside() {
    let mut rng = Integers(3);
    let many = vec![1; if cfg!(miri) { 3 } else { 131 }];
    // No value; none with an occurrence; an empty one at either end and between; lists around the four that are added at a
    // time; more values than a chunk.
    let lists: [&[usize]; 7] = [&[], &[0], &[0, 0], &[0, 5, 0, 1, 0], &[4, 3], &[9, 2, 8], &many];
    for isa in isas() {
        // The memory of the thread is left full of NaN by a larger field.
        let (values, n) = if cfg!(miri) { (14, 14) } else { (140, 70) };
        check_by_value(isa, &vec![3; values], n, 40, &mut || NAN);
        for lists in lists {
            for (n, d) in sizes(65).into_iter().flat_map(|n| [0, 1, 5, 16, 35].map(|d| (n, d))) {
                check_by_value(isa, lists, n, d, &mut || rng.next());
            }
        }
    }
}

/// Message of a panic.
fn refused(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("accepted");
    *panic.downcast::<String>().expect("a message with numbers")
}

#[test]
fn a_stride_beyond_the_address_space_is_refused() {
    // (rows - 1) · stride is one more than a usize holds: in wrapping arithmetic the last row would be the first.
    let (data, stride) = ([1.0; 8], usize::MAX / 16 + 1);
    let message = refused(|| {
        let mut c = [0.0; 17];
        let (a, c) = (Rows { data: &data, stride }, RowsMut { data: &mut c, stride: 1 });
        let b = &[1.0; 8];
        let (add, relu, bias, mask) = (false, false, None, None);
        multiply(Isa::Portable, Product { m: 17, n: 1, k: 1, a, b, bf16: false, c, add, relu, bias, mask });
    });
    assert!(message.starts_with("A has 8 elements"), "{message}");
}

#[test]
fn rows_of_a_result_that_overlap_are_refused() {
    let message = refused(|| {
        let mut c = [0.0; 12];
        let (a, b) = (Rows { data: &[1.0; 3], stride: 3 }, Rows { data: &[1.0; 8], stride: 8 });
        let c = RowsMut { data: &mut c, stride: 1 };
        accumulate(Isa::Portable, Reduction { m: 3, n: 8, k: 1, a, b, c });
    });
    assert!(message.contains("rows of 8 are 1 apart"), "{message}");
}
