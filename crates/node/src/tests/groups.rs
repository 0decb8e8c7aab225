//! Shards with replicas on three nodes: requests through the queue, the log and the leader's answers.

use crate::client::Client;
use crate::group::{OpFlags, OpKind, Request};
use crate::slots::Ticket;
use crate::testing::network::Network;
use resp::OwnedArgs;
use std::sync::Arc;

/// Somebody at one node who queues requests and looks at what came of them.
struct Asker {
    node: u32,
    client: Arc<Client>,
    slots: u32,
}

impl Asker {
    fn new(network: &Network, node: u32) -> Self {
        let now = network.node(node).now();
        let client = network.node(node).connect("a:1".into(), "b:2".into(), now);
        Asker {
            node,
            client,
            slots: 0,
        }
    }

    /// Queues `words` for `shard`; returns the slot of its reply and its number.
    fn ask(
        &mut self,
        network: &Network,
        shard: usize,
        kind: OpKind,
        words: &str,
        after: u64,
    ) -> (u32, u64) {
        let node = network.node(self.node);
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let args = OwnedArgs::from_slices(&words);
        let ticket = Ticket::new(self.client.clone(), self.client.slots().batch(), self.slots);
        self.slots += 1;
        let request = Request {
            kind,
            db: 0,
            flags: OpFlags::NONE,
            args: args.args(),
            after,
        };
        let number = node
            .lock(shard)
            .enqueue(request, ticket, node.now())
            .expect("room in the queue");
        node.mark_dirty(shard);
        (self.slots - 1, number)
    }

    fn write(&mut self, network: &Network, shard: usize, words: &str) -> u32 {
        self.ask(network, shard, OpKind::Write, words, 0).0
    }

    fn reply(&self, slot: u32) -> Option<String> {
        let slots = self.client.slots();
        let reply = slots.get(slot)?;
        Some(
            String::from_utf8_lossy(reply)
                .trim_end()
                .replace("\r\n", " "),
        )
    }
}

fn compare(network: &Network, shard: usize) {
    let states: Vec<_> = network
        .nodes
        .iter()
        .map(|node| {
            let mut guard = node.lock(shard);
            guard.cache.set_now(u64::from(u32::MAX) << 16);
            (
                guard.applied,
                guard.cache.checksum(),
                guard.origins.checksum(),
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
    let mut seen: Vec<u64> = Vec::new();
    for (asker, slots) in askers.iter().zip(&slots) {
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
    assert_eq!(seen, (1..=540).collect::<Vec<u64>>());
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
        network.run_ms(200);
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
