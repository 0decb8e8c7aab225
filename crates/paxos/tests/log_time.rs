//! Log time as an acceptor remembers it.

use bytes::Bytes;
use paxos::{
    Ballot, Config, Entry, Generation, GroupId, HeardTime, Incarnation, Index, Input, Kind,
    Message, NodeId, Output, Replica, ReplicaId, RoleChange, Settings, Start,
};

fn id(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

/// Three voters, of whom replica 0 is played, and what it says.
struct Stage {
    replica: Replica,
    out: Output,
}

impl Stage {
    fn new() -> Self {
        let config = Config {
            number: 1,
            voters: (0..3).map(id).collect(),
            learners: Vec::new(),
        };
        let (group, generation) = (GroupId(1), Generation(1));
        let (settings, start) = (Settings::default(), Start::Founder(config));
        Stage {
            replica: Replica::new(settings, group, generation, id(0), start, 1, 0),
            out: Output::default(),
        }
    }

    fn tell(&mut self, now_us: u64, from: u32, kind: Kind) {
        let message = Message {
            group: GroupId(1),
            generation: Generation(1),
            from: id(from),
            to: id(0),
            kind,
        };
        self.replica
            .step(now_us, Input::Message(message), &mut self.out);
    }

    /// The leader's word of 10,000 ms comes.
    fn hear_beat(&mut self, now_us: u64) {
        self.hear(now_us, ballot(1, 1), 10_000);
    }

    /// Replica 1 says this log time, ms, as the leader of a ballot.
    fn hear(&mut self, now_us: u64, ballot: Ballot, log_ms: u64) {
        let beat = Kind::Beat {
            ballot,
            commit: Index(0),
            sent_us: 1,
            log_ms,
        };
        self.tell(now_us, 1, beat);
    }

    /// The first entry of the log, of this log time, ms, is learned of replica 2.
    fn learn(&mut self, now_us: u64, log_ms: u64) {
        let entry = Entry::Batch {
            log_ms,
            payload: Bytes::new(),
        };
        let caught_up = Kind::CatchUp {
            first: Index(1),
            entries: vec![entry],
            chosen: Index(1),
        };
        self.tell(now_us, 2, caught_up);
    }

    /// What it promises replica 2 with: log time that it has seen, ms, and how long ago, us.
    fn promised(&mut self, now_us: u64, from: Index) -> (u64, u64) {
        let (seen, _) = self.promised_both(now_us, from);
        (seen.ms, seen.age_us)
    }

    /// The same of the last leader.
    fn promised_line(&mut self, now_us: u64, from: Index) -> (u64, u64) {
        let (_, line) = self.promised_both(now_us, from);
        (line.ms, line.age_us)
    }

    fn promised_both(&mut self, now_us: u64, from: Index) -> (HeardTime, HeardTime) {
        let prepare = Kind::Prepare {
            ballot: ballot(9, 2),
            from,
            released: None,
        };
        self.tell(now_us, 2, prepare);
        let promise = self
            .out
            .send
            .iter()
            .find_map(|message| match &message.kind {
                Kind::Promise {
                    log_seen, log_line, ..
                } => Some((*log_seen, *log_line)),
                _ => None,
            });
        promise.expect("it promises")
    }

    /// Has it lead at 300 ms: it heard the leader's word of 10,000 ms 299 ms ago, the other voter's age is the same.
    fn lead(&mut self) {
        self.hear_beat(1_000);
        self.replica.step(300_000, Input::Campaign, &mut self.out);
        let promise = self.promise(10_000, 299_000);
        self.tell(300_000, 2, promise);
        // Its Noops are chosen.
        for tick in 0..100 {
            let now_us = 300_000 + tick * 10_000;
            self.replica.step(now_us, Input::Tick, &mut self.out);
            self.accept_all(now_us);
        }
        assert!(self.replica.can_propose());
    }

    fn promise(&self, ms: u64, age_us: u64) -> Kind {
        let of = ballot(1, 1);
        let heard = HeardTime { ms, age_us, of };
        self.promise_both(heard, heard)
    }

    fn promise_both(&self, log_seen: HeardTime, log_line: HeardTime) -> Kind {
        Kind::Promise {
            ballot: self.replica.ballot(),
            chosen: Index(0),
            accepted: Vec::new(),
            more: false,
            lease_left_us: 0,
            log_seen,
            log_line,
        }
    }

    /// Replica 2 accepts all that was sent to it.
    fn accept_all(&mut self, now_us: u64) {
        self.out.send.clear();
        for message in std::mem::take(&mut self.out.send_first) {
            let (ballot, upto, sent_us) = match message.kind {
                _ if message.to != id(2) => continue,
                Kind::Accept {
                    ballot,
                    first,
                    entries,
                    sent_us,
                    ..
                } => (ballot, Index(first.0 + entries.len() as u64 - 1), sent_us),
                Kind::Beat {
                    ballot,
                    commit,
                    sent_us,
                    ..
                } => (ballot, commit, sent_us),
                _ => continue,
            };
            let accepted = Kind::Accepted {
                ballot,
                upto,
                sent_us,
            };
            self.tell(now_us, 2, accepted);
        }
    }

    fn propose(&mut self, now_us: u64, log_ms: u64) {
        let payload = Bytes::from_static(b"x");
        self.replica
            .step(now_us, Input::Propose { log_ms, payload }, &mut self.out);
    }
}

fn ballot(round: u64, node: u32) -> Ballot {
    Ballot {
        round,
        replica: id(node),
    }
}

#[test]
fn old_entries_do_not_take_back_the_time_that_went_by() {
    // Fails when an entry that is learned late makes an acceptor forget how long ago it heard a later moment: a new leader
    // would judge by an earlier log time than a read of the former one, and an expired key would come back.
    let mut stage = Stage::new();
    stage.hear_beat(1_000);
    // 200 ms later an entry of 100 ms after that beat is learned.
    stage.learn(201_000, 10_100);
    let (seen_ms, age_us) = stage.promised(201_000, Index(2));
    assert_eq!(stage.replica.chosen(), Index(1));
    assert_eq!(seen_ms + age_us / 1_000, 10_200);
}

#[test]
fn who_was_away_for_long_does_not_move_log_time_beyond_what_went_by() {
    // Fails when the clocks' error counts for longer than a lease: a node that comes back after an hour would have locks
    // end early everywhere by that hour's error, as soon as it votes.
    let mut stage = Stage::new();
    stage.hear_beat(1_000);
    // An hour without a word, then it campaigns and is promised at once.
    let now_us = 3_600_001_000;
    stage.replica.step(now_us, Input::Campaign, &mut stage.out);
    let promise = stage.promise(10_000, 3_600_000_000);
    stage.tell(now_us, 2, promise);
    let log_ms = stage.out.role.iter().find_map(|role| match role {
        RoleChange::Leader { log_ms, .. } => Some(*log_ms),
        _ => None,
    });
    let log_ms = log_ms.expect("it leads");
    assert!(log_ms <= 10_000 + 3_600_000, "{log_ms}");
    // And not before what the former leader may have shown under its last lease.
    let lease_ms = Settings::default().lease_us / 1_000;
    assert!(log_ms >= 10_000 + lease_ms, "{log_ms}");
}

#[test]
fn a_word_that_was_held_up_does_not_take_back_the_time_that_went_by() {
    // Fails when a voter that hears a leader's word a second late forgets how long ago it heard the word before: light seed 210001731,
    // where a lock was given twice.
    let mut stage = Stage::new();
    stage.hear_beat(1_000);
    stage.hear(1_301_000, ballot(1, 1), 10_050);
    let (seen_ms, age_us) = stage.promised_line(1_301_000, Index(1));
    assert_eq!(age_us, 0);
    // Less what the clocks may be off.
    assert!((11_270..=11_300).contains(&seen_ms), "{seen_ms}");
}

#[test]
fn the_words_of_the_next_leader_stand_for_themselves() {
    // Fails when a voter goes on with what it made of a former leader's words once it hears the next one, who is behind that: the
    // locks that this one grants would end early, if a word of it comes late (light seed 220002838).
    let mut stage = Stage::new();
    stage.hear_beat(1_000);
    stage.hear(1_001_000, ballot(2, 1), 9_900);
    stage.hear(2_001_000, ballot(2, 1), 10_050);
    let (seen, line) = stage.promised_both(2_001_000, Index(1));
    // What the former leader may have shown is owed all the same.
    assert_eq!((seen.ms, seen.of), (10_050, ballot(2, 1)));
    let (seen_ms, age_us) = (line.ms, line.age_us);
    assert_eq!(age_us, 0);
    // A second after 9,900, less what the clocks may be off.
    assert!((10_880..=10_900).contains(&seen_ms), "{seen_ms}");
}

#[test]
fn log_time_goes_on_from_that_of_the_last_leader() {
    // Fails when what a voter made of a former leader's words moves log time, though the last leader is known, or when a late word of that
    // one is taken for more than one that came in time: locks that the last leader granted would end early, or those of this one.
    let now_us = 1_000_000;
    let begins_at = |round, ms, age_us| {
        let mut stage = Stage::new();
        stage.hear(1_000, ballot(5, 1), 10_000);
        stage.replica.step(now_us, Input::Campaign, &mut stage.out);
        let promise = stage.promise_both(
            HeardTime::default(),
            HeardTime {
                ms,
                age_us,
                of: ballot(round, 1),
            },
        );
        stage.tell(now_us, 2, promise);
        assert!(stage.replica.is_leader());
        stage.replica.log_ms(now_us)
    };
    // Less what the clocks may be off.
    let own_ms = 10_970..=11_000;
    assert!(own_ms.contains(&begins_at(4, 11_500, 0)), "a former one");
    assert!(
        (10_300..=10_301).contains(&begins_at(6, 10_300, 0)),
        "a later one"
    );
    assert!(own_ms.contains(&begins_at(5, 10_700, 0)), "a late word");
    let in_time_ms = begins_at(5, 10_700, 500_000);
    assert!((11_180..=11_201).contains(&in_time_ms), "{in_time_ms}");
    // What was shown is not taken back, whoever showed it; and what a disk knows runs on.
    for (of, age_us, least_ms) in [
        (ballot(4, 1), 0, 20_000),
        (Ballot::default(), 900_000, 20_880),
    ] {
        let mut stage = Stage::new();
        stage.hear_beat(1_000);
        stage.replica.step(now_us, Input::Campaign, &mut stage.out);
        let seen = HeardTime {
            ms: 20_000,
            age_us,
            of,
        };
        let promise = stage.promise_both(seen, HeardTime::default());
        stage.tell(now_us, 2, promise);
        assert!(stage.replica.log_ms(now_us) >= least_ms, "{of:?}");
    }
}

#[test]
fn a_stamp_that_was_learned_late_does_not_hide_how_much_has_passed() {
    // Fails when a newcomer that was sent the log, and has heard no leader, begins at the last stamp in it, though another voter heard
    // the leader before and says how long ago: locks that it grants would end early under the next one who knows better.
    let mut stage = Stage::new();
    let now_us = 1_500_000;
    stage.learn(now_us, 10_100);
    let (seen_ms, _) = stage.promised(now_us, Index(2));
    assert_eq!(seen_ms, 0, "it has heard nobody");
    stage.out = Output::default();
    stage.replica.step(now_us, Input::Campaign, &mut stage.out);
    let promise = stage.promise(10_000, 1_400_000);
    stage.tell(now_us, 2, promise);
    let log_ms = stage.replica.log_ms(now_us);
    assert!((11_350..=11_400).contains(&log_ms), "{log_ms}");
}

#[test]
fn a_late_promise_does_not_move_what_locks_are_reckoned_by() {
    // Fails when the former leader, who was paused and whose clock ran on, moves log time with its promise once a batch is
    // stamped: a lock of that batch would end early by what the leader began behind.
    let mut stage = Stage::new();
    stage.lead();
    let now_us = 1_300_000;
    stage.propose(now_us, 0);
    let before_ms = stage.replica.log_ms(now_us);
    let promise = stage.promise(before_ms + 133, 0);
    stage.tell(now_us, 1, promise);
    assert_eq!(stage.replica.log_ms(now_us), before_ms);
}

#[test]
fn a_late_promise_counts_before_the_first_batch() {
    // Fails when a leader that has stamped nothing begins behind what a former one has shown to a replica that answers late.
    let mut stage = Stage::new();
    stage.lead();
    let now_us = 1_300_000;
    let before_ms = stage.replica.log_ms(now_us);
    let promise = stage.promise(before_ms + 133, 0);
    stage.tell(now_us, 1, promise);
    assert!(stage.replica.log_ms(now_us) >= before_ms + 133);
}

#[test]
fn what_is_stamped_in_vain_was_not_seen() {
    // Fails when a leader that leads no more, and whose clock ran ahead of the one that does, promises with the log time of
    // a batch that nobody else has: the next leader would begin there, and locks of the one before would end early.
    let mut stage = Stage::new();
    stage.lead();
    let seen_ms = stage.replica.log_ms(1_290_000);
    // A pause of two seconds, and a batch whose owner's clock is a millisecond ahead.
    let now_us = 3_300_000;
    let ahead_ms = stage.replica.log_ms(now_us) + 1;
    stage.propose(now_us, ahead_ms);
    let (said_ms, age_us) = stage.promised(now_us, Index(1));
    assert!(
        said_ms <= seen_ms && age_us >= 1_900_000,
        "{said_ms} {age_us}"
    );
}
