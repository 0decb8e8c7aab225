use super::*;
use crate::meta::testing::{addresses_of, name_of, state_of};
use crate::view::ClusterView;
use paxos::NodeId;

fn request(id: u128, command: MetaCommand) -> MetaRequest {
    MetaRequest {
        id: RequestId(id),
        command,
    }
}

fn join(id: u128, node: u32) -> MetaRequest {
    let command = MetaCommand::Join {
        name: name_of(node),
        addresses: addresses_of(node),
        weight: 1,
        zone: String::new(),
    };
    request(id, command)
}

fn reason(answer: MetaAnswer) -> String {
    match answer {
        MetaAnswer::Refused { reason } => reason,
        MetaAnswer::Done { .. } | MetaAnswer::Joined { .. } => panic!("{answer:?} is no refusal"),
    }
}

#[test]
fn ids_are_given_out_once() {
    // Breaks if a node gets the number of one that left, whose replicas may still be around.
    let mut state = state_of(3);
    assert_eq!(state.nodes_ever, 3);
    state.apply(&request(100, MetaCommand::Weigh { node: 3, weight: 0 }));
    state.apply(&request(
        101,
        MetaCommand::Remove {
            node: 3,
            epoch: state.epoch,
        },
    ));
    let answer = state.apply(&join(102, 9));
    assert_eq!(
        answer,
        MetaAnswer::Joined {
            node: 4,
            incarnation: 1
        }
    );
}

#[test]
fn a_request_is_applied_once() {
    // Breaks if a join whose answer was lost makes two lives of one process.
    let mut state = state_of(1);
    let first = state.apply(&join(100, 2));
    let before = state.clone();
    assert_eq!(state.apply(&join(100, 2)), first);
    assert_eq!(state, before);
}

#[test]
fn who_comes_back_is_the_same_node_in_a_new_life() {
    // Breaks if a restarted node is a stranger, or votes as who it was although it forgot everything.
    let mut state = state_of(3);
    let back = MetaCommand::Join {
        name: "f".repeat(40), // drawn anew: it remembers nothing
        addresses: addresses_of(2),
        weight: 1,
        zone: String::new(),
    };
    let answer = state.apply(&request(100, back));
    assert_eq!(
        answer,
        MetaAnswer::Joined {
            node: 2,
            incarnation: 2
        }
    );
    assert_eq!(state.nodes[&2].name, name_of(2), "it keeps its name");
    // With its name from disk, from another address.
    let moved = MetaCommand::Join {
        name: name_of(2),
        addresses: addresses_of(77),
        weight: 1,
        zone: String::new(),
    };
    let answer = state.apply(&request(101, moved));
    assert_eq!(
        answer,
        MetaAnswer::Joined {
            node: 2,
            incarnation: 3
        }
    );
    assert_eq!(state.nodes[&2].addresses, addresses_of(77));
    assert_eq!(state.nodes.len(), 3);
}

#[test]
fn an_earlier_life_announces_nothing() {
    // Breaks if a process that was replaced takes its successor's address away.
    let mut state = state_of(2);
    let announce = |incarnation, port| MetaCommand::Announce {
        node: 2,
        incarnation,
        addresses: addresses_of(port),
    };
    state.apply(&request(100, announce(1, 50)));
    assert_eq!(state.nodes[&2].addresses, addresses_of(50));
    let back = MetaCommand::Join {
        name: name_of(2),
        addresses: addresses_of(51),
        weight: 1,
        zone: String::new(),
    };
    state.apply(&request(101, back));
    let answer = state.apply(&request(102, announce(1, 50)));
    assert!(reason(answer).contains("took this node's place"));
    assert_eq!(state.nodes[&2].addresses, addresses_of(51));
}

#[test]
fn a_cluster_is_founded_once_and_first() {
    // Breaks if a second founding would replace a cluster's id and seed, or nodes join nothing.
    let mut state = MetaState::default();
    assert!(reason(state.apply(&join(1, 1))).contains("no cluster"));
    let mut state = state_of(2);
    let again = MetaCommand::Found {
        cluster_id: "d".repeat(32),
        hash_seed: 1,
        shards_count: 1,
        replicas_wanted: 1,
        founders: vec![(name_of(1), addresses_of(1))],
    };
    let before = (state.cluster_id.clone(), state.nodes.clone());
    assert!(reason(state.apply(&request(100, again))).contains("founded before"));
    assert_eq!((state.cluster_id, state.nodes), before);
}

#[test]
fn only_a_drained_node_is_removed() {
    // Breaks if removing a node takes replicas away with it.
    let mut state = state_of(3);
    assert!(
        reason(state.apply(&request(
            100,
            MetaCommand::Remove {
                node: 2,
                epoch: state.epoch
            }
        )))
        .contains("drained")
    );
    assert!(
        reason(state.apply(&request(
            101,
            MetaCommand::Remove {
                node: 9,
                epoch: state.epoch
            }
        )))
        .contains("no node 9")
    );
    state.apply(&request(102, MetaCommand::Weigh { node: 2, weight: 0 }));
    let answer = state.apply(&request(
        103,
        MetaCommand::Remove {
            node: 2,
            epoch: state.epoch,
        },
    ));
    assert_eq!(answer, MetaAnswer::Done { epoch: state.epoch });
    assert_eq!(state.nodes.keys().copied().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn memory_of_answers_is_bounded() {
    // Breaks if the state grows with every request for ever.
    let mut state = state_of(1);
    for id in 0..3000 {
        let pairs = vec![("timeout".into(), id.to_string())];
        state.apply(&request(1000 + id, MetaCommand::Configure { pairs }));
    }
    assert_eq!(state.answered.0.len(), ANSWERED_MAX);
    assert!(state.answer_of(RequestId(3999)).is_some());
    assert!(state.answer_of(RequestId(1000)).is_none());
    assert_eq!(state.settings["timeout"], "2999");
}

#[test]
fn a_state_is_read_back_as_it_was() {
    // Breaks if a snapshot of the meta group changes the cluster.
    let mut state = state_of(3);
    let pairs = vec![("requirepass".into(), "x".into())];
    state.apply(&request(100, MetaCommand::Configure { pairs }));
    let bytes = state.encode();
    assert_eq!(MetaState::decode(&bytes), Ok(state.clone()));
    assert_eq!(bytes, state.encode());
    assert!(MetaState::decode(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn the_state_has_fixed_bytes() {
    // Breaks if a snapshot written by this build cannot be read by the next.
    let bytes = state_of(1).encode();
    let expected = [
        vec![3],                             // version
        [vec![32], vec![b'c'; 32]].concat(), // cluster id
        vec![11, 8, 3],                      // seed, shards, replicas
        vec![1, 1],                          // epoch, highest id
        vec![1, 1],                          // one node: its id
        vec![1],                             // its life
        [vec![40], vec![b'0'; 39], vec![b'1']].concat(),
        [vec![9], b"127.0.0.1".to_vec()].concat(),
        vec![217, 54, 193, 62, 233, 132, 1, 0], // ports
        vec![1],                                // weight
        vec![0, 0],                             // no zone, not lost
        vec![0, 0, 0, 0], // nobody leaves, nothing is placed or led by hand, no settings
        vec![1, 1, 0, 1], // one answer: to request 1, done as of epoch 1
        vec![0, 0, 0, 0, 0], // no scripts: none now, ever or flushed, no version, no answers
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn wishes_of_operators_end_with_the_nodes_that_they_name() {
    // Breaks if a shard is wanted on a node that is gone, or a wish outlives a rebalancing.
    let mut state = state_of(4);
    let mut id = 100;
    let mut apply = |state: &mut MetaState, command| {
        id += 1;
        state.apply(&request(id, command))
    };
    let place = |shard, nodes: &[u32]| MetaCommand::Place {
        shard,
        nodes: nodes.to_vec(),
    };
    let lead = |shards: &[u32], node| MetaCommand::Lead {
        shards: shards.to_vec(),
        node,
    };
    for refused in [
        place(8, &[1]),
        place(0, &[1, 1]),
        place(0, &[7]),
        lead(&[0, 8], Some(1)),
        lead(&[0], Some(7)),
    ] {
        let before = state.clone();
        let answer = apply(&mut state, refused);
        assert!(matches!(answer, MetaAnswer::Refused { .. }), "{answer:?}");
        assert_eq!(
            (&state.placed, &state.led_by),
            (&before.placed, &before.led_by)
        );
    }
    apply(&mut state, place(0, &[4, 2]));
    apply(&mut state, lead(&[0, 1], Some(4)));
    let wanted = ClusterView::of(&state).wanted;
    assert_eq!(wanted[0][..2], [NodeId(4), NodeId(2)]);
    assert_eq!(wanted[0].len(), 3);
    apply(
        &mut state,
        MetaCommand::Lose {
            node: 4,
            incarnation: 1,
        },
    );
    assert!(state.placed.is_empty() && state.led_by.is_empty());
    assert!(
        ClusterView::of(&state)
            .wanted
            .iter()
            .flatten()
            .all(|id| *id != NodeId(4))
    );
    let placed = apply(&mut state, place(0, &[4]));
    assert!(matches!(placed, MetaAnswer::Refused { .. }), "{placed:?}");
    apply(&mut state, MetaCommand::Find { node: 4 });
    apply(&mut state, place(0, &[4]));
    apply(
        &mut state,
        MetaCommand::Rebalance {
            weights: vec![(4, 2)],
        },
    );
    assert!(state.placed.is_empty());
    assert_eq!(state.nodes[&4].weight, 2);
}

#[test]
fn somebody_holds_what_there_is() {
    // Breaks if the last node can be drained: its keys would have nowhere to go, and nothing else would be done either.
    let mut state = state_of(2);
    let drain = |node| MetaCommand::Weigh { node, weight: 0 };
    assert!(matches!(
        state.apply(&request(100, drain(1))),
        MetaAnswer::Done { .. }
    ));
    let answer = state.apply(&request(101, drain(2)));
    assert!(matches!(answer, MetaAnswer::Refused { .. }), "{answer:?}");
    let weights = vec![(1, 1), (2, 0), (1, 0)];
    let answer = state.apply(&request(102, MetaCommand::Rebalance { weights }));
    assert!(matches!(answer, MetaAnswer::Refused { .. }), "{answer:?}");
    assert_eq!(state.nodes[&2].weight, 1);
}

#[test]
fn two_who_take_shares_away_at_a_time_do_not_take_too_many() {
    // Breaks if two operators, each of whom leaves enough nodes, together leave too few; or one after the other.
    let mut state = state_of(4);
    let drain = |node| MetaCommand::WeighSafely { node, weight: 0 };
    let mut ask = |id, command| match state.apply(&request(id, command)) {
        MetaAnswer::Refused { reason } => reason,
        answer => format!("{answer:?}"),
    };
    assert!(ask(100, drain(1)).starts_with("Done"));
    let refused = "2 nodes would be left for 3 replicas of each shard; FORCE does it all the same";
    assert_eq!(ask(101, drain(2)), refused);
    let weights = vec![(2, 1), (2, 0)];
    assert_eq!(ask(102, MetaCommand::RebalanceSafely { weights }), refused);
    let forced = MetaCommand::Weigh { node: 2, weight: 0 };
    assert!(ask(103, forced).starts_with("Done"));
    // Two are left, and to have one would be as safe as that only as long as nobody comes back.
    assert_eq!(ask(104, drain(3)), refused.replace('2', "1"));
    let swap = MetaCommand::RebalanceSafely {
        weights: vec![(3, 0), (1, 2)],
    };
    assert!(ask(105, swap).starts_with("Done"));
}
