//! From the order of launches to what each must wait for.
//!
//! A launch waits for the last ones before it that wrote what it reads or writes, and for those that read what it
//! writes. Everything else may run at the same time: branches of the model, and the weight gradients beside the way back.

use std::collections::HashMap;

use crate::work::{Region, Work};

/// For each launch of a [`Work`], the launches that it waits for, ascending; what follows from others is left out.
#[derive(Debug, Default)]
pub struct Hazards {
    edges: Vec<u32>,
    ends: Vec<usize>,
    accesses: HashMap<u64, Vec<(u32, Region)>>,
    before: Vec<u64>, // one bit set a launch: all that it waits for, directly or not
    direct: Vec<u32>,
}

impl Hazards {
    /// Finds them.
    pub fn find(&mut self, work: &Work) {
        let count = work.launches().len();
        let words = count.div_ceil(64);
        self.edges.clear();
        self.ends.clear();
        self.accesses.values_mut().for_each(Vec::clear);
        self.before.clear();
        self.before.resize(count * words, 0);
        for (number, launch) in work.launches().iter().enumerate() {
            self.direct.clear();
            for region in work.regions(launch) {
                let earlier = self.accesses.entry(region.base).or_default();
                let conflicts =
                    earlier.iter().filter(|(_, e)| (e.write || region.write) && e.overlaps(region));
                self.direct.extend(conflicts.map(|&(n, _)| n));
                if region.write {
                    // Whoever waits for this launch waits for those too.
                    earlier.retain(|(_, e)| !covers(region, e));
                }
            }
            for region in work.regions(launch) {
                self.accesses.entry(region.base).or_default().push((number as u32, *region));
            }
            self.direct.sort_unstable_by(|a, b| b.cmp(a));
            self.direct.dedup();
            let first = self.edges.len();
            let (done, own) = self.before.split_at_mut(number * words);
            for &n in &self.direct {
                let n = n as usize;
                if own[n / 64] >> (n % 64) & 1 == 1 {
                    continue;
                }
                self.edges.push(n as u32);
                own[n / 64] |= 1 << (n % 64);
                own[..words].iter_mut().zip(&done[n * words..(n + 1) * words]).for_each(|(o, d)| *o |= d);
            }
            self.edges[first..].reverse();
            self.ends.push(self.edges.len());
        }
    }

    /// Launches that launch `number` waits for.
    pub fn of(&self, number: usize) -> &[u32] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.edges[start..self.ends[number]]
    }

    /// All of them, one launch after the other, each with its number of edges before: equal lists, equal graphs.
    pub fn key(&self) -> (&[u32], &[usize]) {
        (&self.edges, &self.ends)
    }
}

/// Whether `outer` holds every byte of `inner`.
fn covers(outer: &Region, inner: &Region) -> bool {
    let solid = outer.width == outer.stride || outer.end - outer.start <= outer.width;
    let same = outer.stride == inner.stride && outer.start == inner.start && outer.end == inner.end;
    (solid && outer.start <= inner.start && inner.end <= outer.end) || (same && outer.width >= inner.width)
}

#[cfg(test)]
mod tests;
