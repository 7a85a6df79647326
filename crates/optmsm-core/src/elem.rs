//! The element types that models compute in.

use std::fmt::Debug;

/// Element type of a backend: `f32`, or `f64` where gradients are checked.
pub trait Elem:
    num_traits::Float + num_traits::NumAssign + bytemuck::Pod + Debug + Default + Send + Sync + 'static
{
    /// Rounds to this type.
    fn of(v: f64) -> Self;
    /// Widens.
    fn wide(self) -> f64;
}

impl Elem for f32 {
    fn of(v: f64) -> Self {
        v as f32
    }
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Elem for f64 {
    fn of(v: f64) -> Self {
        v
    }
    fn wide(self) -> f64 {
        self
    }
}
