//! Clients that misbehave: each may hurt itself, none may hurt another.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use torc_tests::{Client, Kind, Server, Value, encode};

use crate::until;

/// What a bystander may have to wait for its answer while another misbehaves. Generous: the machine
/// that tests may have two cores and other work.
const BYSTANDER_WAIT_MAX: Duration = Duration::from_millis(1500);

#[test]
fn more_clients_than_maxclients_are_turned_away() {
    // Fails when the limit is ignored, or a place that became free is not given again.
    let server = Server::start_with(Kind::Tested, &["--maxclients", "8"]);
    let mut inside: Vec<Client> = Vec::new();
    // The connection that waited for the start may still be counted for a moment.
    until("eight places", || {
        while inside.len() < 8 {
            let mut client = server.client();
            let mut ping = Vec::new();
            encode(&mut ping, &["PING"]);
            match client.exchange(&ping, 1) {
                Ok(replies) if replies[0] == Value::simple("PONG") => inside.push(client),
                _ => return false,
            }
        }
        true
    });
    let refused = server
        .client()
        .read_to_close()
        .expect("the ninth is closed");
    assert_eq!(
        refused.escape_ascii().to_string(),
        "-ERR max number of clients reached\\r\\n"
    );
    for client in &mut inside {
        assert_eq!(client.ask("PING"), Value::simple("PONG"));
    }
    inside.pop();
    until("a free place", || {
        let mut client = server.client();
        let mut ping = Vec::new();
        encode(&mut ping, &["PING"]);
        client
            .exchange(&ping, 1)
            .is_ok_and(|replies| replies[0] == Value::simple("PONG"))
    });
}

#[test]
fn idle_clients_are_closed_and_subscribers_are_not() {
    // Fails when `timeout` is ignored, or closes who waits for messages.
    let server = Server::start_with(Kind::Tested, &["--timeout", "1"]);
    let mut idle = server.client();
    let mut subscriber = server.client();
    assert_eq!(idle.ask("PING"), Value::simple("PONG"));
    subscriber.ask("SUBSCRIBE news");
    let mut active = server.client();
    let start = Instant::now();
    let mut closed = false;
    while !closed && start.elapsed() < Duration::from_secs(10) {
        assert_eq!(
            active.ask("PING"),
            Value::simple("PONG"),
            "an active client stays"
        );
        closed = idle.has_more(Duration::from_millis(50)).unwrap_or(true);
    }
    assert!(
        closed,
        "the idle client is still there after {:?}",
        start.elapsed()
    );
    assert!(idle.receive().is_err(), "closed without a word");
    assert!(
        start.elapsed() > Duration::from_millis(700),
        "closed too early: {:?}",
        start.elapsed()
    );
    assert_eq!(
        active.ask("PUBLISH news x"),
        Value::Integer(1),
        "the subscriber is still there"
    );
}

#[test]
fn a_slow_reader_of_huge_replies_holds_up_nobody() {
    // Fails when the server waits for one client's socket, or loses what it could not write at once.
    let server = Server::start();
    let mut slow = server.client();
    let value = vec![b'v'; 4 << 20];
    assert_eq!(
        slow.ask_args(&[b"SET".as_slice(), b"big", &value]),
        Value::simple("OK")
    );
    for _ in 0..30 {
        slow.send_args(&["GET", "big"])
            .expect("a short request fits the socket");
    }
    let mut bystander = server.client();
    for _ in 0..50 {
        let start = Instant::now();
        assert_eq!(bystander.ask("SET small 1"), Value::simple("OK"));
        assert!(
            start.elapsed() < BYSTANDER_WAIT_MAX,
            "a bystander waited {:?}",
            start.elapsed()
        );
    }
    assert_eq!(
        bystander.ask("SET big gone"),
        Value::simple("OK"),
        "a value may change while it is being sent"
    );
    for _ in 0..30 {
        match slow.receive().expect("every reply arrives") {
            Value::Bulk(bytes) => assert!(
                bytes.len() == value.len() || bytes == b"gone",
                "{} bytes",
                bytes.len()
            ),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(slow.ask("GET big"), Value::bulk("gone"));
}

#[test]
fn a_client_that_leaves_in_the_middle_is_forgotten() {
    // Fails when half a request, or a reply that nobody takes, keeps a connection for ever.
    let server = Server::start();
    let mut watcher = server.client();
    watcher.ask_args(&["SET", "big", &"v".repeat(1 << 20)]);
    {
        let mut leavers: Vec<Client> = (0..20).map(|_| server.client()).collect();
        for (number, leaver) in leavers.iter_mut().enumerate() {
            match number % 4 {
                0 => leaver
                    .send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nhalf")
                    .expect("sent"),
                1 => (0..20).for_each(|_| leaver.send_args(&["GET", "big"]).expect("sent")),
                2 => leaver.send(b"MULTI\r\nSET a 1\r\nWATCH").expect("sent"),
                _ => leaver.send_args(&["SUBSCRIBE", "news"]).expect("sent"),
            }
        }
    }
    until("the leavers' end", || {
        let list = watcher.ask("CLIENT LIST").text();
        list.lines().count() == 1
    });
    assert_eq!(
        watcher.ask("PUBSUB NUMSUB news"),
        Value::Array(vec![Value::bulk("news"), Value::Integer(0)])
    );
    assert_eq!(
        watcher.ask("EXISTS a"),
        Value::Integer(0),
        "half a SET and a MULTI without EXEC did nothing"
    );
}

#[test]
fn a_client_that_only_closes_its_writing_half_gets_its_answers() {
    // Fails when `printf … | nc` loses its replies.
    let server = Server::start();
    let mut client = server.client();
    client.send(b"SET a 1\r\nGET a\r\nPING\r\n").expect("sent");
    client.close_write();
    let answers = client.read_to_close().expect("the server closes too");
    assert_eq!(
        answers.escape_ascii().to_string(),
        "+OK\\r\\n$1\\r\\n1\\r\\n+PONG\\r\\n"
    );
}

#[test]
fn a_pipeline_of_a_million_commands_is_answered_in_order() {
    // Fails when a long pipeline is cut, reordered, or kept in memory as a whole on the way in.
    const COMMANDS: usize = 1_000_000;
    let server = Server::start();
    let mut client = server.client();
    let mut socket = client.socket().expect("a file descriptor is left");
    let writer = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        for number in 0..COMMANDS {
            encode(&mut bytes, &[b"INCR".as_slice(), b"n"]);
            if bytes.len() > 1 << 16 || number + 1 == COMMANDS {
                socket.write_all(&bytes).expect("the server reads on");
                bytes.clear();
            }
        }
    });
    let mut bystander = server.client();
    for number in 1..=COMMANDS {
        assert_eq!(
            client.receive().expect("a reply"),
            Value::Integer(number as i64)
        );
        if number % 100_000 == 0 {
            let start = Instant::now();
            bystander.ask("PING");
            assert!(
                start.elapsed() < BYSTANDER_WAIT_MAX,
                "a bystander waited {:?}",
                start.elapsed()
            );
        }
    }
    writer.join().expect("the writer wrote all");
}

#[test]
fn a_pipeline_whose_replies_are_read_last_does_not_deadlock() {
    // Fails when the server stops reading because its replies are not taken, within Redis's bounds.
    const COMMANDS: usize = 100_000;
    let server = Server::start();
    let mut client = server.client();
    client.ask_args(&["SET", "k", &"v".repeat(200)]);
    let mut bytes = Vec::new();
    for _ in 0..COMMANDS {
        encode(&mut bytes, &["GET", "k"]);
    }
    client
        .send(&bytes)
        .expect("all requests are taken before a reply is read");
    for _ in 0..COMMANDS {
        assert!(
            matches!(client.receive().expect("a reply"), Value::Bulk(bytes) if bytes.len() == 200)
        );
    }
}

#[test]
fn a_walk_over_all_keys_lets_others_in_between() {
    // Fails when KEYS holds the keyspace for as long as it walks.
    const KEYS: usize = 400_000;
    let server = Server::start();
    let mut walker = server.client();
    let mut bytes = Vec::new();
    for number in 0..KEYS {
        encode(&mut bytes, &["SET", &format!("key:{number:08}"), "v"]);
    }
    walker.exchange(&bytes, KEYS).expect("filled");
    let walking = AtomicBool::new(true);
    let answered = AtomicUsize::new(0);
    let slowest = std::thread::scope(|scope| {
        let bystander = scope.spawn(|| {
            let mut client = server.client();
            let mut slowest = Duration::ZERO;
            while walking.load(Ordering::Relaxed) {
                let start = Instant::now();
                assert_eq!(client.ask("GET key:00000007"), Value::bulk("v"));
                slowest = slowest.max(start.elapsed());
                answered.fetch_add(1, Ordering::Relaxed);
            }
            slowest
        });
        for _ in 0..5 {
            assert_eq!(walker.ask("KEYS *").items().len(), KEYS);
        }
        assert_eq!(walker.ask("KEYS *nosuch*").items().len(), 0);
        walking.store(false, Ordering::Relaxed);
        bystander
            .join()
            .expect("the bystander was answered rightly")
    });
    assert!(
        slowest < BYSTANDER_WAIT_MAX,
        "a bystander waited {slowest:?}"
    );
    if !Server::tests_redis() {
        let answered = answered.load(Ordering::Relaxed);
        assert!(
            answered > 50,
            "only {answered} answers while KEYS walked six times"
        );
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_dropped_alone() {
    // Fails when messages pile up without bound, or the wrong client pays.
    let server = Server::start_with(
        Kind::Tested,
        &["--client-output-buffer-limit", "pubsub 1mb 0 0"],
    );
    let mut slow = server.client();
    let mut quick = server.client();
    let mut publisher = server.client();
    slow.ask("SUBSCRIBE news");
    quick.ask("SUBSCRIBE news");
    let message = vec![b'm'; 100_000];
    for _ in 0..300 {
        assert!(matches!(
            publisher.ask_args(&[b"PUBLISH".as_slice(), b"news", &message]),
            Value::Integer(1 | 2)
        ));
        let received = quick.receive().expect("who reads gets every message");
        assert_eq!(received.items()[2], Value::bulk(&message));
    }
    until("the slow one's end", || {
        publisher.ask("PUBSUB NUMSUB news")
            == Value::Array(vec![Value::bulk("news"), Value::Integer(1)])
    });
    let rest = slow.read_to_close().expect("the slow one is closed");
    assert!(rest.len() < 30_000_000, "{} bytes came", rest.len());
    assert_eq!(publisher.ask("PUBLISH news last"), Value::Integer(1));
    assert_eq!(
        quick.receive().expect("the message").items()[2],
        Value::bulk("last")
    );
}

#[test]
fn an_output_buffer_limit_closes_who_asks_for_too_much() {
    // Fails when one client's unread replies may take all memory although a limit is set. Replies of a pipeline do
    // not pile up in Torc, as it stops the requests of who does not read; Redis closes that client too.
    let server = Server::start_with(
        Kind::Tested,
        &["--client-output-buffer-limit", "normal 4mb 0 0"],
    );
    let mut greedy = server.client();
    greedy.ask_args(&["SET", "big", &"v".repeat(32 << 20)]);
    greedy.ask_args(&["SET", "medium", &"v".repeat(1 << 20)]);
    greedy
        .send(b"GET big\r\n")
        .expect("a short request fits the socket");
    let received = greedy.read_to_close().expect("closed");
    assert!(
        received.len() < 32 << 20,
        "all {} bytes came",
        received.len()
    );
    let before = server.resident_bytes();
    let mut lazy = server.client();
    let mut gets = Vec::new();
    for _ in 0..200 {
        encode(&mut gets, &["GETRANGE", "medium", "0", "-2"]);
    }
    lazy.send(&gets).expect("a short pipeline fits the socket");
    let mut other = server.client();
    until("the replies to be as many as they may become", || {
        let served = other.ask("INFO commandstats").text();
        let calls = |text: &str| {
            text.lines()
                .find(|line| line.starts_with("cmdstat_getrange:"))
                .map(str::to_owned)
        };
        let first = calls(&served);
        std::thread::sleep(Duration::from_millis(50));
        first.is_some() && first == calls(&other.ask("INFO commandstats").text())
    });
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(
        grown < 48 << 20,
        "{grown} bytes are held for who reads nothing"
    );
    assert_eq!(other.ask("PING"), Value::simple("PONG"));
}

#[test]
fn killed_paused_and_muted_clients_do_as_told() {
    // Fails when CLIENT KILL, PAUSE, REPLY or NO-EVICT answer OK and do nothing.
    let server = Server::start();
    let mut admin = server.client();
    let mut victim = server.client();
    let id = victim.ask("CLIENT ID").integer().expect("a number");
    assert_eq!(
        admin.ask(&format!("CLIENT KILL ID {id}")),
        Value::Integer(1)
    );
    assert!(victim.receive().is_err(), "a killed client is closed");

    let mut muted = server.client();
    muted.send(b"CLIENT REPLY OFF\r\nSET a 1\r\nGET a\r\nNOSUCH\r\nCLIENT REPLY ON\r\nGET a\r\nCLIENT REPLY SKIP\r\nGET a\r\nPING\r\n").expect("sent");
    let replies: Vec<Value> = (0..3).map(|_| muted.receive().expect("a reply")).collect();
    assert_eq!(
        replies,
        [Value::simple("OK"), Value::bulk("1"), Value::simple("PONG")]
    );

    let mut writer = server.client();
    assert_eq!(admin.ask("CLIENT PAUSE 60000 WRITE"), Value::simple("OK"));
    assert_eq!(
        writer.ask("GET a"),
        Value::bulk("1"),
        "reads go on while writes wait"
    );
    writer.send(b"SET a 2\r\n").expect("sent");
    assert!(
        !writer.has_more(Duration::from_millis(150)).expect("open"),
        "a write went through a pause"
    );
    assert_eq!(admin.ask("CLIENT UNPAUSE"), Value::simple("OK"));
    assert_eq!(
        writer.receive().expect("the write goes on"),
        Value::simple("OK")
    );

    let mut quitter = server.client();
    assert_eq!(quitter.ask("QUIT"), Value::simple("OK"));
    assert!(quitter.receive().is_err(), "QUIT closes");
}
