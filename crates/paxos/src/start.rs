//! How a replica begins: as a founder, as somebody new, or with its memory read back.

use crate::door::{Settings, SnapshotBase};
use crate::lease::{Ceiling, Grants, LogTime};
use crate::log::Log;
use crate::message::AcceptedEntry;
use crate::mutation::Mutations;
use crate::replica::{Names, Replica, Role};
use crate::types::{Ballot, Config, Entry, Generation, GroupId, Index, ReplicaId};

/// How a replica begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Sole founder of a group, or member of a founding configuration, with an empty log.
    Founder(Config),
    /// Joins: knows nothing, waits for a leader to feed it.
    Joiner,
    /// The same life, with its memory read back from disk.
    Recovered {
        /// The last `Record::Promised`.
        promised: Ballot,
        /// The state that the owner has loaded.
        base: SnapshotBase,
        /// The records of acceptance, in their order; those at or below the base are passed over.
        log: Vec<AcceptedEntry>,
        /// The last `Record::Chosen`. May lag.
        chosen: Index,
        /// The last `Record::LogTime`, ms; 0 if there is none.
        log_ms_ceiling: u64,
        /// Whether the owner had dropped the state at the base (`Input::Retire`).
        is_hollow: bool,
    },
}

impl Replica {
    /// A replica at its start. `seed` is for jitter and names of streams: another one for every start.
    ///
    /// # Panics
    /// If a recovered log has holes.
    pub fn new(
        settings: Settings,
        group: GroupId,
        generation: Generation,
        me: ReplicaId,
        start: Start,
        seed: u64,
        now_us: u64,
    ) -> Replica {
        let mut replica = Replica {
            settings,
            names: Names {
                group,
                generation,
                me,
            },
            mutations: Mutations::default(),
            random: seed,
            now_us,
            promised: Ballot::default(),
            log: Log::default(),
            chosen: Index(0),
            upto: Index(0),
            config: Config::default(),
            config_index: Index(0),
            voteless_from: None,
            chosen_hint: Index(0),
            grants: Grants::default(),
            log_time: LogTime::default(),
            line: LogTime::default(),
            learned: LogTime::default(),
            ceiling: Ceiling::default(),
            leader: None,
            sticky_until_us: 0,
            round_seen: 0,
            deadline_us: 0,
            role: Role::Follower,
            hole_asked: Index(0),
            incoming: None,
            outgoing: Vec::new(),
            stream_last: 0,
            offers: Vec::new(),
            token: 0,
            persisted: 0,
            checkpoint: Index(0),
            chosen_recorded: Index(0),
            farewell: None,
            is_hollow: false,
        };
        replica.stream_last = replica.draw() >> 16;
        match start {
            Start::Founder(config) => {
                replica.config = config;
                let soon_us = replica.draw_between(settings.heartbeat_us, settings.election_min_us);
                replica.deadline_us = now_us + soon_us;
            }
            Start::Joiner => replica.put_deadline_off(),
            Start::Recovered {
                promised,
                base,
                log,
                chosen,
                log_ms_ceiling,
                is_hollow,
            } => {
                replica.is_hollow = is_hollow;
                replica.recover(promised, base, log, chosen);
                replica.recover_log_time(log_ms_ceiling);
            }
        }
        if replica.is_sole_voter() {
            replica.deadline_us = now_us;
        }
        replica
    }

    fn recover(
        &mut self,
        promised: Ballot,
        base: SnapshotBase,
        log: Vec<AcceptedEntry>,
        chosen: Index,
    ) {
        self.promised = promised;
        self.round_seen = promised.round;
        self.log = Log::after(base.index);
        self.chosen = base.index;
        self.chosen_recorded = base.index.max(chosen);
        self.checkpoint = base.index;
        self.config = base.config;
        self.config_index = base.index;
        self.note_vote();
        self.log_time.observe(base.log_ms, self.now_us);
        for accepted in log {
            if accepted.index > base.index {
                assert!(
                    accepted.ballot <= promised,
                    "what was accepted was promised"
                );
                if let Entry::Batch { log_ms, .. } = &accepted.entry {
                    self.log_time.observe(*log_ms, self.now_us);
                }
                self.log
                    .put(accepted.index, accepted.ballot, accepted.entry);
            }
        }
        self.chosen_hint = chosen.min(self.log.last());
        self.count_upto();
        // What was granted before the restart is not on disk, so as much as could be is taken as granted now.
        self.grants
            .grant_unnamed(self.now_us + self.settings.lease_us);
        self.put_deadline_off();
    }
}
