//! Values of embedding tables, in pieces.

use std::io::Write;

use optmsm_core::params::TableSpec;
use optmsm_data::DataError;

use crate::{Result, Trained};

/// Bytes of a table's values in 32 bits.
pub(crate) fn bytes(table: &TableSpec) -> u64 {
    4 * table.rows as u64 * table.width as u64
}

/// Writes the values of a table, little-endian, row after row.
pub(crate) fn write(trained: &Trained, table: &TableSpec, out: &mut impl Write, path: &str) -> Result<()> {
    let mut failed = None;
    trained.source.pieces(&table.name, &[table.rows, table.width], &mut |piece| {
        if failed.is_none() {
            failed = out.write_all(&little_endian(piece)).err();
        }
        Ok(())
    })?;
    failed.map_or(Ok(()), |e| Err(DataError::io(path, "write", e).into()))
}

/// The bytes of numbers, the least significant first.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    match cfg!(target_endian = "little") {
        true => bytemuck::cast_slice(values).to_vec(),
        false => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}
