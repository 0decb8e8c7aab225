use proptest::prelude::*;

use super::*;
use crate::args::OwnedArgs;

/// What a connection sees of a stream: its requests, and the error that ends it.
#[derive(Debug, PartialEq)]
struct Seen {
    requests: Vec<OwnedArgs>,
    error: Option<ProtocolError>,
}

/// Feeds the pieces one after the other, as a connection does: scan, execute, drop what was used.
fn feed<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
    requests_max: usize,
) -> Seen {
    let mut scanner = Scanner::new();
    let mut batch = Batch::new();
    let mut buffer = Vec::new();
    let mut requests = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            batch.clear();
            let scan = scanner.scan(&buffer, limits, requests_max, &mut batch);
            assert!(batch.len() <= requests_max);
            let mut end = 0;
            for i in 0..batch.len() {
                requests.push(batch.args(&buffer, i).to_owned());
                assert!(batch.requests[i].end > end, "requests follow one another");
                end = batch.requests[i].end;
            }
            assert!(batch.consumed >= end as usize);
            if let Scan::Error(error) = scan {
                let error = Some(error);
                return Seen { requests, error };
            }
            buffer.drain(..batch.consumed);
            scanner.advance(batch.consumed);
            match scan {
                Scan::BatchFull => assert!(!buffer.is_empty()),
                _ => break,
            }
        }
    }
    Seen {
        requests,
        error: None,
    }
}

fn feed_whole(bytes: &[u8]) -> Seen {
    feed([bytes], &Limits::default(), 1000)
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

#[test]
fn every_protocol_error_has_redis_own_words() {
    // Breaks if a bad frame gets another answer than redis-server 7.0.15 gave to the same bytes.
    let long = |start: &str| [start.as_bytes(), &[b'1'; 70_000][..]].concat();
    let unbalanced = "unbalanced quotes in request";
    let cases: &[(&[u8], &str)] = &[
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*-\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*00\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*9223372036854775808\r\n", "invalid multibulk length"),
        (b"*1\r\nfoo\r\n", "expected '$', got 'f'"),
        (b"*1\r\n*1\r\n$1\r\nx\r\n", "expected '$', got '*'"),
        (b"*1\r\n:4\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$4 \r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
        (&long("*"), "too big mbulk count string"),
        (&long("*1\r\n$"), "too big bulk count string"),
        (&long(""), "too big inline request"),
        (b"set \"a\r\n", unbalanced),
        (b"set 'a\r\n", unbalanced),
        (b"set \"a\"b\r\n", unbalanced),
        (b"echo a\"b c\"d\r\n", unbalanced),
        (b"echo \"\\\"\r\n", unbalanced),
        (b"echo '\\'\r\n", unbalanced),
    ];
    for (bytes, text) in cases {
        let shown = bytes[..bytes.len().min(40)].escape_ascii();
        let bytes = [PING, bytes].concat();
        let seen = feed_whole(&bytes);
        let error = seen.error.unwrap_or_else(|| panic!("{shown} is no error"));
        assert_eq!(
            error.to_string(),
            format!("Protocol error: {text}"),
            "{shown}"
        );
        assert_eq!(error.message(), error.to_string().into_bytes(), "{shown}");
        assert_eq!(seen.requests.len(), 1, "the request before {shown} is lost");
    }
    let error = feed_whole(b"*1\r\n\xff\r\n").error.unwrap();
    assert_eq!(error.message(), b"Protocol error: expected '$', got '\xff'");
}

#[test]
fn strangers_get_small_limits() {
    // Breaks if a client without a password can make the node hold much for it.
    let limits = Limits {
        access: Access::Unauthenticated,
        ..Limits::default()
    };
    let cases: &[(&[u8], Option<&str>)] = &[
        (b"*10\r\n", None),
        (b"*11\r\n", Some("unauthenticated multibulk length")),
        (b"*2147483648\r\n", Some("invalid multibulk length")),
        (b"*1\r\n$16384\r\n", None),
        (b"*1\r\n$16385\r\n", Some("unauthenticated bulk length")),
        (b"*1\r\n$536870913\r\n", Some("invalid bulk length")),
    ];
    for (bytes, text) in cases {
        let error = feed([*bytes], &limits, 1)
            .error
            .map(|error| error.to_string());
        let text = text.map(|text| format!("Protocol error: {text}"));
        assert_eq!(error, text, "{}", bytes.escape_ascii());
    }
}

#[test]
fn frames_that_redis_waits_for_are_waited_for() {
    // Breaks if an unfinished frame is refused, or taken for a request.
    let cases: &[&[u8]] = &[
        b"*1",
        b"*1\r",
        b"*1\r\n\r",
        b"*1\r\nfoo",
        b"*2147483647\r\n",
        b"*1048577\r\n",
        b"*1\r\n$536870912\r\n",
        b"*1\r\n$4\r\nPI\r\n",
        b"*1\r\n$4\r\nPING\r",
        b"*1\r\n$4\rPING\r\n",
        b"*1\x00\r\n",
        b"*1\r\n$4\x00\r\n",
        b"*1\r\n\x00\r\n",
        b"ec\x00ho x\r\n",
        b"echo \"a\\",
        b"",
    ];
    for bytes in cases {
        let bytes = [PING, bytes].concat();
        let seen = feed_whole(&bytes);
        assert_eq!(seen.error, None, "{}", bytes.escape_ascii());
        assert_eq!(seen.requests.len(), 1, "{}", bytes.escape_ascii());
    }
}

#[test]
fn requests_without_arguments_are_passed_over() {
    // Breaks if a keep-alive line gets a reply, which would shift all later ones.
    for empty in [
        "\r\n",
        "\n\n",
        " \r\n",
        "*0\r\n",
        "*-1\r\n",
        "*-2147483649\r\n",
    ] {
        let bytes = [empty.as_bytes(), PING, empty.as_bytes()].concat();
        let seen = feed_whole(&bytes);
        assert_eq!(
            seen.requests,
            [OwnedArgs::from_slices(&[b"PING"])],
            "{empty:?}"
        );
        let mut batch = Batch::new();
        Scanner::new().scan(&bytes, &Limits::default(), 9, &mut batch);
        assert_eq!(batch.consumed, bytes.len(), "{empty:?}");
    }
}

#[test]
fn inline_words_are_split_as_redis_splits_them() {
    // Breaks if what a person types reaches the command as other words than in Redis.
    let cases: &[(&[u8], &[&[u8]])] = &[
        (b"ping\n", &[b"ping"]),
        (b"   ping   \r\n", &[b"ping"]),
        (b"PING\r\r\n", &[b"PING"]),
        (b"echo a\rb\r\n", &[b"echo", b"a", b"b"]),
        (b"echo a\x0bb\r\n", &[b"echo", b"a\x0bb"]),
        (b"echo\x0ca \x0b\r\n", &[b"echo\x0ca"]),
        (b"echo \x0b\x0c x\r\n", &[b"echo", b"x"]),
        (b"echo \xff\xfe\r\n", &[b"echo", b"\xff\xfe"]),
        (b"echo a\\x41\r\n", &[b"echo", b"a\\x41"]),
        (b"echo 'a\\'b'\r\n", &[b"echo", b"a'b"]),
        (b"echo 'a\\nb'\r\n", &[b"echo", b"a\\nb"]),
        (
            b"echo \"\\x41\\n\\t\\b\\a\\r\\q\\xzz\"\r\n",
            &[b"echo", b"A\n\t\x08\x07\rqxzz"],
        ),
        (
            b"echo \"\\x4\" \"\\x\" \"\\x4G\"\r\n",
            &[b"echo", b"x4", b"x", b"x4G"],
        ),
        (b"echo \"a\\\"b\"\r\n", &[b"echo", b"a\"b"]),
        (b"echo a\"b c\"\r\n", &[b"echo", b"ab c"]),
        (b"echo \"\" ''\r\n", &[b"echo", b"", b""]),
        (b"echo \"a\"\tb\r\n", &[b"echo", b"a", b"b"]),
        (b"''\r\n", &[b""]),
        (b"+OK\r\n", &[b"+OK"]),
    ];
    for (line, words) in cases {
        let seen = feed_whole(line);
        assert_eq!(
            seen.requests,
            [OwnedArgs::from_slices(words)],
            "{}",
            line.escape_ascii()
        );
    }
}

#[test]
fn line_ends_are_not_looked_at_closely() {
    // Breaks if clients that Redis tolerates are refused: it skips two bytes unseen.
    let seen = feed_whole(b"*1\rX$4\rXPINGXX*1\r\n$4\r\nPING??");
    let ping = OwnedArgs::from_slices(&[b"PING"]);
    assert_eq!(seen.requests, [ping.clone(), ping]);
}

#[test]
fn the_limits_are_exact() {
    // Breaks if a limit is off by one, or holds for one way of arrival only.
    let limits = Limits {
        bulk_bytes_max: 5,
        inline_bytes_max: 20,
        args_max: 3,
        request_bytes_max: 36,
        ..Limits::default()
    };
    let inline = |bytes: usize| [&vec![b'a'; bytes][..], b"\n"].concat();
    let arguments = |lengths: &[usize]| {
        let arguments: Vec<Vec<u8>> = lengths.iter().map(|len| vec![b'x'; *len]).collect();
        encode(&arguments)
    };
    let cases = [
        (inline(20), None),
        (inline(21), Some(ProtocolError::TooBigInline)),
        (arguments(&[5, 5, 1]), None),
        (arguments(&[5, 6]), Some(ProtocolError::InvalidBulkLength)),
        (arguments(&[5, 5, 5]), Some(ProtocolError::TooBigRequest)),
        (
            arguments(&[1, 1, 1, 1]),
            Some(ProtocolError::InvalidMultibulkLength),
        ),
    ];
    for (bytes, error) in cases {
        let whole = feed([&bytes[..]], &limits, 9);
        assert_eq!(whole.error, error, "{}", bytes.escape_ascii());
        let by_byte = feed(bytes.chunks(1), &limits, 9);
        assert_eq!(by_byte, whole, "{}", bytes.escape_ascii());
    }
}

#[test]
fn missing_bytes_are_those_of_the_arriving_argument() {
    // Breaks if a reader asks its socket for more or less than the argument lacks.
    let mut scanner = Scanner::new();
    let mut batch = Batch::new();
    let limits = Limits::default();
    let mut buffer = b"*2\r\n$3\r\nGET\r\n$1000\r\nab".to_vec();
    let scan = scanner.scan(&buffer, &limits, 9, &mut batch);
    assert_eq!(scan, Scan::NeedMore { missing: 1000 });
    buffer.extend_from_slice(&[b'c'; 998]);
    let scan = scanner.scan(&buffer, &limits, 9, &mut batch);
    assert_eq!(scan, Scan::NeedMore { missing: 2 });
    assert_eq!((batch.len(), batch.consumed), (0, 0));
    buffer.extend_from_slice(b"\r\n*");
    let scan = scanner.scan(&buffer, &limits, 9, &mut batch);
    assert_eq!(scan, Scan::NeedMore { missing: 0 });
    assert_eq!((batch.len(), batch.consumed), (1, buffer.len() - 1));
    assert_eq!(batch.args(&buffer, 0).get(1).len(), 1000);
}

#[test]
fn a_request_in_many_pieces_is_scanned_once() {
    // Breaks if every piece of a large MSET starts the scan anew: minutes instead of milliseconds.
    let arguments = vec![b"0123456789".to_vec(); 200_000];
    let bytes = encode(&arguments);
    let started = std::time::Instant::now();
    let seen = feed(bytes.chunks(64), &Limits::default(), 9);
    assert_eq!(seen.requests[0].args().len(), arguments.len());
    assert!(
        started.elapsed().as_secs() < 20,
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn the_memory_of_a_large_request_is_given_back() {
    // Breaks if a connection keeps what its largest half-arrived request took.
    let bytes = encode(&vec![b"x".to_vec(); 100_000]);
    let (first, rest) = bytes.split_at(bytes.len() - 1);
    let mut scanner = Scanner::new();
    let mut batch = Batch::new();
    scanner.scan(first, &Limits::default(), 9, &mut batch);
    assert!(scanner.heap_bytes() >= 100_000 * size_of::<Span>() - 8);
    scanner.scan(&[first, rest].concat(), &Limits::default(), 9, &mut batch);
    assert_eq!(batch.len(), 1);
    assert!(scanner.heap_bytes() <= KEPT_SPANS_MAX * size_of::<Span>());
}

#[test]
fn a_length_alone_takes_no_memory() {
    // Breaks if memory is allocated on the word of a client's header.
    let mut scanner = Scanner::new();
    let mut batch = Batch::new();
    let bytes = b"*2147483647\r\n$536870912\r\nabc";
    scanner.scan(bytes, &Limits::default(), 9, &mut batch);
    assert_eq!(scanner.heap_bytes() + batch.spans.capacity(), 0);
}

fn encode(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A well-formed request, or something that may stand among them.
fn piece_of_pipeline() -> impl Strategy<Value = Vec<u8>> {
    let argument = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 90..130),
        1 => prop::collection::vec(any::<u8>(), 990..1010),
    ];
    prop_oneof![
        8 => prop::collection::vec(argument, 1..5).prop_map(|arguments| encode(&arguments)),
        1 => prop::collection::vec(Just(b"k".to_vec()), 9..12).prop_map(|all| encode(&all)),
        2 => "[ a-z'\"\\\\x0-9]{0,20}\r?\n".prop_map(String::into_bytes),
        1 => prop::sample::select(vec!["*0\r\n", "*-1\r\n", "\r\n", "*2\r\n$x", "*1\r\n$-1\r\n"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_requests(
        pieces in prop::collection::vec(piece_of_pipeline(), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        requests_max in 1usize..5,
    ) {
        // Breaks if a request is read differently when it does not arrive in one piece.
        let bytes = pieces.concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let chunks = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        let limits = Limits::default();
        let whole = feed([&bytes[..]], &limits, usize::MAX);
        prop_assert_eq!(&feed(chunks, &limits, requests_max), &whole);
        prop_assert_eq!(&feed(bytes.chunks(1), &limits, requests_max), &whole);
    }
}
