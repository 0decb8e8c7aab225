use std::net::TcpListener;
use std::thread;

use super::*;
use crate::requests::RandomKeys;
use crate::workload::{Command, Row};

/// A server of one connection that answers each read's SET requests with what `answer` makes of them.
fn serve_once(answer: impl Fn(usize) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    let requests = buffer[..read].iter().filter(|&&b| b == b'*').count();
                    if stream.write_all(&answer(requests)).is_err() {
                        return;
                    }
                }
            }
        }
    });
    address
}

fn source(pipeline: usize) -> RandomKeys {
    let row = Row {
        command: Command::Set,
        pipeline,
        value_bytes: 3,
        clients: 1,
    };
    RandomKeys::new(&row, 1_000, 1)
}

#[test]
fn counts_as_many_requests_as_were_answered() {
    // Requests counted when sent, and not when answered, would flatter a server that falls behind.
    let address = serve_once(|requests| b"+OK\r\n".repeat(requests));
    let mut connections = Connections::open(address, 1).unwrap();
    let result = connections
        .run(&mut source(4), Until::Requests(10))
        .unwrap();
    assert_eq!(result.requests_count, 12, "10 rounded up to batches of 4");
    assert_eq!(result.batch_latency_ns.len(), 3);
    let again = connections.run(&mut source(4), Until::Requests(4)).unwrap();
    assert_eq!(again.requests_count, 4, "connections serve load after load");
}

#[test]
fn an_error_reply_ends_the_load() {
    // A table of the speed of errors would look splendid.
    let address = serve_once(|requests| {
        let mut replies = b"+OK\r\n".repeat(requests - 1);
        replies.extend_from_slice(b"-ERR no\r\n");
        replies
    });
    let mut connections = Connections::open(address, 1).unwrap();
    let error = connections
        .run(&mut source(4), Until::Requests(10))
        .unwrap_err();
    assert!(format!("{error:#}").contains("-ERR no"), "{error:#}");
}

#[test]
fn a_reply_too_many_ends_the_load() {
    // A server out of step would answer the next batch before it was sent.
    let address = serve_once(|requests| b"+OK\r\n".repeat(requests + 1));
    let mut connections = Connections::open(address, 1).unwrap();
    assert!(connections.run(&mut source(2), Until::Requests(2)).is_err());
}

#[test]
fn a_server_that_leaves_ends_the_load() {
    // Waiting for a dead server would hang the whole benchmark.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || drop(listener.accept()));
    let mut connections = Connections::open(address, 1).unwrap();
    assert!(connections.run(&mut source(1), Until::Requests(1)).is_err());
}
