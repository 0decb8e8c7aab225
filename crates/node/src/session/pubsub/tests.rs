//! Publish/subscribe and keyspace notifications as connections see them.

use crate::session::Manner;
use crate::testing::network::Network;
use crate::testing::{Client, node};
use paxos::NodeId;

/// Three nodes that lead something each, and hold `replicas` copies of each shard.
fn three(replicas: u32) -> Network {
    let mut network = Network::new(1, 1, |settings| settings.replicas = replicas);
    network.run_ms(50);
    network.join(1);
    network.join(1);
    network.run_ms(6000);
    network
}

/// The shard of a channel.
fn shard_of(network: &Network, channel: &str) -> usize {
    let slot = placement::slot_of(channel.as_bytes());
    network.node(1).map.shard_of_slot(slot).index()
}

/// A channel of a shard that node `number` leads.
fn channel_led_by(network: &Network, number: u32) -> String {
    let leads = |channel: &String| network.leader(shard_of(network, channel)) == Some(number);
    let mut channels = (0..1000).map(|at| format!("{{{at}}}"));
    channels.find(leads).expect("it leads something")
}

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

#[test]
fn a_shards_replicas_take_its_subscriptions() {
    // Breaks if a client that subscribes at replicas (go-redis with ReadOnly) is sent away, as no replica of Redis does.
    let mut network = three(3);
    let channel = channel_led_by(&network, 3);
    let subscribe = format!("SSUBSCRIBE {channel}");
    let node = network.node(2).clone();
    let mut follower = Client::in_manner(&node, Manner::Cluster);
    let confirmed = format!("*3 $10 ssubscribe ${} {channel} :1", channel.len());
    assert_eq!(follower.run(&subscribe), confirmed);
    for (number, text) in [(1, "one"), (3, "two")] {
        let mut publisher = Client::in_manner(network.node(number), Manner::Cluster);
        publisher.run(&format!("SPUBLISH {channel} {text}"));
        drop(publisher);
        network.deliver();
    }
    let message = |text: &str| format!("*3 $8 smessage ${} {channel} $3 {text}", channel.len());
    assert_eq!(follower.poll(), [message("one"), message("two")].join(" "));
}

#[test]
fn who_holds_no_copy_of_a_shard_sends_its_channels_on() {
    // Breaks if a cluster-aware client never learns who serves its channel, or cannot leave it where it is.
    let network = three(1);
    let channel = channel_led_by(&network, 2);
    let mut client = Client::in_manner(network.node(1), Manner::Cluster);
    for request in ["SSUBSCRIBE", "SPUBLISH"] {
        let told = client.run(&format!("{request} {channel} {channel}"));
        assert!(told.starts_with("-MOVED "), "{request}: {told}");
    }
    let left = client.run(&format!("SUNSUBSCRIBE {channel}"));
    let size = channel.len();
    assert_eq!(left, format!("*3 $12 sunsubscribe ${size} {channel} :0"));
    assert_eq!(
        client.run("SUNSUBSCRIBE a b"),
        "-CROSSSLOT Keys in request don't hash to the same slot"
    );
}

#[test]
fn a_shard_channel_outlives_the_move_of_its_leader() {
    // Breaks if who subscribed at a node that leads no more hears nothing, or cannot unsubscribe and hears all twice.
    let mut network = three(1);
    let channel = channel_led_by(&network, 1);
    let shard = shard_of(&network, &channel);
    let node = network.node(1).clone();
    let mut listener = Client::in_manner(&node, Manner::Cluster);
    listener.run(&format!("SSUBSCRIBE {channel}"));
    let name = node.view().node(NodeId(1)).expect("it joined").name.clone();
    let mut operator = Client::new(&node);
    operator.run(&format!("TORC NODE DRAIN {name}"));
    for _ in 0..2000 {
        network.tick();
    }
    assert!(network.leader(shard).is_some_and(|leader| leader != 1));
    assert_eq!(listener.poll(), "", "it stays subscribed");
    let heir = network.leader(shard).expect("it has one");
    Client::new(network.node(heir)).run(&format!("SPUBLISH {channel} hi"));
    network.deliver();
    let size = channel.len();
    let message = format!("*3 $8 smessage ${size} {channel} $2 hi");
    assert_eq!(listener.poll(), message);
    let left = listener.run(&format!("SUNSUBSCRIBE {channel}"));
    assert_eq!(left, format!("*3 $12 sunsubscribe ${size} {channel} :0"));
}
