//! Meta groups of several nodes, joined by queues.

use super::*;
use crate::meta::testing::{addresses_of, name_of};
use parking_lot::Mutex;
use paxos::{Config, Generation, Incarnation, ReplicaId, Settings, Start};
use std::collections::VecDeque;

/// Nodes, by id, and what is on its way between them.
struct Net {
    nodes: BTreeMap<u32, MetaGroup>,
    mail: VecDeque<(NodeId, NodeId, Mail)>,
    now_us: u64,
    cut: Vec<u32>,
    next_id: u128,
}

enum Mail {
    Paxos(paxos::Message),
    Meta(MetaMessage),
}

type Answer = Arc<Mutex<Option<Result<MetaAnswer, NoAnswer>>>>;

fn replica(node: u32, incarnation: u64) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

fn new_replica(me: ReplicaId, start: Start, settings: Settings, now_us: u64) -> Replica {
    let seed = u64::from(me.node.0) * 1000 + me.incarnation.0;
    Replica::new(settings, META_GROUP, Generation(0), me, start, seed, now_us)
}

impl Net {
    /// Node 1, which founds a cluster.
    fn found() -> Net {
        let me = replica(1, 1);
        let config = Config {
            number: 0,
            voters: vec![me],
            learners: Vec::new(),
        };
        let replica = new_replica(me, Start::Founder(config), Settings::default(), 0);
        let founding = MetaCommand::Found {
            cluster_id: "c".repeat(32),
            hash_seed: 11,
            shards_count: 8,
            replicas_wanted: 3,
            founders: vec![(name_of(1), addresses_of(1))],
        };
        let node = MetaGroup::new(replica, MetaState::default(), Some(founding));
        let mut net = Net {
            nodes: [(1, node)].into(),
            mail: VecDeque::new(),
            now_us: 0,
            cut: Vec::new(),
            next_id: 1,
        };
        net.run_ms(20);
        net
    }

    fn now(&self) -> Now {
        Now {
            monotonic_us: self.now_us,
            log_ms: self.now_us / 1000,
            wall_offset_ms: 0,
        }
    }

    fn on(&mut self, node: u32, f: impl FnOnce(&mut MetaGroup, Now, &mut MetaTurn)) {
        let now = self.now();
        let mut turn = MetaTurn::default();
        let Some(group) = self.nodes.get_mut(&node) else {
            return;
        };
        f(group, now, &mut turn);
        let from = NodeId(node);
        let out = turn.out;
        assert!(out.apply.is_empty() && out.snapshot.is_empty() && out.role.is_none());
        for message in out.send_first.into_iter().chain(out.send) {
            self.mail
                .push_back((from, message.to.node, Mail::Paxos(message)));
        }
        for (to, message) in turn.messages {
            let message = MetaMessage::decode(&message.encode()).unwrap();
            self.mail.push_back((from, to, Mail::Meta(message)));
        }
        for (done, answer) in turn.done {
            done(answer);
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, mail)) = self.mail.pop_front() {
            // There is an outbox for those that the sender knows.
            let view = &self.nodes[&from.0].view;
            let is_known = view.reachable().any(|node| node.id == to);
            if self.cut.contains(&from.0) || self.cut.contains(&to.0) || !is_known {
                continue;
            }
            self.on(to.0, |group, now, turn| match mail {
                Mail::Paxos(message) => group.step(Input::Message(message), now, turn),
                Mail::Meta(message) => group.on_message(from, message, now, turn),
            });
        }
    }

    fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now_us += 10_000;
            let ids: Vec<u32> = self.nodes.keys().copied().collect();
            for &to in &ids {
                let alive: Vec<ReplicaId> = ids
                    .iter()
                    .filter(|id| !self.cut.contains(id) && !self.cut.contains(&to))
                    .map(|id| self.nodes[id].replica.me())
                    .collect();
                self.on(to, |group, now, turn| {
                    for from in alive.into_iter().filter(|from| from.node.0 != to) {
                        group.presence.hear(from, now.monotonic_us);
                    }
                    group.tick(now, turn);
                });
            }
            self.deliver();
        }
    }

    /// Has node `at` ask for a command; returns where the answer will be.
    fn ask(&mut self, at: u32, command: MetaCommand) -> Answer {
        let answer = Answer::default();
        let slot = answer.clone();
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let done: Completion = Box::new(move |came| *slot.lock() = Some(came));
        self.on(at, |group, now, turn| {
            group.submit(MetaRequest { id, command }, Some(done), now, turn);
        });
        self.deliver();
        answer
    }

    /// A process asks node `at` to join as `node` and starts with what it is told.
    fn join(&mut self, at: u32, node: u32, settings: Settings) {
        let command = MetaCommand::Join {
            name: format!("{:040x}", node as u128 + (self.next_id << 32)),
            addresses: addresses_of(node),
            weight: 1,
            zone: String::new(),
        };
        let answer = self.ask(at, command);
        self.run_ms(700);
        let answer = answer.lock().clone();
        let Some(Ok(MetaAnswer::Joined {
            node: id,
            incarnation,
        })) = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!(id, node);
        let me = replica(id, incarnation);
        let state = self.nodes[&at].state().clone();
        let replica = new_replica(me, Start::Joiner, settings, self.now_us);
        self.nodes
            .insert(node, MetaGroup::new(replica, state, None));
    }

    fn leader(&self) -> u32 {
        let leads = |node: &&u32| self.nodes[node].replica.is_leader() && !self.cut.contains(node);
        *self.nodes.keys().find(leads).expect("somebody leads")
    }

    fn agreed(&self) {
        let states: Vec<&MetaState> = self.nodes.values().map(|node| &node.state).collect();
        assert!(states.windows(2).all(|two| two[0] == two[1]), "{states:?}");
        for node in self.nodes.values() {
            assert_eq!(*node.view, ClusterView::of(&node.state));
        }
    }

    fn voters(&self, at: u32) -> Vec<u32> {
        let config = self.nodes[&at].replica.config();
        config.voters.iter().map(|id| id.node.0).collect()
    }
}

fn set(name: &str) -> MetaCommand {
    MetaCommand::Configure {
        pairs: vec![(name.into(), "1".into())],
    }
}

fn three() -> Net {
    let mut net = Net::found();
    net.join(1, 2, Settings::default());
    net.run_ms(300);
    net.join(2, 3, Settings::default()); // through the node that just came
    net.run_ms(1000);
    net
}

#[test]
fn a_founder_is_a_cluster_at_once() {
    // Breaks if a single node has no view, so no CLUSTER command and no join would work.
    let net = Net::found();
    let view = net.nodes[&1].view();
    assert_eq!((view.epoch, view.nodes.len(), view.shards_count), (1, 1, 8));
    assert_eq!(view.nodes[0].name, name_of(1));
}

#[test]
fn three_nodes_form_a_group_of_three() {
    // Breaks if joined nodes do not become voters, or the states differ.
    let net = three();
    assert_eq!(net.voters(1), [1, 2, 3]);
    net.agreed();
    assert_eq!(net.nodes[&3].view().nodes.len(), 3);
}

#[test]
fn a_fourth_node_learns() {
    // Breaks if a node that does not vote lacks the cluster's state.
    let mut net = three();
    net.join(3, 4, Settings::default());
    net.run_ms(500);
    assert_eq!(net.voters(4), [1, 2, 3]);
    net.agreed();
}

#[test]
fn a_request_on_any_node_is_answered() {
    // Breaks if CONFIG SET at a follower, or through a learner, hangs or is lost.
    let mut net = three();
    net.join(3, 4, Settings::default());
    net.run_ms(300);
    for at in 1..=4 {
        let answer = net.ask(at, set(&format!("setting{at}")));
        net.run_ms(200);
        let answer = answer.lock().clone();
        assert!(
            matches!(answer, Some(Ok(MetaAnswer::Done { .. }))),
            "node {at}: {answer:?}"
        );
    }
    net.agreed();
    assert_eq!(net.nodes[&4].state().settings.len(), 4);
}

#[test]
fn a_request_outlives_its_leader() {
    // Breaks if a change that was under way when the leader died is lost, or made twice.
    let mut net = three();
    let leader = net.leader();
    let other = if leader == 1 { 2 } else { 1 };
    net.cut.push(leader);
    let answer = net.ask(other, set("a"));
    net.run_ms(2500);
    assert!(matches!(*answer.lock(), Some(Ok(MetaAnswer::Done { .. }))));
    let epoch = net.nodes[&other].view().epoch;
    net.cut.clear();
    net.run_ms(1000);
    net.agreed();
    assert_eq!(net.nodes[&leader].view().epoch, epoch);
}

#[test]
fn without_a_majority_the_answer_is_that_there_is_none() {
    // Breaks if a client of a cut-off node waits for ever, or is told that all went well.
    let mut net = three();
    net.cut = vec![1, 2];
    let answer = net.ask(3, set("a"));
    net.run_ms(9000);
    assert_eq!(*answer.lock(), None);
    net.run_ms(1100);
    assert_eq!(*answer.lock(), Some(Err(NoAnswer)));
}

#[test]
fn a_leader_that_is_not_known_here_is_heard_of_from_others() {
    // Breaks if a node that was away while another joined and came to lead is never fed again: it cannot answer.
    let mut net = three();
    let leader = net.leader();
    let away = if leader == 3 { 2 } else { 3 };
    net.cut.push(away);
    net.run_ms(1200);
    net.join(leader, 4, Settings::default());
    net.ask(
        leader,
        MetaCommand::Weigh {
            node: away,
            weight: 0,
        },
    );
    net.run_ms(1000);
    assert!(net.voters(leader).contains(&4));
    let heir = Input::TransferTo(replica(4, 1));
    net.on(leader, |group, now, turn| group.step(heir, now, turn));
    net.deliver();
    net.run_ms(100);
    assert_eq!(net.leader(), 4);
    net.cut.clear();
    // So that it hears of a leader before it asks for votes, and for what is chosen with them.
    net.on(4, |group, now, turn| group.step(Input::Announce, now, turn));
    net.deliver();
    net.run_ms(1000);
    assert_eq!(net.leader(), 4);
    net.agreed();
}

#[test]
fn what_is_chosen_is_fetched_from_a_later_life_of_a_node() {
    // Breaks if a node that was away while another joined and came to lead asks the nodes that it knows by names of lives
    // that ended meanwhile: nobody hears to those, and it never gets the cluster's state.
    let mut net = Net::found();
    net.join(1, 2, Settings::default());
    net.cut.push(2);
    net.join(1, 3, Settings::default());
    net.run_ms(1000);
    // Node 3 is the one that votes on the cluster's state, and so its leader.
    for node in [2, 1] {
        net.ask(1, MetaCommand::Weigh { node, weight: 0 });
    }
    net.run_ms(5000);
    assert_eq!((net.leader(), net.voters(3)), (3, vec![3]));
    net.nodes.remove(&1);
    net.nodes.get_mut(&3).unwrap().presence.lose(NodeId(1), 0);
    net.join(3, 1, Settings::default());
    net.run_ms(500);
    net.cut.clear();
    net.run_ms(1000);
    net.agreed();
}

#[test]
fn who_is_alive_cannot_join_again() {
    // Breaks if a misconfigured process takes a living node's place.
    let mut net = three();
    let command = MetaCommand::Join {
        name: "e".repeat(40),
        addresses: addresses_of(2),
        weight: 1,
        zone: String::new(),
    };
    let answer = net.ask(3, command);
    net.run_ms(200);
    let Some(Ok(MetaAnswer::Refused { reason })) = answer.lock().clone() else {
        panic!("{:?}", answer.lock());
    };
    assert_eq!(
        reason,
        "a node with this address is in the cluster and alive: node 2 at 127.0.0.1:7002"
    );
}

#[test]
fn who_lost_its_memory_comes_back_as_itself() {
    // Breaks if a node that was killed cannot return, or returns with its old vote.
    let mut net = three();
    let other = if net.leader() == 2 { 3 } else { 2 };
    net.nodes.remove(&other);
    for node in net.nodes.values_mut() {
        node.presence.lose(NodeId(other), 0);
    }
    net.join(1, other, Settings::default());
    net.run_ms(1500);
    let config = net.nodes[&1].replica.config().clone();
    assert!(config.voters.contains(&replica(other, 2)), "{config:?}");
    assert_eq!(config.voters.len(), 3);
    net.agreed();
    assert!(net.nodes[&1].view().is_over(replica(other, 1)));
}

#[test]
fn a_late_joiner_is_fed_by_a_snapshot() {
    // Breaks if a node that joins an old cluster, whose log is cut, gets no state or another one.
    let mut net = Net::found();
    for value in 0..30_000 {
        let name = format!("setting{}", value % 500);
        let pairs = vec![(name, "x".repeat(300))];
        net.ask(1, MetaCommand::Configure { pairs });
    }
    assert!(net.nodes[&1].replica.trimmed().0 > 0, "the log was cut");
    net.join(1, 2, Settings::default());
    net.run_ms(1000);
    net.agreed();
    assert_eq!(net.nodes[&2].state().settings.len(), 500);
}
