//! Key → slot, on the path of every command that names a key.
//!
//! The checksum is CRC-16/XMODEM (polynomial 0x1021, initial value 0). It is computed here, eight
//! bytes a step, rather than by the `crc` crate, because keys are short: as the initial value is
//! zero, zero bytes in front change nothing, so a key of any length is whole steps and never a loop
//! over odd bytes, and within a step no table look-up waits for another. The search for a hash tag
//! rides along. Measured per key, from key to slot (the crate's figures are for the checksum alone):
//!
//! ```text
//! key bytes        10      16      30   10 to 30, mixed
//! here           18 ns   18 ns   28 ns   19 ns
//! crc, 16 tables 32 ns   13 ns   50 ns   37 ns
//! crc, 1 table   32 ns   47 ns   84 ns   37 ns
//! ```
//!
//! That is the time until the slot is known; keys that follow one another overlap, at 11 ns for 16
//! bytes. The tables take 4 KiB, half of the faster crate's. `crc` is the oracle in the tests.

/// Number of hash slots. Fixed by the Redis Cluster specification.
pub const SLOTS_COUNT: u16 = 16384;

/// Returns the slot of `key`, `0..SLOTS_COUNT`.
///
/// Only the key's hash tag counts when it has one: the bytes between the first `{` and the first `}`
/// after it, unless there are none between. Keys with equal tags thus share a slot.
///
/// Cost: O(length of the key), about 1 ns a byte. Source: Redis Cluster specification, "Hash tags".
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    let scan = scan(key);
    if scan.has_open_brace {
        return scan_tag(key).crc % SLOTS_COUNT;
    }
    scan.crc % SLOTS_COUNT
}

/// Scans the hash tag of a key that holds a `{`. Apart from [`slot_of`], so that the path of the
/// common key without a brace stays small.
#[cold]
fn scan_tag(key: &[u8]) -> Scan {
    scan(hash_tag(key).unwrap_or(key))
}

/// The hash tag of `key`, if it has one.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|&byte| byte == b'{')?;
    let rest = &key[open + 1..];
    let length = rest.iter().position(|&byte| byte == b'}')?;
    // With nothing between, the braces are bytes like any others.
    (length > 0).then_some(&rest[..length])
}

/// What one pass over some bytes finds.
struct Scan {
    /// Their CRC-16/XMODEM.
    crc: u16,
    has_open_brace: bool,
}

/// Looks at eight bytes a step for both questions.
#[inline]
fn scan(bytes: &[u8]) -> Scan {
    let (head, chunks) = bytes.as_rchunks::<8>();
    let mut crc = 0;
    let mut braces = 0;
    // The odd bytes come first, with zero bytes before them to make eight: while the checksum is
    // zero, zero bytes leave it so.
    if !head.is_empty() {
        let word = match bytes.first_chunk::<8>() {
            Some(first) => u64::from_be_bytes(*first) >> (64 - 8 * head.len()),
            None => short_word(head),
        };
        crc = crc_step(0, &word.to_be_bytes());
        braces = open_braces(word);
    }
    for chunk in chunks {
        crc = crc_step(crc, chunk);
        braces |= open_braces(u64::from_be_bytes(*chunk));
    }
    Scan {
        crc,
        has_open_brace: braces != 0,
    }
}

/// One to seven bytes as a big-endian number, by reads that overlap instead of a loop.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let last = bytes.len() - 1;
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(tail)) => {
            let high = u64::from(u32::from_be_bytes(*first)) << (8 * (last - 3));
            high | u64::from(u32::from_be_bytes(*tail))
        }
        _ => {
            let middle = bytes.len() / 2;
            u64::from(bytes[0]) << (8 * last)
                | u64::from(bytes[middle]) << (8 * (last - middle))
                | u64::from(bytes[last])
        }
    }
}

/// Not zero exactly if one of the eight bytes is `{`.
#[inline]
fn open_braces(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A byte that was a brace is zero now, and only a zero byte borrows from the high bit of itself
    // (or, once one did, of those above it, which no longer changes the answer).
    let word = word ^ (ONES * b'{' as u64);
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The checksum of what `crc` is the checksum of, followed by the eight bytes of `word`.
#[inline]
fn crc_step(crc: u16, bytes: &[u8; 8]) -> u16 {
    let [high, low] = crc.to_be_bytes();
    TABLES[7][(bytes[0] ^ high) as usize]
        ^ TABLES[6][(bytes[1] ^ low) as usize]
        ^ TABLES[5][bytes[2] as usize]
        ^ TABLES[4][bytes[3] as usize]
        ^ TABLES[3][bytes[4] as usize]
        ^ TABLES[2][bytes[5] as usize]
        ^ TABLES[1][bytes[6] as usize]
        ^ TABLES[0][bytes[7] as usize]
}

/// `TABLES[n][b]`: the checksum of the byte `b` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    const POLYNOMIAL: u16 = 0x1021;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= POLYNOMIAL;
            }
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_keys_have_the_slots_that_redis_gives_them() {
        // Breaks if a cluster-aware client would be sent to another shard than it computed.
        let known: [(&[u8], u16); 14] = [
            (b"", 0),
            (b"foo", 12182),
            (b"123456789", 12739),
            (b"user:000000123456", 14043),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"foo{bar", 15278),
            (b"}foo{", 8453),
            (b"{}", 15257),
            (b"{", 4092),
            (b"a}{b}", 3300),
        ];
        for (key, slot) in known {
            assert_eq!(slot_of(key), slot, "{}", key.escape_ascii());
        }
    }

    /// Keys with braces in all places and of all lengths around the eight-byte steps.
    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![2 => Just(b'{'), 2 => Just(b'}'), 12 => any::<u8>()];
        prop::collection::vec(byte, 0..70)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn checksum_equals_the_crc_crate(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            // Breaks if a table entry or the order of the steps is wrong for some length.
            let oracle = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);
            prop_assert_eq!(scan(&bytes).crc, oracle.checksum(&bytes));
        }

        #[test]
        fn slot_equals_redis_protocols(key in any_key()) {
            // Breaks if the hash tag rule differs from what Rust clients compute.
            prop_assert_eq!(slot_of(&key), redis_protocol::redis_keyslot(&key));
        }

        #[test]
        fn an_open_brace_is_seen_wherever_it_stands(key in any_key()) {
            // Breaks if the eight-bytes-at-a-time search misses or invents a brace.
            prop_assert_eq!(scan(&key).has_open_brace, key.contains(&b'{'));
        }
    }
}
