//! The peer port of a running cluster, and whoever comes to it: each is told off in one line of the log, and the cluster
//! goes on answering.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use torc_tests::{Cluster, Server, Value};

use crate::until;

const PEER_PORT_OFFSET: u16 = 10_000;
/// The version of the protocol between nodes.
const VERSION: u16 = 10;

/// What a dialer says of itself.
#[derive(Clone)]
struct Hello {
    version: u16,
    from: u32,
    process: u64,
    to: u32,
    cluster_id: String,
}

impl Hello {
    fn body(&self) -> Vec<u8> {
        let mut body = b"TORCPEER".to_vec();
        body.extend(self.version.to_le_bytes());
        body.extend(self.version.to_le_bytes());
        body.push(0); // a fast link
        body.extend(self.from.to_le_bytes());
        body.extend(1u64.to_le_bytes());
        body.extend(self.process.to_le_bytes());
        body.extend(self.to.to_le_bytes());
        body.extend([7; 32]);
        body.extend((self.cluster_id.len() as u16).to_le_bytes());
        body.extend(self.cluster_id.as_bytes());
        body
    }
}

fn dial(cluster: &Cluster, number: usize) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", cluster.port(number) + PEER_PORT_OFFSET));
    let stream = stream.expect("the peer port listens");
    let timeout = Some(Duration::from_secs(10));
    stream.set_read_timeout(timeout).expect("a socket");
    stream
}

fn send(stream: &mut TcpStream, kind: u8, body: &[u8]) {
    let mut packet = (1 + body.len() as u32).to_le_bytes().to_vec();
    packet.push(kind);
    packet.extend(body);
    stream.write_all(&packet).expect("it listens");
}

/// Kind and body of a packet.
fn receive(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).expect("an answer");
    let length = u32::from_le_bytes(head[..4].try_into().expect("4 bytes")) as usize;
    let mut body = vec![0; length - 1];
    stream.read_exact(&mut body).expect("a whole packet");
    (head[4], body)
}

/// Says hello and proves to know `secret`; returns what comes of it.
fn greet(stream: &mut TcpStream, hello: &Hello, secret: &str) -> (u8, String) {
    let body = hello.body();
    send(stream, 1, &body);
    let (kind, challenge) = receive(stream);
    if kind != 2 {
        return (kind, String::from_utf8_lossy(&challenge).into_owned());
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    for part in [&b"torc dialer 1"[..], &body, &challenge] {
        mac.update(&(part.len() as u32).to_le_bytes());
        mac.update(part);
    }
    send(stream, 3, &mac.finalize().into_bytes());
    let (kind, body) = receive(stream);
    (kind, String::from_utf8_lossy(&body).into_owned())
}

fn cluster_id(cluster: &Cluster) -> String {
    let Value::Bulk(json) = cluster.client(1).ask("TORC STATUS") else {
        panic!("a status is a text");
    };
    let status: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    status["cluster_id"].as_str().expect("a text").to_owned()
}

/// Waits until one line of node 1's log has all `words`.
fn wait_for_line(cluster: &Cluster, words: &[&str]) {
    until(&format!("{words:?} in the log"), || {
        let log = cluster.node(1).log();
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    });
}

fn assert_answers(cluster: &Cluster, after: &str) {
    for number in 1..=3 {
        let mut client = cluster.client(number);
        for key in 0..20 {
            let reply = client.ask(&format!("SET {after}:{key} x"));
            assert_eq!(reply, Value::Simple(b"OK".to_vec()), "after {after}");
        }
    }
}

#[test]
fn whoever_does_not_belong_is_told_off_and_nothing_else_happens() {
    // Breaks if a stranger at the peer port, or a node that is not what it says, takes part, takes links from those that
    // do, or leaves nothing in the log to find it by.
    if Server::tests_redis() {
        return;
    }
    let cluster = Cluster::start_with(3, &["--cluster-secret", "sesame"]);
    let sound = Hello {
        version: VERSION,
        from: 9,
        process: 77,
        to: 1,
        cluster_id: cluster_id(&cluster),
    };
    let refused = "a connection to the peer port is refused";

    let mut stream = dial(&cluster, 1);
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_for_line(&cluster, &[refused, "what dialed is no Torc node"]);
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    assert_answers(&cluster, "garbage");

    let other = Hello {
        version: VERSION + 1,
        ..sound.clone()
    };
    let later = format!("yours version {}", VERSION + 1);
    let (kind, words) = greet(&mut dial(&cluster, 1), &other, "sesame");
    assert!(kind == 5 && words.contains(&later), "{words}");
    wait_for_line(&cluster, &[refused, &later]);

    let (kind, words) = greet(&mut dial(&cluster, 1), &sound, "mellon");
    assert!(kind == 5 && words.contains("secrets differ"), "{words}");
    wait_for_line(&cluster, &[refused, "another cluster secret"]);

    let other = Hello {
        cluster_id: "0123456789abcdef0123456789abcdef".into(),
        ..sound.clone()
    };
    let (kind, words) = greet(&mut dial(&cluster, 1), &other, "sesame");
    assert!(kind == 5 && words.contains("belongs to cluster"), "{words}");
    wait_for_line(&cluster, &[refused, "yours to 0123456789abcdef"]);

    for (from, wanted) in [(2, "another process is node 2 already"), (1, "already")] {
        let other = Hello {
            from,
            ..sound.clone()
        };
        let (kind, words) = greet(&mut dial(&cluster, 1), &other, "sesame");
        assert!(kind == 5 && words.contains(wanted), "{words}");
        wait_for_line(&cluster, &[refused, wanted]);
    }
    assert_answers(&cluster, "strangers");

    for (frame, wanted) in [
        (frame(u32::MAX, VERSION), "a frame of 4294967295 bytes"),
        (frame(60, 3), "a frame of version 3"),
        (frame(60, VERSION), "a frame whose checksum is wrong"),
    ] {
        let mut stream = dial(&cluster, 1);
        let (kind, words) = greet(&mut stream, &sound, "sesame");
        assert_eq!(kind, 4, "{words}");
        stream.write_all(&frame).expect("it listens");
        wait_for_line(&cluster, &["a link is closed", "node=9", wanted]);
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
        assert_answers(&cluster, "frames");
    }
    cluster.wait_until_whole();
}

/// A frame that says it has `length` bytes behind its first 8, and one message.
fn frame(length: u32, version: u16) -> Vec<u8> {
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend([0; 4]);
    frame.extend(version.to_le_bytes());
    frame.extend([0, 0, 1, 0, 0, 0]);
    frame.resize(8 + 60, 0);
    frame
}
