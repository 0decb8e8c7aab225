//! What one group's trouble, or a lost message, does to everything else.

use super::groups::{Asker, compare};
use crate::group::{OpKind, QueueFull};
use crate::testing::network::Network;
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
