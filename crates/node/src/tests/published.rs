//! What a script publishes is heard once, whoever leads when its outcome is applied: who waits for it would else wait for
//! ever, though the script's client was told that all is well.

use super::keys_in;
use crate::testing::Client;
use crate::testing::network::Network;
use crate::wire::PeerMessage;
use paxos::NodeId;

const SAY: &str = "EVAL \"redis.call('publish', 'news', 'one') redis.call('publish', 'news', 'two') return redis.call('incr', KEYS[1])\" 1";
const HEARD: [&str; 2] = [
    "*3 $7 message $4 news $3 one",
    "*3 $7 message $4 news $3 two",
];

/// Has node 2 ask for a script of a shard that node 1 leads, while `loses` gets lost of what node 1 says, and node 1 stops
/// after the first rounds. What subscribers on the others hear until a new leader has answered.
fn heard_over_a_death(loses: fn(&PeerMessage) -> bool) -> [String; 2] {
    let mut network = Network::of_three();
    let shard = (0..8).find(|shard| network.leader(*shard) == Some(1));
    let shard = shard.expect("leaders are spread");
    let key = keys_in(network.node(2), shard, "key", 1).remove(0);
    let (second, third) = (network.node(2).clone(), network.node(3).clone());
    let mut subscribers = [Client::new(&second), Client::new(&third)];
    for subscriber in &mut subscribers {
        subscriber.run("SUBSCRIBE news");
    }
    let mut asker = Client::new(&second);
    assert_eq!(
        asker.run(&format!("{SAY} {key}")),
        "",
        "it is led elsewhere"
    );
    network.lose(move |from, _, message| from == 1 && loses(message));
    network.deliver();
    network.heal();
    network.stop(1);
    network.run_ms(3000);
    assert_eq!(asker.poll(), ":1", "it ran once, and that is told");
    subscribers.map(|mut subscriber| subscriber.poll())
}

#[test]
fn a_message_is_not_lost_with_the_leader() {
    // Breaks if the outcome is chosen, its client is answered by the next leader, and nobody is told the message.
    let heard = heard_over_a_death(|message| !matches!(message, PeerMessage::Paxos(_)));
    assert_eq!(heard, [HEARD.join(" "), HEARD.join(" ")]);
}

#[test]
fn a_message_that_was_told_is_not_told_again() {
    // Breaks if the next leader tells again what the former one told before it died.
    let heard = heard_over_a_death(|message| matches!(message, PeerMessage::ForwardReply(_)));
    assert_eq!(heard, [HEARD.join(" "), HEARD.join(" ")]);
}

#[test]
fn who_missed_a_message_is_told_by_the_next_leader() {
    // Breaks if a leader that heard of a message is silent about it towards those who did not.
    let mut is_first = true;
    let mut network = Network::of_three();
    let shard = (0..8).find(|shard| network.leader(*shard) == Some(1));
    let key = keys_in(network.node(1), shard.expect("spread"), "key", 1).remove(0);
    let (first, second, third) = (
        network.node(1).clone(),
        network.node(2).clone(),
        network.node(3).clone(),
    );
    let mut subscribers = [Client::new(&second), Client::new(&third)];
    for subscriber in &mut subscribers {
        subscriber.run("SUBSCRIBE news");
    }
    let mut asker = Client::new(&first);
    assert_eq!(asker.run(&format!("{SAY} {key}")), "");
    // All that node 1 says but one question to each follower; one of them hears the message.
    network.lose(move |from, to, message| match message {
        PeerMessage::Publish(_) => from == 1 && to == 3,
        PeerMessage::Paxos(_) if from == 1 => !std::mem::take(&mut is_first) && to == 2,
        _ => false,
    });
    network.deliver();
    network.heal();
    network.stop(1);
    network.run_ms(3000);
    for mut subscriber in subscribers {
        assert_eq!(subscriber.poll(), HEARD.join(" "));
    }
}

#[test]
fn a_message_that_a_leader_held_back_is_told_though_it_leads_no_more() {
    // Breaks if the outcome is chosen, all know it, and the one that was to tell the message lost its place before it might.
    let mut network = Network::of_three_that_reset();
    let shard = (0..8).find(|shard| network.leader(*shard) == Some(2));
    let keys = keys_in(network.node(2), shard.expect("spread"), "key", 2);
    let (second, third) = (network.node(2).clone(), network.node(3).clone());
    let mut subscriber = Client::new(&third);
    subscriber.run("SUBSCRIBE news");
    network.run_ms(100);
    // A lock for longer than was agreed on: until that is, nothing is shown.
    network.disagree();
    let (mut locker, mut asker) = (Client::new(&second), Client::new(&second));
    locker.run(&format!("SET {} me NX PX 3600000", keys[1]));
    network.run_ms(100);
    assert_eq!(asker.run(&format!("{SAY} {}", keys[0])), "");
    network.run_ms(300);
    assert_eq!(asker.poll(), "");
    assert_eq!(subscriber.poll(), "", "nothing is shown");
    network.stop(2);
    network.run_ms(3000);
    network.heal();
    network.run_ms(3000);
    assert_eq!(asker.poll(), ":1");
    assert_eq!(subscriber.poll(), HEARD.join(" "));
}

#[test]
fn a_node_that_was_removed_is_not_waited_for() {
    // Breaks if PUBLISH waits for a node that will never answer until its time is over.
    let mut network = Network::of_three();
    let first = network.node(1).clone();
    let mut client = Client::new(&first);
    network.lose(|_, to, message| to == 3 && matches!(message, PeerMessage::Publish(_)));
    assert_eq!(client.run("PUBLISH news one"), "");
    network.run_ms(50);
    assert_eq!(client.poll(), "", "one node is missing");
    first.cluster.peers.set_nodes(&[NodeId(2)]);
    network.run_ms(20);
    assert_eq!(client.poll(), ":0");
}
