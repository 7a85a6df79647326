//! Dense parameters: one flat buffer, and handles that name its parts.
//!
//! One buffer means that the optimizer, the norm for clipping and the sum over lanes are one pass each.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::{Backend, Elem, Mat, MatMut};
use crate::error::{Error, Result, TensorErrorKind};
use crate::philox::Stream;
use crate::rounding::TableDtype;

/// Tensors start at multiples of this many elements: a cache line of `f32`.
pub(crate) const ALIGN: usize = 16;

/// Handle of one tensor of a [`ParamLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(usize);

/// How a tensor starts (model.md §7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zero,
    /// All ones.
    One,
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// The flattened identity of this size.
    Identity(usize),
}

/// One tensor: name, shape, start.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Checkpoint name (model.md §10).
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// First element in the flat buffer.
    pub offset: usize,
}

/// An embedding table: only the rows that a batch touches have a gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Checkpoint name.
    pub name: String,
    /// Vocabulary with the out-of-vocabulary row.
    pub rows: usize,
    /// d.
    pub width: usize,
    /// How it is stored.
    pub dtype: TableDtype,
    /// How it starts.
    pub init: Init,
    /// Whether training leaves it as it is.
    pub frozen: bool,
    /// The fields that read it, in schema order.
    pub fields: Vec<usize>,
    /// Its number among the tables that several fields read.
    pub shared: Option<usize>,
}

impl ParamSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a matrix: all dimensions but the last are rows.
    fn matrix(&self) -> (usize, usize) {
        let cols = self.shape.last().copied().unwrap_or(1);
        (self.len() / cols.max(1), cols)
    }

    /// Initial values; they depend on `seed` and the name alone, and are the same on every platform.
    pub fn initial<E: Elem>(&self, seed: u64) -> Vec<E> {
        initial(&self.name, 0..self.len(), self.init, seed)
    }
}

/// Elements `range` of the initial values of the tensor `name`.
pub fn initial<E: Elem>(name: &str, range: Range<usize>, init: Init, seed: u64) -> Vec<E> {
    match init {
        Init::Zero => vec![E::zero(); range.len()],
        Init::One => vec![E::one(); range.len()],
        Init::Normal(std) => {
            let stream = Stream::new(seed, name);
            // Rounded to f32 first, so that every element type starts from the same numbers.
            range.map(|i| E::of(f64::from((std * stream.normal(i as u64)) as f32))).collect()
        }
        Init::Identity(n) => range.map(|i| if i / n % n == i % n { E::one() } else { E::zero() }).collect(),
    }
}

/// Names, shapes and places of the tensors in a flat buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamLayout {
    specs: Vec<ParamSpec>,
    len: usize,
}

impl ParamLayout {
    /// Appends a tensor.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> ParamId {
        let spec = ParamSpec { name: name.into(), shape: shape.to_vec(), init, offset: self.len };
        self.len += spec.len().next_multiple_of(ALIGN);
        self.specs.push(spec);
        ParamId(self.specs.len() - 1)
    }

    /// Elements of the flat buffer, with the padding between tensors (always 0).
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// The tensors, in order.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// The flat buffer without these tensors.
    pub fn without(&self, excluded: &[ParamId]) -> Vec<Range<usize>> {
        let mut out: Vec<&ParamSpec> = excluded.iter().map(|&id| self.spec(id)).collect();
        out.sort_by_key(|spec| spec.offset);
        let mut start = 0;
        let mut ranges = Vec::new();
        for spec in out {
            ranges.push(start..spec.offset);
            start = spec.offset + spec.len();
        }
        ranges.push(start..self.len);
        ranges.retain(|range| !range.is_empty());
        ranges
    }

    /// One tensor.
    pub fn spec(&self, id: ParamId) -> &ParamSpec {
        &self.specs[id.0]
    }
}

/// A flat buffer with its layout: parameters, their gradients or their optimizer state.
#[derive(Debug)]
pub struct Flat<B: Backend> {
    /// All tensors.
    pub buf: B::Buf,
    layout: Arc<ParamLayout>,
}

impl<B: Backend> Flat<B> {
    /// Zeros.
    pub fn new(be: &B, layout: &Arc<ParamLayout>) -> Result<Self> {
        Ok(Self { buf: be.alloc(layout.len())?, layout: Arc::clone(layout) })
    }

    /// Initial values of a seed.
    pub fn init(&mut self, be: &B, seed: u64) {
        let mut host = vec![B::Elem::default(); self.layout.len()];
        for spec in self.layout.specs() {
            host[spec.offset..spec.offset + spec.len()].copy_from_slice(&spec.initial::<B::Elem>(seed));
        }
        be.upload(&mut self.buf, &host);
    }

    /// Names and places.
    pub fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    /// A tensor as a matrix: all dimensions but the last are rows.
    pub fn mat(&self, id: ParamId) -> Mat<'_, B::Buf> {
        let spec = self.layout.spec(id);
        let (rows, cols) = spec.matrix();
        Mat { buf: &self.buf, offset: spec.offset, rows, cols, stride: cols }
    }

    /// The same to write.
    pub fn mat_mut(&mut self, id: ParamId) -> MatMut<'_, B::Buf> {
        let spec = self.layout.spec(id);
        let (rows, cols) = spec.matrix();
        MatMut { buf: &mut self.buf, offset: spec.offset, rows, cols, stride: cols }
    }

    /// First element of a tensor in the flat buffer.
    pub fn offset(&self, id: ParamId) -> usize {
        self.layout.spec(id).offset
    }

    /// A tensor as a matrix of `rows` equal rows.
    pub fn mat_as(&self, id: ParamId, rows: usize) -> Mat<'_, B::Buf> {
        let spec = self.layout.spec(id);
        let cols = spec.len() / rows;
        Mat { buf: &self.buf, offset: spec.offset, rows, cols, stride: cols }
    }

    /// The same to write.
    pub fn mat_as_mut(&mut self, id: ParamId, rows: usize) -> MatMut<'_, B::Buf> {
        let spec = self.layout.spec(id);
        let cols = spec.len() / rows;
        MatMut { buf: &mut self.buf, offset: spec.offset, rows, cols, stride: cols }
    }

    /// A tensor's elements in host memory.
    ///
    /// # Errors
    /// When the device failed.
    pub fn to_host(&self, be: &B, id: ParamId) -> Result<Vec<f64>> {
        to_host(be, &self.buf, self.offset(id), self.layout.spec(id).len())
    }

    /// Some elements as a row vector.
    pub fn range_mut(&mut self, range: Range<usize>) -> MatMut<'_, B::Buf> {
        let (offset, cols) = (range.start, range.len());
        MatMut { buf: &mut self.buf, offset, rows: 1, cols, stride: cols }
    }
}

/// `len` elements of a buffer in host memory.
///
/// # Errors
/// When the device failed.
pub(crate) fn to_host<B: Backend>(be: &B, buf: &B::Buf, offset: usize, len: usize) -> Result<Vec<f64>> {
    let mut elements = vec![B::Elem::default(); len];
    be.download(&mut elements, buf, offset)?;
    Ok(elements.into_iter().map(Elem::wide).collect())
}

impl ParamLayout {
    /// Copies every tensor of a flat buffer to `sink`; `name` turns a parameter's name into the exported one.
    pub fn export<B: Backend>(
        &self,
        be: &B,
        buf: &B::Buf,
        sink: &mut dyn TensorSink<B::Elem>,
        name: impl Fn(&str) -> String,
    ) -> Result<()> {
        let mut host = vec![B::Elem::default(); self.len];
        be.download(&mut host, buf, 0)?;
        for spec in &self.specs {
            sink.begin(&name(&spec.name), &spec.shape, TableDtype::F32);
            sink.piece(&host[spec.offset..spec.offset + spec.len()]);
        }
        Ok(())
    }

    /// Takes every tensor of a flat buffer from `source`, which is asked by name.
    pub fn import<B: Backend>(
        &self,
        be: &B,
        buf: &mut B::Buf,
        source: &dyn TensorSource<B::Elem>,
        name: impl Fn(&str) -> String,
    ) -> Result<()> {
        let mut host = vec![B::Elem::default(); self.len];
        for spec in &self.specs {
            let data = source.tensor(&name(&spec.name), &spec.shape)?;
            host[spec.offset..spec.offset + spec.len()].copy_from_slice(&data);
        }
        be.upload(buf, &host);
        Ok(())
    }
}

/// A named tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor<E> {
    /// Checkpoint name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<E>,
}

/// Where tensors come from: a list in memory, or a checkpoint file.
pub trait TensorSource<E> {
    /// The values of `name`, which must have this shape.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<E>>;

    /// The same in order, in pieces of any number of whole rows, so that a table need not be copied as a whole.
    fn pieces(&self, name: &str, shape: &[usize], each: &mut dyn FnMut(&[E]) -> Result<()>) -> Result<()> {
        each(&self.tensor(name, shape)?)
    }
}

/// Where tensors go: a list in memory, or a checkpoint file.
pub trait TensorSink<E> {
    /// A tensor begins; what [`TensorSink::piece`] brings until the next one is its elements, in order.
    fn begin(&mut self, name: &str, shape: &[usize], dtype: TableDtype);
    /// The next elements of the tensor that began last: numbers that its type holds exactly.
    fn piece(&mut self, data: &[E]);
}

impl<E: Elem> TensorSink<E> for Vec<HostTensor<E>> {
    fn begin(&mut self, name: &str, shape: &[usize], _: TableDtype) {
        let data = Vec::with_capacity(shape.iter().product());
        self.push(HostTensor { name: name.into(), shape: shape.into(), data });
    }

    fn piece(&mut self, data: &[E]) {
        if let Some(tensor) = self.last_mut() {
            tensor.data.extend_from_slice(data);
        }
    }
}

impl<E: Elem> TensorSource<E> for Vec<HostTensor<E>> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<E>> {
        let Some(found) = self.iter().find(|t| t.name == name) else {
            return Err(Error::tensor(name, TensorErrorKind::Missing));
        };
        if found.shape != shape {
            return Err(Error::tensor(name, TensorErrorKind::shape(&found.shape, shape)));
        }
        Ok(found.data.clone())
    }
}

/// A matrix that owns its memory: one activation of a block.
#[derive(Debug)]
pub struct Tensor<B: Backend> {
    buf: B::Buf,
    cols: usize,
}

impl<B: Backend> Tensor<B> {
    /// Zeros.
    pub fn new(be: &B, rows: usize, cols: usize) -> Result<Self> {
        Ok(Self { buf: be.alloc(rows * cols)?, cols })
    }

    /// The first `rows` rows.
    pub fn mat(&self, rows: usize) -> Mat<'_, B::Buf> {
        Mat::new(&self.buf, rows, self.cols)
    }

    /// The first `rows` rows, to write.
    pub fn mat_mut(&mut self, rows: usize) -> MatMut<'_, B::Buf> {
        MatMut::new(&mut self.buf, rows, self.cols)
    }

    /// The memory.
    pub fn buf(&self) -> &B::Buf {
        &self.buf
    }

    /// The memory, to write.
    pub fn buf_mut(&mut self) -> &mut B::Buf {
        &mut self.buf
    }
}
