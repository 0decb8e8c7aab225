use crate::testing::Harness;
use cache::StringForm;

#[test]
fn strings_are_combined() {
    // Breaks if the shorter string does not count as followed by zeros, or caches are mixed up.
    for caches in [1, 3] {
        let mut h = Harness::with_caches(caches);
        h.run(r#"SET a "\xf0\x0f\xff""#);
        h.run(r#"SET b "\x3c""#);
        for (line, len, wanted) in [
            ("BITOP AND d a b", 3, "0\\x00\\x00"),
            ("BITOP and d b a", 3, "0\\x00\\x00"),
            ("BITOP AND d a none", 3, "\\x00\\x00\\x00"),
            ("BITOP OR d b a", 3, "\\xfc\\x0f\\xff"),
            ("BITOP XOR d a b a", 3, "<\\x00\\x00"),
            ("BITOP NOT d a", 3, "\\x0f\\xf0\\x00"),
            ("BITOP OR b b a", 3, "\\xfc\\x0f\\xff"),
        ] {
            assert_eq!(h.run(line), format!(":{len}\r\n"), "{line}");
            let target = line.split(' ').nth(2).expect("BITOP names a target");
            assert_eq!(h.events(), format!("set {target}"));
            assert_eq!(
                h.run(&format!("GET {target}")),
                format!("${len}\r\n{wanted}\r\n"),
                "{line}"
            );
        }
    }
}

#[test]
fn nothing_combined_leaves_nothing() {
    // Breaks if an empty result leaves the target's old string.
    let mut h = Harness::new();
    h.run("SET d old");
    assert_eq!(h.run("BITOP OR d x y"), ":0\r\n");
    assert_eq!(h.events(), "del d");
    assert_eq!(h.run("BITOP NOT d x"), ":0\r\n");
    assert_eq!(h.events(), "");
    assert_eq!(h.run("GET d"), "$-1\r\n");
}

#[test]
fn the_target_is_a_new_string() {
    // Breaks if the target keeps its expiry, or shows another encoding than a computed string has.
    let mut h = Harness::new();
    h.run("SET d old PX 10");
    h.run("SET a 12");
    h.run("BITOP OR d a");
    h.pass_ms(10);
    let key = h.key(b"d");
    let entry = h.cache().peek(key).expect("the target has no expiry");
    assert_eq!(entry.form, StringForm::Edited);
}

#[test]
fn operations_are_spelled_out() {
    // Breaks if an unknown operation is taken for another, or NOT takes several strings.
    let mut h = Harness::new();
    assert_eq!(h.run("BITOP NAND d a b"), "-ERR syntax error\r\n");
    assert_eq!(
        h.run("BITOP NOT d a b"),
        "-ERR BITOP NOT must be called with a single source key.\r\n"
    );
}
