use super::*;

fn decode_all(
    bytes: &[u8],
    piece_bytes: usize,
    protocol: Protocol,
) -> Result<Vec<Tree>, ReplyError> {
    let mut decoder = ReplyDecoder::new(protocol, 1 << 20);
    let mut buffer = BytesMut::new();
    let mut trees = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        while let Some(tree) = decoder.decode(&mut buffer)? {
            trees.push(tree);
        }
    }
    Ok(trees)
}

#[test]
fn replies_are_read_in_pieces_of_any_size() {
    // Breaks if a reply that arrives in pieces is lost, doubled or taken apart.
    let bytes = b"+OK\r\n-ERR \xff no\r\n:-5\r\n$2\r\n\r\n\r\n*2\r\n*0\r\n%1\r\n+a\r\n_\r\n>2\r\n$3\r\nfoo\r\n,1.5\r\n\
        |1\r\n+ttl\r\n:3\r\n*1\r\n#t\r\n~2\r\n:1\r\n:2\r\n(123\r\n=6\r\ntxt:hi\r\n!5\r\nERR x\r\n%2\r\n+x\r\n:1\r\n+y\r\n:2\r\n*0\r\n%0\r\n";
    let simple = Tree::simple;
    let expected = vec![
        simple("OK"),
        Tree::Error(Bytes::from_static(b"ERR \xff no")),
        Tree::Integer(-5),
        Tree::text("\r\n"),
        Tree::Array(vec![
            Tree::Array(vec![]),
            Tree::Map(vec![(simple("a"), Tree::Null)]),
        ]),
        Tree::Push(vec![Tree::text("foo"), Tree::Double(1.5)]),
        Tree::Attributed(
            vec![(simple("ttl"), Tree::Integer(3))],
            Box::new(Tree::Array(vec![Tree::Boolean(true)])),
        ),
        Tree::Set(vec![Tree::Integer(1), Tree::Integer(2)]),
        Tree::BigNumber(Bytes::from_static(b"123")),
        Tree::Verbatim(Bytes::from_static(b"hi")),
        Tree::Error(Bytes::from_static(b"ERR x")),
        Tree::Map(vec![
            (simple("x"), Tree::Integer(1)),
            (simple("y"), Tree::Integer(2)),
        ]),
        Tree::Array(vec![]),
        Tree::Map(vec![]),
    ];
    for piece_bytes in [1, 2, 3, 7, bytes.len()] {
        let trees = decode_all(bytes, piece_bytes, Protocol::Resp3).unwrap();
        assert_eq!(trees, expected, "in pieces of {piece_bytes}");
    }
}

#[test]
fn nulls_of_the_old_protocol_are_null() {
    // Breaks if a missing key, or an aborted transaction, is an error to a client.
    let trees = decode_all(b"$-1\r\n*-1\r\n*2\r\n$-1\r\n*-1\r\n", 99, Protocol::Resp2).unwrap();
    let both = Tree::Array(vec![Tree::Null, Tree::Null]);
    assert_eq!(trees, [Tree::Null, Tree::Null, both]);
}

#[test]
fn hostile_replies_are_refused() {
    // Breaks if a reply can overflow the stack, or make a client allocate or wait for nonsense.
    let just_too_deep = [&b"*1\r\n".repeat(TREE_DEPTH_MAX)[..], b"_\r\n"].concat();
    let deep = b"*1\r\n".repeat(10_000);
    let deep_map = b"%1\r\n".repeat(10_000);
    let attributes = b"|1\r\n".repeat(10_000);
    let long = [b"$2000000\r\n", &vec![b'x'; 2_000_000][..]].concat();
    let cases: [(&[u8], ReplyError); 13] = [
        (&just_too_deep, ReplyError::TooDeep),
        (&deep, ReplyError::TooDeep),
        (&deep_map, ReplyError::TooDeep),
        (&attributes, ReplyError::TooDeep),
        (&long, ReplyError::TooLong),
        (b"HTTP/1.1 400\r\n", ReplyError::UnknownFrame(b'H')),
        (b"$3\r\nabcd\r\n", ReplyError::UnterminatedString),
        (b"$x\r\n", ReplyError::InvalidLength),
        (b"$-2\r\n", ReplyError::InvalidLength),
        (b"*99999999999999999999\r\n", ReplyError::InvalidLength),
        (b"%-1\r\n", ReplyError::InvalidLength),
        (b"*?\r\n", ReplyError::InvalidLength),
        (b"*1\r\n;2\r\n", ReplyError::UnknownFrame(b';')),
    ];
    for (bytes, error) in cases {
        let shown = bytes[..bytes.len().min(30)].escape_ascii();
        assert_eq!(
            decode_all(bytes, 4096, Protocol::Resp3),
            Err(error),
            "{shown}"
        );
    }
    for malformed in [
        &b":x\r\n"[..],
        b"#y\r\n",
        b"*1\r\n$-1\r\n",
        b"=3\r\nabc\r\n",
    ] {
        let result = decode_all(malformed, 99, Protocol::Resp3);
        assert!(
            matches!(result, Err(ReplyError::Malformed(_))),
            "{}: {result:?}",
            malformed.escape_ascii()
        );
    }
}

#[test]
fn requests_are_arrays_of_bulk_strings() {
    // Breaks if a server reads other arguments than a client meant.
    let mut out = Vec::new();
    encode_request(&mut out, &[b"SET", b"", &[b'k'; 12], &[b'v'; 123]]);
    let expected = format!(
        "*4\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\n{}\r\n$123\r\n{}\r\n",
        "k".repeat(12),
        "v".repeat(123)
    );
    assert_eq!(out, expected.as_bytes());
}

#[test]
fn replies_part_where_they_end() {
    // Breaks if the parts of a command over several shards were put together from pieces of replies.
    let bytes = b"*2\r\n$3\r\nfoo\r\n$-1\r\n:7\r\n";
    let (first, rest) = split_reply(bytes).unwrap();
    assert_eq!(rest, b":7\r\n");
    let elements = split_array(first).unwrap();
    let (element, rest) = split_reply(elements).unwrap();
    assert_eq!((element, rest), (&b"$3\r\nfoo\r\n"[..], &b"$-1\r\n"[..]));
    assert_eq!(split_reply(b"$3\r\nfo"), None);
    assert_eq!(split_reply(b"junk\r\n"), None);
    assert_eq!(split_array(b"-ERR\r\n"), None);
    assert_eq!(split_array(b"*-1\r\n"), None);
}
