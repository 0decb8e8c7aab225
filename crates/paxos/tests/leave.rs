//! How a replica that has no vote any more learns of it, and when its process may end.

use paxos::{
    Ballot, Config, Generation, GroupId, Incarnation, Index, Input, Kind, Message, NodeId, Output,
    Replica, ReplicaId, Settings, SnapshotBase, SnapshotStep, Start,
};
use std::collections::VecDeque;

fn id(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

/// Two replicas, the first of which founds the group; what is between them passes unless it is lost.
struct Pair {
    replicas: [Replica; 2],
    now_us: u64,
    snapshots_count: usize,
}

impl Pair {
    fn new(settings: Settings) -> Pair {
        let config = Config {
            number: 1,
            voters: vec![id(1)],
            learners: Vec::new(),
        };
        let replica = |node: u32, start| {
            let (group, generation) = (GroupId(1), Generation(1));
            let seed = u64::from(node);
            Replica::new(settings, group, generation, id(node), start, seed, 0)
        };
        Pair {
            replicas: [
                replica(1, Start::Founder(config)),
                replica(2, Start::Joiner),
            ],
            now_us: 0,
            snapshots_count: 0,
        }
    }

    fn step(&mut self, node: u32, input: Input, passes: &dyn Fn(&Message) -> bool) {
        let mut inputs = VecDeque::from([(node, input)]);
        while let Some((node, input)) = inputs.pop_front() {
            let mut out = Output::default();
            self.replicas[node as usize - 1].step(self.now_us, input, &mut out);
            assert_eq!(out.refused, None);
            for step in out.snapshot {
                inputs.extend(self.perform(step).map(|input| (node, input)));
            }
            let sent = out.send_first.into_iter().chain(out.send);
            for message in sent.filter(|message| passes(message)) {
                inputs.push_back((message.to.node.0, Input::Message(message)));
            }
        }
    }

    /// A state of nothing, in one part.
    fn perform(&mut self, step: SnapshotStep) -> Option<Input> {
        match step {
            SnapshotStep::More { stream } => Some(Input::SnapshotChunk {
                stream,
                bytes: Default::default(),
                last: true,
            }),
            SnapshotStep::Install { stream, base } => {
                self.snapshots_count += 1;
                Some(Input::SnapshotInstalled { stream, base })
            }
            SnapshotStep::Begin { .. } | SnapshotStep::Drop { .. } | SnapshotStep::Chunk { .. } => {
                None
            }
        }
    }

    fn run_ms(&mut self, ms: u64, passes: &dyn Fn(&Message) -> bool) {
        for _ in 0..ms / 10 {
            self.now_us += 10_000;
            for node in [1, 2] {
                self.step(node, Input::Tick, passes);
            }
        }
    }

    fn reconfigure(&mut self, voter: u32, learner: u32, passes: &dyn Fn(&Message) -> bool) {
        let change = Input::Reconfigure {
            voters: vec![id(voter)],
            learners: vec![id(learner)],
        };
        self.step(1, change, passes);
    }
}

#[test]
fn who_gave_the_only_vote_away_stays_until_that_is_known() {
    // Breaks if a process ends that alone knows who votes instead of it: nobody could ever lead the group again.
    let all = |_: &Message| true;
    let mut pair = Pair::new(Settings::default());
    assert!(!pair.replicas[0].can_leave());
    assert!(pair.replicas[1].can_leave(), "it knows of no group");
    pair.run_ms(500, &all);
    pair.reconfigure(1, 2, &all);
    pair.run_ms(500, &all);
    assert!(pair.replicas[1].can_leave(), "it has no vote yet");
    // The heir says that it is alive, and no more goes over.
    let beats =
        |message: &Message| matches!(message.kind, Kind::Beat { .. } | Kind::Accepted { .. });
    pair.reconfigure(2, 1, &beats);
    assert_eq!(pair.replicas[0].config().voters, [id(2)]);
    assert_eq!(pair.replicas[1].config().voters, [id(1)]);
    pair.run_ms(2000, &|_| false);
    assert!(!pair.replicas[0].can_leave(), "nobody else knows of it");
    pair.run_ms(2000, &all);
    assert!(pair.replicas[1].is_leader() && !pair.replicas[1].can_leave());
    assert!(pair.replicas[0].can_leave());
}

#[test]
fn whoever_gives_the_only_vote_away_tells_the_heir_at_once() {
    // Breaks if the heir hears of its vote only when it asks by itself, an election's time later.
    let mut pair = Pair::new(Settings::default());
    let all = |_: &Message| true;
    pair.run_ms(500, &all);
    pair.reconfigure(1, 2, &all);
    pair.run_ms(500, &all);
    pair.reconfigure(2, 1, &all);
    assert!(pair.replicas[1].is_leader());
}

#[test]
fn a_snapshot_is_followed_by_what_says_that_its_receiver_may_leave() {
    // Breaks if a removed node that was fed the group's state as a whole waits for somebody to change it before it ends.
    let all = |_: &Message| true;
    let mut pair = Pair::new(Settings {
        retained_bytes_max: 0,
        ..Settings::default()
    });
    pair.run_ms(500, &all);
    pair.reconfigure(1, 2, &all);
    pair.run_ms(500, &all);
    assert!(pair.snapshots_count > 0);
    assert_eq!(pair.replicas[1].config().learners, [id(2)]);
    assert!(pair.replicas[1].can_leave());
}

#[test]
fn who_knows_former_members_alone_asks_the_leader_that_it_heard() {
    // Breaks if a replica that was left out while it was away asks for ever those who have left like itself, and keeps a state
    // that nobody needs.
    let config = Config {
        number: 1,
        voters: vec![id(1)],
        learners: vec![id(2)],
    };
    let start = Start::Recovered {
        promised: Ballot::default(),
        base: SnapshotBase {
            index: Index(5),
            config,
            log_ms: 1,
        },
        log: Vec::new(),
        chosen: Index(5),
        log_ms_ceiling: 0,
        is_hollow: false,
    };
    let (group, generation, settings) = (GroupId(1), Generation(1), Settings::default());
    let mut replica = Replica::new(settings, group, generation, id(2), start, 1, 0);
    let ballot = Ballot {
        round: 9,
        replica: id(3),
    };
    let kind = Kind::Beat {
        ballot,
        commit: Index(90),
        sent_us: 1,
        log_ms: 1,
    };
    let beat = Message {
        group,
        generation,
        from: id(3),
        to: id(2),
        kind,
    };
    let mut out = Output::default();
    replica.step(1000, Input::Message(beat), &mut out);
    out.send_first.clear();
    for now_ms in (10..20_000).step_by(10) {
        replica.step(now_ms * 1000, Input::Tick, &mut out);
    }
    let asks = |message: &Message| matches!(message.kind, Kind::CatchUpRequest { .. });
    let asked = |whom| {
        let mut sent = out.send_first.iter();
        sent.any(|message| asks(message) && message.to == whom)
    };
    assert!(asked(id(1)) && asked(id(3)));
}
