//! Dropout, many words at once.

use std::iter::from_fn;

use optmsm_core::backend::Dropout;
use optmsm_core::philox::philox4x32;

use crate::ops::MM;
use crate::rows::row_mut;

/// Quads of columns whose words are drawn at once: several registers of each word, and a stack of 1.5 kB. A row
/// takes as many of them as it has, so that narrow rows share a draw.
const QUADS: usize = 64;

/// Neighbouring quads of a row: `n` from quad `quad` of row `b`, whose words are at `at`.
struct Run {
    b: usize,
    quad: usize,
    at: usize,
    n: usize,
}

/// The next [`QUADS`] quads from quad `quad` of row `b`, or those that are left of `rows` rows of `quads`.
#[inline(always)]
fn runs(mut b: usize, mut quad: usize, rows: usize, quads: usize) -> impl Iterator<Item = Run> {
    let mut at = 0;
    from_fn(move || {
        (b < rows && at < QUADS).then(|| {
            let run = Run { b, quad, at, n: (quads - quad).min(QUADS - at) };
            at += run.n;
            quad += run.n;
            if quad == quads {
                (b, quad) = (b + 1, 0);
            }
            run
        })
    })
}

/// Drops elements of `x`; row `b` is row `places[b]` of the input.
#[inline(always)]
pub(crate) fn dropout(x: &mut MM, drop: &Dropout, places: &[u32]) {
    let (threshold, scale) = (drop.threshold(), (1.0 / (1.0 - drop.p)) as f32);
    let quads = x.cols.div_ceil(4);
    // Parts of the counters that are the same for every row and quad, and the key.
    let ([_, _, site, step], key) = drop.counter(0, 0);
    let ([mut row_of, mut quad_of], mut words) = ([[0; QUADS]; 2], [[0; 4]; QUADS]);
    for start in (0..x.rows * quads).step_by(QUADS) {
        let (first, quad) = (start / quads, start % quads);
        for Run { b, quad, at, n } in runs(first, quad, x.rows, quads) {
            row_of[at..at + n].fill(places[b]);
            quad_of[at..at + n].iter_mut().zip(quad as u32..).for_each(|(of, quad)| *of = quad);
        }
        // All of them, past the last quad as well: a constant number of turns leaves no rest that is not vectorised.
        for i in 0..QUADS {
            words[i] = philox4x32([row_of[i], quad_of[i], site, step], key);
        }
        for Run { b, quad, at, n } in runs(first, quad, x.rows, quads) {
            let x = row_mut(x, b)[4 * quad..].iter_mut();
            let words = words[at..at + n].as_flattened();
            x.zip(words).for_each(|(x, &word)| *x = if word >= threshold { *x * scale } else { 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use optmsm_core::backend::MatMut;

    use super::*;
    use crate::Isa;
    use crate::memory::Buffer;

    /// Rows narrower than a draw, wider, and as wide; whole quads and parts; a last draw that is not full.
    #[test]
    fn every_word_is_that_of_its_row_and_quad() {
        let drop = Dropout { p: 0.4, seed: 0x1234_5678_9abc_def0, step: 7, site: 3 };
        let scale = (1.0 / 0.6) as f32;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for (rows, cols) in [(0, 3), (3, 0), (1, 1), (70, 1), (70, 10), (9, 64), (5, 256), (2, 1037)] {
                let (offset, stride) = (5, cols + 3);
                let places: Vec<u32> = (0..rows as u32).map(|b| b.wrapping_mul(0x9E37_79B9)).collect();
                let before: Buffer = (0..offset + rows * stride).map(|i| 1.0 + i as f32).collect();
                let mut x = before.clone();
                let mut m = MatMut { buf: &mut x, offset, rows, cols, stride };
                isa.vectorise(
                    #[inline(always)]
                    || dropout(&mut m, &drop, &places),
                );
                let mut want = before;
                for (b, &place) in places.iter().enumerate() {
                    for j in 0..cols {
                        let (counter, key) = drop.counter(place, (j / 4) as u32);
                        let kept = philox4x32(counter, key)[j % 4] >= drop.threshold();
                        let v = &mut want[offset + b * stride + j];
                        *v = if kept { *v * scale } else { 0.0 };
                    }
                }
                assert_eq!(x[..], want[..], "{isa:?}, {rows} rows of {cols}");
            }
        }
    }
}
