//! TFRecord framing: length (u64), its masked CRC-32C, the data, and the data's; all little-endian.

/// CRC-32C (Castagnoli): polynomial 0x1EDC6F41, here with its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The remainder of each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// As records store it, so that a checksum over data that holds checksums stays a good one.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A whole record.
pub(super) fn frame(data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(len);
    record.extend(masked(&len).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

/// The data of each record, up to the first that is cut or damaged.
pub(super) fn read(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<8>()?;
        let (len_crc, rest) = rest.split_first_chunk::<4>()?;
        (u32::from_le_bytes(*len_crc) == masked(len)).then_some(())?;
        let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        (u32::from_le_bytes(*crc) == masked(data)).then_some(())?;
        bytes = rest;
        Some(data)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, and the check value of the catalogues of CRCs.
    #[test]
    fn published_checksums() {
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        let cases: [(&[u8], u32); 6] = [
            (b"", 0),
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (&falling, 0x113f_db5c),
        ];
        for (bytes, expected) in cases {
            assert_eq!(crc32c(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_record_has_length_and_checksums() {
        let record = frame(b"123456789");
        assert_eq!(record.len(), 8 + 4 + 9 + 4);
        assert_eq!(record[..8], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&record[12..21], b"123456789");
        // 0xe3069283 rotated right by 15 bits is 0x2507c60d; plus the constant 0xa282ead8, modulo 2^32
        assert_eq!(record[21..], 0xc78a_b0e5_u32.to_le_bytes());
    }

    #[test]
    fn reading_stops_at_a_cut_or_a_changed_byte() {
        let file = [frame(b"one"), frame(b""), frame(b"three")].concat();
        let read_all = |bytes: &[u8]| read(bytes).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(read_all(&file), [b"one".to_vec(), vec![], b"three".to_vec()]);
        for cut in 0..file.len() {
            assert_eq!(read_all(&file[..cut]).len(), [19, 35].iter().filter(|&&end| end <= cut).count());
        }
        for i in 0..file.len() {
            let mut changed = file.clone();
            changed[i] ^= 0x10;
            let whole = [19, 35, 56].iter().filter(|&&end| end <= i).count();
            assert_eq!(read_all(&changed).len(), whole, "byte {i}");
        }
    }
}
