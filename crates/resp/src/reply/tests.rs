use super::*;

fn both(write: impl Fn(&mut Reply<'_>)) -> [String; 2] {
    [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
        let mut output = Output::new();
        write(&mut Reply::new(&mut output, protocol));
        output
            .tail_mut()
            .escape_ascii()
            .to_string()
            .replace("\\r\\n", "|")
    })
}

#[test]
fn every_type_has_its_form_in_both_protocols() {
    // Breaks if a client meets a type that its protocol does not have.
    assert_eq!(both(|r| r.ok()), ["+OK|", "+OK|"]);
    assert_eq!(both(|r| r.simple("PONG")), ["+PONG|", "+PONG|"]);
    assert_eq!(both(|r| r.error("ERR no")), ["-ERR no|", "-ERR no|"]);
    assert_eq!(both(|r| r.bulk(b"")), ["$0||", "$0||"]);
    assert_eq!(both(|r| r.bulk_integer(-42)), ["$3|-42|", "$3|-42|"]);
    assert_eq!(both(|r| r.null()), ["$-1|", "_|"]);
    assert_eq!(both(|r| r.null_array()), ["*-1|", "_|"]);
    assert_eq!(both(|r| r.bulk_or_null(None)), ["$-1|", "_|"]);
    assert_eq!(both(|r| r.bulk_or_null(Some(b"a"))), ["$1|a|", "$1|a|"]);
    assert_eq!(both(|r| r.array(3)), ["*3|", "*3|"]);
    assert_eq!(both(|r| r.map(7)), ["*14|", "%7|"]);
    assert_eq!(both(|r| r.set(3)), ["*3|", "~3|"]);
    assert_eq!(both(|r| r.push(3)), ["*3|", ">3|"]);
    assert_eq!(both(|r| r.double(0.5)), ["$3|0.5|", ",0.5|"]);
    assert_eq!(
        both(|r| r.double(f64::NEG_INFINITY)),
        ["$4|-inf|", ",-inf|"]
    );
    assert_eq!(
        both(|r| r.double(3.3)),
        ["$18|3.2999999999999998|", ",3.2999999999999998|"]
    );
    assert_eq!(both(|r| r.double_shortest(3.3)), ["$3|3.3|", ",3.3|"]);
    assert_eq!(both(|r| r.boolean(true)), [":1|", "#t|"]);
    assert_eq!(both(|r| r.boolean(false)), [":0|", "#f|"]);
    assert_eq!(both(|r| r.verbatim("txt", b"hi")), ["$2|hi|", "=6|txt:hi|"]);
    assert_eq!(both(|r| r.big_number("-12")), ["$3|-12|", "(-12|"]);
}

#[test]
fn lengths_and_integers_are_right_at_their_edges() {
    // Breaks if a short way of writing a number ends one too early or too late.
    for length in [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 16_383] {
        let bytes = vec![b'x'; length];
        let expected = format!("${length}|{}|", "x".repeat(length));
        assert_eq!(both(|r| r.bulk(&bytes)), [expected.clone(), expected]);
    }
    for value in [0, 1, 9, 10, -1, -9, 99, 255, 256, i64::MAX, i64::MIN] {
        let expected = format!(":{value}|");
        assert_eq!(both(|r| r.integer(value)), [expected.clone(), expected]);
    }
}

#[test]
fn large_values_are_not_copied() {
    // Breaks if GET of a large value costs its size.
    for (length, tail_bytes) in [(SHARED_BYTES_MIN, 10), (SHARED_BYTES_MIN - 1, 16_393)] {
        let bytes = Bytes::from(vec![b'x'; length]);
        let mut output = Output::new();
        Reply::new(&mut output, Protocol::Resp2).bulk_shared(&bytes);
        assert_eq!(output.len(), length + 10);
        assert_eq!(output.tail_mut().len(), tail_bytes);
    }
}

#[test]
fn errors_stay_on_one_line() {
    // Breaks if a client's own bytes, quoted in an error, could be read as a second reply.
    let [resp2, _] = both(|r| r.error("\r\nERR a\r\nb\n"));
    assert_eq!(resp2, "-ERR a  b|");
    assert_eq!(both(|r| r.error_bytes(b"ERR \xff"))[1], "-ERR \\xff|");
    assert_eq!(both(|r| r.error("\r\n"))[1], "-|");
}

#[test]
#[should_panic(expected = "one line")]
fn a_simple_string_of_two_lines_is_a_bug() {
    // Breaks if a simple string could be read as two replies.
    both(|r| r.simple("a\r\n+b"));
}

#[test]
#[should_panic(expected = "no attributes")]
fn attributes_under_resp2_are_a_bug() {
    // Breaks if attributes could be taken for the reply.
    both(|r| r.attribute(1));
}
