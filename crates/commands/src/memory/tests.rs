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
