//! Tensors in safetensors files, read and written in pieces: a table is never in memory a second time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use half::{bf16, f16};
use optmsm_core::rounding::TableDtype;
use optmsm_data::read_at;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

/// Bytes of the header's length in front of it.
const LENGTH: usize = 8;
/// Largest header that is read, as in the safetensors library.
const LARGEST: u64 = 100_000_000;
/// Elements that are widened at a time.
const PIECE: usize = 1 << 16;

/// Result whose error says in a few words what is wrong with a file.
pub(crate) type Checked<T> = Result<T, String>;

/// An open safetensors file whose header fits its length.
#[derive(Debug)]
pub(crate) struct TensorFile {
    file: File,
    metadata: Metadata,
    data: u64, // first byte behind the header
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// The outer one when the file cannot be opened, the inner one when it is no such file or was cut.
    pub(crate) fn open(path: &Path) -> std::io::Result<Checked<Self>> {
        Self::of(File::open(path)?)
    }

    /// Reads the header of an open file.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub(crate) fn of(mut file: File) -> std::io::Result<Checked<Self>> {
        file.seek(SeekFrom::Start(0))?;
        let size = file.metadata()?.len();
        Ok((|| {
            let text = |e: std::io::Error| e.to_string();
            let mut length = [0; LENGTH];
            file.read_exact(&mut length).map_err(text)?;
            let length = u64::from_le_bytes(length);
            if length > LARGEST.min(size - LENGTH as u64) {
                return Err(format!("a header of {length} bytes in a file of {size}"));
            }
            let data = LENGTH as u64 + length;
            let mut header = vec![0; length as usize];
            file.read_exact(&mut header).map_err(text)?;
            let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| e.to_string())?;
            match metadata.data_len() as u64 == size - data {
                true => Ok(Self { file, metadata, data }),
                false => Err(format!("tensors of {} bytes in {}", metadata.data_len(), size - data)),
            }
        })())
    }

    /// Value of an entry that the header has beside the tensors.
    pub(crate) fn entry(&self, key: &str) -> Option<&str> {
        Some(self.metadata.metadata().as_ref()?.get(key)?.as_str())
    }

    /// Names of the tensors, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort_unstable();
        names
    }

    /// One tensor.
    pub(crate) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// The bytes of a tensor, `most` at a time; `failed` makes an error of what the disk said.
    pub(crate) fn bytes<E>(
        &self,
        tensor: &TensorInfo,
        most: usize,
        failed: impl Fn(std::io::Error) -> E,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (start, end) = tensor.data_offsets;
        let mut bytes = Vec::new();
        for at in (start..end).step_by(most) {
            bytes.resize(most.min(end - at), 0);
            read_at(&self.file, &mut bytes, self.data + at as u64).map_err(&failed)?;
            each(&bytes)?;
        }
        Ok(())
    }

    /// The elements of a tensor of this type, in pieces of whole rows.
    pub(crate) fn pieces<E>(
        &self,
        tensor: &TensorInfo,
        dtype: TableDtype,
        failed: impl Fn(std::io::Error) -> E,
        mut each: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let row = tensor.shape.last().copied().unwrap_or(1).max(1);
        let mut wide = Vec::new();
        self.bytes(tensor, (PIECE / row).max(1) * row * dtype.bytes(), failed, |bytes| {
            let pairs = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
            wide.clear();
            match dtype {
                TableDtype::F32 => {
                    wide.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                }
                TableDtype::F16 => wide.extend(pairs.map(|b| f16::from_le_bytes(b).to_f32())),
                TableDtype::Bf16 => wide.extend(pairs.map(|b| bf16::from_le_bytes(b).to_f32())),
            }
            each(&wide)
        })
    }
}

/// Whether whole elements of a type are finite numbers: the exponents of others are all ones.
pub(crate) fn are_finite(bytes: &[u8], dtype: TableDtype) -> bool {
    // No branch an element: this is as fast as the memory.
    let narrow = |ones: u16| {
        let elements = bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b));
        elements.fold(true, |finite, v| finite & (v & ones != ones))
    };
    match dtype {
        TableDtype::F32 => {
            let elements = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            elements.fold(true, |finite, v| finite & v.is_finite())
        }
        TableDtype::F16 => narrow(0x7c00),
        TableDtype::Bf16 => narrow(0x7f80),
    }
}

/// The type of a tensor of a file, if a table can have it.
pub(crate) fn table_type(dtype: Dtype) -> Option<TableDtype> {
    TableDtype::ALL.into_iter().find(|t| file_type(*t) == dtype)
}

/// The name of a type in safetensors.
fn file_type(dtype: TableDtype) -> Dtype {
    match dtype {
        TableDtype::F32 => Dtype::F32,
        TableDtype::F16 => Dtype::F16,
        TableDtype::Bf16 => Dtype::BF16,
    }
}

/// Places for tensors, in the order of the safetensors library: larger elements first, then by name.
pub(crate) fn layout<'a>(
    tensors: impl IntoIterator<Item = (&'a str, TableDtype, &'a [usize])>,
) -> Vec<(String, TensorInfo)> {
    let info = |(name, dtype, shape): (&str, TableDtype, &[usize])| {
        let info = TensorInfo { dtype: file_type(dtype), shape: shape.to_vec(), data_offsets: (0, 0) };
        (name.to_string(), info)
    };
    let mut tensors: Vec<_> = tensors.into_iter().map(info).collect();
    tensors.sort_by(|(a, x), (b, y)| y.dtype.cmp(&x.dtype).then(a.cmp(b)));
    let mut at = 0;
    for (_, info) in &mut tensors {
        let bits = info.dtype.bitsize() * info.shape.iter().product::<usize>();
        info.data_offsets = (at, at + bits / 8);
        at = info.data_offsets.1;
    }
    tensors
}

/// The header with its length, padded so that tensors begin at multiples of eight.
///
/// # Errors
/// When a name is there twice.
pub(crate) fn header(key: &str, entry: String, tensors: Vec<(String, TensorInfo)>) -> Checked<Vec<u8>> {
    let metadata = HashMap::from([(key.to_string(), entry)]);
    let metadata = Metadata::new(Some(metadata), tensors).map_err(|e| e.to_string())?;
    let mut bytes = vec![0; LENGTH];
    serde_json::to_writer(&mut bytes, &metadata).map_err(|e| e.to_string())?;
    bytes.resize(bytes.len().next_multiple_of(LENGTH), b' ');
    let length = (bytes.len() - LENGTH) as u64;
    bytes[..LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Writes elements that the type holds exactly, one tensor at a time, each at its place.
pub(crate) struct Elements<'a> {
    file: &'a File,
    dtype: TableDtype,
    bytes: Vec<u8>,
}

impl<'a> Elements<'a> {
    pub(crate) fn new(file: &'a File) -> Self {
        Self { file, dtype: TableDtype::F32, bytes: Vec::new() }
    }

    /// Goes to the place of a tensor.
    pub(crate) fn begin(&mut self, place: u64, dtype: TableDtype) -> std::io::Result<()> {
        self.dtype = dtype;
        self.file.seek(SeekFrom::Start(place)).map(|_| ())
    }

    /// Writes its next elements.
    pub(crate) fn write(&mut self, data: &[f32]) -> std::io::Result<()> {
        for data in data.chunks(PIECE) {
            self.bytes.clear();
            let bytes = &mut self.bytes;
            match self.dtype {
                TableDtype::F32 => bytes.extend(data.iter().flat_map(|v| v.to_le_bytes())),
                TableDtype::F16 => bytes.extend(data.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
                TableDtype::Bf16 => bytes.extend(data.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())),
            }
            self.file.write_all(bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> Checked<TensorFile> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        TensorFile::open(file.path()).unwrap()
    }

    #[test]
    fn every_type_knows_what_is_not_finite() {
        let wrong = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN];
        let right = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, 65504.0];
        let bytes = |v: f32, dtype| match dtype {
            TableDtype::F32 => v.to_le_bytes().to_vec(),
            TableDtype::F16 => f16::from_f32(v).to_le_bytes().to_vec(),
            TableDtype::Bf16 => bf16::from_f32(v).to_le_bytes().to_vec(),
        };
        for dtype in TableDtype::ALL {
            let finite: Vec<u8> = right.iter().flat_map(|&v| bytes(v, dtype)).collect();
            assert!(are_finite(&finite, dtype), "{dtype:?}");
            for v in wrong {
                assert!(
                    !are_finite(&[&finite[..], &bytes(v, dtype), &finite].concat(), dtype),
                    "{v} {dtype:?}"
                );
            }
        }
    }

    #[test]
    fn files_that_are_something_else_say_so() {
        let value = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &value).unwrap();
        let good = safetensors::serialize([("t", view)], None).unwrap();
        let file = open(&good).unwrap();
        let mut read = Vec::new();
        let take = |piece: &[f32]| {
            read.extend_from_slice(piece);
            Ok(())
        };
        file.pieces(file.info("t").unwrap(), TableDtype::F32, |e| e.to_string(), take).unwrap();
        assert_eq!(read, [1.5, -2.0]);

        for end in 0..good.len() {
            assert!(open(&good[..end]).is_err(), "cut after {end} bytes");
        }
        assert!(open(&[&good[..], b"x"].concat()).is_err(), "a byte more");
        for length in [0, 1, good.len() as u64, 1 << 40, u64::MAX - 7, u64::MAX] {
            assert!(open(&[&length.to_le_bytes(), &good[LENGTH..]].concat()).is_err(), "length {length}");
        }
        let huge =
            br#"{"t":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#;
        assert!(open(&[&(huge.len() as u64).to_le_bytes()[..], huge].concat()).is_err(), "a huge tensor");
    }
}
