use super::*;

#[test]
fn errors_stay_on_one_line() {
    // Breaks if a client's own bytes, quoted in an error, could be read as a second reply.
    let mut output = Output::new();
    Reply::new(&mut output, Protocol::Resp2).error("\r\nERR a\r\nb\n");
    assert_eq!(&output.tail_mut()[..], b"-ERR a  b\r\n");
}
