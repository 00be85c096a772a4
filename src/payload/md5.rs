//! MD5 (RFC 1321), for the one app that knows calls by it.
//!
//! It refuses to be taken for security: whoever wants two texts with one sum finds them.

use std::sync::LazyLock;

/// How far each of the 16 steps of a round turns, in fours.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The sum of a text.
pub(super) fn md5(text: &[u8]) -> [u8; 16] {
    let mut state = START;
    let (blocks, rest) = text.as_chunks::<64>();
    blocks.iter().for_each(|block| add(&mut state, block));
    // The rest, a bit that is set, zeros, and the length in bits: one block, or two.
    let mut end = [0_u8; 128];
    end[..rest.len()].copy_from_slice(rest);
    end[rest.len()] = 0x80;
    let end_len = if rest.len() < 56 { 64 } else { 128 };
    end[end_len - 8..end_len].copy_from_slice(&(text.len() as u64 * 8).to_le_bytes());
    end[..end_len].as_chunks::<64>().0.iter().for_each(|block| add(&mut state, block));
    let mut sum = [0; 16];
    sum.as_chunks_mut::<4>().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
    sum
}

fn add(state: &mut [u32; 4], block: &[u8; 64]) {
    let mut words = [0; 16];
    block
        .as_chunks::<4>()
        .0
        .iter()
        .zip(&mut words)
        .for_each(|(bytes, word)| *word = u32::from_le_bytes(*bytes));
    let sines: &[u32; 64] = &SINES;
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64 {
        let (mixed, at) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), (7 * step) % 16),
        };
        let sum = a.wrapping_add(mixed).wrapping_add(sines[step]).wrapping_add(words[at]);
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(TURNS[step / 16][step % 4]));
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(more);
    }
}

/// `T` of RFC 1321 §3.4.
static SINES: LazyLock<[u32; 64]> =
    LazyLock::new(|| std::array::from_fn(|step| ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32));

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321 §A.5, and lengths around the end of a block from `md5sum`.
    #[test]
    fn sums_are_those_of_the_rfc() {
        for (text, expected) in [
            (String::new(), "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc".to_owned(), "900150983cd24fb0d6963f7d28e17f72"),
            ("abcdefghijklmnopqrstuvwxyz".to_owned(), "c3fcd3d76192e4007dfb496cca67e13b"),
            ("1234567890".repeat(8), "57edf4a22be3c955ac49da2e2107b67a"),
            ("x".repeat(55), "04364420e25c512fd958a70738aa8f72"),
            ("x".repeat(56), "668a72d5ba17f08e62dabcafad6db14b"),
            ("x".repeat(64), "c1bb4f81d892b2d57947682aeb252456"),
        ] {
            let sum: String = md5(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(sum, expected, "{} bytes", text.len());
        }
    }
}
