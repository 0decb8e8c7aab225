use super::*;
mod collections;

use crate::testing::Harness;
use proptest::prelude::*;

const WRONG: &[u8] = b"-ERR DUMP payload version or checksum are wrong\r\n";
const BAD: &[u8] = b"-ERR Bad data format\r\n";
const OK: &[u8] = b"+OK\r\n";

/// `content` with a trailer.
fn sealed(content: &[u8], version: u16) -> Vec<u8> {
    let mut payload = content.to_vec();
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = CHECKSUM.checksum(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

fn restore_into(harness: &mut Harness, payload: &[u8]) -> Vec<u8> {
    harness.run_bytes(&[b"RESTORE", b"k", b"0", payload, b"REPLACE"])
}

fn value(harness: &mut Harness) -> Vec<u8> {
    let key = harness.key(b"k");
    let entry = harness.cache().peek(key).expect("the key was restored");
    entry.value.string().expect("a string").to_vec()
}

#[test]
fn payloads_of_redis_are_read() {
    // Breaks if a form of strings, or the checksum, is not that of Redis: these bytes are what
    // redis-server 7.0.15 answered to DUMP.
    let alphabet: Vec<u8> = (64..128).collect();
    let mut plain = vec![0, 0x40, 0x40];
    plain.extend_from_slice(&alphabet);
    plain.extend_from_slice(b"\x0a\x00\xb1\xc3Cl0\xc55\xcd");
    let cases: &[(&[u8], &[u8])] = &[
        (b"", b"\x00\x00\x0a\x00]\x9b\x5c@\x0f\x7f\xa2\xda"),
        (b"1", b"\x00\xc0\x01\x0a\x00&x\xe7\xb6\xd1\x01\x11\xfc"),
        (b"-128", b"\x00\xc0\x80\x0a\x00\x99f2m/\x0c[\xd9"),
        (b"128", b"\x00\xc1\x80\x00\x0a\x00\xebz\xb3\xb5\x10\xcfKe"),
        (
            b"-32769",
            b"\x00\xc2\xff\x7f\xff\xff\x0a\x00\xae\xe3LM\x06\xc6\x856",
        ),
        (
            b"2147483648",
            b"\x00\x0a2147483648\x0a\x00\xe7\xb1)\xa3L\x1dv\xee",
        ),
        (b"01", b"\x00\x0201\x0a\x00l\xdd\xc4A\x14L}\xa4"),
        (
            &[b'x'; 63],
            b"\x00\xc3\x09?\x01xx\xe02\x00\x01xx\x0a\x00r\xa0\x17\xa5`\xed\xf6\xe5",
        ),
        (
            &b"abcd".repeat(30),
            b"\x00\xc3\x0c@x\x04abcda\xe0h\x03\x01cd\x0a\x00;\xeaO\xd9\x85\xa3\x10\x9d",
        ),
        (&alphabet, &plain),
    ];
    let mut harness = Harness::new();
    for (string, payload) in cases {
        assert_eq!(restore_into(&mut harness, payload), OK);
        assert_eq!(value(&mut harness), *string);
    }
}

#[test]
fn payloads_are_written_as_redis_writes_them() {
    // Breaks if DUMP writes a form that a Redis would not have written, but for the packed bytes.
    let cases: &[(&[u8], &[u8])] = &[
        (b"", b"\x00\x00"),
        (b"127", b"\x00\xc0\x7f"),
        (b"-129", b"\x00\xc1\x7f\xff"),
        (b"32768", b"\x00\xc2\x00\x80\x00\x00"),
        (b"-2147483648", b"\x00\xc2\x00\x00\x00\x80"),
        (b"2147483648", b"\x00\x0a2147483648"),
        (b"-0", b"\x00\x02-0"),
        (&[b'x'; 20], &[b"\x00\x14", &[b'x'; 20][..]].concat()),
    ];
    for (string, content) in cases {
        assert_eq!(payload_of(&Value::String(string)), sealed(content, 10));
    }
    assert!(payload_of(&Value::String(&[b'x'; 21])).starts_with(b"\x00\xc3"));
    let random: Vec<u8> = (0..20_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let long = [&random[..], &[b'x'; 2 << 20]].concat();
    assert!(payload_of(&Value::String(&long)).starts_with(&[0, 0x80, 0, 0x20, 0x4e, 0x20]));
}

#[test]
fn versions_and_checksums_are_checked() {
    // Breaks if a payload of a newer Redis or a damaged one is taken.
    let mut harness = Harness::new();
    assert_eq!(restore_into(&mut harness, &sealed(b"\x00\x01a", 6)), OK);
    assert_eq!(restore_into(&mut harness, &sealed(b"\x00\x01a", 12)), OK);
    assert_eq!(restore_into(&mut harness, &sealed(b"\x00\x01a", 13)), WRONG);
    let payload = sealed(b"\x00\x01a", 11);
    for bit in 0..payload.len() * 8 {
        let mut damaged = payload.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(restore_into(&mut harness, &damaged), WRONG, "bit {bit}");
    }
    for length in 0..payload.len() {
        assert_eq!(restore_into(&mut harness, &payload[..length]), WRONG);
    }
}

#[test]
fn content_that_lies_is_refused() {
    // Breaks if a length from outside is believed, or memory is taken on its word.
    let mut harness = Harness::new();
    let contents: &[&[u8]] = &[
        b"",
        b"\x00",
        b"\x00\x02a",
        b"\x00\x40",
        b"\x00\x80\xff\xff\xff\xff",
        b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x82",
        b"\x00\xc0",
        b"\x00\xc1\x01",
        b"\x00\xc2\x01\x02\x03",
        b"\x00\xc4",
        b"\x00\xc3\x01\x80\x20\x00\x00\x01\x00",
        b"\x00\xc3\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00a",
        b"\x00\xc3\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00a",
        b"\x00\xc3\xc0\x01\x01\x00a",
        b"\x00\xc3\x02\x02\x00a",
        b"\xff",
        b"\x1a",
        b"\x08",
    ];
    for content in contents {
        assert_eq!(
            restore_into(&mut harness, &sealed(content, 11)),
            BAD,
            "{content:?}"
        );
    }
    let module = sealed(b"\x07\x01\x01a", 11);
    assert_eq!(
        restore_into(&mut harness, &module),
        b"-ERR RESTORE of this type is not supported by this version of Torc\r\n"
    );
    // Redis ignores what follows the value; so do we.
    assert_eq!(restore_into(&mut harness, &sealed(b"\x00\x01ab", 11)), OK);
    assert_eq!(value(&mut harness), b"a");
}

#[test]
fn arguments_are_checked_in_redis_order() {
    // Breaks if errors come in another order: options, busy key, time, payload.
    let mut harness = Harness::new();
    harness.run("SET a 1");
    let syntax = "-ERR syntax error\r\n";
    let integer = "-ERR value is not an integer or out of range\r\n";
    for (line, reply) in [
        ("RESTORE a x y FOO", syntax),
        (
            "RESTORE a x y",
            "-BUSYKEY Target key name already exists.\r\n",
        ),
        ("RESTORE a x y REPLACE", integer),
        ("RESTORE b x y", integer),
        ("RESTORE b -1 y", "-ERR Invalid TTL value, must be >= 0\r\n"),
        (
            "RESTORE b 0 y",
            "-ERR DUMP payload version or checksum are wrong\r\n",
        ),
        ("RESTORE b 0 y IDLETIME x", integer),
        (
            "RESTORE b 0 y IDLETIME -1",
            "-ERR Invalid IDLETIME value, must be >= 0\r\n",
        ),
        ("RESTORE b 0 y IDLETIME", syntax),
        (
            "RESTORE b 0 y FREQ 256",
            "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n",
        ),
        ("RESTORE b 0 y FREQ 1 IDLETIME 1", syntax),
        ("RESTORE b 0 y IDLETIME 1 FREQ 1", syntax),
    ] {
        assert_eq!(harness.run(line), reply, "{line}");
    }
}

#[test]
fn times_are_relative_or_absolute() {
    // Breaks if ABSTTL is ignored, or a time that has passed leaves a key behind.
    let mut harness = Harness::new();
    let payload = sealed(b"\x00\x01a", 11);
    let run = |harness: &mut Harness, ttl: &str, options: &[&[u8]]| {
        let mut words = vec![&b"RESTORE"[..], b"k", ttl.as_bytes(), &payload];
        words.extend_from_slice(options);
        assert_eq!(harness.run_bytes(&words), OK);
    };
    run(&mut harness, "5000", &[]);
    assert_eq!(harness.all_events(), "new k, restore k");
    assert_eq!(harness.run("PTTL k"), ":5000\r\n");
    let wall_ms = harness.now_ms as i64 + crate::testing::WALL_OFFSET_MS;
    run(
        &mut harness,
        &(wall_ms + 7000).to_string(),
        &[b"ABSTTL", b"REPLACE"],
    );
    assert_eq!(harness.run("PTTL k"), ":7000\r\n");
    run(&mut harness, &wall_ms.to_string(), &[b"ABSTTL", b"REPLACE"]);
    assert_eq!(harness.events(), "del k");
    assert_eq!(harness.run("EXISTS k"), ":0\r\n");
    run(&mut harness, &i64::MAX.to_string(), &[]);
    assert_eq!(harness.events(), "");
    assert_eq!(harness.run("EXISTS k"), ":0\r\n");
    run(&mut harness, &i64::MAX.to_string(), &[b"absttl"]);
    assert_eq!(harness.run("PEXPIRETIME k"), format!(":{}\r\n", i64::MAX));
}

#[test]
fn missing_keys_have_no_payload() {
    // Breaks if DUMP of nothing is an empty string or silent to listeners.
    let mut harness = Harness::new();
    assert_eq!(harness.run("DUMP x"), "$-1\r\n");
    assert_eq!(harness.all_events(), "keymiss x");
}

proptest! {
    #[test]
    fn strings_come_back(
        words in proptest::collection::vec(any::<u16>(), 0..300),
        repeat in 1usize..200,
    ) {
        // Breaks if any string is changed on the way through DUMP and RESTORE.
        let string: Vec<u8> = words.iter().flat_map(|word| vec![*word as u8; 1 + usize::from(*word >> 8) % repeat]).collect();
        let mut harness = Harness::new();
        prop_assert_eq!(restore_into(&mut harness, &payload_of(&Value::String(&string))), OK);
        prop_assert_eq!(value(&mut harness), string);
    }

    #[test]
    fn numbers_come_back(number: i64, bits in 0u32..64) {
        // Breaks if an integer form loses a sign or a byte at a boundary.
        let string = (number >> bits).to_string();
        let mut harness = Harness::new();
        prop_assert_eq!(restore_into(&mut harness, &payload_of(&Value::String(string.as_bytes()))), OK);
        prop_assert_eq!(value(&mut harness), string.as_bytes());
    }

    #[test]
    fn any_content_is_read_or_refused(mut content in proptest::collection::vec(any::<u8>(), 0..60), as_string: bool) {
        // Breaks if content that is sealed rightly could panic.
        if as_string && !content.is_empty() {
            content[0] = kind::STRING;
        }
        let mut harness = Harness::new();
        let reply = restore_into(&mut harness, &sealed(&content, 11));
        prop_assert!(reply == OK || reply.starts_with(b"-ERR "));
    }
}
