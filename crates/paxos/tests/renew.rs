//! A group that goes on in a new generation with what one replica has.

use paxos::{
    Ballot, Config, Entry, Generation, GroupId, Incarnation, Index, Input, Kind, Message, NodeId,
    Output, Replica, ReplicaId, Settings, Start,
};

fn id(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

fn ballot(round: u64) -> Ballot {
    Ballot {
        round,
        replica: id(2),
    }
}

fn accept(first: u64, commit: u64, log_ms: u64) -> Input {
    let entry = Entry::Batch {
        log_ms,
        payload: format!("entry {first}").into_bytes().into(),
    };
    Input::Message(Message {
        group: GroupId(1),
        generation: Generation(0),
        from: id(2),
        to: id(1),
        kind: Kind::Accept {
            ballot: ballot(3),
            first: Index(first),
            entries: vec![entry],
            commit: Index(commit),
            sent_us: 5,
        },
    })
}

/// A follower of three that accepted two entries and knows one of them chosen.
fn survivor() -> (Replica, Output) {
    let config = Config {
        number: 0,
        voters: vec![id(1), id(2), id(3)],
        learners: Vec::new(),
    };
    let start = Start::Founder(config);
    let settings = Settings::default();
    let mut replica = Replica::new(settings, GroupId(1), Generation(0), id(1), start, 1, 0);
    let mut out = Output::default();
    replica.step(1_000_000, accept(1, 0, 50_000), &mut out);
    replica.step(1_000_000, accept(2, 1, 50_001), &mut out);
    assert_eq!(replica.chosen(), Index(1));
    out.apply.clear();
    (replica, out)
}

#[test]
fn it_goes_on_alone_from_what_is_chosen() {
    // Fails when the survivor takes what may not be chosen for chosen, waits for those that are gone, or when hints of who
    // leads would take the former generation's leader for the later one.
    let (former, mut out) = survivor();
    let now_us = 9_000_000;
    let (mut replica, base) = former.renew(Generation(1), 5, 0, 7, now_us);
    assert_eq!((base.index, base.config.number), (Index(2), 5));
    assert_eq!(base.config.voters, [id(1)]);
    assert!(!replica.is_leader());
    replica.step(now_us, Input::Tick, &mut out);
    assert!(replica.is_leader() && replica.chosen() >= Index(2));
    assert!(replica.ballot() > ballot(u64::from(u32::MAX)));
    assert!(
        out.apply.iter().all(|(_, entry)| *entry == Entry::Noop),
        "what was accepted in the former generation is gone: {:?}",
        out.apply
    );
    // Log time went on meanwhile.
    assert!(
        replica.log_ms(now_us) > 57_000,
        "{}",
        replica.log_ms(now_us)
    );
}

#[test]
fn nothing_shows_before_a_lease_is_over() {
    // Fails when answers of the new generation could overlap with those of a leader that this replica granted a lease.
    let (former, mut out) = survivor();
    let now_us = 1_000_001;
    let (mut replica, _) = former.renew(Generation(1), 5, 0, 7, now_us);
    replica.step(now_us, Input::Tick, &mut out);
    assert!(replica.is_leader() && !replica.may_show());
    replica.step(now_us + 250_000, Input::Tick, &mut out);
    assert!(!replica.may_show());
    replica.step(now_us + 257_000, Input::Tick, &mut out);
    assert!(replica.may_show());
}

#[test]
fn the_former_generation_says_nothing_any_more() {
    // Fails when a message that was under way changes the new generation, or one that joins it counts as a voter.
    let (former, mut out) = survivor();
    let now_us = 2_000_000;
    let (mut replica, base) = former.renew(Generation(1), 5, 0, 7, now_us);
    replica.step(now_us, accept(3, 2, 60_000), &mut out);
    assert_eq!(replica.chosen(), base.index);
    assert_eq!(replica.leader(), None);
    let mut other = former.rejoin(Generation(1), 7, now_us);
    other.step(now_us, accept(3, 2, 60_000), &mut out);
    other.step(now_us + 10_000_000, Input::Tick, &mut out);
    assert_eq!((other.chosen(), other.leader()), (Index(0), None));
    assert!(other.config().voters.is_empty());
}

#[test]
#[should_panic(expected = "a generation begins once")]
fn a_generation_does_not_begin_twice() {
    // Fails when a node that hears of a reset again would drop what the new generation did since.
    let (former, _) = survivor();
    let (replica, _) = former.renew(Generation(1), 5, 0, 7, 0);
    replica.renew(Generation(1), 5, 0, 7, 0);
}
