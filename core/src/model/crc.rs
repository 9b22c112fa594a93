//! The checksum for boards: 64 bytes of table instead of 16 KB.

/// The remainders of all nibbles, for the reversed polynomial of IEEE 802.3.
static TABLE: [u32; 16] = {
    let (mut table, mut i) = ([0; 16], 0);
    while i < 16 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 4 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// A CRC-32 (IEEE) of bytes that come piece by piece, as `crc32fast::Hasher`.
pub struct Hasher(u32);

impl Hasher {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(u32::MAX)
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 ^= u32::from(byte);
            for _ in 0..2 {
                self.0 = self.0 >> 4 ^ TABLE[(self.0 & 15) as usize];
            }
        }
    }

    /// The checksum.
    pub fn finalize(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_checksums_agree() {
        let bytes: [u8; 300] = core::array::from_fn(|i| (i * i + 7) as u8);
        let (mut small, mut fast) = (Hasher::new(), crc32fast::Hasher::new());
        for piece in bytes.chunks(77) {
            small.update(piece);
            fast.update(piece);
        }
        assert_eq!(small.finalize(), fast.finalize());
    }
}
