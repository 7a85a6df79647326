//! Registers of `f32` for the kernels, one implementation an instruction set.

use crate::bf16;

/// A register of `f32`.
///
/// # Safety
/// The methods are `unsafe`: they may be called only where the instruction set was detected (`crate::isa::Isa::run`),
/// and their pointers must be good for [`Simd::WIDTH`] elements, those of `_part` for `n < WIDTH`.
pub(crate) trait Simd {
    /// Register.
    type V: Copy;
    /// Lanes of a register.
    const WIDTH: usize;
    /// Whether tiles of six rows by four registers fit, which are 29 registers with what they read.
    const PAIRS: bool = false;
    /// Zeros.
    unsafe fn zero() -> Self::V;
    /// The same number in every lane.
    unsafe fn splat(v: f32) -> Self::V;
    /// Unaligned load.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Unaligned store.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// a · b + c.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a + b.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// One link of a chain of bf16 in every lane, [`crate::bf16::dot`].
    unsafe fn dot(acc: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// max(v, 0); NaN stays NaN.
    unsafe fn relu(v: Self::V) -> Self::V;
    /// v where `y` is above 0 or NaN, else 0: the gradient through y = ReLU(·).
    unsafe fn keep_positive(v: Self::V, y: Self::V) -> Self::V;

    /// Asks for the cache line of an address; any address will do.
    #[inline(always)]
    fn prefetch(p: *const f32) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a hint, which never faults; SSE is part of the target.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = p;
    }

    /// Row i to column i of [`Simd::WIDTH`] rows of as many elements, which are `stride` and `to_stride` elements apart.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        for i in 0..Self::WIDTH {
            for j in 0..Self::WIDTH {
                // SAFETY: the caller's pointers are good for the rows.
                unsafe { *to.add(j * to_stride + i) = *from.add(i * stride + j) };
            }
        }
    }

    /// The first `n` lanes from memory, the rest 0.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self::V {
        let mut lanes = [0.0; 16];
        // SAFETY: n < WIDTH ≤ 16 elements are good at the caller's pointer.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }

    /// The first `n` lanes to memory.
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: Self::V, n: usize) {
        let mut lanes = [0.0; 16];
        // SAFETY: n < WIDTH ≤ 16 elements are good at the caller's pointer.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n);
        }
    }
}

/// Four numbers in an array: every machine has it. Multiplies, then adds.
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; 4];
    const WIDTH: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> [f32; 4] {
        [v; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: the caller's pointer is good for WIDTH elements.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: the caller's pointer is good for WIDTH elements.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn dot(acc: [f32; 4], a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| bf16::dot(acc[i], a[i], b[i]))
    }
    #[inline(always)]
    unsafe fn relu(v: [f32; 4]) -> [f32; 4] {
        v.map(|v| if v < 0.0 { 0.0 } else { v })
    }
    #[inline(always)]
    unsafe fn keep_positive(v: [f32; 4], y: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| if y[i] <= 0.0 { 0.0 } else { v[i] })
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// AVX2 with FMA.
    pub(crate) struct Avx2;

    // SAFETY of every block: the caller detected AVX2 and FMA, and its pointers are good for WIDTH elements.
    impl Simd for Avx2 {
        type V = __m256;
        const WIDTH: usize = 8;
        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(v: f32) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_set1_ps(v) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m256, a: __m256, b: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe {
                let high = _mm256_castsi256_ps(_mm256_set1_epi32(HIGH));
                let low = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
                let acc = flushed(_mm256_fmadd_ps(_mm256_and_ps(a, high), _mm256_and_ps(b, high), acc));
                flushed(_mm256_fmadd_ps(low(a), low(b), acc))
            }
        }
        #[inline(always)]
        unsafe fn relu(v: __m256) -> __m256 {
            // SAFETY: as above. The second operand is the result when one is NaN.
            unsafe { _mm256_max_ps(_mm256_setzero_ps(), v) }
        }
        #[inline(always)]
        unsafe fn keep_positive(v: __m256, y: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_NLE_UQ>(y, _mm256_setzero_ps())) }
        }
    }

    /// 0 of the same sign in lanes below 2⁻¹²⁶ in magnitude.
    #[inline(always)]
    unsafe fn flushed(v: __m256) -> __m256 {
        // SAFETY: the caller detected AVX2.
        unsafe {
            let magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
            let least = _mm256_set1_ps(f32::MIN_POSITIVE);
            let small = _mm256_cmp_ps::<_CMP_LT_OQ>(_mm256_and_ps(v, magnitude), least);
            _mm256_andnot_ps(_mm256_and_ps(small, magnitude), v)
        }
    }

    /// The upper half of every word.
    const HIGH: i32 = 0xffff << 16;

    /// AVX-512F, with its dot product of bf16 or without.
    pub(crate) struct Avx512<const BF16: bool = false>;

    // SAFETY of every block: the caller detected AVX-512F, and AVX512-BF16 where that is the set; its pointers are good for WIDTH
    // elements, or for the lanes of the mask.
    impl<const BF16: bool> Simd for Avx512<BF16> {
        type V = __m512;
        const WIDTH: usize = 16;
        const PAIRS: bool = true;
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(v: f32) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_set1_ps(v) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m512, a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above. The types are 512 bits each.
            unsafe {
                if BF16 {
                    let [a, b] = [a, b].map(|v| std::mem::transmute::<__m512, __m512bh>(v));
                    return _mm512_dpbf16_ps(acc, a, b);
                }
                let high = |v| {
                    _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(HIGH)))
                };
                let low = |v| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(v)));
                let flushed = |v| {
                    let small =
                        _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(v), _mm512_set1_ps(f32::MIN_POSITIVE));
                    let v = _mm512_castps_si512(v);
                    _mm512_castsi512_ps(_mm512_mask_and_epi32(v, small, v, _mm512_set1_epi32(i32::MIN)))
                };
                let acc = flushed(_mm512_fmadd_ps(high(a), high(b), acc));
                flushed(_mm512_fmadd_ps(low(a), low(b), acc))
            }
        }
        #[inline(always)]
        unsafe fn relu(v: __m512) -> __m512 {
            // SAFETY: as above. The second operand is the result when one is NaN.
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), v) }
        }
        #[inline(always)]
        unsafe fn keep_positive(v: __m512, y: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe {
                let positive = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(y, _mm512_setzero_ps());
                _mm512_maskz_mov_ps(positive, v)
            }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
            // SAFETY: as above, for 16 rows.
            unsafe {
                // In loops: the closures of `map` were not inlined, and so not compiled for the instruction set.
                let mut rows = [_mm512_setzero_ps(); 16];
                let mut pairs = [_mm512_setzero_ps(); 16];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = _mm512_loadu_ps(from.add(i * stride));
                }
                for i in 0..8 {
                    pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
                    pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
                }
                // Quarter q of rows[4 g + c] becomes column 4 q + c of rows 4 g to 4 g + 3.
                for g in 0..4 {
                    for h in 0..2 {
                        let a = _mm512_castps_pd(pairs[4 * g + h]);
                        let b = _mm512_castps_pd(pairs[4 * g + h + 2]);
                        rows[4 * g + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                        rows[4 * g + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                    }
                }
                for c in 0..4 {
                    let a = _mm512_shuffle_f32x4::<0x88>(rows[c], rows[c + 4]);
                    let b = _mm512_shuffle_f32x4::<0x88>(rows[c + 8], rows[c + 12]);
                    let d = _mm512_shuffle_f32x4::<0xdd>(rows[c], rows[c + 4]);
                    let e = _mm512_shuffle_f32x4::<0xdd>(rows[c + 8], rows[c + 12]);
                    _mm512_storeu_ps(to.add(c * to_stride), _mm512_shuffle_f32x4::<0x88>(a, b));
                    _mm512_storeu_ps(to.add((c + 4) * to_stride), _mm512_shuffle_f32x4::<0x88>(d, e));
                    _mm512_storeu_ps(to.add((c + 8) * to_stride), _mm512_shuffle_f32x4::<0xdd>(a, b));
                    _mm512_storeu_ps(to.add((c + 12) * to_stride), _mm512_shuffle_f32x4::<0xdd>(d, e));
                }
            }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize) -> __m512 {
            // SAFETY: as above; lanes outside the mask are not touched.
            unsafe { _mm512_maskz_loadu_ps((1 << n) - 1, p) }
        }
        #[inline(always)]
        unsafe fn store_part(p: *mut f32, v: __m512, n: usize) {
            // SAFETY: as above; lanes outside the mask are not touched.
            unsafe { _mm512_mask_storeu_ps(p, (1 << n) - 1, v) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::Simd;

    /// NEON, which every 64-bit Arm processor has.
    pub(crate) struct Neon;

    // SAFETY of every block: NEON is part of the target, and the caller's pointers are good for WIDTH elements.
    impl Simd for Neon {
        type V = float32x4_t;
        const WIDTH: usize = 4;
        #[inline(always)]
        unsafe fn zero() -> float32x4_t {
            // SAFETY: as above.
            unsafe { vdupq_n_f32(0.0) }
        }
        #[inline(always)]
        unsafe fn splat(v: f32) -> float32x4_t {
            // SAFETY: as above.
            unsafe { vdupq_n_f32(v) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> float32x4_t {
            // SAFETY: as above.
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: float32x4_t) {
            // SAFETY: as above.
            unsafe { vst1q_f32(p, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            // SAFETY: as above.
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: as above.
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn dot(acc: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: as above. Lanes below 2⁻¹²⁶ keep their sign alone.
            unsafe {
                let high =
                    |v| vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0xffff << 16)));
                let low = |v| vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(v)));
                let flushed = |v| {
                    let small = vcltq_f32(vabsq_f32(v), vdupq_n_f32(f32::MIN_POSITIVE));
                    let magnitude = vandq_u32(small, vdupq_n_u32(i32::MAX as u32));
                    vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), magnitude))
                };
                let acc = flushed(vfmaq_f32(acc, high(a), high(b)));
                flushed(vfmaq_f32(acc, low(a), low(b)))
            }
        }
        #[inline(always)]
        unsafe fn relu(v: float32x4_t) -> float32x4_t {
            // SAFETY: as above. FMAX gives NaN when one operand is NaN.
            unsafe { vmaxq_f32(v, vdupq_n_f32(0.0)) }
        }
        #[inline(always)]
        unsafe fn keep_positive(v: float32x4_t, y: float32x4_t) -> float32x4_t {
            // SAFETY: as above. Lanes where y ≤ 0 are cleared; a NaN compares false and keeps its lane.
            unsafe {
                let negative = vcleq_f32(y, vdupq_n_f32(0.0));
                vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), negative))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Work};

    /// Dot products of words, a register at a time.
    struct Dots<'a>(&'a mut [f32], &'a [f32], &'a [f32]);

    impl Work for Dots<'_> {
        type Out = ();
        #[inline(always)]
        unsafe fn run<S: Simd, const MR: usize>(self) {
            for at in (0..self.0.len()).step_by(S::WIDTH) {
                let acc = self.0[at..at + S::WIDTH].as_mut_ptr();
                // SAFETY: the set was detected, and WIDTH elements exist from `at` on.
                unsafe {
                    let [a, b] = [self.1, self.2].map(|x| S::load(x[at..at + S::WIDTH].as_ptr()));
                    S::store(acc, S::dot(S::load(acc), a, b));
                }
            }
        }
    }

    #[test]
    fn dots_of_bf16_have_the_same_bits_on_every_set_with_the_unit_and_without() {
        let len = if cfg!(miri) { 1 << 8 } else { 1 << 18 };
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        // Exponents of half of the words are near 1, so that sums cancel; the others are any that an operand may have.
        let mut number = |near: bool| loop {
            let bits = random();
            let exponent = if near { 120 + (bits >> 23) % 12 } else { bits >> 23 & 0xff };
            let x = f32::from_bits(bits & 0x807f_ffff | exponent << 23);
            if x == 0.0 || x.is_normal() {
                return x;
            }
        };
        let halves = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
        let mut words = |i: usize| {
            let [low, high] = [0, 1].map(|_| halves(number(i.is_multiple_of(2))).to_bits());
            f32::from_bits(high | low >> 16)
        };
        let [a, b] = [0, 1].map(|_| (0..len).map(&mut words).collect::<Vec<_>>());
        let acc: Vec<f32> = (0..len).map(|i| number(i.is_multiple_of(2))).collect();
        let want: Vec<f32> = (0..len).map(|i| bf16::dot(acc[i], a[i], b[i])).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            #[cfg(target_arch = "x86_64")]
            if isa == Isa::Avx512 && !Isa::has_bf16() {
                println!("SKIPPED: the unit for dot products of bf16, which this machine does not have");
            }
            for with_unit in [true, false] {
                let mut got = acc.clone();
                let dots = Dots(&mut got, &a, &b);
                if with_unit {
                    isa.run_bf16(dots)
                } else {
                    isa.run(dots)
                }
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    assert!(
                        same,
                        "{} {with_unit}: {got:?} for {want:?}, {:?} + {:x} · {:x}",
                        isa.name(),
                        acc[i],
                        a[i].to_bits(),
                        b[i].to_bits()
                    );
                }
            }
        }
    }
}
