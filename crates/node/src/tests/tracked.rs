//! Client-side caching while leaders change and messages are lost: who has cached what has changed is told so, or is told to drop
//! all that it has.

use super::{keys_in, send};
use crate::node::Node;
use crate::peers::Sent;
use crate::testing::network::{Network, replica};
use crate::testing::{Client, node};
use crate::wire::{PeerMessage, Publish, PublishKind};
use bytes::Bytes;
use cache::{Change, ChangeKind};
use paxos::{Input, NodeId};
use std::sync::Arc;

/// A lock for longer than was agreed on: until that is, its shard's leader shows nothing.
const LONG_LOCK: &str = "me NX PX 3600000";

/// Three nodes, a shard, and who leads it, the other two behind it.
struct Scene {
    network: Network,
    shard: usize,
    numbers: [u32; 3],
    nodes: [Arc<Node>; 3],
    keys: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let network = Network::of_three_that_reset();
        let shard = 3;
        let leader = network.leader(shard).expect("settled");
        let others: Vec<u32> = (1..=3).filter(|number| *number != leader).collect();
        let numbers = [leader, others[0], others[1]];
        Scene {
            shard,
            numbers,
            nodes: numbers.map(|number| network.node(number).clone()),
            keys: keys_in(network.node(1), shard, "k", 2),
            network,
        }
    }

    /// The client tracks, and has read the first key.
    fn track(&mut self, client: &mut Client<'_>) {
        client.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
        self.network.run_ms(100);
        client.poll();
        let mut read = client.run(&format!("GET {}", self.keys[0]));
        self.network.deliver();
        read.push_str(&client.poll());
        assert_eq!(read, "_");
    }

    /// Another node leads the shard.
    fn hand_over(&mut self, to: u32) {
        let leader = &self.nodes[0];
        let mut work = leader.work(leader.now());
        leader.on_shard(self.shard, &mut work, |shard, work| {
            shard.step(Input::TransferTo(replica(to)), work);
        });
        leader.finish(work);
        while self.network.leader(self.shard) != Some(to) {
            self.network.tick();
        }
    }

    /// Locks of long times are granted and not shown from now on.
    fn hold_back(&mut self) {
        self.network.disagree();
        let node = self.nodes[0].clone();
        let mut locker = Client::new(&node);
        assert_eq!(locker.run(&format!("SET {} {LONG_LOCK}", self.keys[1])), "");
        self.network.run_ms(100);
        assert_eq!(locker.poll(), "", "nobody agreed");
    }
}

fn is_told(told: &str) -> bool {
    told.contains(">2 $10 invalidate")
}

#[test]
fn what_a_leader_held_back_is_told_by_the_next_one() {
    // Breaks if a client keeps for good what changed under a leader that lost its place before it might show that.
    let mut scene = Scene::new();
    let [leader, _, reader] = scene.nodes.clone();
    let mut tracker = Client::new(&reader);
    scene.track(&mut tracker);
    scene.hold_back();
    let mut writer = Client::new(&leader);
    assert_eq!(writer.run(&format!("SET {} new", scene.keys[0])), "");
    scene.network.run_ms(300);
    assert_eq!(tracker.poll(), "", "nothing is shown");
    scene.network.stop(scene.numbers[0]);
    scene.network.run_ms(3000);
    scene.network.heal();
    scene.network.run_ms(3000);
    assert_eq!(writer.poll(), "+OK");
    let told = tracker.poll();
    assert!(is_told(&told), "{told}");
}

#[test]
fn what_a_leader_could_not_hold_back_is_made_up_for() {
    // Breaks if a client keeps for good what changed when more was held back than is kept.
    let mut scene = Scene::new();
    let [leader, _, reader] = scene.nodes.clone();
    let mut tracker = Client::new(&reader);
    scene.track(&mut tracker);
    scene.hold_back();
    let tag = (0..)
        .map(|n| format!("{{t{n}}}"))
        .find(|tag| leader.shard_of(tag.as_bytes()) == scene.shard)
        .expect("some tag is");
    let keys: Vec<String> = (0..=65_536).map(|n| format!("{tag}{n}")).collect();
    let mut many: Vec<&[u8]> = vec![b"MSET"];
    keys.iter()
        .for_each(|key| many.extend([key.as_bytes(), b"v"]));
    let mut writer = Client::new(&leader);
    let mut last = Client::new(&leader);
    assert_eq!(send(&mut writer, &many), b"");
    scene.network.run_ms(100);
    assert_eq!(last.run(&format!("SET {} new", scene.keys[0])), "");
    scene.network.run_ms(100);
    assert_eq!(tracker.poll(), "", "nothing is shown");
    scene.network.heal();
    scene.network.run_ms(3000);
    assert_eq!((writer.poll(), last.poll()), ("+OK".into(), "+OK".into()));
    let told = tracker.poll();
    assert!(is_told(&told), "{told}");
}

#[test]
fn a_flush_is_told_though_nobody_waits_for_it() {
    // Breaks if a client keeps for good what FLUSHALL emptied, as the connection that asked for it was gone when it was done.
    let mut scene = Scene::new();
    let [leader, _, reader] = scene.nodes.clone();
    let mut tracker = Client::new(&reader);
    scene.track(&mut tracker);
    let mut flusher = Client::new(&leader);
    assert_eq!(flusher.run("FLUSHALL"), "");
    drop(flusher);
    scene.network.run_ms(100);
    assert_eq!(tracker.poll(), ">2 $10 invalidate _");
}

#[test]
fn who_begins_to_track_after_a_flush_is_told_of_keys_alone() {
    // Breaks if a client that has cached one key only is told to drop all, though nothing may have been missed.
    let mut scene = Scene::new();
    let [leader, _, reader] = scene.nodes.clone();
    scene.network.run_ms(10_000);
    let mut writer = Client::new(&leader);
    writer.run("FLUSHALL");
    scene.network.run_ms(100);
    assert_eq!(writer.poll(), "+OK");
    let mut tracker = Client::new(&reader);
    tracker.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    let key = &scene.keys[0];
    let mut seen = tracker.run(&format!("GET {key}"));
    scene.network.run_ms(500);
    seen.push_str(&tracker.poll());
    assert_eq!(seen, "_");
    writer.run(&format!("SET {key} new"));
    scene.network.run_ms(100);
    let told = format!(">2 $10 invalidate *1 ${} {key}", key.len());
    assert_eq!(tracker.poll(), told);
}

#[test]
fn what_a_script_read_is_told_when_it_changes() {
    // Breaks if a client keeps for good what it has of a script, as Redis notes what scripts read, too.
    const READ: &str = "EVAL \"return redis.call('get', KEYS[1])\" 1";
    let (node, _) = node();
    let (mut alone, mut writer) = (Client::new(&node), Client::new(&node));
    alone.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    assert_eq!(alone.run(&format!("{READ} k")), "_");
    writer.run("SET k v");
    assert_eq!(alone.poll(), ">2 $10 invalidate *1 $1 k");
    writer.run("SET k v");
    assert_eq!(alone.poll(), "", "it has dropped it");
    alone.pipeline(&["MULTI", &format!("{READ} k")]);
    assert_eq!(alone.run("EXEC"), "*1 $1 v");
    writer.run("SET k w");
    assert_eq!(alone.poll(), ">2 $10 invalidate *1 $1 k");

    let mut scene = Scene::new();
    let [leader, _, reader] = scene.nodes.clone();
    let mut tracker = Client::new(&reader);
    tracker.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    scene.network.run_ms(100);
    tracker.poll();
    assert_eq!(tracker.run(&format!("{READ} {}", scene.keys[0])), "");
    scene.network.run_ms(100);
    assert_eq!(tracker.poll(), "_");
    let mut writer = Client::new(&leader);
    writer.run(&format!("SET {} new", scene.keys[0]));
    scene.network.run_ms(100);
    let key = &scene.keys[0];
    let told = format!(">2 $10 invalidate *1 ${} {key}", key.len());
    assert_eq!(tracker.poll(), told);
}

#[test]
fn what_found_no_room_is_made_up_for() {
    // Breaks if a client keeps for good what changed while the link to its node was full.
    let mut scene = Scene::new();
    let [leader, _, reader] = scene.nodes.clone();
    let mut tracker = Client::new(&reader);
    scene.track(&mut tracker);
    let to = NodeId(scene.numbers[2]);
    let message = PeerMessage::Publish(Publish {
        call: 0,
        kind: PublishKind::Channel,
        place: None,
        channel: Bytes::from_static(b"c"),
        payload: Bytes::from(vec![b'x'; 1 << 20]),
    });
    while leader.cluster.peers.send(to, &message) == Sent::Queued {}
    let change = Change {
        db: 0,
        key: scene.keys[0].as_bytes().into(),
        kind: ChangeKind::Modified,
    };
    leader.tell_changes(&[change], None);
    scene.network.run_ms(200);
    assert_eq!(tracker.poll(), ">2 $10 invalidate _");
    scene.network.run_ms(200);
    assert_eq!(tracker.poll(), "", "it is told once");
}

#[test]
fn who_was_not_known_to_listen_is_told_by_a_new_leader() {
    // Breaks if a client keeps for good what it read from the leader before, as the new one hears too late that it listens.
    let mut scene = Scene::new();
    let [_, other, reader] = scene.nodes.clone();
    let [from, to, deaf] = scene.numbers;
    scene.network.lose(move |sender, receiver, message| {
        (sender, receiver) == (deaf, to) && matches!(message, PeerMessage::NodeBeat(_))
    });
    let mut tracker = Client::new(&reader);
    scene.track(&mut tracker);
    scene.hand_over(to);
    let mut writer = Client::new(&other);
    assert_eq!(writer.run(&format!("SET {} new", scene.keys[0])), "");
    scene.network.deliver();
    assert_eq!(writer.poll(), "+OK");
    assert_eq!(tracker.poll(), "", "who leads does not know of it");
    assert_ne!(from, to);
    scene.network.heal();
    scene.network.run_ms(200);
    assert!(is_told(&tracker.poll()));
}

#[test]
fn who_has_read_nothing_is_not_told_that_another_leads() {
    // Breaks if each change of a leader cost all clients what they have cached under others' connections.
    let mut scene = Scene::new();
    let [_, _, reader] = scene.nodes.clone();
    let mut tracker = Client::new(&reader);
    tracker.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    scene.network.run_ms(100);
    tracker.poll();
    let to = scene.numbers[1];
    scene.hand_over(to);
    scene.network.run_ms(200);
    assert_eq!(tracker.poll(), "");
}
