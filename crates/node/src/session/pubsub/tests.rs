//! Publish/subscribe and keyspace notifications as connections see them.

use crate::testing::{Client, node};

#[test]
fn confirmations_count_channels_and_patterns() {
    // Breaks if a client library loses count of its subscriptions.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(
        client.run("SUBSCRIBE x y x"),
        "*3 $9 subscribe $1 x :1 *3 $9 subscribe $1 y :2 *3 $9 subscribe $1 x :2"
    );
    assert_eq!(client.run("PSUBSCRIBE *"), "*3 $10 psubscribe $1 * :3");
    assert_eq!(client.run("SSUBSCRIBE s"), "*3 $10 ssubscribe $1 s :1");
    assert_eq!(
        client.run("UNSUBSCRIBE"),
        "*3 $11 unsubscribe $1 x :2 *3 $11 unsubscribe $1 y :1"
    );
    assert_eq!(client.run("UNSUBSCRIBE"), "*3 $11 unsubscribe $-1 :1");
    client.pipeline(&["PUNSUBSCRIBE", "SUNSUBSCRIBE"]);
    assert_eq!(client.run("GET a"), "$-1", "no longer a subscriber");
}

#[test]
fn a_resp2_subscriber_may_do_little_else() {
    // Breaks if a reply could be taken for a message.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.run("SUBSCRIBE x");
    assert_eq!(
        client.run("GET a"),
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    );
    assert_eq!(client.run("PING"), "*2 $4 pong $0");
    assert_eq!(client.run("RESET"), "+RESET");
    assert_eq!(client.run("GET a"), "$-1");
    client.pipeline(&["HELLO 3", "SUBSCRIBE x"]);
    assert_eq!(client.run("GET a"), "_");
}

#[test]
fn messages_reach_channel_and_pattern_each() {
    // Breaks if a message is lost or doubled, or a publisher is told a wrong count.
    let (node, _) = node();
    let (mut listener, mut publisher) = (Client::new(&node), Client::new(&node));
    listener.pipeline(&["SUBSCRIBE x", "PSUBSCRIBE x* y*", "SSUBSCRIBE x"]);
    assert_eq!(publisher.run("PUBLISH x hi"), ":2");
    assert_eq!(
        listener.poll(),
        "*3 $7 message $1 x $2 hi *4 $8 pmessage $2 x* $1 x $2 hi"
    );
    assert_eq!(publisher.run("SPUBLISH x hi"), ":1");
    assert_eq!(listener.poll(), "*3 $8 smessage $1 x $2 hi");
    assert_eq!(publisher.run("PUBLISH nobody hi"), ":0");
    assert_eq!(publisher.run("PUBSUB NUMSUB x z"), "*4 $1 x :1 $1 z :0");
    assert_eq!(publisher.run("PUBSUB NUMPAT"), ":2");
    assert_eq!(
        publisher.run("PUBSUB CHANNELS a b"),
        "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP."
    );
}

#[test]
fn nothing_follows_the_last_confirmation() {
    // Breaks if a message that waited comes after its subscription ended: clients drop the connection over it.
    let (node, _) = node();
    let (mut listener, mut publisher) = (Client::new(&node), Client::new(&node));
    listener.run("SUBSCRIBE x");
    publisher.run("PUBLISH x hi");
    assert_eq!(
        listener.run("UNSUBSCRIBE x"),
        "*3 $7 message $1 x $2 hi *3 $11 unsubscribe $1 x :0"
    );
}

#[test]
fn an_own_message_comes_behind_the_reply() {
    // Breaks if a push splits EXEC's reply, which Redis mended in 7.2.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.pipeline(&["HELLO 3", "SUBSCRIBE x"]);
    assert_eq!(client.run("PUBLISH x hi"), ":1 >3 $7 message $1 x $2 hi");
    client.pipeline(&["MULTI", "PUBLISH x hi", "PING"]);
    assert_eq!(client.run("EXEC"), "*2 :1 +PONG >3 $7 message $1 x $2 hi");
}

#[test]
fn keys_that_expire_or_go_are_events() {
    // Breaks if those who wait for expiry (delayed jobs, sessions) are never told.
    let (node, clock) = node();
    let (mut listener, mut client) = (Client::new(&node), Client::new(&node));
    client.run("CONFIG SET notify-keyspace-events Exg");
    listener.run("PSUBSCRIBE __key*");
    client.pipeline(&["SET a 1 PX 50", "SET b 1 PX 50", "SET c 1", "DEL c"]);
    let event = |name: &str, key: &str| {
        let channel = format!("__keyevent@0__:{name}");
        format!(
            "*4 $8 pmessage $6 __key* ${} {channel} $1 {key}",
            channel.len()
        )
    };
    let made = [
        event("expire", "a"),
        event("expire", "b"),
        event("del", "c"),
    ];
    assert_eq!(listener.poll(), made.join(" "));
    clock.advance_ms(60);
    assert_eq!(client.run("GET a"), "$-1");
    assert_eq!(listener.poll(), event("expired", "a"), "at access");
    node.turn();
    assert_eq!(listener.poll(), event("expired", "b"), "in the background");
}
