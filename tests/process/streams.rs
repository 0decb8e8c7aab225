//! Clients that wait for entries of streams.

use torc_tests::{Client, Cluster, Server, Value};

use crate::until;

/// How many clients wait on this server.
fn blocked(asks: &mut Client) -> usize {
    let info = asks.ask("INFO clients").text();
    let line = info
        .lines()
        .find(|line| line.starts_with("blocked_clients:"));
    let count = line.and_then(|line| line.split(':').nth(1));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Sends a command that waits, on a server on which `before` wait already.
fn waits(client: &mut Client, asks: &mut Client, before: usize, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    client.send_args(&words).expect("sent");
    until("a client that waits", || blocked(asks) == before + 1);
}

/// The ids in an answer of XREAD for one stream.
fn ids(reply: &Value) -> Vec<String> {
    let streams = reply.items();
    let [stream] = streams.as_slice() else {
        panic!("one stream: {reply:?}");
    };
    let entries = stream.items()[1].items();
    entries
        .iter()
        .map(|entry| entry.items()[0].text())
        .collect()
}

#[test]
fn readers_wait_for_what_comes_after_them() {
    // Breaks if `$` were looked at anew with each try, or an entry went to one reader alone.
    let server = Server::start();
    let mut writer = server.client();
    writer.ask("XADD s 1-1 f v");
    let (mut first, mut second) = (server.client(), server.client());
    waits(&mut first, &mut writer, 0, "XREAD BLOCK 0 STREAMS s $");
    waits(
        &mut second,
        &mut writer,
        1,
        "XREAD COUNT 5 BLOCK 0 STREAMS other s $ 2-0",
    );
    writer.ask("XADD s 1-2 f v");
    assert_eq!(ids(&first.receive().expect("an answer")), ["1-2"]);
    waits(&mut first, &mut writer, 1, "XREAD BLOCK 0 STREAMS s $");
    writer.ask("XADD s 2-1 f v");
    assert_eq!(ids(&first.receive().expect("an answer")), ["2-1"]);
    assert_eq!(ids(&second.receive().expect("an answer")), ["2-1"]);
    assert_eq!(blocked(&mut writer), 0);
    assert_eq!(
        ids(&first.ask("XREAD BLOCK 0 STREAMS s 1-1")),
        ["1-2", "2-1"]
    );
    assert!(first.ask("XREAD BLOCK 5 STREAMS s $").is_null());
    assert!(first.ask("XREAD BLOCK 5 STREAMS no s $ 2-1").is_null());
    assert_eq!(first.ask("PING"), Value::simple("PONG"));
}

#[test]
fn consumers_wait_their_turn() {
    // Breaks if an entry were handed out twice, or who waits for longest were passed over.
    let server = Server::start();
    let mut writer = server.client();
    writer.ask("XGROUP CREATE s g $ MKSTREAM");
    let mut consumers: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for (number, consumer) in consumers.iter_mut().enumerate() {
        let line = format!("XREADGROUP GROUP g c{number} BLOCK 0 STREAMS s >");
        waits(consumer, &mut writer, number, &line);
    }
    for (number, consumer) in consumers.iter_mut().enumerate() {
        let id = format!("{}-1", number + 1);
        assert_eq!(writer.ask(&format!("XADD s {id} f v")).text(), id);
        assert_eq!(ids(&consumer.receive().expect("an answer")), [id]);
    }
    let line = "XREADGROUP GROUP g c0 BLOCK 0 STREAMS s >";
    waits(&mut consumers[0], &mut writer, 0, line);
    writer.ask("XGROUP DESTROY s g");
    let answer = consumers[0].receive().expect("an answer");
    assert!(answer.text().contains("NOGROUP"), "{answer:?}");
    assert!(writer.ask("XPENDING s g").text().contains("NOGROUP"));
}

#[test]
fn readers_wait_on_any_node() {
    // Breaks if what somebody waits for got lost on its way to the leader, or `$` meant another node's view.
    if Server::tests_redis() {
        return;
    }
    let cluster = Cluster::start(3);
    let mut clients: Vec<Client> = (1..=3).map(|number| cluster.client(number)).collect();
    let mut watcher = cluster.client(3);
    let [writer, other, reader] = clients.as_mut_slice() else {
        unreachable!("three clients");
    };
    for round in 1..=8 {
        let key = format!("s{round}");
        assert_eq!(writer.ask(&format!("XADD {key} 1-1 f v")).text(), "1-1");
        let line = format!("XREAD BLOCK 0 STREAMS {key} $");
        waits(reader, &mut watcher, 0, &line);
        assert_eq!(other.ask(&format!("XADD {key} 1-2 f v")).text(), "1-2");
        assert_eq!(ids(&reader.receive().expect("an answer")), ["1-2"]);
        writer.ask(&format!("XGROUP CREATE {key} g 1-2"));
        let line = format!("XREADGROUP GROUP g c BLOCK 0 STREAMS {key} >");
        waits(reader, &mut watcher, 0, &line);
        assert_eq!(other.ask(&format!("XADD {key} 1-3 f v")).text(), "1-3");
        assert_eq!(ids(&reader.receive().expect("an answer")), ["1-3"]);
        assert_eq!(other.ask(&format!("XACK {key} g 1-3")), Value::Integer(1));
    }
}
