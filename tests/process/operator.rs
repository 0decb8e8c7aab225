//! The `torc` binary as an operator types it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use torc_tests::{Kind, Server, free_port, torc_binary};

/// How long a line of a running tool may be away.
const LINE_WAIT_MAX: Duration = Duration::from_secs(30);

/// A tool that runs until it is dropped, and what it prints.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut child = Command::new(torc_binary())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("torc can be run");
        let (send, lines) = channel();
        let output = child.stdout.take().expect("it was piped");
        let errors = child.stderr.take().expect("it was piped");
        hand_on(output, "", send.clone());
        hand_on(errors, "error: ", send);
        Running { child, lines }
    }

    /// The next line that has `word` in it.
    fn line_with(&self, word: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(LINE_WAIT_MAX) {
                Ok(line) if line.contains(word) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no {word:?} in {seen:?}"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hand_on(from: impl Read + Send + 'static, mark: &'static str, to: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(format!("{mark}{line}")).is_err() {
                return;
            }
        }
    });
}

#[test]
fn who_watches_sees_a_node_go_and_come_back() {
    // Fails when `--watch` ends with the node that it asks, just when its operator wants to see it come back.
    if Server::tests_redis() {
        return; // Nobody asks Redis with `torc`.
    }
    let port = free_port();
    let address = format!("localhost:{port}");
    let node = || {
        let mut server = Server::spawn(Kind::Tested, port, &[]);
        server.wait_until_ready().expect("it starts");
        server
    };
    let first = node();
    let watching = Running::start(&["status", "--watch", &address]);
    watching.line_with("cluster");
    drop(first);
    let told = watching.line_with("error: ");
    assert!(told.contains(&address), "{told}");
    let _second = node();
    watching.line_with("cluster");
}

#[test]
fn a_node_that_is_not_there_ends_a_watch_at_once() {
    // Fails when a mistyped address is watched for ever.
    let mut watching = Running::start(&["status", "--watch", "127.0.0.1:1"]);
    watching.line_with("error: torc: no node answers at 127.0.0.1:1");
    let ended = watching.child.wait().expect("our own child");
    assert_eq!(ended.code(), Some(1));
}
