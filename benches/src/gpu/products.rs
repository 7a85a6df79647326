//! Products of the standard model.

use optmsm_core::backend::{self, Backend, Epilogue, Layout, Products, Write};

use super::{Measured, Result, Rotation, Timer};

/// How a layer's weights are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// One weight.
    One,
    /// N side by side in columns: the experts.
    Columns(usize),
    /// N, for the rows of N scenarios.
    Rows(usize),
}

/// A linear layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Its name in the model.
    pub name: &'static str,
    /// Columns of a weight's input.
    pub inputs: usize,
    /// Columns of its output.
    pub outputs: usize,
    /// Weights.
    pub groups: Groups,
}

const fn layer(name: &'static str, inputs: usize, outputs: usize, groups: Groups) -> Layer {
    Layer { name, inputs, outputs, groups }
}

/// The layers of the standard model.
pub const LAYERS: [Layer; 6] = [
    layer("experts, first", 256, 768, Groups::One),
    layer("experts, second", 256, 128, Groups::Columns(3)),
    layer("specific", 80, 64, Groups::One),
    layer("tower, left", 192, 32, Groups::One),
    layer("tower, core", 32, 32, Groups::Rows(3)),
    layer("tower, right", 32, 128, Groups::One),
];

/// Which product of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// y = x Wᵀ.
    Forward,
    /// ∂x = ∂y W.
    Dx,
    /// ∂W = ∂yᵀ x.
    Dw,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Dx, Self::Dw];

    /// Name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Dx => "dx",
            Self::Dw => "dw",
        }
    }
}

impl Layer {
    /// Weights, and columns of the layer's whole input and output.
    pub fn sizes(&self) -> (usize, usize, usize) {
        match self.groups {
            Groups::One => (1, self.inputs, self.outputs),
            Groups::Columns(g) => (g, g * self.inputs, g * self.outputs),
            Groups::Rows(g) => (g, self.inputs, self.outputs),
        }
    }

    /// `one`, `columns` or `rows`, as the peers know it.
    pub fn grouping(&self) -> &'static str {
        match self.groups {
            Groups::One => "one",
            Groups::Columns(_) => "columns",
            Groups::Rows(_) => "rows",
        }
    }

    /// Times one product over `rows` rows.
    ///
    /// # Errors
    /// When memory is short, or the device failed.
    pub fn measure<B: Backend<Elem = f32>>(&self, t: &Timer<B>, kind: Kind, rows: usize) -> Result<Measured> {
        let (groups, inputs, outputs) = self.sizes();
        let be = t.be;
        let weights = groups * self.inputs * self.outputs;
        let bytes = 4 * (rows * (inputs + outputs) + weights);
        let slots = t.slots(bytes);
        let mut x = Rotation::new(be, slots, rows, inputs, "x")?;
        let mut y = Rotation::new(be, slots, rows, outputs, "y")?;
        let mut w = Rotation::new(be, 2, groups * self.outputs, self.inputs, "w")?;
        let mut offsets = be.alloc_ids(groups + 1)?;
        be.upload_ids(&mut offsets, &(0..=groups).map(|g| (g * rows / groups) as u32).collect::<Vec<_>>());
        let by = || match self.groups {
            Groups::One => backend::Groups::One(0),
            Groups::Columns(_) => backend::Groups::Columns,
            Groups::Rows(_) => backend::Groups::Rows(&offsets),
        };
        let seconds = if kind == Kind::Dw {
            // One place: what is written is small and stays in the cache, as in a step.
            t.call(|i| be.linear_dw(w.mat_mut(0), Write::Set, y.mat(i), x.mat(i), by()))?
        } else {
            let mut packed = be.alloc_packed(groups, self.outputs, self.inputs, Products::Both)?;
            be.pack(&mut packed, w.mat(0), Layout::OutIn);
            match kind {
                Kind::Forward => {
                    t.call(|i| be.linear(y.mat_mut(i), x.mat(i), &packed, by(), Epilogue::NONE))?
                }
                _ => t.call(|i| be.linear_dx(x.mat_mut(i), Write::Set, y.mat(i), &packed, by(), None))?,
            }
        };
        // A row meets one weight, or under Columns each with its own columns.
        let met = if let Groups::Columns(g) = self.groups { g } else { 1 };
        let flop = 2.0 * (rows * met * self.inputs * self.outputs) as f64;
        let name = format!("{} {}", self.name, kind.name());
        Ok(Measured { name, rows, seconds, bytes: bytes as f64, flop })
    }
}
