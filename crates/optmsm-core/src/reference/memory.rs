//! Memory, and lanes one after the other.

use ndarray::Zip;

use super::{Packed, Reference, Table, put, view, view_mut};
use crate::backend::{Layout, Mat, MatMut, Memory, Products, Write};
use crate::elem::Elem;
use crate::error::Result;
use crate::rounding::TableDtype;

impl<T: Elem> Memory for Reference<T> {
    type Elem = T;
    type Buf = Vec<T>;
    type Ids = Vec<u32>;
    type Table = Table<T>;
    type Packed = Packed<T>;

    fn name(&self) -> String {
        format!("reference ({})", std::any::type_name::<T>())
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn block_rows(&self) -> usize {
        self.block_rows
    }

    fn fields_by_id(&self) -> bool {
        self.fields_by_id
    }

    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        lanes.iter_mut().enumerate().for_each(|(i, lane)| f(i, lane));
    }

    fn alloc(&self, len: usize) -> Result<Vec<T>> {
        Ok(vec![T::zero(); len])
    }

    fn alloc_ids(&self, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }

    fn len(&self, buf: &Vec<T>) -> usize {
        buf.len()
    }

    fn upload_at(&self, dst: &mut Vec<T>, offset: usize, src: &[T]) {
        dst[offset..offset + src.len()].copy_from_slice(src);
    }

    fn upload_ids(&self, dst: &mut Vec<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn download(&self, dst: &mut [T], src: &Vec<T>, offset: usize) -> Result<()> {
        dst.copy_from_slice(&src[offset..offset + dst.len()]);
        Ok(())
    }

    fn fill(&self, dst: MatMut<Vec<T>>, v: f64) {
        view_mut(dst).fill(T::of(v));
    }

    fn copy(&self, dst: MatMut<Vec<T>>, write: Write, src: Mat<Vec<T>>) {
        Zip::from(view_mut(dst)).and(view(src)).for_each(|d, &s| put(d, write, s));
    }

    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Table<T>> {
        Ok(Table::new(rows, width, dtype))
    }

    fn upload_rows(&self, dst: &mut Table<T>, first: usize, src: &[T]) {
        dst.set_rows(first, src);
    }

    fn download_rows(&self, dst: &mut [T], src: &Table<T>, first: usize) -> Result<()> {
        dst.copy_from_slice(src.rows(first, dst.len()));
        Ok(())
    }

    fn alloc_packed(&self, groups: usize, outputs: usize, inputs: usize, _: Products) -> Result<Packed<T>> {
        let data = vec![T::zero(); groups * outputs * inputs];
        Ok(Packed { data, groups, outputs, inputs, layout: Layout::OutIn })
    }

    fn packed_shape(&self, w: &Packed<T>) -> (usize, usize, usize) {
        (w.groups, w.outputs, w.inputs)
    }
}
