//! Sums by a balanced binary tree over groups.

/// Takes leaves in order, some of which may be absent: a node with one child is that child, so nothing is added that is not there. A
/// subtree of a power of two of leaves is a leaf of the tree above it, wherever it was summed.
pub(super) struct Tree<T, F> {
    levels: Vec<Option<Option<T>>>, // finished nodes that wait for the one to their right, from the leaves up
    add: F,
}

impl<T, F: FnMut(T, T) -> T> Tree<T, F> {
    /// No leaves yet; `add` gives the sum of a left and a right one.
    pub(super) fn new(add: F) -> Self {
        Self { levels: Vec::new(), add }
    }

    /// Adds the next leaf.
    pub(super) fn push(&mut self, leaf: Option<T>) {
        let mut node = leaf;
        for level in &mut self.levels {
            let Some(left) = level.take() else {
                *level = Some(node);
                return;
            };
            node = match (left, node) {
                (Some(left), Some(right)) => Some((self.add)(left, right)),
                (one, other) => one.or(other),
            };
        }
        self.levels.push(Some(node));
    }

    /// The root over a power of two of leaves.
    pub(super) fn root(mut self) -> Option<T> {
        self.levels.pop()?.flatten()
    }

    /// The root over all of `leaves`.
    pub(super) fn sum(leaves: impl IntoIterator<Item = Option<T>>, add: F) -> Option<T> {
        let mut tree = Self::new(add);
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree.root()
    }
}

/// Adds element by element.
pub(super) fn add<E: num_traits::NumAssign + Copy>(mut left: Vec<E>, right: Vec<E>) -> Vec<E> {
    left.iter_mut().zip(right).for_each(|(l, r)| *l += r);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree written out: of leaves a, b, c, d (a + b) + (c + d).
    #[test]
    fn order_is_that_of_the_tree_wherever_it_is_cut() {
        let add = |a: String, b: String| format!("({a}{b})");
        let leaf = |i: usize| (i != 2 && i != 4 && i != 5).then(|| i.to_string());
        let whole = Tree::sum((0..8).map(leaf), add).unwrap();
        assert_eq!(whole, "(((01)3)(67))");
        for ranks in [1, 2, 4, 8] {
            let of_rank = |r: usize| Tree::sum((r * 8 / ranks..(r + 1) * 8 / ranks).map(leaf), add);
            assert_eq!(Tree::sum((0..ranks).map(of_rank), add).unwrap(), whole);
        }
    }

    #[test]
    fn nothing_sums_to_nothing() {
        assert_eq!(Tree::sum([None::<f32>, None], |a: f32, b| a + b), None);
        assert_eq!(Tree::sum([Some(-0.0_f32), None], |a, b| a + b).unwrap().to_bits(), (-0.0_f32).to_bits());
    }
}
