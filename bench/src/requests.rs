//! Requests, encoded ahead: a batch costs the client the digits of its keys and nothing else.

use crate::random::Xorshift;
use crate::replies::Expected;
use crate::workload::{Command, Keyspace, MSET_KEYS, Row, SCRIPT, SCRIPT_SHA1};

/// Digits of a key's number: `key:000000123456` is 16 bytes.
const KEY_DIGITS: usize = 12;
/// Bytes of a key.
pub const KEY_BYTES: usize = 4 + KEY_DIGITS;
/// Highest number of keys that [`KEY_DIGITS`] can name.
pub const KEYS_COUNT_MAX: u64 = 1_000_000_000_000;
/// Requests per batch when a keyspace is filled.
const FILL_BATCH: u64 = 64;

/// Some requests, sent in one write if the socket takes them.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The encoded requests.
    pub bytes: &'a [u8],
    /// Replies that they will get.
    pub replies_count: usize,
}

/// Where a load's requests come from.
pub trait RequestSource {
    /// The next batch, never empty; `None` when there is no more.
    fn next_batch(&mut self) -> Option<Batch<'_>>;
    /// What each reply must be.
    fn expected(&self) -> Expected;
}

/// Appends `arguments` as one RESP request.
pub fn encode_request(arguments: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// Overwrites the last `digits.len()` digits of a key's number.
fn patch_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A printable value that no compression and no shared object shortens.
pub fn value(bytes_count: usize) -> Vec<u8> {
    let mut random = Xorshift::new(bytes_count as u64);
    (0..bytes_count)
        .map(|_| b'a' + random.below(26) as u8)
        .collect()
}

/// The key of a number, as a fill of [`Keyspace::Strings`] names it.
pub fn key_of(number: u64) -> [u8; KEY_BYTES] {
    let mut key = key_zero(Keyspace::Strings);
    patch_digits(&mut key[KEY_BYTES - KEY_DIGITS..], number);
    key
}

fn key_zero(keyspace: Keyspace) -> [u8; KEY_BYTES] {
    match keyspace {
        Keyspace::Strings => *b"key:000000000000",
        Keyspace::Counters => *b"ctr:000000000000",
    }
}

/// Encoded requests in which only the keys' digits change from batch to batch.
///
/// - Every offset in `digits_at` points at a key's last `digits_count` digits, within `bytes`.
struct Template {
    bytes: Vec<u8>,
    digits_at: Vec<usize>,
    digits_count: usize,
}

impl Template {
    /// `requests_count` times `arguments`, in which each argument that equals `key` is a key
    /// whose number stays below `keys_count`.
    fn new(arguments: &[&[u8]], key: &[u8], requests_count: usize, keys_count: u64) -> Self {
        assert!((1..=KEYS_COUNT_MAX).contains(&keys_count));
        // Digits that are zero for every key need no writing.
        let digits_count = (keys_count - 1).to_string().len();
        let mut template = Self {
            bytes: Vec::new(),
            digits_at: Vec::new(),
            digits_count,
        };
        for _ in 0..requests_count {
            template
                .bytes
                .extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
            for argument in arguments {
                template
                    .bytes
                    .extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
                template.bytes.extend_from_slice(argument);
                if *argument == key {
                    template.digits_at.push(template.bytes.len() - digits_count);
                }
                template.bytes.extend_from_slice(b"\r\n");
            }
        }
        template
    }

    /// Gives the nth key of the batch its number.
    fn set_key(&mut self, nth: usize, number: u64) {
        let at = self.digits_at[nth];
        patch_digits(&mut self.bytes[at..at + self.digits_count], number);
    }
}

/// A row's requests: uniformly random keys, without end.
pub struct RandomKeys {
    template: Template,
    pipeline: usize,
    keys_count: u64,
    expected: Expected,
    random: Xorshift,
}

impl RandomKeys {
    /// The requests of `row` over `keys_count` keys; equal seeds give equal requests.
    pub fn new(row: &Row, keys_count: u64, seed: u64) -> Self {
        let key = key_zero(row.command.keyspace());
        let value = value(row.value_bytes);
        let (arguments, expected): (Vec<&[u8]>, _) = match row.command {
            Command::Get => (vec![b"GET", &key], Expected::Bulk(row.value_bytes)),
            Command::Set => (vec![b"SET", &key, &value], Expected::Ok),
            Command::Incr => (vec![b"INCR", &key], Expected::Integer),
            Command::Mset => {
                let mut arguments: Vec<&[u8]> = vec![b"MSET"];
                for _ in 0..MSET_KEYS {
                    arguments.extend([&key[..], &value]);
                }
                (arguments, Expected::Ok)
            }
            Command::Evalsha => (
                vec![b"EVALSHA", SCRIPT_SHA1.as_bytes(), b"1", &key, &value],
                Expected::Bulk(row.value_bytes),
            ),
        };
        Self {
            template: Template::new(&arguments, &key, row.pipeline, keys_count),
            pipeline: row.pipeline,
            keys_count,
            expected,
            random: Xorshift::new(seed),
        }
    }
}

impl RequestSource for RandomKeys {
    fn next_batch(&mut self) -> Option<Batch<'_>> {
        for nth in 0..self.template.digits_at.len() {
            let number = self.random.below(self.keys_count);
            self.template.set_key(nth, number);
        }
        Some(Batch {
            bytes: &self.template.bytes,
            replies_count: self.pipeline,
        })
    }

    fn expected(&self) -> Expected {
        self.expected
    }
}

/// Loads [`SCRIPT`], once.
pub struct ScriptLoad {
    request: Vec<u8>,
    is_sent: bool,
}

impl ScriptLoad {
    /// The request to come.
    pub fn new() -> Self {
        let mut request = Vec::new();
        encode_request(&[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()], &mut request);
        Self {
            request,
            is_sent: false,
        }
    }
}

impl RequestSource for ScriptLoad {
    fn next_batch(&mut self) -> Option<Batch<'_>> {
        let batch = (!self.is_sent).then_some(Batch {
            bytes: &self.request,
            replies_count: 1,
        });
        self.is_sent = true;
        batch
    }

    fn expected(&self) -> Expected {
        Expected::Bulk(SCRIPT_SHA1.len())
    }
}

/// Whether the keys of a fill get a time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Keys that stay.
    Without,
    /// Keys that live for a day: longer than any run.
    OneDay,
}

/// Sets every key of a keyspace once, in order.
pub struct AllKeys {
    template: Template,
    keys_count: u64,
    next_number: u64,
    expected: Expected,
}

impl AllKeys {
    /// Fills `keyspace`; a counter starts at 1, a string gets a value of `value_bytes`.
    pub fn new(keyspace: Keyspace, value_bytes: usize, keys_count: u64, expiry: Expiry) -> Self {
        let key = key_zero(keyspace);
        let value = value(value_bytes);
        let (mut arguments, expected): (Vec<&[u8]>, _) = match keyspace {
            Keyspace::Strings => (vec![b"SET", &key, &value], Expected::Ok),
            Keyspace::Counters => (vec![b"INCR", &key], Expected::Integer),
        };
        match expiry {
            Expiry::Without => {}
            Expiry::OneDay => arguments.extend([&b"EX"[..], b"86400"]),
        }
        Self {
            template: Template::new(&arguments, &key, FILL_BATCH as usize, keys_count),
            keys_count,
            next_number: 0,
            expected,
        }
    }
}

impl RequestSource for AllKeys {
    fn next_batch(&mut self) -> Option<Batch<'_>> {
        let count = FILL_BATCH.min(self.keys_count - self.next_number);
        if count == 0 {
            return None;
        }
        for nth in 0..count {
            self.template.set_key(nth as usize, self.next_number + nth);
        }
        self.next_number += count;
        // Every request of the template has the same length.
        let request_bytes = self.template.bytes.len() / FILL_BATCH as usize;
        Some(Batch {
            bytes: &self.template.bytes[..request_bytes * count as usize],
            replies_count: count as usize,
        })
    }

    fn expected(&self) -> Expected {
        self.expected
    }
}

/// `SET` of random keys with values of many sizes, log-uniform between two bounds, without end.
pub struct MixedSizes {
    buffer: Vec<u8>,
    filler: Vec<u8>,
    sizes_bytes: (usize, usize),
    keys_count: u64,
    random: Xorshift,
}

impl MixedSizes {
    /// Requests in a batch: one, at 64 KiB, is a fair batch already.
    const PIPELINE: usize = 8;

    /// Values of `sizes_bytes.0` to `sizes_bytes.1` over `keys_count` keys.
    pub fn new(sizes_bytes: (usize, usize), keys_count: u64, seed: u64) -> Self {
        assert!(0 < sizes_bytes.0 && sizes_bytes.0 <= sizes_bytes.1);
        Self {
            buffer: Vec::new(),
            filler: value(sizes_bytes.1),
            sizes_bytes,
            keys_count,
            random: Xorshift::new(seed),
        }
    }

    fn next_size_bytes(&mut self) -> usize {
        let (low, high) = (self.sizes_bytes.0 as f64, self.sizes_bytes.1 as f64);
        let size = low * (high / low).powf(self.random.unit());
        (size as usize).clamp(self.sizes_bytes.0, self.sizes_bytes.1)
    }
}

impl RequestSource for MixedSizes {
    fn next_batch(&mut self) -> Option<Batch<'_>> {
        self.buffer.clear();
        for _ in 0..Self::PIPELINE {
            let mut key = key_zero(Keyspace::Strings);
            let number = self.random.below(self.keys_count);
            patch_digits(&mut key[KEY_BYTES - KEY_DIGITS..], number);
            let size_bytes = self.next_size_bytes();
            encode_request(
                &[b"SET", &key, &self.filler[..size_bytes]],
                &mut self.buffer,
            );
        }
        Some(Batch {
            bytes: &self.buffer,
            replies_count: Self::PIPELINE,
        })
    }

    fn expected(&self) -> Expected {
        Expected::Ok
    }
}

#[cfg(test)]
#[path = "requests/tests.rs"]
mod tests;
