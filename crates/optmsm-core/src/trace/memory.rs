//! Memory of the tracing backend.

use super::values::{plain, plain_mut, varies};
use super::{Buf, Op, Tracer};
use crate::backend::{Elem, Mat, MatMut, Memory, Products, Write};
use crate::error::Result;
use crate::reference;
use crate::rounding::TableDtype;

/// Memory of `u32`: numbers, or what they stand for in a row.
#[derive(Debug)]
pub struct Ids {
    pub(super) values: Vec<u32>,
    pub(super) tag: Tag,
}

/// Meaning of ids for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Nothing: they are numbers.
    Numbers,
    /// Its scenario.
    Scenarios,
    /// Where the rows of each scenario begin.
    Groups,
    /// Its ids of a field.
    Field(usize),
}

impl Ids {
    pub(super) fn tagged(tag: Tag) -> Self {
        Self { values: Vec::new(), tag }
    }

    /// The field whose ids they are.
    ///
    /// # Panics
    /// When they are others: a bug.
    pub(super) fn field(&self) -> usize {
        match self.tag {
            Tag::Field(number) => number,
            other => panic!("{other:?}, where ids of a field are looked up"),
        }
    }

    pub(super) fn assert_groups(&self) {
        assert_eq!(self.tag, Tag::Groups, "rows by scenario");
    }
}

/// An embedding table, without its rows.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub(super) number: usize,
}

/// Weights, which depend on no row.
#[derive(Clone, Debug)]
pub struct Packed<T>(pub(super) reference::Packed<T>);

impl<T: Elem> Memory for Tracer<T> {
    type Elem = T;
    type Buf = Buf<T>;
    type Ids = Ids;
    type Table = Table;
    type Packed = Packed<T>;

    fn name(&self) -> String {
        format!("tracer ({})", std::any::type_name::<T>())
    }

    fn lanes(&self) -> usize {
        1
    }

    fn block_rows(&self) -> usize {
        usize::MAX
    }

    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        lanes.iter_mut().enumerate().for_each(|(i, lane)| f(i, lane));
    }

    fn alloc(&self, len: usize) -> Result<Buf<T>> {
        Ok(Buf::zeros(len))
    }

    fn alloc_ids(&self, len: usize) -> Result<Ids> {
        Ok(Ids { values: vec![0; len], tag: Tag::Numbers })
    }

    fn len(&self, buf: &Buf<T>) -> usize {
        buf.values.len()
    }

    fn upload_at(&self, dst: &mut Buf<T>, offset: usize, src: &[T]) {
        self.plain.upload_at(&mut dst.values, offset, src);
    }

    fn upload_ids(&self, dst: &mut Ids, src: &[u32]) {
        self.plain.upload_ids(&mut dst.values, src);
    }

    fn download(&self, dst: &mut [T], src: &Buf<T>, offset: usize) -> Result<()> {
        self.plain.download(dst, &src.values, offset)
    }

    fn fill(&self, dst: MatMut<Buf<T>>, v: f64) {
        self.plain.fill(plain_mut(dst), v);
    }

    fn copy(&self, dst: MatMut<Buf<T>>, write: Write, src: Mat<Buf<T>>) {
        match write {
            Write::Set if varies(&src) => self.copy_nodes(dst, src),
            Write::Add if varies(&src) || varies(&dst.as_mat()) => {
                let node = self.read(src);
                self.write(dst, write, node);
            }
            _ => self.plain.copy(plain_mut(dst), write, plain(src)),
        }
    }

    fn alloc_table(&self, _: usize, _: usize, _: TableDtype) -> Result<Table> {
        Ok(Table { number: self.next_table() })
    }

    fn upload_rows(&self, _: &mut Table, _: usize, _: &[T]) {}

    fn download_rows(&self, _: &mut [T], _: &Table, _: usize) -> Result<()> {
        panic!("rows of a table, which is never read")
    }

    fn alloc_packed(
        &self,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> Result<Packed<T>> {
        Ok(Packed(self.plain.alloc_packed(groups, outputs, inputs, used)?))
    }

    fn packed_shape(&self, w: &Packed<T>) -> (usize, usize, usize) {
        self.plain.packed_shape(&w.0)
    }
}

impl<T: Elem> Tracer<T> {
    /// Rows of a constant `[S, width]` by scenario; of a single scenario the row itself.
    pub(super) fn by_scenario(&self, rows: usize, data: Vec<T>) -> super::NodeId {
        if rows == 1 {
            return self.row(data);
        }
        let width = data.len() / rows;
        let constant = self.constant(&[rows, width], data);
        self.push(Op::ByScenario(constant), width)
    }
}
