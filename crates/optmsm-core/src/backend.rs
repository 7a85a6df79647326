//! The operations that layers are written in.
