//! Requests of a mix over chosen keys, with WAIT behind each batch where that is the server's way to be sure.

use crate::random::Xorshift;
use crate::replies::Expected;
use crate::requests::{Batch, RequestSource, encode_request, key_of, value};
use clap::ValueEnum;
use std::fmt;
use std::sync::Arc;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    /// SET alone
    Set,
    /// GET alone
    Get,
    /// Nine GETs to a SET
    #[value(name = "mixed")]
    NineToOne,
}

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Mix::Set => "SET",
            Mix::Get => "GET",
            Mix::NineToOne => "90 % GET, 10 % SET",
        })
    }
}

/// Which keys are asked for, by their numbers.
#[derive(Debug, Clone)]
pub enum Keys {
    /// All below this.
    Below(u64),
    /// These.
    Of(Arc<[u32]>),
}

impl Keys {
    fn draw(&self, random: &mut Xorshift) -> u64 {
        match self {
            Keys::Below(count) => random.below(*count),
            Keys::Of(numbers) => u64::from(numbers[random.below(numbers.len() as u64) as usize]),
        }
    }
}

/// Random requests of a mix, without end.
pub struct MixedRequests {
    mix: Mix,
    pipeline: usize,
    keys: Keys,
    waits: bool,
    value: Vec<u8>,
    random: Xorshift,
    buffer: Vec<u8>,
}

impl MixedRequests {
    /// `pipeline` requests a batch; `waits` puts a `WAIT 1 0` behind each batch that may write.
    pub fn new(
        mix: Mix,
        pipeline: usize,
        value_bytes: usize,
        keys: Keys,
        waits: bool,
        seed: u64,
    ) -> Self {
        Self {
            mix,
            pipeline,
            keys,
            waits: waits && mix != Mix::Get,
            value: value(value_bytes),
            random: Xorshift::new(seed),
            buffer: Vec::new(),
        }
    }

    /// The part of the replies that answer requests of the mix, and not a WAIT.
    pub fn share_of_requests(&self) -> f64 {
        self.pipeline as f64 / (self.pipeline + usize::from(self.waits)) as f64
    }
}

impl RequestSource for MixedRequests {
    fn next_batch(&mut self) -> Option<Batch<'_>> {
        self.buffer.clear();
        for _ in 0..self.pipeline {
            let key = key_of(self.keys.draw(&mut self.random));
            let writes = match self.mix {
                Mix::Set => true,
                Mix::Get => false,
                Mix::NineToOne => self.random.below(10) == 0,
            };
            match writes {
                true => encode_request(&[b"SET", &key, &self.value], &mut self.buffer),
                false => encode_request(&[b"GET", &key], &mut self.buffer),
            }
        }
        if self.waits {
            encode_request(&[b"WAIT", b"1", b"0"], &mut self.buffer);
        }
        Some(Batch {
            bytes: &self.buffer,
            replies_count: self.pipeline + usize::from(self.waits),
        })
    }

    fn expected(&self) -> Expected {
        match (self.mix, self.waits) {
            (Mix::Set, false) => Expected::Ok,
            (Mix::Get, _) => Expected::Bulk(self.value.len()),
            (Mix::Set, true) | (Mix::NineToOne, _) => Expected::Mixed(self.value.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_as_no_request() {
        // The cost of a write would be understated by the WAITs behind it.
        let mut source = MixedRequests::new(Mix::Set, 16, 64, Keys::Below(10), true, 1);
        let batch = source.next_batch().expect("it has no end");
        assert_eq!(batch.replies_count, 17);
        assert!(
            batch
                .bytes
                .ends_with(b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n")
        );
        assert!((source.share_of_requests() - 16.0 / 17.0).abs() < 1e-9);
        let reads = MixedRequests::new(Mix::Get, 16, 64, Keys::Below(10), true, 1);
        assert!((reads.share_of_requests() - 1.0).abs() < 1e-9);
    }
}
