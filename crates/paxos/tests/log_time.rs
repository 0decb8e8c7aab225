//! Log time as an acceptor remembers it.

use bytes::Bytes;
use paxos::{
    Ballot, Config, Entry, Generation, GroupId, Incarnation, Index, Input, Kind, Message, NodeId,
    Output, Replica, ReplicaId, RoleChange, Settings, Start,
};

fn id(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

#[test]
fn old_entries_do_not_take_back_the_time_that_went_by() {
    // Fails when an entry that is learned late makes an acceptor forget how long ago it heard a later moment: a new leader
    // would judge by an earlier log time than a read of the former one, and an expired key would come back.
    let config = Config {
        number: 1,
        voters: (0..3).map(id).collect(),
        learners: Vec::new(),
    };
    let (group, generation) = (GroupId(1), Generation(1));
    let start = Start::Founder(config);
    let mut replica = Replica::new(Settings::default(), group, generation, id(0), start, 1, 0);
    let mut out = Output::default();
    let mut tell = |now_us, from, kind| {
        let message = Message {
            group,
            generation,
            from: id(from),
            to: id(0),
            kind,
        };
        replica.step(now_us, Input::Message(message), &mut out);
    };
    let ballot = |round, node| Ballot {
        round,
        replica: id(node),
    };
    let beat = Kind::Beat {
        ballot: ballot(1, 1),
        commit: Index(0),
        sent_us: 1,
        log_ms: 10_000,
    };
    tell(1_000, 1, beat);
    // 200 ms later an entry of 100 ms after that beat is learned.
    let entry = Entry::Batch {
        log_ms: 10_100,
        payload: Bytes::new(),
    };
    let caught_up = Kind::CatchUp {
        first: Index(1),
        entries: vec![entry],
        chosen: Index(1),
    };
    tell(201_000, 2, caught_up);
    let prepare = Kind::Prepare {
        ballot: ballot(2, 2),
        from: Index(2),
        released: None,
    };
    tell(201_000, 2, prepare);
    assert_eq!(replica.chosen(), Index(1));
    let promise = out.send.iter().find_map(|message| match &message.kind {
        Kind::Promise {
            log_ms_seen,
            log_ms_age_us,
            ..
        } => Some(log_ms_seen + log_ms_age_us / 1_000),
        _ => None,
    });
    assert_eq!(promise, Some(10_200));
}

#[test]
fn who_was_away_for_long_does_not_move_log_time_beyond_what_went_by() {
    // Fails when the clocks' error counts for longer than a lease: a node that comes back after an hour would have locks
    // end early everywhere by that hour's error, as soon as it votes.
    let settings = Settings::default();
    let config = Config {
        number: 1,
        voters: (0..3).map(id).collect(),
        learners: Vec::new(),
    };
    let (group, generation) = (GroupId(1), Generation(1));
    let start = Start::Founder(config);
    let mut replica = Replica::new(settings, group, generation, id(0), start, 1, 0);
    let mut out = Output::default();
    let ballot = |round, node| Ballot {
        round,
        replica: id(node),
    };
    let message = |from, kind| {
        Input::Message(Message {
            group,
            generation,
            from: id(from),
            to: id(0),
            kind,
        })
    };
    let beat = Kind::Beat {
        ballot: ballot(1, 1),
        commit: Index(0),
        sent_us: 1,
        log_ms: 10_000,
    };
    replica.step(1_000, message(1, beat), &mut out);
    // An hour without a word, then it campaigns and is promised at once.
    let now_us = 3_600_001_000;
    replica.step(now_us, Input::Campaign, &mut out);
    let promise = Kind::Promise {
        ballot: replica.ballot(),
        chosen: Index(0),
        accepted: Vec::new(),
        more: false,
        lease_left_us: 0,
        log_ms_seen: 10_000,
        log_ms_age_us: 3_600_000_000,
    };
    replica.step(now_us, message(2, promise), &mut out);
    let log_ms = out.role.iter().find_map(|role| match role {
        RoleChange::Leader { log_ms, .. } => Some(*log_ms),
        _ => None,
    });
    let log_ms = log_ms.expect("it leads");
    assert!(log_ms <= 10_000 + 3_600_000, "{log_ms}");
    // And not before what the former leader may have shown under its last lease.
    assert!(log_ms >= 10_000 + settings.lease_us / 1_000, "{log_ms}");
}

/// A leader, replica 0 of three, that replica 1 has promised, with log time from 10 s on, at 1 s of its clock.
fn leader_of_three(out: &mut Output) -> Replica {
    let config = Config {
        number: 1,
        voters: (0..3).map(id).collect(),
        learners: Vec::new(),
    };
    let start = Start::Founder(config);
    let settings = Settings::default();
    let mut replica = Replica::new(settings, GroupId(1), Generation(1), id(0), start, 1, 0);
    replica.step(1_000_000, Input::Campaign, out);
    promise(&mut replica, 1, 10_000, out);
    assert!(replica.is_leader());
    replica
}

/// Tells what a replica sends, at 1 s.
fn hear(replica: &mut Replica, from: u32, kind: Kind, out: &mut Output) {
    let message = Message {
        group: GroupId(1),
        generation: Generation(1),
        from: id(from),
        to: id(0),
        kind,
    };
    replica.step(1_000_000, Input::Message(message), out);
}

/// A replica promises, and says that it has just seen a log time, ms.
fn promise(replica: &mut Replica, from: u32, log_ms_seen: u64, out: &mut Output) {
    let promise = Kind::Promise {
        ballot: replica.ballot(),
        chosen: Index(0),
        accepted: Vec::new(),
        more: false,
        lease_left_us: 0,
        log_ms_seen,
        log_ms_age_us: 0,
    };
    hear(replica, from, promise, out);
}

/// A replica has all that the leader ever proposed.
fn acknowledge(replica: &mut Replica, from: u32, out: &mut Output) {
    let accepted = Kind::Accepted {
        ballot: replica.ballot(),
        upto: Index(1_000),
        sent_us: 1_000_000,
    };
    hear(replica, from, accepted, out);
}

#[test]
fn a_late_promise_does_not_move_log_time_on_which_leases_rest() {
    // Fails when a former leader that stood still, and whose log time ran on by its own clock, moves that of the leader since:
    // all locks that it granted would end early, and be given twice.
    let mut out = Output::default();
    let mut replica = leader_of_three(&mut out);
    promise(&mut replica, 2, 20_000, &mut out);
    assert!(replica.log_ms(1_000_000) < 10_100);
    assert!(replica.log_ms(1_000_000) >= 10_000);
}

#[test]
fn a_late_promise_that_a_later_configuration_counts_moves_log_time() {
    // Fails when a leader goes on in a configuration, of which another one may have shown something on the word of a replica
    // that promised late, with a log time before that.
    let mut out = Output::default();
    let mut replica = leader_of_three(&mut out);
    promise(&mut replica, 2, 20_000, &mut out);
    for from in [1, 2] {
        acknowledge(&mut replica, from, &mut out);
    }
    let change = Input::Reconfigure {
        voters: vec![id(0), id(2)],
        learners: Vec::new(),
    };
    replica.step(1_000_000, change, &mut out);
    assert_eq!(out.refused, None);
    for _ in 0..100 {
        acknowledge(&mut replica, 1, &mut out);
        acknowledge(&mut replica, 2, &mut out);
    }
    assert_eq!(replica.config().voters, [id(0), id(2)]);
    assert!(replica.log_ms(1_000_000) > 20_000);
}
