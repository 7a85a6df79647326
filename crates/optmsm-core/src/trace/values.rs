//! Buffers, in which some columns of the rows of a block are nodes of the graph and everything else is numbers.

use super::{NodeId, Op, ROWS, Tracer};
use crate::backend::{Elem, Mat, MatMut, Write};

/// Memory of elements.
#[derive(Debug)]
pub struct Buf<T> {
    pub(super) values: Vec<T>,
    /// Columns that hold nodes, by rising first column.
    pieces: Vec<Piece>,
    /// Elements from one row to the next, where there are pieces.
    stride: usize,
    /// The numeric field whose values it holds.
    pub(super) field: Option<usize>,
}

/// Columns of a buffer that are columns of a node.
#[derive(Clone, Copy, Debug)]
struct Piece {
    first: usize,
    width: usize,
    node: NodeId,
    column: usize,
}

/// Where a matrix lies in the rows of a block: one of `parts · ROWS` rows is `parts` runs of columns side by side.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    width: usize,
    stride: usize,
}

impl<T: Elem> Buf<T> {
    pub(super) fn zeros(len: usize) -> Self {
        Self { values: vec![T::zero(); len], pieces: Vec::new(), stride: 0, field: None }
    }

    pub(super) fn of_field(number: usize) -> Self {
        Self { field: Some(number), ..Self::zeros(0) }
    }
}

/// The numbers of a matrix.
pub(super) fn plain<'a, T>(m: Mat<'a, Buf<T>>) -> Mat<'a, Vec<T>> {
    Mat { buf: &m.buf.values, offset: m.offset, rows: m.rows, cols: m.cols, stride: m.stride }
}

/// The same to write. What was a node there is one no longer.
pub(super) fn plain_mut<'a, T>(m: MatMut<'a, Buf<T>>) -> MatMut<'a, Vec<T>> {
    if !m.buf.pieces.is_empty() {
        let place = place(m.as_mat());
        m.buf.cut(place);
    }
    MatMut { buf: &mut m.buf.values, offset: m.offset, rows: m.rows, cols: m.cols, stride: m.stride }
}

/// Runs of columns of a matrix in each row of the block.
pub(super) fn parts<T>(m: &Mat<Buf<T>>) -> usize {
    m.rows / ROWS
}

fn place<T>(m: Mat<Buf<T>>) -> Place {
    let parts = parts(&m);
    assert!(parts > 0 && parts * ROWS == m.rows, "{} rows of a block of {ROWS}", m.rows);
    assert!(parts == 1 || m.stride == m.cols, "parts of rows with gaps between them");
    let place = Place { first: m.offset, width: parts * m.cols, stride: parts * m.stride };
    assert!(place.first + place.width <= place.stride, "a part of the rows of a block");
    place
}

/// Whether a matrix has columns that depend on rows.
pub(super) fn varies<T>(m: &Mat<Buf<T>>) -> bool {
    if m.buf.pieces.is_empty() || m.cols == 0 {
        return false;
    }
    let Place { first, width, stride } = place(*m);
    assert_eq!(stride, m.buf.stride, "elements from one row to the next");
    m.buf.pieces.iter().any(|p| p.first < first + width && first < p.first + p.width)
}

impl<T> Buf<T> {
    /// Takes away the nodes of some columns.
    fn cut(&mut self, Place { first, width, stride }: Place) {
        assert!(self.pieces.is_empty() || self.stride == stride, "elements from one row to the next");
        let end = first + width;
        let left = |p: &Piece| Piece { width: first.saturating_sub(p.first).min(p.width), ..*p };
        let right = |p: &Piece| {
            let skipped = end.saturating_sub(p.first).min(p.width);
            Piece { first: p.first + skipped, width: p.width - skipped, column: p.column + skipped, ..*p }
        };
        let rest = self.pieces.iter().flat_map(|p| [left(p), right(p)]).filter(|p| p.width > 0);
        self.pieces = rest.collect();
        self.pieces.sort_by_key(|p| p.first);
    }

    fn put(&mut self, piece: Piece, place: Place) {
        self.cut(place);
        self.stride = place.stride;
        let at = self.pieces.partition_point(|p| p.first < piece.first);
        self.pieces.insert(at, piece);
    }
}

impl<T: Elem> Tracer<T> {
    /// The nodes of a matrix's columns with the first of their columns and how many, from left to right. Columns of numbers are those
    /// of a constant, for which they have to be the same in all rows.
    fn pieces(&self, m: Mat<Buf<T>>) -> Vec<(NodeId, usize, usize)> {
        let Place { first, width, stride } = place(m);
        assert!(m.buf.pieces.is_empty() || m.buf.stride == stride, "elements from one row to the next");
        let (mut at, end, mut found) = (first, first + width, Vec::new());
        let constant = |from: usize, to: usize| {
            let row = |i: usize| &m.buf.values[i * stride + from..i * stride + to];
            assert!((1..ROWS).all(|i| row(i) == row(0)), "numbers that differ from row to row");
            (self.row(row(0).to_vec()), 0, to - from)
        };
        for p in m.buf.pieces.iter().filter(|p| p.first < end && first < p.first + p.width) {
            let (from, to) = (p.first.max(first), (p.first + p.width).min(end));
            if from > at {
                found.push(constant(at, from));
            }
            let (column, width) = (p.column + from - p.first, to - from);
            match found.last_mut() {
                Some((node, first, before)) if *node == p.node && *first + *before == column => {
                    *before += width
                }
                _ => found.push((p.node, column, width)),
            }
            at = to;
        }
        if at < end {
            found.push(constant(at, end));
        }
        found
    }

    /// A node of the same numbers in every row.
    pub(super) fn row(&self, data: Vec<T>) -> NodeId {
        let width = data.len();
        let constant = self.constant(&[width], data);
        self.push(Op::Row(constant), width)
    }

    /// The node of a matrix.
    pub(super) fn read(&self, m: Mat<Buf<T>>) -> NodeId {
        let pieces: Vec<_> = self.pieces(m).into_iter().map(|piece| self.slice(piece)).collect();
        match *pieces {
            [whole] => whole,
            _ => self.push(Op::Concat(pieces), parts(&m) * m.cols),
        }
    }

    fn slice(&self, (node, column, width): (NodeId, usize, usize)) -> NodeId {
        if column == 0 && width == self.graph().width(node) {
            return node;
        }
        self.push(Op::Slice(node, column), width)
    }

    /// Makes a matrix a node's, or adds it.
    pub(super) fn write(&self, m: MatMut<Buf<T>>, write: Write, node: NodeId) {
        let place = place(m.as_mat());
        assert_eq!(self.graph().width(node), place.width, "columns");
        let node = match write {
            Write::Add if !self.is_zero(m.as_mat()) => {
                let before = self.read(m.as_mat());
                self.push(Op::Add(before, node), place.width)
            }
            _ => node,
        };
        m.buf.put(Piece { first: place.first, width: place.width, node, column: 0 }, place);
    }

    /// Copies nodes without a step in between.
    pub(super) fn copy_nodes(&self, m: MatMut<Buf<T>>, src: Mat<Buf<T>>) {
        let Place { mut first, stride, .. } = place(m.as_mat());
        for (node, column, width) in self.pieces(src) {
            m.buf.put(Piece { first, width, node, column }, Place { first, width, stride });
            first += width;
        }
    }

    /// Whether all columns are zeros.
    fn is_zero(&self, m: Mat<Buf<T>>) -> bool {
        let row = |i: usize| &m.buf.values[m.offset + i * m.stride..][..m.cols];
        !varies(&m) && (0..m.rows).all(|i| row(i).iter().all(|v| *v == T::zero()))
    }

    /// A constant of a matrix that depends on no row.
    pub(super) fn constant_of(&self, m: Mat<Buf<T>>, shape: &[usize]) -> super::ConstId {
        self.constant(shape, self.numbers(m))
    }

    /// The elements of a matrix that depends on no row.
    pub(super) fn numbers(&self, m: Mat<Buf<T>>) -> Vec<T> {
        assert!(m.buf.pieces.is_empty() && m.buf.field.is_none(), "weights that depend on rows");
        let row = |i: usize| &m.buf.values[m.offset + i * m.stride..][..m.cols];
        (0..m.rows).flat_map(|i| row(i).iter().copied()).collect()
    }
}
