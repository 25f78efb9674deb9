// SPDX-License-Identifier: Apache-2.0
//! Changes at random, of which the same number makes the same ones.

/// The longest text that is made, in bytes.
const LENGTH_MAX: usize = 1 << 16;

/// Numbers that readers stumble over.
const WORDS: [u32; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
const LONG: [u64; 3] = [u64::MAX, 1 << 63, 1 << 32];

/// Numbers at random. Source: Sebastiano Vigna, SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with a number.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below another one; 0 below 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % (end.max(1) as u64)).unwrap_or(0)
    }
}

/// Changes data in a few places.
pub fn mutate(random: &mut Random, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    for _ in 0..=random.below(8) {
        let at = random.below(data.len() + 1);
        let length = random.below(32);
        match random.below(9) {
            0 => overwrite(data, at, &[random.number().to_le_bytes()[0]]),
            1 => overwrite(data, at, &WORDS[random.below(WORDS.len())].to_be_bytes()),
            2 => overwrite(data, at, &WORDS[random.below(WORDS.len())].to_le_bytes()),
            3 => overwrite(data, at, &LONG[random.below(LONG.len())].to_le_bytes()),
            4 => data.truncate(at),
            5 => drop(data.drain(at..data.len().min(at + length))),
            6 => {
                let part = data[at..data.len().min(at + length)].to_vec();
                let times = 1 + random.below(200);
                insert(data, at, &part.repeat(times));
            }
            7 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                insert(data, at, &other[from..other.len().min(from + 4 * length)]);
            }
            _ => {
                let marks =
                    [&b"\""[..], b"{", b"[", b"\n", b"\0", b"\\", b"-1", b"1e999", b"\xff\xfe", b"$", b"*", b"&a "];
                insert(data, at, marks[random.below(marks.len())]);
            }
        }
    }
    data.truncate(LENGTH_MAX);
}

fn overwrite(data: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in data.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

fn insert(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if data.len() + bytes.len() <= LENGTH_MAX {
        data.splice(at..at, bytes.iter().copied());
    }
}
