//! Bytes that are no requests: Redis's own words, then that client alone is closed.

use torc_tests::{Kind, Server, Value};

/// Sends `bytes`, and checks what is answered before the server closes the connection.
fn answers_and_closes(server: &Server, bytes: &[u8], answer: &str) {
    let mut client = server.client();
    // The server may close while we still write.
    let _ = client.send(bytes);
    let got = client.read_to_close().unwrap_or_else(|error| {
        panic!(
            "{}: not closed: {error}",
            bytes[..bytes.len().min(60)].escape_ascii()
        )
    });
    assert_eq!(
        got.escape_ascii().to_string(),
        answer.as_bytes().escape_ascii().to_string(),
        "{}",
        bytes[..bytes.len().min(60)].escape_ascii()
    );
}

#[test]
fn broken_frames_are_named_and_close_that_client_alone() {
    // Fails when a broken frame is taken, kills the server, or gets other words than Redis's.
    let server = Server::start();
    let mut bystander = server.client();
    let cases: &[(&[u8], &str)] = &[
        (
            b"*x\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            b"*2147483648\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            b"*9223372036854775808\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            b"*1\r\n:1\r\n",
            "-ERR Protocol error: expected '$', got ':'\r\n",
        ),
        (
            b"*1\r\n*1\r\n$1\r\na\r\n",
            "-ERR Protocol error: expected '$', got '*'\r\n",
        ),
        (
            b"*1\r\n$x\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"*1\r\n$-1\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"*1\r\n$536870913\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"*1\r\n$+4\r\nPING\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"SET a \"unbalanced\r\n",
            "-ERR Protocol error: unbalanced quotes in request\r\n",
        ),
        (
            b"PING\r\n*1\r\n!\r\n",
            "+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n",
        ),
    ];
    for (bytes, answer) in cases {
        answers_and_closes(&server, bytes, answer);
    }
    let endless = vec![b'a'; 70_000];
    answers_and_closes(
        &server,
        &endless,
        "-ERR Protocol error: too big inline request\r\n",
    );
    let mut header = b"*".to_vec();
    header.extend_from_slice(&endless);
    answers_and_closes(
        &server,
        &header,
        "-ERR Protocol error: too big mbulk count string\r\n",
    );
    let mut header = b"*1\r\n$".to_vec();
    header.extend_from_slice(&endless);
    answers_and_closes(
        &server,
        &header,
        "-ERR Protocol error: too big bulk count string\r\n",
    );
    assert_eq!(bystander.ask("PING"), Value::simple("PONG"));
}

#[test]
fn http_ends_the_connection_and_runs_nothing() {
    // Fails when a web page that a browser on this machine shows can run commands: their lines may be a form's body.
    let server = Server::start();
    let requests: [&[u8]; 4] = [
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET harm done\r\n",
        b"GET / HTTP/1.1 x\r\nHost: 127.0.0.1\r\n\r\nSET harm done\r\n",
        b"*1\r\n$4\r\npost\r\n*3\r\n$3\r\nSET\r\n$4\r\nharm\r\n$4\r\ndone\r\n",
        b"MULTI\r\nhost: x\r\nSET harm done\r\nEXEC\r\n",
    ];
    let answers = [
        "",
        "-ERR wrong number of arguments for 'get' command\r\n",
        "",
        "+OK\r\n",
    ];
    for (request, answer) in requests.iter().zip(answers) {
        answers_and_closes(&server, request, answer);
    }
    assert_eq!(server.client().ask("EXISTS harm"), Value::Integer(0));
    if !Server::tests_redis() {
        let told = server.log().matches("cross protocol scripting").count();
        assert_eq!(told, 1, "once a minute is enough:\n{}", server.log());
    }
}

#[test]
fn what_looks_odd_but_is_allowed_goes_through() {
    // Fails when the server is stricter than Redis: empty requests, inline commands, quotes.
    let server = Server::start();
    let mut client = server.client();
    let bytes = b"\r\n*0\r\n*-1\r\nPING\r\nping\n  SET  'a b'   \"x\\x41\\n\"  \r\nGET \"a b\"\r\n*1\r\n$4\r\nPING\r\n";
    let replies = client.exchange(bytes, 5).expect("five replies");
    let pong = Value::simple("PONG");
    assert_eq!(
        replies,
        [
            pong.clone(),
            pong.clone(),
            Value::simple("OK"),
            Value::bulk(b"xA\n"),
            pong
        ]
    );
    assert!(
        !client
            .has_more(std::time::Duration::from_millis(50))
            .expect("the connection lives"),
        "an empty request got a reply"
    );
}

#[test]
fn requests_may_come_in_any_pieces() {
    // Fails when a request that is cut at an unlucky place is lost or doubled.
    let server = Server::start();
    let mut client = server.client();
    let bytes = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$12\r\nab\r\ncd\r\nef\r\n\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
    for byte in bytes {
        client
            .send(std::slice::from_ref(byte))
            .expect("the server listens");
    }
    assert_eq!(client.receive().expect("a reply"), Value::simple("OK"));
    assert_eq!(
        client.receive().expect("a reply"),
        Value::bulk("ab\r\ncd\r\nef\r\n")
    );
}

#[test]
fn strangers_may_not_send_much() {
    // Fails when someone without the password can make the server hold large requests.
    let server = Server::start_with(Kind::Tested, &["--requirepass", "secret"]);
    answers_and_closes(
        &server,
        b"*11\r\n",
        "-ERR Protocol error: unauthenticated multibulk length\r\n",
    );
    answers_and_closes(
        &server,
        b"*2\r\n$3\r\nGET\r\n$16385\r\n",
        "-ERR Protocol error: unauthenticated bulk length\r\n",
    );
    let mut client = server.client();
    assert_eq!(client.ask("AUTH secret"), Value::simple("OK"));
    let value = "x".repeat(20_000);
    assert_eq!(client.ask_args(&["SET", "a", &value]), Value::simple("OK"));
}

#[test]
fn lengths_are_not_believed() {
    // Fails when memory is taken on the word of a header: a few clients could take all of it.
    let server = Server::start();
    let before = server.resident_bytes();
    let clients: Vec<_> = (0..40)
        .map(|number| {
            let mut client = server.client();
            let header: &[u8] = if number % 2 == 0 {
                b"*2\r\n$3\r\nGET\r\n$536870912\r\nabc"
            } else {
                b"*1048576\r\n$3\r\nDEL\r\n"
            };
            client.send(header).expect("the server listens");
            client
        })
        .collect();
    assert_eq!(server.client().ask("PING"), Value::simple("PONG"));
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(
        grown < 200 << 20,
        "{} headers took {grown} bytes",
        clients.len()
    );
}
