//! A group that can never form a quorum again goes on in a new *generation* with what one of its replicas has
//! (DESIGN-PAXOS §3.10, majority amnesia). Who decides that is the owner's affair; it must be sure of two things: that nobody
//! takes part in the former generation any more, and that only one replica begins the new one.
//!
//! The new generation begins with a configuration of that replica alone, one index behind all that it knows chosen. That
//! index is in no log, so whoever joins gets a snapshot, whose state the owner may have changed for the new generation.
//! What was accepted and is not known chosen is dropped. Messages carry the generation, so nothing of the former one counts
//! ([`crate::Message`]).

use crate::door::SnapshotBase;
use crate::lease::{Ceiling, scaled_up};
use crate::replica::Replica;
use crate::start::Start;
use crate::types::{Ballot, Config, Generation, ReplicaId};

/// Rounds of ballots that one generation has for itself: those of the next are above, so that who compares ballots alone, as
/// hints of who leads do, takes the later generation's.
const ROUND_BITS: u32 = 40;

impl Replica {
    /// The replica that begins `generation` with the prefix that this one knows chosen, as the only voter of configuration
    /// `number`, and what its state stands for. `log_floor_ms`: log time, ms, where this one never saw any. `seed` and
    /// `now_us` as for [`Replica::new`].
    ///
    /// Nothing shows before every lease is over that this replica granted, or that was granted just now.
    ///
    /// # Panics
    /// If the generation is not later than this one's, or the owner is replacing its state.
    pub fn renew(
        &self,
        generation: Generation,
        number: u64,
        log_floor_ms: u64,
        seed: u64,
        now_us: u64,
    ) -> (Replica, SnapshotBase) {
        assert!(
            generation > self.names.generation,
            "a generation begins once"
        );
        assert!(!self.is_installing(), "the state is being replaced");
        let now_us = now_us.max(self.now_us);
        let mut log_time = self.log_time;
        if log_time.ms.max(self.learned.ms) == 0 {
            log_time.observe(log_floor_ms, now_us);
        }
        let base = SnapshotBase {
            index: self.chosen.next(),
            config: Config {
                number: number.max(self.config.number + 1),
                voters: vec![self.names.me],
                learners: Vec::new(),
            },
            log_ms: log_time.ms.max(self.learned.ms),
        };
        let start = Start::Recovered {
            promised: Ballot::default(),
            base: base.clone(),
            log: Vec::new(),
            chosen: base.index,
            log_ms_ceiling: 0,
            is_hollow: false,
        };
        let names = self.names;
        let mut next = Replica::new(
            self.settings,
            names.group,
            generation,
            names.me,
            start,
            seed,
            now_us,
        );
        next.mutations = self.mutations;
        next.log_time = log_time;
        next.line = self.line;
        next.learned = self.learned;
        next.ceiling = Ceiling::default();
        next.grants = self.grants;
        let lease_us = scaled_up(&self.settings, self.settings.lease_us);
        next.grants
            .grant_unnamed(now_us + lease_us + self.settings.epsilon_us);
        next.round_seen = u64::from(generation.0) << ROUND_BITS;
        // Records of the new generation have tokens behind those of the former.
        next.token = self.token;
        next.persisted = self.token;
        (next, base)
    }

    /// The replica that takes this one's place in `generation`, which another one begins: it knows nothing, and is fed.
    pub fn rejoin(&self, generation: Generation, seed: u64, now_us: u64) -> Replica {
        assert!(
            generation > self.names.generation,
            "a generation begins once"
        );
        let now_us = now_us.max(self.now_us);
        let Replica {
            settings, names, ..
        } = self;
        let (group, me): (_, ReplicaId) = (names.group, names.me);
        let mut next = Replica::new(
            *settings,
            group,
            generation,
            me,
            Start::Joiner,
            seed,
            now_us,
        );
        next.mutations = self.mutations;
        next.token = self.token;
        next.persisted = self.token;
        next
    }
}
