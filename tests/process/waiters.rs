//! Clients that wait for a lock, and what else happens to their connections meanwhile.

use std::time::{Duration, Instant};

use torc_tests::{Client, Server, Value};

use crate::until;

/// How many wait for the lock `l`.
fn waiting(asks: &mut Client) -> i64 {
    let info = asks.ask("LOCK.INFO l").items();
    let at = info.iter().position(|item| *item == Value::bulk("waiting"));
    at.and_then(|at| info[at + 1].integer()).unwrap_or(0)
}

/// A client of the lock `l`, which somebody else holds, that stands in its queue.
fn waits(mut client: Client, asks: &mut Client, line: &str) -> Client {
    let before = waiting(asks);
    client
        .send_args(&line.split(' ').collect::<Vec<_>>())
        .unwrap();
    until("a place in the queue", || waiting(asks) == before + 1);
    client
}

#[test]
fn who_waits_is_seen_and_can_be_ended() {
    // Breaks if a waiter were not marked as blocked, or one that was ended kept its place in the queue.
    if Server::tests_redis() {
        return;
    }
    let server = Server::start();
    let mut holder = server.client();
    assert!(
        holder
            .ask("LOCK.ACQUIRE l holder 60000")
            .integer()
            .is_some()
    );
    let mut named = server.client();
    let id = named.ask("CLIENT ID").integer().expect("a number");
    let mut waiter = waits(named, &mut holder, "LOCK.ACQUIRE l w 60000 WAIT 0");
    let line = holder.ask(&format!("CLIENT LIST ID {id}")).text();
    assert!(
        line.contains(" flags=b ") && line.contains(" cmd=lock.acquire "),
        "{line}"
    );
    assert!(
        holder
            .ask("INFO clients")
            .text()
            .contains("blocked_clients:1")
    );
    assert_eq!(
        holder.ask(&format!("CLIENT UNBLOCK {id}")),
        Value::Integer(1)
    );
    assert!(waiter.receive().expect("an answer").is_null());
    let line = holder.ask(&format!("CLIENT LIST ID {id}")).text();
    assert!(line.contains(" flags=N "), "{line}");
    assert_eq!(
        holder.ask(&format!("CLIENT UNBLOCK {id}")),
        Value::Integer(0)
    );
    let mut waiter = waits(waiter, &mut holder, "LOCK.ACQUIRE l w 60000 WAIT 0");
    assert_eq!(
        holder.ask(&format!("CLIENT KILL ID {id}")),
        Value::Integer(1)
    );
    until("an empty queue", || waiting(&mut holder) == 0);
    assert_eq!(waiter.read_to_close().expect("closed"), b"");
    assert_eq!(holder.ask("LOCK.RELEASE l holder"), Value::Integer(1));
    assert_eq!(holder.ask("EXISTS l"), Value::Integer(0));
}

#[test]
fn who_closed_one_half_does_not_wait() {
    // Breaks if a client that says nothing any more, as a dead one looks, kept a place in the queue, or got the lock.
    if Server::tests_redis() {
        return;
    }
    let server = Server::start();
    let mut holder = server.client();
    holder.ask("LOCK.ACQUIRE l holder 60000");
    let mut early = server.client();
    early
        .send(b"LOCK.ACQUIRE l early 60000 WAIT 0\r\n")
        .unwrap();
    early.close_write();
    assert_eq!(early.read_to_close().expect("closed"), b"");
    let mut late = waits(
        server.client(),
        &mut holder,
        "LOCK.ACQUIRE l late 60000 WAIT 0",
    );
    late.close_write();
    assert_eq!(late.read_to_close().expect("closed"), b"");
    until("an empty queue", || waiting(&mut holder) == 0);
    // What was asked for before it is still answered.
    let mut both = server.client();
    both.send(b"PING\r\nLOCK.ACQUIRE free both 60000 WAIT 0\r\n")
        .unwrap();
    both.close_write();
    let replies = both.read_to_close().expect("closed");
    assert!(
        replies.starts_with(b"+PONG\r\n:"),
        "{}",
        replies.escape_ascii()
    );
    holder.ask("LOCK.RELEASE l holder");
    assert_eq!(holder.ask("EXISTS l"), Value::Integer(0));
}

#[test]
fn pushes_reach_who_waits() {
    // Breaks if messages or invalidations stayed with the server while their reader waits for a lock, or
    // came in the midst of a reply.
    if Server::tests_redis() {
        return;
    }
    let server = Server::start();
    let mut holder = server.client();
    holder.ask("LOCK.ACQUIRE l holder 60000");
    let mut reader = server.client3();
    reader.ask("CLIENT TRACKING ON");
    reader.ask("GET watched");
    reader.send(b"SUBSCRIBE news\r\n").unwrap();
    assert!(matches!(reader.receive().unwrap(), Value::Push(_)));
    let mut reader = waits(reader, &mut holder, "LOCK.ACQUIRE l reader 60000 WAIT 0");
    assert_eq!(holder.ask("PUBLISH news one"), Value::Integer(1));
    let message = reader.receive().expect("a message").items();
    assert_eq!(message[0], Value::bulk("message"));
    holder.ask("SET watched v");
    let invalidation = reader.receive().expect("an invalidation").items();
    assert_eq!(invalidation[0], Value::bulk("invalidate"));
    holder.ask("LOCK.RELEASE l holder");
    assert!(reader.receive().expect("the lock").integer().is_some());
    // Monitors and RESP2's subscribers do nothing else: they cannot wait either.
    let mut monitor = server.client();
    assert_eq!(monitor.ask("MONITOR"), Value::simple("OK"));
    let refused = monitor.ask("LOCK.ACQUIRE l m 60000 WAIT 0").text();
    assert!(
        refused.contains("Replica can't interact with the keyspace"),
        "{refused}"
    );
    let mut subscriber = server.client();
    subscriber.ask("SUBSCRIBE news");
    let refused = subscriber.ask("LOCK.ACQUIRE l s 60000 WAIT 0").text();
    assert!(
        refused.contains("Can't execute 'lock.acquire'"),
        "{refused}"
    );
    assert!(!subscriber.has_more(Duration::from_millis(50)).unwrap());
}

#[test]
fn who_is_gone_takes_nothing_with_it() {
    // Breaks if a client that closes while it waits is given what comes at that moment: nobody would have it then. Without the
    // look at the socket's end in the connection's wait one round in 50 lost its element.
    if Server::tests_redis() {
        return; // It gives to whoever it has not heard of yet.
    }
    let server = Server::start();
    let (mut pushes, mut takes) = (server.client(), server.client());
    for round in 0..300 {
        let mut waiter = server.client();
        waiter.send_args(&["BLPOP", "list", "0"]).unwrap();
        until("a client that waits", || {
            let info = pushes.ask("INFO clients").text();
            info.contains("blocked_clients:1\r")
        });
        drop(waiter);
        // The server hears of the end some tens of microseconds later.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(round % 15 * 10) {
            std::hint::spin_loop();
        }
        assert_eq!(pushes.ask("RPUSH list element"), Value::Integer(1));
        let taken = Value::Array(vec![Value::bulk("list"), Value::bulk("element")]);
        assert_eq!(takes.ask("BLPOP list 5"), taken, "round {round}");
    }
}
