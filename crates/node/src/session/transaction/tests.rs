//! MULTI, EXEC, DISCARD, WATCH, UNWATCH as one connection sees them.

use crate::testing::{Client, node};

#[test]
fn queued_commands_run_together_and_in_order() {
    // Breaks if EXEC's replies are not those of its commands, one each, errors among them.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let lines = ["MULTI", "SET a x", "INCR a", "SELECT 1", "GET a", "EXEC"];
    assert_eq!(
        client.pipeline(&lines),
        "+OK +QUEUED +QUEUED +QUEUED +QUEUED *4 +OK -ERR value is not an integer or out of range +OK $-1"
    );
    assert_eq!(client.run("GET a"), "$-1", "SELECT holds on");
}

#[test]
fn a_refused_command_spoils_the_transaction() {
    // Breaks if half of a transaction runs.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.pipeline(&["MULTI", "SET a 1", "NOSUCH", "SET a 2"]);
    assert_eq!(
        client.run("EXEC"),
        "-EXECABORT Transaction discarded because of previous errors."
    );
    assert_eq!(client.run("GET a"), "$-1");
    assert_eq!(client.run("MULTI"), "+OK");
    assert_eq!(client.run("MULTI"), "-ERR MULTI calls can not be nested");
    assert_eq!(
        client.run("WATCH a"),
        "-ERR WATCH inside MULTI is not allowed"
    );
    assert_eq!(client.run("EXEC"), "*0", "neither of the two spoils it");
    client.run("MULTI");
    assert_eq!(
        client.run("EXEC now"),
        "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
    );
    assert_eq!(client.run("EXEC"), "-ERR EXEC without MULTI");
    assert_eq!(client.run("DISCARD"), "-ERR DISCARD without MULTI");
}

#[test]
fn a_watched_key_that_changed_stops_exec() {
    // Breaks if an optimistic lock misses a change, its own connection's and expiry among them.
    let (node, clock) = node();
    let (mut client, mut other) = (Client::new(&node), Client::new(&node));
    let mut outcome = |before: &[&str], change: &mut dyn FnMut(&mut Client<'_>)| {
        client.pipeline(before);
        change(&mut client);
        client.pipeline(&["MULTI", "PING"]);
        client.run("EXEC")
    };
    let mut by_other = |line: &'static str| {
        other.run(line);
    };
    assert_eq!(outcome(&["WATCH a"], &mut |_| by_other("SET a 1")), "*-1");
    assert_eq!(
        outcome(&["WATCH a"], &mut |_| by_other("GET a")),
        "*1 +PONG"
    );
    assert_eq!(
        outcome(&["WATCH a"], &mut |_| by_other("EXPIRE a 100")),
        "*-1"
    );
    assert_eq!(
        outcome(&["WATCH a", "UNWATCH"], &mut |_| by_other("SET a 2")),
        "*1 +PONG"
    );
    let discarded = ["WATCH a", "MULTI", "DISCARD"];
    assert_eq!(
        outcome(&discarded, &mut |_| by_other("SET a 3")),
        "*1 +PONG"
    );
    let own = &mut |client: &mut Client<'_>| {
        client.run("SET a 4");
    };
    assert_eq!(outcome(&["WATCH a"], own), "*-1");
    let passing = &mut |_: &mut Client<'_>| clock.advance_ms(200);
    assert_eq!(outcome(&["SET a 5 PX 100", "WATCH a"], passing), "*-1");
    assert_eq!(outcome(&["WATCH a"], passing), "*1 +PONG", "it was gone");
    assert_eq!(
        outcome(&["SET a 1", "WATCH a"], &mut |_| by_other("FLUSHALL")),
        "*-1"
    );
}

#[test]
fn session_commands_run_inside_exec() {
    // Breaks if a command that walks or flushes finds shards that the transaction did not lock.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let lines = [
        "MULTI",
        "SET a 1",
        "DBSIZE",
        "KEYS *",
        "SCAN 0 COUNT 100000",
        "RANDOMKEY",
        "FLUSHALL",
        "DBSIZE",
        "CONFIG RESETSTAT",
        "WAIT 1 0",
        "MONITOR",
    ];
    client.pipeline(&lines);
    assert_eq!(
        client.run("EXEC"),
        "*10 +OK :1 *1 $1 a *2 $1 0 *1 $1 a $1 a +OK :0 +OK :0 \
         -ERR MONITOR isn't allowed for DENY BLOCKING client"
    );
}
