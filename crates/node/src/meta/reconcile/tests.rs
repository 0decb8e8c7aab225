//! Every way from one set of members to another, step by step.

use super::*;
use crate::meta::MetaState;
use crate::meta::testing::state_of;
use paxos::Incarnation;
use std::collections::{BTreeMap, BTreeSet};

fn replica(node: u32, incarnation: u64) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

fn first(node: u32) -> ReplicaId {
    replica(node, 1)
}

/// A group as its leader sees it; takes steps as the replica would.
struct Group {
    id: GroupId,
    state: MetaState,
    config: Config,
    leader: ReplicaId,
    alive: BTreeMap<u32, u64>,
    lagging: BTreeSet<ReplicaId>,
    busy: BTreeSet<u32>,
    now_us: u64,
    reconciler: Reconciler,
}

impl Group {
    /// The group of shard 0, or the meta group, of a cluster whose node 1 founded it alone.
    fn new(id: u32, nodes: u32) -> Self {
        Group {
            id: GroupId(id),
            state: state_of(nodes),
            config: Config {
                number: 0,
                voters: vec![first(1)],
                learners: Vec::new(),
            },
            leader: first(1),
            alive: (1..=nodes).map(|node| (node, 0)).collect(),
            lagging: BTreeSet::new(),
            busy: BTreeSet::new(),
            now_us: 100_000_000,
            reconciler: Reconciler::default(),
        }
    }

    fn view(&self) -> ClusterView {
        ClusterView::of(&self.state)
    }

    fn wanted(&self) -> Vec<ReplicaId> {
        self.view().wanted_of(self.id)
    }

    fn next(&mut self) -> Option<Input> {
        let standing = Standing {
            group: self.id,
            me: self.leader,
            config: &self.config,
            config_index: Index(10),
            chosen: Index(1000),
            acked: &|id| match self.lagging.contains(&id) {
                true => Index(0),
                false => Index(1000),
            },
            alive_since: &|node| self.alive.get(&node.0).copied(),
            admits: &|node| !self.busy.contains(&node.0),
            is_busy: &|node| self.busy.contains(&node.0),
            now_us: self.now_us,
        };
        self.reconciler.step(&self.view(), &standing)
    }

    /// Takes the next step as told; what became of it as text: voters/learners, or `-> leader`.
    fn step(&mut self) -> String {
        self.now_us += 100_000;
        match self.next() {
            None => "nothing".into(),
            Some(Input::Reconfigure { voters, learners }) => {
                assert!(
                    voters.len() % 2 == 1,
                    "an even number of voters: {voters:?}"
                );
                let known = |id: &ReplicaId| {
                    self.config.voters.contains(id)
                        || self.config.learners.contains(id) && !self.lagging.contains(id)
                };
                assert!(voters.iter().all(known), "a voter that has not learned");
                let same = voters.windows(2).any(|two| two[0].node == two[1].node);
                assert!(!same, "a node with two votes");
                self.config = Config {
                    number: self.config.number + 1,
                    voters,
                    learners,
                };
                if !self.config.voters.contains(&self.leader) {
                    self.leader = self.config.voters[0];
                }
                show(&self.config)
            }
            Some(Input::TransferTo(heir)) => {
                assert!(self.config.voters.contains(&heir));
                self.leader = heir;
                self.reconciler = Reconciler::default();
                format!("-> {}", heir.node.0)
            }
            Some(other) => panic!("{other:?} is none of a reconciler's"),
        }
    }

    /// Steps until nothing is to be done.
    fn settle(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        while steps.len() < 20 {
            match self.step() {
                // A step may wait until the one before has settled.
                step if step == "nothing" => {
                    self.now_us += SETTLED_US;
                    match self.step() {
                        step if step == "nothing" => return steps,
                        step => steps.push(step),
                    }
                }
                step => steps.push(step),
            }
        }
        panic!("it never ends: {steps:?}");
    }
}

/// `1 2 3/4`: voters, learners; a life other than the first behind a dot.
fn show(config: &Config) -> String {
    let list = |members: &Vec<ReplicaId>| {
        let names = members.iter().map(|id| match id.incarnation.0 {
            1 => id.node.0.to_string(),
            life => format!("{}.{life}", id.node.0),
        });
        names.collect::<Vec<_>>().join(" ")
    };
    format!("{}/{}", list(&config.voters), list(&config.learners))
}

#[test]
fn one_node_is_left_alone() {
    // Breaks if a single node writes configurations for nothing, and loses its fast path.
    assert!(Group::new(1, 1).settle().is_empty());
    assert!(Group::new(0, 1).settle().is_empty());
}

#[test]
fn a_second_node_learns() {
    // Breaks if two nodes get a group of two voters, which stops with either.
    assert_eq!(Group::new(0, 2).settle(), ["1/2"]);
    assert_eq!(Group::new(1, 2).settle(), ["1/2"]);
}

#[test]
fn three_nodes_vote_once_both_newcomers_have_caught_up() {
    // Breaks if a group grows by one, or counts on a replica that has nothing yet.
    let mut group = Group::new(0, 3);
    group.lagging = [first(2), first(3)].into();
    assert_eq!(group.settle(), ["1/2 3"]);
    group.lagging.remove(&first(3));
    assert_eq!(group.step(), "nothing");
    group.lagging.clear();
    assert_eq!(group.settle(), ["1 2 3/"]);
}

#[test]
fn three_nodes_grow_to_five() {
    // Breaks if --replicas 5 stays at three, or passes through four.
    let mut group = Group::new(0, 3);
    group.settle();
    group.state = state_of(5);
    group.state.replicas_wanted = 5;
    group.alive.insert(4, 0);
    assert_eq!(group.settle(), ["1 2 3/4"]);
    group.alive.insert(5, 0);
    assert_eq!(group.settle(), ["1 2 3/4 5", "1 2 3 4 5/"]);
}

#[test]
fn a_grown_cluster_keeps_its_meta_voters() {
    // Breaks if every node that joins votes on the cluster's state, or the voters change without need.
    let mut group = Group::new(0, 3);
    group.settle();
    group.state = state_of(5);
    group.alive.extend([(4, 0), (5, 0)]);
    assert_eq!(group.settle(), ["1 2 3/4 5"]);
}

#[test]
fn who_comes_back_without_memory_takes_its_own_place() {
    // Breaks if a restarted node stays out of its groups, or votes before it has caught up.
    let mut group = Group::new(0, 3);
    group.settle();
    group.state.nodes.get_mut(&2).unwrap().incarnation = 2;
    group.lagging = [replica(2, 2)].into();
    assert_eq!(group.settle(), ["1 2 3/2.2"]);
    group.lagging.clear();
    assert_eq!(group.settle(), ["1 2.2 3/"]);
}

#[test]
fn a_node_that_is_away_changes_nothing() {
    // Breaks if a node that restarts is thrown out, or a dead one is waited for with learners.
    let mut group = Group::new(0, 3);
    group.settle();
    group.alive.remove(&2);
    assert!(group.settle().is_empty());
    // Its next life is known, but dead again.
    group.state.nodes.get_mut(&2).unwrap().incarnation = 2;
    assert!(group.settle().is_empty());
}

#[test]
fn a_life_that_ended_as_learner_is_dropped() {
    // Breaks if replicas of processes that are gone stay members for ever.
    let mut group = Group::new(0, 2);
    assert_eq!(group.settle(), ["1/2"]);
    group.state.nodes.get_mut(&2).unwrap().incarnation = 2;
    assert_eq!(group.settle(), ["1/2.2"]);
}

#[test]
fn two_of_five_are_replaced_one_by_one_as_they_catch_up() {
    // Breaks if a replacement waits for another one that does not come.
    let mut group = Group::new(0, 5);
    group.state.replicas_wanted = 5;
    group.settle();
    for node in [2, 3] {
        group.state.nodes.get_mut(&node).unwrap().incarnation = 2;
    }
    group.lagging = [replica(2, 2), replica(3, 2)].into();
    assert_eq!(group.settle(), ["1 2 3 4 5/2.2 3.2"]);
    group.lagging.remove(&replica(3, 2));
    // Node 3's place, not node 2's: a node has one vote.
    assert_eq!(group.settle(), ["1 2 3.2 4 5/2.2"]);
    group.lagging.clear();
    assert_eq!(group.settle(), ["1 2.2 3.2 4 5/"]);
}

#[test]
fn a_drained_node_leaves_its_groups() {
    // Breaks if a node that is to go keeps votes or leadership.
    let mut group = Group::new(0, 4);
    group.settle();
    assert_eq!(show(&group.config), "1 2 3/4");
    group.state.nodes.get_mut(&1).unwrap().weight = 0;
    let steps = group.settle();
    assert_eq!(steps, ["-> 2", "2 3 4/1"]);
    assert_eq!(group.leader, first(2));
}

#[test]
fn who_takes_a_vote_over_is_alive_if_anybody_is() {
    // Breaks if a node cannot be drained because of another, dead one, though a third is there.
    for dead in [2, 3] {
        let mut group = Group::new(1, 3);
        group.state.nodes.get_mut(&1).unwrap().weight = 0;
        group.alive.remove(&dead);
        group.settle();
        let heir = 5 - dead;
        assert_eq!(group.config.voters, [first(heir)], "node {dead} is dead");
        assert_eq!(group.leader, first(heir));
    }
}

#[test]
fn a_leader_that_must_go_waits_for_no_heir_that_fails() {
    // Breaks if a drained leader whose heirs do not take over, or are not there, stays for ever.
    let mut group = Group::new(0, 4);
    group.settle();
    group.state.nodes.get_mut(&1).unwrap().weight = 0;
    assert!(matches!(group.next(), Some(Input::TransferTo(heir)) if heir == first(2)));
    // Nobody took over.
    assert_eq!(group.step(), "2 3 4/1");
    let mut group = Group::new(1, 2);
    group.settle();
    group.state.nodes.get_mut(&1).unwrap().weight = 0;
    assert_eq!(group.settle(), ["2/"], "a sole voter has no heir");
}

#[test]
fn a_group_is_not_left_to_the_dead() {
    // Breaks if a group that shrinks keeps a voter that has just died, alone: then nobody leads it ever again.
    let mut group = Group::new(1, 3);
    group.settle();
    group.state.nodes.get_mut(&1).unwrap().weight = 0;
    group.alive.remove(&2);
    assert_eq!(group.settle(), ["-> 3", "3/2"]);
    // Nobody alive can take what the leader holds: it stays.
    let mut group = Group::new(1, 3);
    group.settle();
    group.state.nodes.get_mut(&1).unwrap().weight = 0;
    group.state.nodes.get_mut(&3).unwrap().weight = 0;
    group.alive.remove(&2);
    assert!(group.settle().is_empty());
    group.alive.insert(2, group.now_us);
    group.lagging = [first(2)].into();
    assert!(group.settle().is_empty());
    group.lagging.clear();
    group.now_us += STEADY_US;
    assert_eq!(group.settle(), ["-> 2", "2/"]);
}

#[test]
fn nobody_takes_over_right_after_a_change_of_members() {
    // Breaks if an heir must wait for a lease before it may show anything.
    let mut group = Group::new(0, 4);
    group.settle();
    group.state.replicas_wanted = 1;
    group.state.nodes.get_mut(&1).unwrap().weight = 0;
    group.config.number += 1;
    assert!(group.next().is_none());
    group.now_us += SETTLED_US - 1;
    assert!(group.next().is_none());
    group.now_us += 1;
    assert!(matches!(group.next(), Some(Input::TransferTo(_))));
}

#[test]
fn leadership_goes_where_it_is_wanted_and_not_at_once() {
    // Breaks if leaders pile up on the founder, or flap to a node that has just come.
    let mut group = Group::new(1, 3);
    // A shard that should be led by another than the founder.
    while group.wanted()[0] == first(1) {
        group.id.0 += 1;
    }
    let heir = group.wanted()[0];
    group.alive.insert(heir.node.0, group.now_us);
    assert_eq!(group.settle().last().unwrap(), "1 2 3/");
    group.now_us += STEADY_US;
    group.lagging = [heir].into();
    assert_eq!(group.step(), "nothing");
    group.lagging.clear();
    // It has no time to lead while it takes in shards.
    group.busy.insert(heir.node.0);
    assert_eq!(group.step(), "nothing");
    group.busy.clear();
    assert_eq!(group.step(), format!("-> {}", heir.node.0));
    assert!(group.settle().is_empty());
}

#[test]
fn a_transfer_that_failed_is_not_tried_at_once() {
    // Breaks if a leader whose heir does not take over is interrupted ten times a second.
    let mut group = Group::new(1, 3);
    while group.wanted()[0] == first(1) {
        group.id.0 += 1;
    }
    while group.config.voters.len() < 3 {
        group.step();
    }
    assert!(group.next().is_none(), "the members have just changed");
    group.now_us += STEADY_US;
    assert!(matches!(group.next(), Some(Input::TransferTo(_))));
    assert!(group.next().is_none());
    group.now_us += TRANSFER_PAUSE_US - 1;
    assert!(group.next().is_none());
    group.now_us += 1;
    assert!(matches!(group.next(), Some(Input::TransferTo(_))));
}

#[test]
fn a_shard_moves_with_the_ring() {
    // Breaks if a fourth node gets no shards, or a shard's voters are not those wanted in the end.
    let mut moved = 0;
    for shard in 1..=8 {
        let mut group = Group::new(shard, 3);
        group.settle();
        group.state = state_of(4);
        group.alive.insert(4, 0);
        group.settle();
        let mut wanted = group.wanted();
        assert_eq!(group.leader, wanted[0]);
        wanted.sort();
        assert_eq!(group.config.voters, wanted);
        assert!(group.config.learners.is_empty());
        moved += usize::from(wanted.contains(&first(4)));
    }
    assert!(moved >= 4, "node 4 holds {moved} of 8 shards");
}

#[test]
fn drained_nodes_vote_on_the_state_as_long_as_too_few_others_can() {
    // Breaks if an operator who drains two of three nodes leaves the cluster's own state to one that may die.
    let mut group = Group::new(0, 3);
    group.settle();
    for node in [1, 2] {
        group.state.nodes.get_mut(&node).unwrap().weight = 0;
    }
    assert_eq!(group.settle(), [""; 0]);
    // One of them ends: two votes are worth no more than one, and that is of the node that stays.
    group.alive.remove(&2);
    assert_eq!(group.settle(), ["-> 3", "3/1 2"]);
    group.alive.insert(2, 0);
    assert_eq!(group.settle(), ["1 2 3/"]);
    // As soon as others can vote, they do.
    group.state.nodes.insert(4, group.state.nodes[&3].clone());
    group.state.nodes.insert(5, group.state.nodes[&3].clone());
    group.state.nodes_ever = 5;
    group.alive.extend([(4, 0), (5, 0)]);
    group.settle();
    assert_eq!(show(&group.config), "3 4 5/1 2");
}
