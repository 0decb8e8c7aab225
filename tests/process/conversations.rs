//! Conversations of several connections, held with Redis and with the tested server at once: every
//! frame that any of them receives must be the same.
//!
//! A script is lines of `NAME: command`, each of which has an answer. After each line all connections are
//! drained on the Redis side once it has told everybody; the other side must then have received exactly the
//! same frames.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use torc_tests::{Client, Kind, Server, Value};

/// Silence after which nothing more is expected from Redis, which has sent everything by then.
const SILENCE: Duration = Duration::from_millis(5);
/// How long Redis may take to answer, and the tested server for what Redis sent.
const FRAME_WAIT_MAX: Duration = Duration::from_secs(5);

struct Side {
    server: Server,
    clients: BTreeMap<String, Client>,
    /// Takes no part in the conversation.
    bystander: Client,
}

impl Side {
    fn new(kind: Kind, flags: &[&str]) -> Side {
        let server = Server::start_with(kind, flags);
        Side {
            bystander: server.client(),
            server,
            clients: BTreeMap::new(),
        }
    }

    /// Waits until a server of one thread has told everybody of the command that `name` sent: the command is answered
    /// then, and what it sent to others left in the same turn, before the answer of a later one.
    fn settle(&mut self, name: &str) {
        let answered = self.client(name).has_more(FRAME_WAIT_MAX);
        assert!(answered.unwrap_or(true), "{name} got no answer");
        assert_eq!(self.bystander.ask("PING"), Value::simple("PONG"));
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let server = &self.server;
        // A name that ends in 3 speaks RESP3.
        self.clients.entry(name.to_owned()).or_insert_with(|| {
            if name.ends_with('3') {
                server.client3()
            } else {
                server.client()
            }
        })
    }
}

/// A frame, or that the connection was closed.
fn frame(client: &mut Client) -> String {
    match client.receive() {
        Ok(value) => format!("{value:?}"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => format!("{error}"),
        Err(_) => "closed".to_owned(),
    }
}

fn drain(client: &mut Client) -> Vec<String> {
    let mut frames = Vec::new();
    while frames.last().is_none_or(|last| last != "closed")
        && client.has_more(SILENCE).unwrap_or(true)
    {
        frames.push(frame(client));
    }
    frames
}

fn take(client: &mut Client, count: usize) -> Vec<String> {
    let mut frames = Vec::new();
    let end = Instant::now() + FRAME_WAIT_MAX;
    while frames.len() < count && Instant::now() < end {
        if client.has_more(Duration::from_millis(20)).unwrap_or(true) {
            frames.push(frame(client));
        }
    }
    if frames.last().is_none_or(|last| last != "closed")
        && client.has_more(Duration::from_millis(2)).unwrap_or(true)
    {
        frames.extend(drain(client));
    }
    frames
}

/// What a connection publishes to itself comes behind the command's reply since Redis 7.2, which Torc follows; 7.0
/// sends it ahead.
fn own_pushes_last(frames: &[String]) -> Vec<String> {
    let is_message = |frame: &&String| frame.starts_with(">[") && frame.contains("message\"");
    let (pushes, replies): (Vec<&String>, Vec<&String>) = frames.iter().partition(is_message);
    replies.into_iter().chain(pushes).cloned().collect()
}

/// Holds the conversation on both sides and compares every frame.
fn converse(script: &str) {
    converse_with(&[], script);
}

fn converse_with(flags: &[&str], script: &str) {
    let mut redis = Side::new(Kind::Oracle, flags);
    let mut torc = Side::new(Kind::Tested, flags);
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (own, command) = line.split_once(": ").expect("a line is NAME: command");
        // `{id-of-X}` is the connection's own number, which differs between the servers.
        for side in [&mut redis, &mut torc] {
            side.client(own);
            let mut words = Vec::new();
            for word in command.split(' ') {
                let word = match word
                    .strip_prefix("{id-of-")
                    .and_then(|rest| rest.strip_suffix('}'))
                {
                    Some(of) => side
                        .client(of)
                        .ask("CLIENT ID")
                        .integer()
                        .expect("a number")
                        .to_string(),
                    None => word.to_owned(),
                };
                words.push(word);
            }
            let _ = side.client(own).send_args(&words);
        }
        redis.settle(own);
        let names: Vec<String> = redis.clients.keys().cloned().collect();
        for name in names {
            let mut expected = drain(redis.client(&name));
            let mut got = take(torc.client(&name), expected.len());
            if command.starts_with("HELLO") {
                // Ids and versions differ; that it is one map or list must not.
                for frames in [&mut expected, &mut got] {
                    frames.iter_mut().for_each(|frame| frame.truncate(2));
                }
            }
            if own == name && got == own_pushes_last(&expected) {
                continue;
            }
            assert_eq!(
                got, expected,
                "what {name} received after `{line}` in\n{script}"
            );
            if expected.last().is_some_and(|last| last == "closed") {
                redis.clients.remove(&name);
                torc.clients.remove(&name);
            }
        }
    }
    assert_eq!(torc.server.client().ask("PING"), Value::simple("PONG"));
}

#[test]
fn publish_and_subscribe() {
    // Fails when a frame of publish/subscribe differs from Redis's in shape, order or count.
    for subscriber in ["sub", "sub3"] {
        converse(
            &"
            S: SUBSCRIBE news sport
            S: SUBSCRIBE news
            S: PSUBSCRIBE n* s?ort
            P: PUBLISH news hello
            P: PUBLISH sport hello
            P: PUBLISH other hello
            P: PUBSUB NUMSUB news sport other
            P: PUBSUB NUMPAT
            P: PUBSUB CHANNELS n*
            S: PING
            S: PING word
            S: GET a
            S: UNSUBSCRIBE nosuch
            S: UNSUBSCRIBE news
            P: PUBLISH news again
            S: PUNSUBSCRIBE
            S: UNSUBSCRIBE
            S: UNSUBSCRIBE
            S: PUNSUBSCRIBE
            S: GET a
            S: PING
            S: SUBSCRIBE back
            S: RESET
            S: PING
            P: PUBLISH back x
            S: SUBSCRIBE last
            S: QUIT
            "
            .replace("S:", &format!("{subscriber}:")),
        );
    }
}

#[test]
fn sharded_publish_and_subscribe() {
    // Fails when SSUBSCRIBE and kin are mixed up with plain channels.
    for subscriber in ["sub", "sub3"] {
        converse(
            &"
            S: SSUBSCRIBE one
            S: SSUBSCRIBE two one
            S: SUBSCRIBE one
            P: SPUBLISH one s
            P: PUBLISH one p
            P: PUBSUB SHARDCHANNELS o*
            P: PUBSUB SHARDNUMSUB one two none
            P: PUBSUB CHANNELS
            S: SUNSUBSCRIBE one
            P: SPUBLISH one s
            S: SUNSUBSCRIBE
            S: SUNSUBSCRIBE
            S: UNSUBSCRIBE
            S: GET a
            "
            .replace("S:", &format!("{subscriber}:")),
        );
    }
}

#[test]
fn a_subscriber_of_resp3_may_do_anything_else() {
    // Fails when RESP3 is held to RESP2's restrictions, or a push comes at the wrong place.
    converse(
        "
        a3: SUBSCRIBE c
        a3: SET k 1
        a3: PUBLISH c self
        a3: MULTI
        a3: GET k
        a3: EXEC
        b: PUBLISH c other
        a3: HELLO 2
        a3: GET k
        a3: UNSUBSCRIBE
        a3: GET k
        ",
    );
}

#[test]
fn subscribing_inside_a_transaction() {
    // Fails when EXEC's reply and the subscriptions' frames get out of step.
    converse(
        "
        a: MULTI
        a: SUBSCRIBE c
        a: EXEC
        b: PUBLISH c x
        a: UNSUBSCRIBE c
        a3: MULTI
        a3: SUBSCRIBE c d
        a3: SET k 1
        a3: EXEC
        b: PUBLISH d x
        ",
    );
}

#[test]
fn watched_keys() {
    // Fails when EXEC goes through although another connection changed a watched key, or is
    // stopped although nobody did.
    converse(
        "
        a: SET k 1
        a: WATCH k
        a: MULTI
        a: SET k 2
        b: SET k 3
        a: EXEC
        a: GET k
        a: WATCH k
        b: GET k
        a: MULTI
        a: INCR k
        a: EXEC
        a: WATCH none
        b: SET none 1
        a: MULTI
        a: PING
        a: EXEC
        a: WATCH k
        b: EXPIRE k 100
        a: MULTI
        a: PING
        a: EXEC
        a: WATCH k
        b: DEL nosuch
        b: SELECT 1
        b: SET k other-database
        a: MULTI
        a: PING
        a: EXEC
        a: WATCH k
        b: FLUSHDB
        a: MULTI
        a: PING
        a: EXEC
        a: WATCH k
        b: FLUSHALL
        a: MULTI
        a: PING
        a: EXEC
        a: WATCH k
        a: UNWATCH
        b: SELECT 0
        b: SET k 9
        a: MULTI
        a: PING
        a: EXEC
        a: WATCH k
        a: MULTI
        b: SET k 10
        a: DISCARD
        a: MULTI
        a: PING
        a: EXEC
        a: WATCH k
        b: SET k 10
        a: EXEC
        a: MULTI
        a: PING
        a: EXEC
        ",
    );
}

#[test]
fn tracking_under_resp3() {
    // Fails when a cached value would stay in a client after it changed.
    converse(
        "
        a3: CLIENT TRACKING ON
        a3: CLIENT TRACKINGINFO
        a3: GET k
        b: SET k 1
        b: SET k 2
        a3: GET k
        b: DEL k
        a3: MGET x y
        b: MSET x 1 y 2
        a3: GET x
        a3: SET x self
        a3: GET x
        b: EXPIRE x 100
        a3: GET x
        b: FLUSHALL
        a3: CLIENT TRACKING OFF
        a3: GET x
        b: SET x 1
        a3: CLIENT TRACKING ON NOLOOP
        a3: GET x
        a3: SET x self
        a3: GET x
        b: SET x other
        a3: CLIENT TRACKINGINFO
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKINGINFO
        ",
    );
}

#[test]
fn tracking_by_choice_and_by_prefix() {
    // Fails when OPTIN, OPTOUT, BCAST or CACHING track too much or too little.
    converse(
        "
        a3: CLIENT TRACKING ON OPTIN
        a3: GET k
        b: SET k 1
        a3: CLIENT CACHING YES
        a3: GET k
        a3: GET l
        b: SET k 2
        b: SET l 2
        a3: CLIENT CACHING NO
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKING ON OPTOUT
        a3: CLIENT CACHING NO
        a3: GET k
        b: SET k 3
        a3: GET k
        b: SET k 4
        a3: CLIENT TRACKING ON OPTIN
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKING ON BCAST PREFIX user: PREFIX item:
        a3: CLIENT TRACKINGINFO
        b: SET user:1 x
        b: SET other x
        b: SET item:1 x
        a3: SET user:2 self
        a3: CLIENT TRACKING ON BCAST PREFIX us
        a3: CLIENT TRACKING OFF
        b: SET user:1 y
        ",
    );
}

#[test]
fn tracking_redirected_to_another_connection() {
    // Fails when RESP2 clients, which need a second connection for invalidations, miss them.
    converse(
        "
        listener: SUBSCRIBE __redis__:invalidate
        other: PING
        listener3: PING
        a: CLIENT TRACKING ON
        a: CLIENT TRACKING ON REDIRECT {id-of-listener3}
        a: GET k
        b: SET k 1
        a: CLIENT TRACKING OFF
        a: CLIENT GETREDIR
        ",
    );
}

#[test]
fn keyspace_notifications() {
    // Fails when an event is missing, doubled, misnamed or sent for the wrong class.
    converse_with(
        &["--notify-keyspace-events", "KEA"],
        "
        s: PSUBSCRIBE __key*__:*
        a: SET k 1
        a: SET k 2 EX 100
        a: GET k
        a: GET nosuch
        a: INCR k
        a: INCRBYFLOAT k 1.5
        a: APPEND k x
        a: SETRANGE k 0 y
        a: SETBIT bits 1 1
        a: BITOP NOT dest bits
        a: BITFIELD bits SET u8 0 1
        a: EXPIRE k 1000
        a: PERSIST k
        a: RENAME k l
        a: COPY l m
        a: DEL l
        a: UNLINK m nosuch
        a: MSET x 1 y 2
        a: MSETNX z 1 w 2
        a: GETDEL x
        a: GETEX y EX 100
        a: GETEX y PERSIST
        a: GETSET y new
        a: SETNX y no
        a: SETEX y 100 v
        a: EXPIRE y -1
        a: SELECT 3
        a: SET inthree 1
        a: FLUSHDB
        a: SELECT 0
        a: CONFIG SET notify-keyspace-events Eg
        a: CONFIG GET notify-keyspace-events
        a: SET quiet 1
        a: DEL quiet
        a: CONFIG SET notify-keyspace-events Kxm
        a: GET nosuch
        a: CONFIG SET notify-keyspace-events KEAm
        a: CONFIG GET notify-keyspace-events
        a: GET nosuch
        a: MULTI
        a: SET k 1
        a: DEL k
        a: EXEC
        ",
    );
}

#[test]
fn databases_are_apart() {
    // Fails when a numbered database sees another's keys.
    converse(
        "
        a: SET k zero
        a: SELECT 5
        a: GET k
        a: SET k five
        b: GET k
        a: COPY k copied DB 0
        b: GET copied
        b: COPY k k DB 5
        b: COPY k k DB 5 REPLACE
        a: GET k
        a: DBSIZE
        b: FLUSHDB
        a: DBSIZE
        b: DBSIZE
        a: RESET
        a: DBSIZE
        ",
    );
}
