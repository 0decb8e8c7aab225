use crate::testing::Harness;

#[test]
fn usage_counts_more_than_the_bytes_themselves() {
    // Breaks if MEMORY USAGE forgets the key, the value or what holds them.
    let mut harness = Harness::new();
    harness.run_bytes(&[b"SET", b"key", &[b'x'; 1000]]);
    let reply = harness.run("MEMORY USAGE key");
    let bytes: usize = reply[1..].trim_end().parse().unwrap();
    assert!((1003..1300).contains(&bytes), "{bytes}");
    assert_eq!(harness.run("MEMORY USAGE key SAMPLES 0 samples 5"), reply);
    assert_eq!(harness.run("MEMORY USAGE x"), "$-1\r\n");
}

#[test]
fn options_are_checked_before_the_key() {
    // Breaks if errors come in another order than Redis's.
    let mut harness = Harness::new();
    let syntax = "-ERR syntax error\r\n";
    for (options, reply) in [
        ("FOO 1", syntax),
        ("SAMPLES", syntax),
        ("SAMPLES -1", syntax),
        (
            "SAMPLES x",
            "-ERR value is not an integer or out of range\r\n",
        ),
        ("SAMPLES 1 FOO", syntax),
    ] {
        assert_eq!(harness.run(&format!("MEMORY USAGE x {options}")), reply);
    }
}

#[test]
fn a_collection_is_measured_with_all_that_is_in_it() {
    // Breaks if elements are not counted, or still are when they are gone.
    let mut harness = Harness::new();
    let bytes = |harness: &mut Harness| -> usize {
        let reply = harness.run("MEMORY USAGE list SAMPLES 1");
        reply[1..].trim_end().parse().unwrap()
    };
    harness.run("RPUSH list a");
    let small = bytes(&mut harness);
    assert!((5..1000).contains(&small), "{small}");
    for _ in 0..100 {
        harness.run_bytes(&[b"RPUSH", b"list", &[b'x'; 1000]]);
    }
    let large = bytes(&mut harness);
    assert!((100_000..200_000).contains(&large), "{large}");
    harness.run("LTRIM list 0 0");
    assert_eq!(bytes(&mut harness), small);
}
