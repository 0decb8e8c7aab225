//! Three replicas elect, agree and catch up over a network that loses nothing.

use bytes::Bytes;
use paxos::{
    Config, Entry, Generation, GroupId, Incarnation, Index, Input, Message, NodeId, Output,
    Replica, ReplicaId, Settings, Start,
};
use std::collections::VecDeque;

fn id(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

/// Replicas of nodes 1.., what they applied, and what is on the way.
struct World {
    replicas: Vec<Replica>,
    applied: Vec<Vec<(Index, Entry)>>,
    wire: VecDeque<Message>,
    now_us: u64,
}

impl World {
    fn new(nodes: u32) -> World {
        let config = Config {
            number: 1,
            voters: (1..=nodes).map(id).collect(),
            learners: Vec::new(),
        };
        let start = |node: u32| {
            let start = Start::Founder(config.clone());
            let settings = Settings {
                fill_entries: 0,
                ..Settings::default()
            };
            Replica::new(
                settings,
                GroupId(1),
                Generation(1),
                id(node),
                start,
                u64::from(node),
                0,
            )
        };
        World {
            replicas: (1..=nodes).map(start).collect(),
            applied: vec![Vec::new(); nodes as usize],
            wire: VecDeque::new(),
            now_us: 0,
        }
    }

    fn step(&mut self, at: usize, input: Input) -> Output {
        let mut out = Output::default();
        self.replicas[at].step(self.now_us, input, &mut out);
        self.wire.extend(out.send_first.drain(..));
        self.wire.extend(out.send.drain(..));
        self.applied[at].append(&mut out.apply);
        out
    }

    /// Lets time pass in steps of 10 ms, delivering at once what is sent but to and from `cut`.
    fn run(&mut self, ms: u64, cut: Option<NodeId>) {
        for _ in 0..ms / 10 {
            self.now_us += 10_000;
            for at in 0..self.replicas.len() {
                self.step(at, Input::Tick);
            }
            while let Some(message) = self.wire.pop_front() {
                if Some(message.to.node) != cut && Some(message.from.node) != cut {
                    self.step(message.to.node.0 as usize - 1, Input::Message(message));
                }
            }
        }
    }

    fn leader(&self) -> usize {
        self.replicas
            .iter()
            .position(|replica| replica.lease_until() > self.now_us)
            .expect("somebody leads with a lease")
    }

    fn propose(&mut self, text: &'static str) {
        let leader = self.leader();
        let payload = Bytes::from_static(text.as_bytes());
        let out = self.step(leader, Input::Propose { log_ms: 1, payload });
        assert_eq!(out.refused, None);
    }
}

#[test]
fn three_replicas_elect_agree_and_catch_up() {
    // Without this nothing works at all.
    let mut world = World::new(3);
    world.run(2_000, None);
    world.propose("a");
    world.run(100, None);
    let behind = (world.leader() + 1) % 3;
    let cut = world.replicas[behind].me().node;
    world.propose("b");
    world.propose("c");
    world.run(1_000, Some(cut));
    assert!(world.applied[behind].len() < world.applied[world.leader()].len());
    world.run(1_000, None);
    world.propose("d");
    world.run(1_000, None);
    assert_eq!(world.applied[0].len(), 4);
    assert_eq!(world.applied[0], world.applied[1]);
    assert_eq!(world.applied[0], world.applied[2]);
}

#[test]
fn a_group_of_one_leads_at_once_and_skips_its_log() {
    // A single node would not serve, or would keep in memory a log that nobody reads; or its log time would jump when the
    // next node joins, by as long as it was alone.
    let mut world = World::new(1);
    world.step(0, Input::Tick);
    assert_eq!(world.replicas[0].lease_until(), u64::MAX);
    world.propose("a");
    assert_eq!(world.applied[0].len(), 1);
    assert!(world.replicas[0].can_skip());
    world.now_us += 400_000;
    world.replicas[0].skip(5, 7_000, world.now_us);
    assert_eq!(world.replicas[0].log_ms(world.now_us), 7_000);
    world.propose("b");
    assert_eq!(world.applied[0][1].0, Index(7));
}
