//! What one group's trouble, or a lost message, does to everything else.

use super::groups::{Asker, compare};
use crate::group::{OpKind, QueueFull};
use crate::testing::network::Network;
use crate::view::ClusterView;
use crate::wire::PeerMessage;
use paxos::GroupId;
use std::cell::Cell;
use std::rc::Rc;

/// Writes of a megabyte each for `shard` until one is refused; how many were taken, and the refusal.
fn fill(asker: &mut Asker, network: &Network, shard: usize) -> (usize, QueueFull) {
    let value = vec![b'v'; 1 << 20];
    let mut write = |_| asker.try_args(network, shard, OpKind::Write, &[b"SET", b"k", &value], 0);
    let mut taken = 0;
    loop {
        match write(taken) {
            Ok(_) => taken += 1,
            Err(refusal) => return (taken, refusal),
        }
    }
}

#[test]
fn a_group_without_a_quorum_is_the_trouble_of_its_own_clients_alone() {
    // Breaks if writes that wait for one shard's lost majority use up the room that all shards' requests have, or if its
    // clients wait ten seconds each once it is known that nobody answers.
    let mut network = Network::of_three();
    for node in [network.leader(0).expect("settled"), 1, 2] {
        network.lose(|_, _, message| match message {
            PeerMessage::Paxos(message) => message.group == GroupId(1),
            _ => false,
        });
        let mut asker = Asker::new(&network, node);
        let (taken, refusal) = fill(&mut asker, &network, 0);
        assert!((40..=64).contains(&taken), "{taken}");
        assert_eq!(refusal, QueueFull::Group);
        let slot = asker.write(&network, 1, "SET other x");
        network.run_ms(50);
        assert_eq!(asker.reply(slot).as_deref(), Some("+OK"));

        network.run_ms(11_000);
        let (taken, refusal) = fill(&mut asker, &network, 0);
        assert_eq!((taken, refusal), (0, QueueFull::NoLeader));
        let text = refusal.to_string();
        assert!(text.starts_with("CLUSTERDOWN The shard has"), "{text}");
        let slot = asker.write(&network, 1, "SET other y");
        network.run_ms(50);
        assert_eq!(asker.reply(slot).as_deref(), Some("+OK"));

        network.heal();
        network.run_ms(5000);
        let slot = asker.write(&network, 0, "SET k z");
        network.run_ms(50);
        assert_eq!(asker.reply(slot).as_deref(), Some("+OK"));
    }
    compare(&network, 0);
}

#[test]
fn reads_of_a_group_without_a_quorum_do_not_wait_ten_seconds_each() {
    // Breaks if every read of a shard that nobody leads holds its connection for ten seconds, or is refused when somebody
    // leads again.
    let mut network = Network::of_three();
    network.lose(|_, _, message| match message {
        PeerMessage::Paxos(message) => message.group == GroupId(1),
        _ => false,
    });
    network.run_ms(1500);
    let mut asker = Asker::new(&network, 1);
    let mut read = |network: &Network| {
        let asked = asker.try_args(network, 0, OpKind::Read, &[b"GET", b"k"], 0);
        asked.map(|(slot, _)| slot)
    };
    let first = read(&network).expect("it may wait");
    network.run_ms(9000);
    let second = read(&network).expect("it may wait too: nobody knows yet");
    network.run_ms(1500);
    // The second has waited for longer than an election takes, and stands for all others.
    assert_eq!(read(&network), Err(QueueFull::NoLeader));
    network.run_ms(10_000);
    let trial = read(&network).expect("another tries");
    network.run_ms(500);
    let other = read(&network).expect("an election may be under way");
    network.run_ms(1000);
    assert_eq!(read(&network), Err(QueueFull::NoLeader));
    network.heal();
    network.run_ms(5000);
    let late = read(&network).expect("somebody leads");
    network.run_ms(50);
    let refused = Some(format!("-{}", QueueFull::NoLeader));
    for slot in [first, second] {
        assert_eq!(asker.reply(slot), refused);
    }
    for slot in [trial, other, late] {
        assert_eq!(asker.reply(slot).as_deref(), Some("$-1"));
    }
}

#[test]
fn a_group_whose_majority_lost_its_memory_is_said_to_be_lost() {
    // Breaks if people and clients wait for a leader that cannot come, or are told so of a group that may get one.
    let mut network = Network::of_three();
    let mut state = network.node(1).with_meta(|group| group.state().clone());
    let mut view_with_lives = |lives: [u64; 3]| {
        for (node, life) in state.nodes.values_mut().zip(lives) {
            node.incarnation = life;
        }
        ClusterView::of(&state)
    };
    let (one_new, two_new) = (view_with_lives([1, 2, 1]), view_with_lives([1, 2, 2]));
    let node = network.node(1).clone();
    let is_lost_after = |view: &ClusterView, us: u64| {
        let mut now = node.now();
        let mut shard = node.lock(0);
        shard.look_for_loss(view, now);
        now.monotonic_us += us;
        shard.look_for_loss(view, now);
        shard.is_lost()
    };
    assert!(!is_lost_after(&two_new, 6_000_000), "it has a leader");
    network.stop(2);
    network.stop(3);
    network.run_ms(2000);
    assert!(!is_lost_after(&one_new, 6_000_000), "two remember");
    assert!(!is_lost_after(&two_new, 2_000_000), "a leader may be near");
    assert!(is_lost_after(&two_new, 6_000_000));
    let mut asker = Asker::new(&network, 1);
    let asked = asker.try_args(&network, 0, OpKind::Write, &[b"SET", b"k", b"v"], 0);
    assert_eq!(asked, Err(QueueFull::Lost));
    assert_eq!(node.status(node.now()).shards_lost, 1);
    network.heal();
    network.run_ms(3000);
    assert_eq!(node.status(node.now()).shards_lost, 0);
}

#[test]
fn a_lost_answer_is_asked_for_again_while_others_come() {
    // Breaks if a request whose answer was lost waits for as long as others of the same shard are answered: ten seconds,
    // and then its client is told that nobody leads.
    for kind in [OpKind::Write, OpKind::Read] {
        let mut network = Network::of_three();
        let leader = network.leader(0).expect("settled");
        let node = leader % 3 + 1;
        let mut asker = Asker::new(&network, node);
        let eaten = Rc::new(Cell::new(0));
        let eats = eaten.clone();
        network.lose(move |from, to, message| {
            let eat = matches!(message, PeerMessage::ForwardReply(_)) && eats.get() == 0;
            let eat = eat && (from, to) == (leader, node);
            eats.set(eats.get() + i32::from(eat));
            eat
        });
        let words = match kind {
            OpKind::Write => "INCR k",
            _ => "STRLEN k",
        };
        let (slot, _) = asker.ask(&network, 0, kind, words, 0);
        network.deliver();
        assert_eq!((eaten.get(), asker.reply(slot)), (1, None));
        let mut others = Vec::new();
        for _ in 0..80 {
            others.push(asker.ask(&network, 0, kind, words, 0).0);
            network.tick();
        }
        let first = if kind == OpKind::Write { ":1" } else { ":0" };
        assert_eq!(asker.reply(slot).as_deref(), Some(first), "{kind:?}");
        assert!(others.iter().all(|slot| asker.reply(*slot).is_some()));
    }
}

#[test]
fn a_long_queue_is_forwarded_as_the_leader_answers() {
    // Breaks if more is sent at once than a leader has room for: it refuses, and everything is sent again, and again.
    let mut network = Network::of_three();
    let leader = network.leader(0).expect("settled");
    let mut asker = Asker::new(&network, leader % 3 + 1);
    let sent_bytes = Rc::new(Cell::new(0));
    let sent = sent_bytes.clone();
    network.lose(move |_, _, message| {
        if let PeerMessage::Forward(forward) = message {
            sent.set(sent.get() + forward.ops.len());
        }
        false
    });
    let (taken, _) = fill(&mut asker, &network, 0);
    let reads: Vec<u32> = (0..30_000)
        .map(|_| asker.ask(&network, 1, OpKind::Read, "GET k", 0).0)
        .collect();
    network.run_ms(400);
    assert!(asker.reply(taken as u32 - 1).is_some());
    assert!(reads.iter().all(|slot| asker.reply(*slot).is_some()));
    assert!(sent_bytes.get() < 70 << 20, "{} bytes", sent_bytes.get());
}
