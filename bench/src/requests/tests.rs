use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use super::*;

/// Decodes a batch into requests of arguments.
fn decoded(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let (frame, taken) = decode(bytes).unwrap().expect("a whole request");
        let OwnedFrame::Array(arguments) = frame else {
            panic!("not an array: {frame:?}");
        };
        requests.push(
            arguments
                .into_iter()
                .map(|argument| match argument {
                    OwnedFrame::BulkString(bytes) => bytes,
                    other => panic!("not a bulk: {other:?}"),
                })
                .collect(),
        );
        bytes = &bytes[taken..];
    }
    requests
}

fn number_of(key: &[u8]) -> u64 {
    std::str::from_utf8(&key[4..]).unwrap().parse().unwrap()
}

#[test]
fn a_row_sends_whole_requests_with_keys_of_its_keyspace() {
    // A malformed request would end a run; a key outside the keyspace would be a miss.
    for command in [
        Command::Get,
        Command::Set,
        Command::Incr,
        Command::Mset,
        Command::Evalsha,
    ] {
        let row = Row {
            command,
            pipeline: 3,
            value_bytes: 5,
            clients: 1,
        };
        let mut source = RandomKeys::new(&row, 1_234, 9);
        for _ in 0..50 {
            let batch = source.next_batch().unwrap();
            assert_eq!(batch.replies_count, 3);
            let requests = decoded(batch.bytes);
            assert_eq!(requests.len(), 3);
            for request in requests {
                let (name, keys_count, prefix): (&[u8], _, &[u8]) = match command {
                    Command::Get => (b"GET", 1, b"key:"),
                    Command::Set => (b"SET", 1, b"key:"),
                    Command::Incr => (b"INCR", 1, b"ctr:"),
                    Command::Mset => (b"MSET", MSET_KEYS, b"key:"),
                    Command::Evalsha => (b"EVALSHA", 1, b"key:"),
                };
                assert_eq!(request[0], name);
                let keys: Vec<_> = request[1..]
                    .iter()
                    .filter(|a| a.len() == KEY_BYTES)
                    .collect();
                assert_eq!(keys.len(), keys_count);
                for key in keys {
                    assert!(key.starts_with(prefix));
                    assert!(number_of(key) < 1_234);
                }
            }
        }
    }
}

#[test]
fn keys_differ_within_a_batch_and_between_batches() {
    // A template that is not patched everywhere would hammer key 0, which is always in cache.
    let row = Row {
        command: Command::Mset,
        pipeline: 4,
        value_bytes: 1,
        clients: 1,
    };
    let mut source = RandomKeys::new(&row, 1_000_000_000, 1);
    let mut numbers = Vec::new();
    for _ in 0..2 {
        for request in decoded(source.next_batch().unwrap().bytes) {
            numbers.extend(request[1..].iter().step_by(2).map(|key| number_of(key)));
        }
    }
    assert_eq!(numbers.len(), 2 * 4 * MSET_KEYS);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 2 * 4 * MSET_KEYS);
}

#[test]
fn a_fill_sets_every_key_once() {
    // A key left out is a miss in every GET row; one set twice hides another left out.
    for keys_count in [1, 63, 64, 65, 1_000] {
        let mut source = AllKeys::new(Keyspace::Strings, 7, keys_count, Expiry::OneDay);
        let mut numbers = Vec::new();
        while let Some(batch) = source.next_batch() {
            let replies_count = batch.replies_count;
            let requests = decoded(batch.bytes);
            assert_eq!(requests.len(), replies_count);
            for request in requests {
                assert_eq!(request[0], b"SET");
                assert_eq!(request[2].len(), 7);
                assert_eq!(request[3], b"EX");
                numbers.push(number_of(&request[1]));
            }
        }
        assert_eq!(numbers, (0..keys_count).collect::<Vec<_>>());
    }
}

#[test]
fn mixed_sizes_are_log_uniform() {
    // Sizes uniform in bytes would leave small values out of the churn, which fragment the most.
    let mut source = MixedSizes::new((16, 65_536), 100, 3);
    let mut below_1024 = 0;
    let total = 4_000;
    for _ in 0..total / MixedSizes::PIPELINE {
        for request in decoded(source.next_batch().unwrap().bytes) {
            assert!((16..=65_536).contains(&request[2].len()));
            below_1024 += usize::from(request[2].len() < 1_024);
        }
    }
    // log2(1024 / 16) of log2(65536 / 16) doublings: one half.
    assert!((total * 45 / 100..total * 55 / 100).contains(&below_1024));
}
