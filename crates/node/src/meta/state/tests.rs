use super::*;
use crate::meta::testing::{addresses_of, name_of, state_of};

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
    state.apply(&request(101, MetaCommand::Remove { node: 3 }));
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
        reason(state.apply(&request(100, MetaCommand::Remove { node: 2 }))).contains("drained")
    );
    assert!(
        reason(state.apply(&request(101, MetaCommand::Remove { node: 9 }))).contains("no node 9")
    );
    state.apply(&request(102, MetaCommand::Weigh { node: 2, weight: 0 }));
    let answer = state.apply(&request(103, MetaCommand::Remove { node: 2 }));
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
    assert_eq!(state.answered.len(), ANSWERED_MAX);
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
        vec![1],                             // version
        [vec![32], vec![b'c'; 32]].concat(), // cluster id
        vec![11, 8, 3],                      // seed, shards, replicas
        vec![1, 1],                          // epoch, highest id
        vec![1, 1],                          // one node: its id
        vec![1],                             // its life
        [vec![40], vec![b'0'; 39], vec![b'1']].concat(),
        [vec![9], b"127.0.0.1".to_vec()].concat(),
        vec![217, 54, 193, 62, 233, 132, 1, 0], // ports
        vec![1],                                // weight
        vec![0],                                // settings
        vec![1, 1, 0, 1],                       // one answer: to request 1, done as of epoch 1
    ];
    assert_eq!(bytes, expected.concat());
}
