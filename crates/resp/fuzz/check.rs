//! What must hold for any bytes whatever: shared by the fuzz targets and by the test that replays
//! their corpus. A broken property panics.

use bytes::BytesMut;
use resp::{
    Access, Batch, Limits, OwnedArgs, Protocol, ProtocolError, ReplyDecoder, Scan, Scanner, Tree,
    encode_request,
};

/// Bytes from a client: they are read the same however they arrive, and as `redis-protocol` reads
/// them where both agree that they are a request.
pub fn requests(bytes: &[u8]) {
    let small = Limits {
        bulk_bytes_max: 20,
        inline_bytes_max: 30,
        args_max: 11,
        request_bytes_max: 100,
        access: Access::Unauthenticated,
    };
    for limits in [Limits::default(), small] {
        let whole = feed([bytes], &limits, usize::MAX);
        let third = bytes.len() / 3 + 1;
        for (piece_bytes, requests_max) in [(1, 1), (1, 3), (third, 1), (third, 3)] {
            let pieces = feed(bytes.chunks(piece_bytes), &limits, requests_max);
            assert_eq!(
                pieces,
                whole,
                "in pieces of {piece_bytes}: {}",
                bytes.escape_ascii()
            );
        }
    }
    agree_with_oracle(bytes);
}

/// Bytes from a server: any reply or any error, the same however they arrive.
pub fn replies(bytes: &[u8]) {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let whole = decode_all(bytes, bytes.len().max(1), protocol);
        let pieces = decode_all(bytes, 1, protocol);
        assert_eq!(pieces, whole, "{}", bytes.escape_ascii());
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    requests: Vec<OwnedArgs>,
    error: Option<ProtocolError>,
}

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
            requests.extend((0..batch.len()).map(|i| batch.args(&buffer, i).to_owned()));
            buffer.drain(..batch.consumed);
            scanner.advance(batch.consumed);
            match scan {
                Scan::NeedMore { .. } => break,
                Scan::BatchFull => {}
                Scan::Error(error) => {
                    let error = Some(error);
                    return Seen { requests, error };
                }
            }
        }
    }
    Seen {
        requests,
        error: None,
    }
}

/// Compares the requests at the front one by one. Where one side reads a request in its canonical
/// form (what a client library sends), the other must read the same: Redis, and so our scanner,
/// takes loose line ends that `redis-protocol` refuses, which in turn takes other lengths.
fn agree_with_oracle(mut bytes: &[u8]) {
    let mut batch = Batch::new();
    loop {
        batch.clear();
        Scanner::new().scan(bytes, &Limits::default(), 1, &mut batch);
        let ours = (!batch.is_empty()).then(|| batch.args(bytes, 0).to_owned());
        let theirs = oracle(bytes);
        for read in [&ours, &theirs].into_iter().flatten() {
            let mut canonical = Vec::new();
            encode_request(&mut canonical, &read.args().iter().collect::<Vec<_>>());
            if bytes.starts_with(&canonical) {
                assert_eq!(ours, theirs, "{}", bytes.escape_ascii());
                assert_eq!(batch.consumed, canonical.len());
            }
        }
        if batch.consumed == 0 {
            return;
        }
        bytes = &bytes[batch.consumed..];
    }
}

/// The arguments that `redis-protocol` finds at the front, if it finds some.
fn oracle(bytes: &[u8]) -> Option<OwnedArgs> {
    let mut decoder = ReplyDecoder::new(Protocol::Resp2, usize::MAX);
    let tree = decoder.decode(&mut BytesMut::from(bytes)).ok()??;
    let Tree::Array(elements) = tree else {
        return None;
    };
    let arguments: Option<Vec<&[u8]>> = elements
        .iter()
        .map(|element| match element {
            Tree::Bulk(bytes) => Some(&bytes[..]),
            _ => None,
        })
        .collect();
    arguments
        .filter(|arguments| !arguments.is_empty())
        .map(|arguments| OwnedArgs::from_slices(&arguments))
}

/// All replies and the error that ends them, in text, so that NaN equals itself.
fn decode_all(bytes: &[u8], piece_bytes: usize, protocol: Protocol) -> Vec<String> {
    let mut decoder = ReplyDecoder::new(protocol, 1 << 20);
    let mut buffer = BytesMut::new();
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(tree)) => seen.push(format!("{tree:?}")),
                Ok(None) => break,
                Err(error) => {
                    seen.push(error.to_string());
                    return seen;
                }
            }
        }
    }
    seen
}
