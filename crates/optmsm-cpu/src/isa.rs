//! Instruction sets: which one this machine has, and code compiled for each of them.

#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
use crate::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512F on x86-64.
    Avx512,
    /// AVX2 with FMA on x86-64.
    Avx2,
    /// NEON on 64-bit Arm.
    Neon,
    /// Any machine.
    Portable,
}

impl Isa {
    /// All of them, fastest first.
    pub const ALL: [Isa; 4] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable];

    /// Name in messages and in `OPTMSM_REQUIRE`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }

    /// Whether this machine runs it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                // The compiler takes F16C for granted where AVX-512F is enabled.
                let f16c = is_x86_feature_detected!("f16c");
                f16c && is_x86_feature_detected!("avx512f") && Isa::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Neon => cfg!(target_arch = "aarch64"),
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
            Isa::Neon | Isa::Portable => 8,
        }
    }

    /// Runs `work` compiled for this instruction set: once per block of rows, not once per row.
    ///
    /// # Panics
    /// When this machine does not have it.
    #[inline(always)]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Out {
        assert!(self.is_available(), "{} is not available on this machine", self.name());
        // SAFETY: the instruction set was detected in the line above.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512(work),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2(work),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => work.run::<Neon, 8>(),
                _ => work.run::<Portable, 4>(),
            }
        }
    }

    /// Whether AVX-512 comes with dot products of bf16.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_bf16() -> bool {
        // The compiler takes AVX512-BW for granted where AVX512-BF16 is enabled.
        is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw")
    }

    /// The same for dot products of bf16, by the unit for them where this machine has one.
    #[inline(always)]
    pub(crate) fn run_bf16<W: Work>(self, work: W) -> W::Out {
        #[cfg(target_arch = "x86_64")]
        if self == Isa::Avx512 && self.is_available() && Isa::has_bf16() {
            // SAFETY: the instruction sets were detected in the line above.
            return unsafe { avx512_bf16(work) };
        }
        self.run(work)
    }

    /// The same for plain loops that the compiler vectorises.
    #[inline(always)]
    pub(crate) fn vectorise<R>(self, f: impl FnOnce() -> R) -> R {
        struct Loop<F>(F);
        impl<R, F: FnOnce() -> R> Work for Loop<F> {
            type Out = R;
            #[inline(always)]
            unsafe fn run<S: crate::simd::Simd, const MR: usize>(self) -> R {
                (self.0)()
            }
        }
        self.run(Loop(f))
    }
}

/// Something to compute with the registers of an instruction set.
pub(crate) trait Work {
    /// Result.
    type Out;
    /// Computes it; microkernels keep `MR` rows of two registers, or other tiles where [`Simd::PAIRS`](crate::simd::Simd::PAIRS).
    ///
    /// # Safety
    /// The instruction set of `S` was detected. Implementations are `#[inline(always)]`, so that they are compiled
    /// with it.
    unsafe fn run<S: crate::simd::Simd, const MR: usize>(self) -> Self::Out;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn avx512<W: Work>(work: W) -> W::Out {
    // 12 × 2 accumulators, 2 registers of B: 26 of 32: the tile of single panels and of weight gradients.
    // SAFETY: the caller detected AVX-512F, AVX2 and FMA.
    unsafe { work.run::<Avx512<false>, 12>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
unsafe fn avx512_bf16<W: Work>(work: W) -> W::Out {
    // SAFETY: the caller detected AVX-512F, AVX512-BF16, AVX2 and FMA.
    unsafe { work.run::<Avx512<true>, 12>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<W: Work>(work: W) -> W::Out {
    // 6 × 2 accumulators, 2 registers of B and one of A: 15 of 16.
    // SAFETY: the caller detected AVX2 and FMA.
    unsafe { work.run::<Avx2, 6>() }
}
