//! Model check of a small group; `cargo sim model` goes further.

use paxos::Mutation;
use sim::model::{Bounds, Group, check};

/// Threads that a check may use.
const THREADS: usize = 2;

fn assert_agrees(bounds: Bounds) {
    let mutation = None;
    let outcome = check(Group { bounds, mutation }, THREADS);
    println!("{bounds:?}: {} states", outcome.states);
    assert_eq!(outcome.violation, None);
    assert!(outcome.reaches, "the bound is too small to show anything");
}

#[test]
fn no_order_of_events_makes_replicas_disagree() {
    // Fails when two replicas can apply different entries at one index, in any order of a few events of all kinds.
    assert_agrees(Bounds::BROAD);
}

#[test]
fn no_longer_order_without_crash_and_change_makes_replicas_disagree() {
    // Fails when it takes a few steps more for that, but no crash and no change of the configuration.
    assert_agrees(Bounds::NARROW);
}

#[test]
fn a_rule_taken_out_is_noticed() {
    // Fails when the check sees nothing: then the tests above prove nothing.
    for (mutation, proposals) in [
        (Mutation::PromiseOmitsOne, 2),
        (Mutation::AcceptBelowPromise, 2),
        (Mutation::CommitWithoutBallotCheck, 3),
    ] {
        let bounds = Bounds {
            proposals,
            ..Bounds::NARROW.further(1)
        };
        let mutation = Some(mutation);
        let outcome = check(Group { bounds, mutation }, THREADS);
        println!("{mutation:?}: {} states", outcome.states);
        assert!(outcome.violation.is_some(), "{mutation:?} was not noticed");
    }
}
