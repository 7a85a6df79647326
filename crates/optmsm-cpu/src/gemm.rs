//! C (+)= A · B in single precision, on one thread.
//!
//! One microkernel serves the three products of a layer: x Wᵀ and d_y W read B from panels packed once a
//! step, d_yᵀ x reads both matrices in place. An element of C is always the same chain of multiply-adds
//! over k from 0 (in pieces of 64 when both are read in place), whatever its place in the matrix, so a row's result does
//! not depend on its neighbours.

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// Columns of the widest panel: two AVX-512 registers.
const WIDEST: usize = 32;
/// Rows of an unpacked B that are copied together into a panel. Their rows are often a power of two apart, so in place
/// they would share a few cache sets; the copy (8 KiB) stays in L1 while all rows of A pass.
const DEPTH: usize = 64;

/// An instruction set with a microkernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512F.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// Any machine.
    Portable,
}

impl Isa {
    /// All of them, fastest first.
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// Name in messages and in `OPTMSM_REQUIRE`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// Whether this machine runs it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// The fastest that this machine runs.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// Columns of a packed panel: two registers.
    pub(crate) fn panel(self) -> usize {
        match self {
            Isa::Avx512 => 32,
            Isa::Avx2 => 16,
            Isa::Portable => 8,
        }
    }
}

/// Where B's columns are.
#[derive(Clone, Copy)]
pub(crate) enum Rhs<'a> {
    /// Panels of [`Isa::panel`] columns, each k rows, the last one padded.
    Panels(&'a [f32]),
    /// Row-major with a stride.
    Rows(&'a [f32], usize),
}

/// A matrix read with any strides.
#[derive(Clone, Copy)]
pub(crate) struct Lhs<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

/// What is written where.
pub(crate) struct Output<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) add: bool,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

/// Pointers and strides of one product, after its bounds were checked.
#[derive(Clone, Copy)]
struct Raw {
    n: usize,
    k: usize,
    a: *const f32,
    rsa: usize,
    csa: usize,
    b: *const f32,
    panel: Option<usize>,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
    add: bool,
    relu: bool,
    bias: *const f32,
}

/// C `[m, n]` (+)= A `[m, k]` · B `[k, n]`, then bias and ReLU.
pub(crate) fn gemm(isa: Isa, m: usize, n: usize, k: usize, a: Lhs, b: Rhs, c: Output) {
    if m == 0 || n == 0 {
        return;
    }
    let extent = |rows: usize, rs: usize, cols: usize, cs: usize| (rows - 1) * rs + (cols - 1) * cs + 1;
    if k > 0 {
        assert!(a.data.len() >= extent(m, a.row_stride, k, a.col_stride), "A is smaller than {m}x{k}");
    }
    assert!(c.data.len() >= extent(m, c.stride, n, 1), "C is smaller than {m}x{n}");
    assert!(c.bias.is_none_or(|bias| bias.len() >= n), "the bias is shorter than {n}");
    assert!(isa.is_available(), "{} is not available on this machine", isa.name());
    let panel = isa.panel();
    let (b, panel, ldb) = match b {
        Rhs::Panels(data) => {
            assert!(data.len() >= n.div_ceil(panel) * panel * k, "the packed B is smaller than {k}x{n}");
            (data, Some(panel), panel)
        }
        Rhs::Rows(data, stride) => {
            assert!(c.add && c.bias.is_none() && !c.relu, "products of unpacked matrices accumulate");
            assert!(k == 0 || data.len() >= extent(k, stride, n, 1), "B is smaller than {k}x{n}");
            (data, None, stride)
        }
    };
    let raw = Raw {
        n,
        k,
        a: a.data.as_ptr(),
        rsa: a.row_stride,
        csa: a.col_stride,
        b: b.as_ptr(),
        panel,
        ldb,
        c: c.data.as_mut_ptr(),
        ldc: c.stride,
        add: c.add,
        relu: c.relu,
        bias: c.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
    };
    // SAFETY: the extents of A, B, C and the bias were asserted above, and so was the instruction set.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(raw, m),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(raw, m),
            _ => rows::<Portable, 4>(raw, m),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(raw: Raw, m: usize) {
    // SAFETY: the caller checked the extents; this function has the instruction set.
    unsafe { rows::<Avx512, 8>(raw, m) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(raw: Raw, m: usize) {
    // SAFETY: the caller checked the extents; this function has the instruction set.
    unsafe { rows::<Avx2, 4>(raw, m) }
}

/// Panels of columns outside, so that one stays in L1 while all rows pass.
#[inline(always)]
unsafe fn rows<S: Simd, const MR: usize>(raw: Raw, m: usize) {
    let wide = 2 * S::WIDTH;
    let mut copy = [0.0f32; DEPTH * WIDEST];
    let mut j = 0;
    while j < raw.n {
        let width = (raw.n - j).min(wide);
        // SAFETY: j < n, so the panel or the columns exist; columns() writes `width` columns.
        unsafe {
            match raw.panel {
                Some(panel) => {
                    let b = raw.b.add(j / panel * panel * raw.k);
                    if width <= S::WIDTH {
                        columns::<S, MR, 1>(raw, m, j, b, width);
                    } else {
                        columns::<S, MR, 2>(raw, m, j, b, width);
                    }
                }
                None => {
                    for p in (0..raw.k).step_by(DEPTH) {
                        let depth = (raw.k - p).min(DEPTH);
                        for q in 0..depth {
                            let row = std::slice::from_raw_parts(raw.b.add((p + q) * raw.ldb + j), width);
                            copy[q * wide..][..width].copy_from_slice(row);
                        }
                        let part = Raw { k: depth, a: raw.a.add(p * raw.csa), ldb: wide, ..raw };
                        columns::<S, MR, 2>(part, m, j, copy.as_ptr(), width);
                    }
                }
            }
        }
        j += width;
    }
}

/// Every row against `NV` registers of columns; writes `width` of them.
#[inline(always)]
unsafe fn columns<S: Simd, const MR: usize, const NV: usize>(
    raw: Raw,
    m: usize,
    j: usize,
    b: *const f32,
    width: usize,
) {
    let mut i = 0;
    // SAFETY: rows i..i + MR are below m; the caller vouches for the columns.
    unsafe {
        while i + MR <= m {
            tile::<S, MR, NV>(raw, i, j, b, width);
            i += MR;
        }
        while i < m {
            tile::<S, 1, NV>(raw, i, j, b, width);
            i += 1;
        }
    }
}

/// `MR` rows by `NV` registers.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
    raw: Raw,
    i: usize,
    j: usize,
    b: *const f32,
    width: usize,
) {
    // SAFETY: the extents were asserted in gemm(); panels, packed or copied, are padded to whole registers.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        let (mut a, mut b) = (raw.a.add(i * raw.rsa), b);
        for _ in 0..raw.k {
            let mut columns = [S::zero(); NV];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = S::load(b.add(v * S::WIDTH));
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = S::splat(*a.add(r * raw.rsa));
                for (acc, &column) in acc.iter_mut().zip(&columns) {
                    *acc = S::fma(x, column, *acc);
                }
            }
            a = a.wrapping_add(raw.csa);
            b = b.wrapping_add(raw.ldb);
        }
        let mut line = [0.0f32; WIDEST];
        for (r, acc) in acc.iter().enumerate() {
            for (v, &acc) in acc.iter().enumerate() {
                S::store(line.as_mut_ptr().add(v * S::WIDTH), acc);
            }
            store(raw, i + r, j, &line[..width]);
        }
    }
}

/// Writes one row's piece: bias, ReLU, set or add.
#[inline(always)]
unsafe fn store(raw: Raw, i: usize, j: usize, line: &[f32]) {
    // SAFETY: row i, columns j.. are inside C, and so in the bias when there is one.
    unsafe {
        let c = std::slice::from_raw_parts_mut(raw.c.add(i * raw.ldc + j), line.len());
        if raw.add {
            c.iter_mut().zip(line).for_each(|(c, &v)| *c += v);
        } else if raw.bias.is_null() && !raw.relu {
            c.copy_from_slice(line);
        } else {
            for (q, (c, &v)) in c.iter_mut().zip(line).enumerate() {
                let v = if raw.bias.is_null() { v } else { v + *raw.bias.add(j + q) };
                *c = if raw.relu && v < 0.0 { 0.0 } else { v };
            }
        }
    }
}

/// Packs B `[k, n]`, element (p, j) at `p · ks + j · ns`, into panels.
pub(crate) fn pack(isa: Isa, panels: &mut [f32], b: &[f32], k: usize, n: usize, ks: usize, ns: usize) {
    let width = isa.panel();
    for (index, panel) in panels.chunks_exact_mut((width * k).max(1)).take(n.div_ceil(width)).enumerate() {
        let first = index * width;
        let real = width.min(n - first);
        for (p, row) in panel.chunks_exact_mut(width).enumerate() {
            for (q, v) in row[..real].iter_mut().enumerate() {
                *v = b[p * ks + (first + q) * ns];
            }
        }
    }
}
