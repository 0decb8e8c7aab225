//! Starting, stopping and refusing to start.

use std::time::Duration;

use torc_tests::{Kind, Server, Value};

#[test]
fn a_started_server_answers() {
    // Fails when the binary does not start, or does not answer on the port it was given.
    let server = Server::start();
    assert_eq!(server.client().ask("PING"), Value::simple("PONG"));
}

#[test]
fn a_taken_port_is_refused_in_words() {
    // Fails when a second server on the same port hangs, crashes or starts all the same.
    let first = Server::start();
    let mut second = Server::spawn(Kind::Tested, first.port(), &[]);
    let code = second.exit_code(Duration::from_secs(10));
    assert!(
        code.is_some_and(|code| code != 0),
        "exit code {code:?}\n{}",
        second.log()
    );
    let log = second.log().to_lowercase();
    assert!(log.contains("in use"), "{log}");
    assert!(log.contains(&first.port().to_string()), "{log}");
    assert_eq!(
        first.client().ask("PING"),
        Value::simple("PONG"),
        "the first one lives on"
    );
}
