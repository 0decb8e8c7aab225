use super::clip;
use crate::testing::Harness;
use proptest::prelude::*;

#[test]
fn parts_of_a_string() {
    // Breaks if a place from the end, or outside, is taken for another.
    let mut h = Harness::new();
    h.run("SET k 0123456789");
    for (range, part) in [
        ("0 -1", "0123456789"),
        ("2 4", "234"),
        ("-3 -1", "789"),
        ("-3 100", "789"),
        ("-100 2", "012"),
        ("5 4", ""),
        ("10 20", ""),
        ("-1 -5", ""),
        ("-100 -200", ""),
        ("-200 -100", "0"),
        ("9223372036854775807 9223372036854775807", ""),
        ("-9223372036854775808 9223372036854775807", "0123456789"),
    ] {
        let wanted = format!("${}\r\n{part}\r\n", part.len());
        assert_eq!(h.run(&format!("GETRANGE k {range}")), wanted, "{range}");
        assert_eq!(h.run(&format!("SUBSTR k {range}")), wanted, "{range}");
    }
    assert_eq!(h.run("GETRANGE none 0 -1"), "$0\r\n\r\n");
    h.run("SET empty \"\"");
    assert_eq!(h.run("GETRANGE empty 0 -1"), "$0\r\n\r\n");
    let error = "-ERR value is not an integer or out of range\r\n";
    assert_eq!(h.run("GETRANGE none 0 x"), error);
    assert_eq!(h.run("GETRANGE none x 0"), error);
}

#[test]
fn a_part_is_written_over() {
    // Breaks if bytes beside the part change, or a gap holds anything but zeros.
    let mut h = Harness::new();
    h.run("SET k hello PX 100");
    assert_eq!(h.run("SETRANGE k 1 EL"), ":5\r\n");
    assert_eq!(h.events(), "setrange k");
    assert_eq!(h.run("SETRANGE k 7 !"), ":8\r\n");
    assert_eq!(h.run("GET k"), "$8\r\nhELlo\\x00\\x00!\r\n");
    h.pass_ms(100);
    assert_eq!(h.run("SETRANGE k 2 x"), ":3\r\n");
    assert_eq!(h.all_events(), "new k, setrange k");
    assert_eq!(h.run("GET k"), "$3\r\n\\x00\\x00x\r\n");
}

#[test]
fn writing_nothing_changes_nothing() {
    // Breaks if an empty part creates a key, or tells listeners of a change.
    let mut h = Harness::new();
    assert_eq!(h.run("SETRANGE k 5 \"\""), ":0\r\n");
    assert!(h.cache().is_empty());
    h.run("SET k abc");
    assert_eq!(h.run("SETRANGE k 9223372036854775807 \"\""), ":3\r\n");
    assert_eq!(h.events(), "");
}

#[test]
fn strings_do_not_outgrow_their_bound() {
    // Breaks if an offset makes a string of any size, or wraps around.
    let mut h = Harness::new();
    let long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    assert_eq!(h.run("SETRANGE k 536870911 ab"), long);
    assert_eq!(h.run("SETRANGE k 9223372036854775807 a"), long);
    assert_eq!(h.run("SETRANGE k -1 a"), "-ERR offset is out of range\r\n");
    assert!(h.cache().is_empty());
}

#[test]
fn appended_parts_add_up() {
    // Breaks if APPEND loses bytes or expiry, or tells a wrong length.
    let mut h = Harness::new();
    assert_eq!(h.run("APPEND k ab"), ":2\r\n");
    assert_eq!(h.all_events(), "new k, append k");
    assert_eq!(h.run("APPEND k cd"), ":4\r\n");
    assert_eq!(h.run("APPEND k \"\""), ":4\r\n");
    assert_eq!(h.events(), "append k");
    assert_eq!(h.run("GET k"), "$4\r\nabcd\r\n");
    assert_eq!(h.run("STRLEN k"), ":4\r\n");
    assert_eq!(h.run("STRLEN none"), ":0\r\n");
    h.run("SET t a PX 10");
    h.run("APPEND t b");
    h.pass_ms(10);
    assert_eq!(h.run("GET t"), "$-1\r\n");
}

proptest! {
    #[test]
    fn clipping_is_indexing(first in -12i64..12, last in -12i64..12, len in 0usize..8) {
        // Breaks if a range differs from the one that Redis documents, place by place.
        let place = |from: i64| if from < 0 { (len as i64 + from).max(0) } else { from };
        let reversed = first < 0 && last < 0 && first > last;
        let wanted: Vec<usize> = (0..len)
            .filter(|&i| !reversed && i as i64 >= place(first) && i as i64 <= place(last))
            .collect();
        prop_assert_eq!(clip(first, last, len).collect::<Vec<_>>(), wanted);
    }
}
