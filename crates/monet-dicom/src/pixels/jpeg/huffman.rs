//! Huffman codes (T.81, annexes C and F.2.2.3).

use super::bits::Bits;
use super::damaged;
use crate::pixels::PixelError;

/// Codes up to this length are found in one step.
const FAST: u32 = 9;

/// A table of codes.
#[derive(Debug)]
pub(super) struct Huffman {
    /// By the next [`FAST`] bits: length and symbol, length 0 where the code is longer.
    fast: Vec<(u8, u8)>,
    /// For each length, the code behind the last one, as if it had 16 bits.
    limits: [u32; 17],
    /// For each length, what added to a code gives its symbol's index.
    shifts: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// From the number of codes of each length, and the symbols in the order of codes.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, PixelError> {
        let mut table = Self {
            fast: vec![(0, 0); 1 << FAST],
            limits: [0; 17],
            shifts: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0_u32, 0_usize);
        for (length, &count) in (1..=16_u32).zip(counts) {
            let count = usize::from(count);
            if code + count as u32 > 1 << length || index + count > symbols.len() {
                return Err(damaged("a Huffman table has too many codes"));
            }
            table.shifts[length as usize] = index as i32 - code as i32;
            for &symbol in &symbols[index..index + count] {
                if length <= FAST {
                    let first = (code << (FAST - length)) as usize;
                    table.fast[first..first + (1 << (FAST - length))].fill((length as u8, symbol));
                }
                code += 1;
            }
            index += count;
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    /// The next symbol.
    pub(super) fn decode(&self, bits: &mut Bits<'_>) -> Result<u8, PixelError> {
        let next = bits.peek16();
        let (length, symbol) = self.fast[(next >> (16 - FAST)) as usize];
        if length > 0 {
            bits.consume(length.into())?;
            return Ok(symbol);
        }
        for length in FAST + 1..=16 {
            if next < self.limits[length as usize] {
                let index = (next >> (16 - length)) as i32 + self.shifts[length as usize];
                let symbol = usize::try_from(index).ok().and_then(|at| self.symbols.get(at));
                bits.consume(length)?;
                return symbol.copied().ok_or_else(|| damaged("no such Huffman code"));
            }
        }
        Err(damaged("no such Huffman code"))
    }
}
