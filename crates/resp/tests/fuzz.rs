//! The fuzz targets' properties on stable: over their corpus, and over seeded mutations of it.

use std::fs;
use std::path::Path;

#[path = "../fuzz/check.rs"]
mod check;

/// Mutated inputs for each target.
const MUTATIONS_COUNT: usize = 100_000;

/// Bytes in a mutated input; more finds nothing that less does not.
const INPUT_BYTES_MAX: usize = 200;

/// Pieces that mean something in the protocol.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"*",
    b"$",
    b"*1\r\n",
    b"*2\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"$3\r\nGET\r\n",
    b"-",
    b"0",
    b"9",
    b"10",
    b"99",
    b"100",
    b"536870912",
    b"2147483648",
    b"9223372036854775808",
    b"\0",
    b" ",
    b"\"",
    b"'",
    b"\\x41",
    b"\\",
    b":1\r\n",
    b"+",
    b"%1\r\n",
    b"~1\r\n",
    b">1\r\n",
    b"|1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",nan\r\n",
    b"(1\r\n",
    b"=6\r\ntxt:ab\r\n",
    b"?",
    b"\xff",
];

/// The checked-in inputs of a target, by name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let inputs: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(inputs.len() > 10, "the corpus in {folder:?} is lost");
    inputs
}

/// A small generator of our own (xorshift64*), so that a seed means the same for ever.
struct Random(u64);

impl Random {
    /// The generator of this run; its seed is printed, and `SEED` in the environment sets it.
    fn seeded() -> Self {
        let seed = std::env::var("SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        Random(u64::max(seed, 1))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        value as usize % bound
    }
}

fn mutate(input: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = at + random.below(input.len() - at + 1).min(12);
    match random.below(7) {
        0 => drop(input.drain(at..end)),
        1 => input.truncate(at),
        2 => {
            let copied = input[at..end].to_vec();
            let place = random.below(input.len() + 1);
            input.splice(place..place, copied);
        }
        3 => {
            let other = &inputs[random.below(inputs.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        4 if at < input.len() => input[at] = random.below(256) as u8,
        _ => {
            let token = TOKENS[random.below(TOKENS.len())];
            input.splice(at..at, token.iter().copied());
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn fuzz(target: &str, check: fn(&[u8])) {
    let inputs = corpus(target);
    inputs.iter().for_each(|input| check(input));
    let mut random = Random::seeded();
    for _ in 0..MUTATIONS_COUNT {
        let mut input = inputs[random.below(inputs.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &inputs, &mut random);
        }
        check(&input);
    }
}

#[test]
fn no_bytes_of_a_client_break_the_scanner() {
    // Breaks if some bytes panic, are read differently in pieces, or other than the oracle does.
    fuzz("requests", check::requests);
}

#[test]
fn no_bytes_of_a_server_break_the_decoder() {
    // Breaks if some bytes panic a client, or are read differently in pieces.
    fuzz("replies", check::replies);
}
