//! Bounds of the memory that a file may ask for: sizes that it declares are checked before anything is made room for.

use std::io::{self, Cursor, Read};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Bytes that a record batch of an Arrow file may unpack to, however few it is packed into.
pub(super) const BATCH: u64 = 1 << 30;
/// The same of a page of a Parquet file: 64 times the usual one.
const PAGE: u64 = 64 << 20;
/// Times its packed size that anything may unpack to beyond that: columns of one value reach about a hundred with all the others.
const TIMES: u64 = 1000;

/// Checks that `packed` bytes may unpack to `bytes`, and that there is memory for these.
///
/// # Errors
/// In words, which of both is not so.
pub(super) fn unpacks(packed: u64, bytes: u64, least: u64) -> std::result::Result<(), String> {
    if bytes > least.max(packed.saturating_mul(TIMES)) {
        return Err(format!("{packed} packed bytes are said to hold {bytes}"));
    }
    let room = usize::try_from(bytes).map(|bytes| Vec::<u8>::new().try_reserve_exact(bytes));
    match room {
        Ok(Ok(())) => Ok(()),
        _ => Err(format!("there is no memory for the {bytes} bytes that it holds")),
    }
}

/// A Parquet file whose pages are checked before they are unpacked.
pub(super) struct CheckedPages<R>(pub(super) R);

impl<R: ChunkReader> Length for CheckedPages<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for CheckedPages<R> {
    type T = Page<R::T>;

    fn get_read(&self, start: u64) -> Result<Page<R::T>> {
        Ok(Page { begin: Cursor::default(), rest: self.0.get_read(start)? })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match start.checked_add(length as u64) {
            Some(end) if end <= self.len() => self.0.get_bytes(start, length),
            _ => Err(ParquetError::EOF(format!("a page of {length} bytes at byte {start}"))),
        }
    }
}

/// A place where a page's header may begin. It is checked at the first read: the library also opens places that it does not read.
pub(super) struct Page<R> {
    begin: Cursor<Vec<u8>>,
    rest: R,
}

/// Bytes that hold the first three values of a page's header: its kind, unpacked and packed size.
const BEGIN: u64 = 3 * 6;

impl<R: Read> Read for Page<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { begin, rest } = self;
        if begin.get_ref().is_empty() {
            rest.by_ref().take(BEGIN).read_to_end(begin.get_mut())?;
            if let Some((bytes, packed)) = sizes(begin.get_ref()) {
                unpacks(packed, bytes, PAGE).map_err(io::Error::other)?;
            }
        }
        match begin.read(buffer)? {
            0 => rest.read(buffer),
            n => Ok(n),
        }
    }
}

/// Unpacked and packed size in a page's header (Thrift's compact protocol); none where it begins as no writer begins it.
fn sizes(header: &[u8]) -> Option<(u64, u64)> {
    const NEXT_I32: u8 = 0x15; // the next field, of 32 bits
    let mut bytes = header.iter();
    let mut value = || {
        let _: &u8 = bytes.next().filter(|&&b| b == NEXT_I32)?;
        let mut zigzag = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = *bytes.next()?;
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // A negative one is refused by the library.
                return zigzag.is_multiple_of(2).then_some(zigzag / 2);
            }
        }
        None
    };
    value()?;
    Some((value()?, value()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unpacks_to_far_more_than_it_holds_is_refused() {
        for (packed, bytes) in [(0, PAGE), (1, 1), (1 << 20, 1000 << 20), (100, 1000)] {
            assert_eq!(unpacks(packed, bytes, PAGE), Ok(()), "{packed} {bytes}");
        }
        for (packed, bytes) in [(0, PAGE + 1), (1 << 20, (1000 << 20) + 1), (1 << 50, u64::MAX), (9, 1 << 61)]
        {
            assert!(unpacks(packed, bytes, PAGE).is_err(), "{packed} {bytes}");
        }
        // As many as there may be, and more than there can be.
        let problem = unpacks(1 << 60, 1 << 62, PAGE).unwrap_err();
        assert!(problem.starts_with("there is no memory for the 4611686018427387904 bytes"), "{problem}");
    }

    #[test]
    fn sizes_of_page_headers() {
        // A data page (0) of 300 bytes, 200 of them packed: zigzag of 0, 300 and 200.
        assert_eq!(sizes(&[0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0x90, 0x03, 0x2c]), Some((300, 200)));
        // The greatest 32-bit number.
        let most = [0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 2];
        assert_eq!(sizes(&most), Some((i32::MAX as u64, 1)));
        for other in [&[][..], &[0x15, 0, 0x15], &[0x16, 0, 0x15, 2, 0x15, 2], &[0x15, 0, 0x15, 1, 0x15, 2]] {
            assert_eq!(sizes(other), None, "{other:?}");
        }
    }
}
