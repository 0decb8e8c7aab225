//! Shards with replicas on three nodes: requests through the queue, the log and the leader's answers.

use crate::client::Client;
use crate::group::{OpFlags, OpKind, QueueFull, Request};
use crate::slots::Ticket;
use crate::testing::Client as SessionClient;
use crate::testing::network::{Network, replica};
use crate::wire::{AnswerBuffer, ForwardReply, NodeBeat, PeerMessage, RequestKind};
use paxos::{Ballot, GroupId, Incarnation, Input, ReplicaId};
use resp::OwnedArgs;
use std::sync::Arc;

/// Every increment of each asker was answered, in its order, and all together count from 1 to `count`.
pub(super) fn are_counted_once(askers: &[Asker], slots: &[Vec<u32>], count: u64) {
    let mut seen: Vec<u64> = Vec::new();
    for (asker, slots) in askers.iter().zip(slots) {
        let mut before = 0;
        for slot in slots {
            let reply = asker.reply(*slot).expect("every write is answered");
            let value: u64 = reply[1..].parse().expect("a number");
            assert!(value > before, "one node's writes are applied in order");
            before = value;
            seen.push(value);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=count).collect::<Vec<u64>>());
}

/// Somebody at one node who queues requests and looks at what came of them.
pub(super) struct Asker {
    node: u32,
    client: Arc<Client>,
    slots: u32,
}

impl Asker {
    pub(super) fn new(network: &Network, node: u32) -> Self {
        let now = network.node(node).now();
        let client = network.node(node).connect("a:1".into(), "b:2".into(), now);
        Asker {
            node,
            client,
            slots: 0,
        }
    }

    /// Queues `words` for `shard`; returns the slot of its reply and its number.
    pub(super) fn ask(
        &mut self,
        network: &Network,
        shard: usize,
        kind: OpKind,
        words: &str,
        after: u64,
    ) -> (u32, u64) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.ask_args(network, shard, kind, &words, after)
    }

    pub(super) fn ask_args(
        &mut self,
        network: &Network,
        shard: usize,
        kind: OpKind,
        args: &[&[u8]],
        after: u64,
    ) -> (u32, u64) {
        let asked = self.try_args(network, shard, kind, args, after);
        asked.expect("room in the queue")
    }

    pub(super) fn try_args(
        &mut self,
        network: &Network,
        shard: usize,
        kind: OpKind,
        args: &[&[u8]],
        after: u64,
    ) -> Result<(u32, u64), QueueFull> {
        let node = network.node(self.node);
        let args = OwnedArgs::from_slices(args);
        let ticket = Ticket::new(self.client.clone(), self.client.slots().batch(), self.slots);
        self.slots += 1;
        let request = Request {
            kind,
            db: 0,
            flags: OpFlags::NONE,
            args: args.args(),
            after,
        };
        let number = node.lock(shard).enqueue(request, ticket, node.now())?;
        node.mark_dirty(shard);
        Ok((self.slots - 1, number))
    }

    pub(super) fn write(&mut self, network: &Network, shard: usize, words: &str) -> u32 {
        self.ask(network, shard, OpKind::Write, words, 0).0
    }

    pub(super) fn reply(&self, slot: u32) -> Option<String> {
        let slots = self.client.slots();
        let reply = slots.get(slot)?;
        Some(
            String::from_utf8_lossy(reply)
                .trim_end()
                .replace("\r\n", " "),
        )
    }
}

pub(super) fn compare(network: &Network, shard: usize) {
    let states: Vec<_> = network
        .nodes
        .iter()
        .map(|node| {
            let mut guard = node.lock(shard);
            guard.cache.set_now(u64::from(u32::MAX) << 16);
            (
                guard.applied,
                guard.cache.checksum(),
                guard.origins.checksum() ^ guard.reservations.checksum(),
            )
        })
        .collect();
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
}

#[test]
fn a_write_is_answered_by_whichever_node_it_comes_to() {
    // Breaks if a request at a node that does not lead is not forwarded, or its answer does not come back.
    let mut network = Network::of_three();
    for node in 1..=3 {
        let mut asker = Asker::new(&network, node);
        let slot = asker.write(&network, 0, "INCR k");
        network.deliver();
        assert_eq!(asker.reply(slot), Some(format!(":{node}")));
        let number = network.node(node).lock(0).queued_seq();
        let (slot, _) = asker.ask(&network, 0, OpKind::Read, "GET k", number);
        network.deliver();
        assert_eq!(asker.reply(slot), Some(format!("$1 {node}")));
    }
    network.run_ms(100);
    compare(&network, 0);
}

#[test]
fn every_increment_counts_once_while_leaders_come_and_go() {
    // Breaks if a write whose leader died is lost, applied twice, or answered with another's reply.
    let mut network = Network::of_three();
    let mut askers: Vec<Asker> = (1..=3).map(|node| Asker::new(&network, node)).collect();
    let mut slots: Vec<Vec<u32>> = vec![Vec::new(); 3];
    for round in 0..60 {
        for (asker, slots) in askers.iter_mut().zip(&mut slots) {
            for _ in 0..3 {
                slots.push(asker.write(&network, 1, "INCR k"));
            }
        }
        if round % 12 == 5 {
            // In mid-flight: some messages delivered, the rest lost with the leader.
            network.round();
            network.round();
            if let Some(leader) = network.leader(1) {
                let cut: Vec<u32> = (1..=3).filter(|other| *other != leader).collect();
                cut.into_iter().for_each(|other| network.cut(leader, other));
            }
        }
        if round % 12 == 11 {
            network.heal();
        }
        network.run_ms(80);
    }
    network.heal();
    network.run_ms(3000);
    are_counted_once(&askers, &slots, 540);
    compare(&network, 1);
}

#[test]
fn a_connection_reads_what_it_wrote_and_not_what_it_writes_later() {
    // Breaks if a pipeline's requests to one shard overtake each other.
    let mut network = Network::of_three();
    for node in 1..=3 {
        let mut asker = Asker::new(&network, node);
        let mut expected = Vec::new();
        let mut read = 0;
        for value in 0..20 {
            let words = format!("SET k{node} {value}");
            let (_, write) = asker.ask(&network, 2, OpKind::Write, &words, read);
            let (slot, id) = asker.ask(&network, 2, OpKind::Read, &format!("GET k{node}"), write);
            read = id;
            expected.push((slot, format!("${} {value}", value.to_string().len())));
        }
        // No time goes by: a request behind another goes on when that is answered, not at a tick.
        network.deliver();
        for (slot, reply) in expected {
            assert_eq!(asker.reply(slot), Some(reply));
        }
    }
}

#[test]
fn requests_wait_for_a_leader_and_are_refused_after_ten_seconds() {
    // Breaks if a client of a minority waits for ever, or is told of a failure while an election is on.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 1);
    network.stop(2);
    network.stop(3);
    network.run_ms(2000);
    let slot = asker.write(&network, 3, "SET k v");
    network.run_ms(9000);
    assert_eq!(asker.reply(slot), None);
    network.run_ms(2000);
    let reply = asker.reply(slot).expect("refused");
    assert!(reply.starts_with("-CLUSTERDOWN"), "{reply}");
    network.heal();
    network.run_ms(2000);
    let (slot, _) = asker.ask(&network, 3, OpKind::Read, "GET k", 0);
    network.run_ms(1000);
    assert_eq!(
        asker.reply(slot),
        Some("$1 v".into()),
        "the log has decided"
    );
}

/// Grows the groups of `shard` at its leader to all nodes of the network, as learners first.
pub(super) fn grow(network: &mut Network, shard: usize) {
    let all: Vec<ReplicaId> = (1..=network.nodes.len() as u32).map(replica).collect();
    let leader = network.leader(shard).expect("somebody leads");
    let reconfigure = |network: &Network, voters: &[ReplicaId], learners: &[ReplicaId]| {
        let node = network.node(leader);
        let mut refused = None;
        let mut work = node.work(node.now());
        node.on_shard(shard, &mut work, |shard, work| {
            let input = Input::Reconfigure {
                voters: voters.to_vec(),
                learners: learners.to_vec(),
            };
            refused = shard.step(input, work);
        });
        node.finish(work);
        refused
    };
    let learners: Vec<ReplicaId> = all
        .iter()
        .copied()
        .filter(|r| *r != replica(leader))
        .collect();
    assert_eq!(reconfigure(network, &[replica(leader)], &learners), None);
    for _ in 0..200 {
        network.tick();
        if reconfigure(network, &all, &[]).is_none() {
            network.run_ms(500);
            let config = network.config(leader, shard);
            assert_eq!(config.voters, all);
            return;
        }
    }
    panic!("the learners never caught up");
}

#[test]
fn a_lone_node_grows_to_three_under_writes() {
    // Breaks if a node that joins gets another state than that at the snapshot's index, or loses what was written while
    // the snapshot was on its way.
    let mut network = Network::new(3, 1, |settings| settings.shards = 1);
    let mut client = SessionClient::new(network.node(1));
    for n in 0..20_000 {
        client.run(&format!("SET k{n} {n} PX {}", 1000 + n));
    }
    client.run("SET long x");
    client.run("SETRANGE long 300000 y");
    drop(client);
    let mut asker = Asker::new(&network, 1);
    let mut lot = 7u64;
    let all: Vec<ReplicaId> = (1..=3).map(replica).collect();
    let mut slots = Vec::new();
    for round in 0..40 {
        if round == 1 {
            let node = network.node(1);
            let mut work = node.work(node.now());
            node.on_shard(0, &mut work, |shard, work| {
                let learners = all[1..].to_vec();
                let voters = all[..1].to_vec();
                shard.step(Input::Reconfigure { voters, learners }, work);
            });
            node.finish(work);
        }
        for _ in 0..100 {
            lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let n = (lot >> 33) % 20_000;
            let words = match lot >> 62 {
                0 => format!("APPEND k{n} x"),
                1 => format!("DEL k{n}"),
                2 => format!("SET new{n} {lot}"),
                _ => format!("COPY k{n} k{} REPLACE", n / 2),
            };
            slots.push(asker.write(&network, 0, &words));
        }
        // Fewer messages than there are chunks: writes come in between.
        network.clock.advance_ms(10);
        (1..=3).for_each(|n| network.node(n).tick(network.node(n).now()));
        network.round();
    }
    network.run_ms(500);
    assert!(slots.iter().all(|slot| asker.reply(*slot).is_some()));
    let applied: Vec<u64> = network.nodes.iter().map(|n| n.lock(0).applied).collect();
    assert_eq!(applied[0], applied[1]);
    compare(&network, 0);
    grow(&mut network, 0);
    assert!(network.node(1).lock(0).cache.len(0) > 5000);
}

#[test]
fn a_flush_while_a_snapshot_is_made_begins_it_anew() {
    // Breaks if keys of before the flush reach a replica behind it.
    let mut network = Network::new(2, 1, |settings| settings.shards = 1);
    let mut client = SessionClient::new(network.node(1));
    for n in 0..20_000 {
        client.run(&format!("SET k{n} {n}"));
    }
    drop(client);
    let mut asker = Asker::new(&network, 1);
    let node = network.node(1).clone();
    let mut work = node.work(node.now());
    node.on_shard(0, &mut work, |shard, work| {
        let (voters, learners) = (vec![replica(1)], vec![replica(2)]);
        shard.step(Input::Reconfigure { voters, learners }, work);
    });
    node.finish(work);
    network.round();
    network.round();
    assert!(node.lock(0).group.streams.is_producing());
    asker.ask_args(&network, 0, OpKind::Flush, &[], 0);
    asker.write(&network, 0, "SET after flush");
    network.run_ms(3000);
    assert_eq!(network.node(2).lock(0).cache.len(0), 1);
    compare(&network, 0);
}

#[test]
fn an_answer_to_a_former_life_answers_nothing() {
    // Breaks if a node that came back without its memory, and numbers its writes from 1 again, told its clients that
    // writes were done because others of the same numbers were, in the life before.
    let network = Network::new(3, 3, |_| {});
    let mut asker = Asker::new(&network, 2);
    let (slot, number) = asker.ask(&network, 0, OpKind::Write, "SET k v", 0);
    let answer = |to| {
        let mut items = AnswerBuffer::default();
        items.push(RequestKind::Write, number, b"+OK\r\n");
        let reply = ForwardReply {
            group: GroupId(1),
            to,
            items: items.finish(),
        };
        let node = network.node(2);
        let message = PeerMessage::ForwardReply(reply);
        let taken = node.on_peer_message(replica(1), message, node.now());
        assert_eq!(taken, Ok(()));
    };
    let origin = network.node(2).cluster.origin;
    let former = ReplicaId {
        incarnation: Incarnation(origin.incarnation.0 - 1),
        ..origin
    };
    answer(former);
    assert_eq!(asker.reply(slot), None);
    answer(origin);
    assert_eq!(asker.reply(slot).as_deref(), Some("+OK"));
}

#[test]
fn what_a_removed_node_asks_again_is_not_applied_again() {
    // Breaks if a node that is removed while its answer is lost, and asks again before it hears of that, has its write
    // applied a second time (light seed 200009901).
    let mut network = Network::of_three();
    let leader = network.leader(0).expect("settled");
    let removed = leader % 3 + 1;
    network.lose(move |_, to, message| {
        to == removed && matches!(message, PeerMessage::ForwardReply(_))
    });
    let mut asker = Asker::new(&network, removed);
    let slot = asker.write(&network, 0, "INCR k");
    network.deliver();
    let over = replica(removed);
    let node = network.node(leader).clone();
    let mut work = node.work(node.now());
    node.on_shard(0, &mut work, |shard, work| {
        shard.forget_origins(&|life| life == over, work);
    });
    node.finish(work);
    network.deliver();
    assert_eq!(network.node(leader).lock(0).origins.iter().count(), 0);
    network.heal();
    network.run_ms(2_000);
    let reply = asker.reply(slot).expect("it is told");
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
    let (read, _) = asker.ask(&network, 0, OpKind::Read, "GET k", 0);
    network.deliver();
    assert_eq!(asker.reply(read).as_deref(), Some("$1 1"));
    let mut asker = Asker::new(&network, leader);
    let (read, _) = asker.ask(&network, 0, OpKind::Read, "GET k", 0);
    network.deliver();
    assert_eq!(asker.reply(read).as_deref(), Some("$1 1"));
}

#[test]
fn who_leads_does_not_believe_who_led_before() {
    // Breaks if the last words of a leader that was deposed made the one that leads now send its clients there, which
    // would send them back.
    let network = Network::of_three();
    let leader = network.leader(0).expect("settled");
    let other = replica(leader % 3 + 1);
    let node = network.node(leader);
    let before = Ballot {
        round: 0,
        replica: other,
    };
    let beat = NodeBeat {
        leads: vec![(GroupId(1), before)],
        ..NodeBeat::default()
    };
    let taken = node.on_peer_message(other, PeerMessage::NodeBeat(beat), node.now());
    assert_eq!(taken, Ok(()));
    assert_eq!(node.cluster.leader(GroupId(1)), Some(replica(leader).node));
}
