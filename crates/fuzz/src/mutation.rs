//! Inputs made from good ones by what goes wrong on the way: bits, bytes, pieces, order.

use fastrand::Rng;

/// The most bytes of an input: longer ones cost time and find nothing more.
const BYTES_MAX: usize = 4096;

/// Bytes that end, begin or separate something in most formats.
const TELLING: &[u8] = b"\0\t\n\r \"#%'*+,-./0:;=?@[\\]_{}\x7f\x80\xc3\xff";

/// An endless row of inputs, the same for the same seed.
#[derive(Debug)]
pub struct Mutations<'a> {
    corpus: &'a [&'a [u8]],
    random: Rng,
}

impl<'a> Mutations<'a> {
    /// Inputs made from `corpus`, which is not empty.
    pub fn new(corpus: &'a [&'a [u8]], seed: u64) -> Self {
        assert!(!corpus.is_empty(), "there is nothing to begin with");
        Self { corpus, random: Rng::with_seed(seed) }
    }

    fn pick(&mut self) -> &'a [u8] {
        self.corpus[self.random.usize(..self.corpus.len())]
    }

    /// A place between two bytes of `input`, or at its ends.
    fn place(&mut self, input: &[u8]) -> usize {
        self.random.usize(..=input.len())
    }

    /// A piece of `input`, mostly a short one.
    fn piece(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(input);
        let longest = (input.len() - start).min(1 << self.random.u32(..9));
        start..start + self.random.usize(..=longest)
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        match self.random.u8(..8) {
            0 => {
                if let Some(byte) = self.random.choice(input.iter_mut()) {
                    *byte ^= 1 << self.random.u32(..8);
                }
            }
            1 => {
                let byte = self.random.choice(TELLING).copied().unwrap_or_default();
                if let Some(place) = self.random.choice(input.iter_mut()) {
                    *place = byte;
                }
            }
            2 => {
                let at = self.place(input);
                input.insert(at, self.random.choice(TELLING).copied().unwrap_or_default());
            }
            3 => drop(input.drain(self.piece(input))),
            4 => {
                let piece = input[self.piece(input)].to_vec();
                let at = self.place(input);
                input.splice(at..at, piece);
            }
            5 => {
                let other = self.pick();
                let piece = self.piece(other);
                let at = self.piece(input);
                input.splice(at, other[piece].iter().copied());
            }
            6 => {
                // The two halves of another one.
                let other = self.pick();
                let (end, start) = (self.place(input), self.place(other));
                input.truncate(end);
                input.extend_from_slice(&other[start..]);
            }
            _ => input.truncate(self.place(input)),
        }
        input.truncate(BYTES_MAX);
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.pick().to_vec();
        for _ in 0..self.random.u8(1..8) {
            self.mutate(&mut input);
        }
        Some(input)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CORPUS: &[&[u8]] = &[b"GET / HTTP/1.1\r\n\r\n", b"", b"a: b\r\n"];

    #[test]
    fn a_seed_gives_the_same_inputs_and_another_seed_others() {
        let inputs = |seed| Mutations::new(CORPUS, seed).take(500).collect::<Vec<_>>();
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }

    #[test]
    fn inputs_are_many_and_none_is_longer_than_the_longest() {
        let inputs: BTreeSet<_> = Mutations::new(CORPUS, 1).take(2000).collect();
        assert!(inputs.len() > 1000, "{} different ones", inputs.len());
        let long = vec![b'x'; BYTES_MAX];
        assert!(Mutations::new(&[&long], 1).take(500).all(|input| input.len() <= BYTES_MAX));
    }
}
