//! Places ordered by id: a radix sort from the lowest digit up, whose time is linear in the number of ids.

/// Bits of a digit: its 2048 counts, 8 KiB, stay in the L1 cache, and ids below 2048 need one pass.
const BITS: u32 = 11;
const DIGITS: usize = 1 << BITS;

/// Memory of the sort; grows to the longest column, then allocates no more.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorter {
    pairs: Vec<u64>,
    spare: Vec<u64>,
}

impl Sorter {
    /// `(id, place)` of each id, by id; places of one id ascend.
    pub(super) fn by_id(&mut self, ids: &[u32]) -> impl Iterator<Item = (u32, u32)> + Clone {
        let Self { pairs, spare } = self;
        super::refill(pairs, ids.iter().zip(0..).map(|(&id, place)| u64::from(id) << 32 | place));
        spare.resize(pairs.len(), 0);
        let largest = ids.iter().copied().max().unwrap_or(0);
        for shift in (0..u32::BITS).step_by(BITS as usize).take_while(|shift| largest >> shift > 0) {
            let digit = |pair: u64| (pair >> (32 + shift)) as usize % DIGITS;
            let mut next = [0u32; DIGITS];
            pairs.iter().for_each(|&pair| next[digit(pair)] += 1);
            if next[digit(pairs[0])] as usize == pairs.len() {
                continue;
            }
            let mut before = 0;
            next.iter_mut().for_each(|n| before += std::mem::replace(n, before));
            for &pair in &*pairs {
                let n = &mut next[digit(pair)];
                spare[*n as usize] = pair;
                *n += 1;
            }
            std::mem::swap(pairs, spare);
        }
        pairs.iter().map(|&pair| ((pair >> 32) as u32, pair as u32))
    }
}

#[cfg(test)]
impl Sorter {
    pub(super) fn capacities(&self) -> [usize; 2] {
        [self.pairs.capacity(), self.spare.capacity()]
    }
}
