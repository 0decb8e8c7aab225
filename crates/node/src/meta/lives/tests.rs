use super::*;
use crate::meta::testing::{addresses_of, name_of as text_of, state_of};
use crate::meta::{MetaCommand, MetaRequest, RequestId};
use std::sync::atomic::{AtomicU64, Ordering};

fn apply(state: &mut MetaState, command: MetaCommand) {
    static LAST: AtomicU64 = AtomicU64::new(1000);
    let id = RequestId(LAST.fetch_add(1, Ordering::Relaxed).into());
    let answer = state.apply(&MetaRequest { id, command });
    assert!(!matches!(answer, MetaAnswer::Refused { .. }), "{answer:?}");
}

/// Nodes begin their next lives.
fn forget(state: &mut MetaState, nodes: &[u32]) {
    for &node in nodes {
        apply(
            state,
            MetaCommand::Join {
                name: text_of(node),
                addresses: addresses_of(node),
                weight: 1,
                zone: String::new(),
            },
        );
    }
}

fn seal(state: &mut MetaState, generation: u32) {
    apply(
        state,
        MetaCommand::Seal {
            shards: vec![(3, generation)],
        },
    );
}

fn testimony(state: &MetaState, node: u32) -> Testimony {
    Testimony {
        incarnation: state.nodes[&node].incarnation,
        ..Testimony::default()
    }
}

/// A voter of nodes 1, 2 and 3 in their first lives.
fn voter(state: &MetaState, node: u32, number: u64, chosen: u64) -> Testimony {
    Testimony {
        config_number: number,
        voters: vec![(1, 1), (2, 1), (3, 1)],
        chosen: Some(chosen),
        ..testimony(state, node)
    }
}

fn testify(state: &mut MetaState, node: u32, testimony: Testimony, generation: u32) {
    let inquiry = state.lives.get(&3).map_or(0, |life| life.inquiries_count);
    testify_to(inquiry, state, node, testimony, generation);
}

fn testify_to(
    inquiry: u64,
    state: &mut MetaState,
    node: u32,
    testimony: Testimony,
    generation: u32,
) {
    let shards = vec![ShardTestimony {
        shard: 3,
        generation,
        inquiry,
        testimony,
    }];
    apply(state, MetaCommand::Testify { node, shards });
}

#[test]
fn who_has_most_begins_the_next_generation_once_all_have_said() {
    // Breaks if a shard is begun anew while somebody who was not asked may lead it, from less than there is, or not at all.
    let mut state = state_of(5);
    forget(&mut state, &[1, 3]);
    seal(&mut state, 0);
    // Not a voter any more, but with more of the log than who is.
    let learner = Testimony {
        chosen: Some(90),
        ..voter(&state, 4, 2, 0)
    };
    let said = [
        (1, testimony(&state, 1)),
        (2, voter(&state, 2, 7, 80)),
        (4, learner),
        (5, testimony(&state, 5)),
    ];
    for (node, testimony) in said {
        testify(&mut state, node, testimony, 0);
        assert_eq!(state.lives[&3].generation, 0);
    }
    let last = testimony(&state, 3);
    testify(&mut state, 3, last, 0);
    let life = &state.lives[&3];
    assert_eq!((life.generation, life.base), (1, Some((4, 1))));
    assert_eq!((life.from_index, life.config_number), (90, 8));
    assert_eq!((life.withheld_ms, &life.inquiry), (LOCK_SPAN_MS, &None));
}

#[test]
fn a_group_that_somebody_can_lead_goes_on() {
    // Breaks if a later configuration, which only its members know, were passed over, and two generations lived.
    let mut state = state_of(5);
    forget(&mut state, &[1, 3]);
    seal(&mut state, 0);
    let later = Testimony {
        config_number: 8,
        voters: vec![(2, 1), (4, 1), (5, 1)],
        chosen: Some(70),
        ..testimony(&state, 4)
    };
    for node in [1, 3, 5] {
        let nothing = testimony(&state, node);
        testify(&mut state, node, nothing, 0);
    }
    let former = voter(&state, 2, 7, 90);
    testify(&mut state, 2, former, 0);
    testify(&mut state, 4, later, 0);
    let life = &state.lives[&3];
    assert_eq!((life.generation, &life.inquiry), (0, &None));
}

#[test]
fn who_was_removed_is_not_waited_for() {
    // Breaks if a shard stands still because the latest configuration that is left of it names a node that was removed, whose process may
    // have ended long ago: it voted nowhere any more when it was removed (resets seed 103153).
    let mut state = state_of(4);
    state.nodes.get_mut(&2).expect("it is there").weight = 0;
    let epoch = state.epoch;
    apply(&mut state, MetaCommand::Remove { node: 2, epoch });
    assert!(state.leaving.contains_key(&2));
    forget(&mut state, &[3]);
    seal(&mut state, 0);
    for node in [1, 3, 4] {
        let said = Testimony {
            config_number: 7,
            voters: vec![(2, 1)],
            ..testimony(&state, node)
        };
        testify(&mut state, node, said, 0);
    }
    assert_eq!(state.lives[&3].generation, 1);
}

#[test]
fn a_life_that_began_since_has_not_said_anything() {
    // Breaks if what a node said before it lost its memory counted, and the shard were begun by nobody; or if a testimony
    // about an earlier generation came to a conclusion about the present one.
    let mut state = state_of(3);
    forget(&mut state, &[1, 3]);
    seal(&mut state, 0);
    let has = voter(&state, 2, 7, 80);
    testify(&mut state, 2, has.clone(), 0);
    forget(&mut state, &[2]);
    for node in [1, 3] {
        let nothing = testimony(&state, node);
        testify(&mut state, node, nothing, 0);
    }
    assert_eq!(state.lives[&3].generation, 0);
    testify(&mut state, 2, has, 0);
    assert_eq!(state.lives[&3].generation, 0, "its former life says so");
    let nothing = testimony(&state, 2);
    testify(&mut state, 2, nothing.clone(), 0);
    let life = &state.lives[&3];
    let (node, incarnation) = life.base.unwrap();
    assert_eq!((life.generation, life.from_index), (1, 0));
    assert_eq!(incarnation, state.nodes[&node].incarnation);
    for node in [1, 2, 3] {
        let nothing = testimony(&state, node);
        testify(&mut state, node, nothing, 0);
    }
    seal(&mut state, 0);
    assert_eq!(state.lives[&3].inquiry, None, "that is over");
    seal(&mut state, 1);
    testify(&mut state, 2, nothing, 0);
    assert_eq!(state.lives[&3].inquiry, Some(BTreeMap::new()));
    apply(
        &mut state,
        MetaCommand::Unseal {
            shards: vec![(3, 1)],
        },
    );
    assert_eq!(state.lives[&3].inquiry, None);
}

#[test]
fn what_was_said_to_an_earlier_inquiry_does_not_count() {
    // Breaks if a testimony that comes late, of a node that has learnt more and leads since, had a shard begin anew beside it.
    let mut state = state_of(3);
    forget(&mut state, &[1, 3]);
    seal(&mut state, 0);
    let unseal = MetaCommand::Unseal {
        shards: vec![(3, 0)],
    };
    apply(&mut state, unseal);
    seal(&mut state, 0);
    for node in [1, 3] {
        let nothing = testimony(&state, node);
        testify(&mut state, node, nothing, 0);
    }
    let has = voter(&state, 2, 7, 80);
    testify_to(1, &mut state, 2, has.clone(), 0);
    assert_eq!(state.lives[&3].generation, 0);
    testify_to(2, &mut state, 2, has, 0);
    assert_eq!(state.lives[&3].generation, 1);
}

#[test]
fn locks_are_withheld_as_long_as_they_were_allowed_to_last() {
    // Breaks if locks that last long are given again after a loss while somebody believes to hold them.
    let mut state = state_of(1);
    let cover = |span_ms| MetaCommand::CoverLocks {
        shards: vec![(3, span_ms)],
    };
    apply(&mut state, cover(3_600_000));
    apply(&mut state, cover(1_000));
    assert_eq!(state.lives[&3].agreed_span_ms(), 3_600_000);
    forget(&mut state, &[1]);
    seal(&mut state, 0);
    let nothing = testimony(&state, 1);
    testify(&mut state, 1, nothing, 0);
    assert_eq!(state.lives[&3].withheld_ms, 3_600_000);
}

#[test]
fn builds_that_know_no_generations_read_what_has_none() {
    // Breaks if a node with a journal of an earlier build does not start, or a cluster cannot be upgraded node by node.
    let mut state = state_of(3);
    let bytes = state.encode();
    assert_eq!(bytes[0], 3);
    assert_eq!(MetaState::decode(&bytes), Ok(state.clone()));
    seal(&mut state, 0);
    let bytes = state.encode();
    assert_eq!(bytes[0], 4);
    assert_eq!(MetaState::decode(&bytes), Ok(state));
}
