//! A replica that is no member any more lets its state go.
//!
//! What it accepted and knew is needed by nobody once more was chosen under a configuration without it: whoever chose
//! that has accepted all before it, and knows, over a restart too, that the configuration is chosen, as the message that
//! brought the one said the other (DESIGN-PAXOS §3.9: a removed replica may go when a majority of the new configuration
//! durably knows that it is removed). A candidate that lags behind, and still counts on this one, finds what it lacks
//! with them.
//!
//! For the same reason a process whose replica has no vote any more does not end before that ([`Replica::can_leave`]): a
//! leader that gave the only vote to another may be the only one who knows of it.
//!
//! Who was away learns of it from the log, or, where that is gone, by a word of whoever has it ([`Kind::Left`]).
//!
//! The owner drops the state, and the replica is *hollow*: it still knows how far the log is chosen and what it
//! promised, so it goes on telling candidates that they lag (R9), and it takes part in no index behind which it has
//! no state. If it becomes a member again it wants a snapshot, and nothing else.

use crate::door::{Output, SnapshotStep};
use crate::message::Kind;
use crate::replica::{Replica, Role};
use crate::types::{Config, Index, ReplicaId};

/// Where a request for chosen entries begins that wants a snapshot: no log has anything there.
const ALL: Index = Index(0);

/// That a configuration without this replica is chosen, and more behind it, as another replica said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Farewell {
    config: Config,
    index: Index,
    chosen: Index,
}

impl Replica {
    /// Whether it may retire now: a configuration without it is chosen, and more was chosen behind that.
    pub fn can_retire(&self) -> bool {
        let by_itself = !self.is_member(&self.config, self.names.me)
            && !self.config.voters.is_empty()
            && self.chosen > self.config_index;
        !self.is_hollow
            && matches!(self.role, Role::Follower | Role::Asking(_))
            && !self.is_installing()
            && (by_itself || self.is_told())
    }

    /// Whether the group goes on if its process ends for good: it never was a member, or has no vote in the configuration in
    /// force, and more was chosen behind the one that took it.
    pub fn can_leave(&self) -> bool {
        let is_passed = self.voteless_from.is_some_and(|from| self.chosen > from);
        self.config.voters.is_empty() || self.is_hollow || is_passed
    }

    /// Another configuration is in force.
    pub(crate) fn note_vote(&mut self) {
        self.voteless_from = match self.is_voter(self.names.me) {
            true => None,
            false => self.voteless_from.or(Some(self.config_index)),
        };
    }

    /// Whether another's word that this replica has left still stands: it may have come back since. Of the configuration
    /// that it knows itself the word says more than it can: a snapshot does not say where its configuration stands, so it
    /// may lack for good that more was chosen behind it, if nothing else is.
    fn is_told(&self) -> bool {
        let stands = |told: &Farewell| told.config.number >= self.config.number;
        self.farewell.as_ref().is_some_and(stands)
    }

    /// Whether its owner has no state for it: it waits for a snapshot, if anybody makes it a member again.
    pub fn is_hollow(&self) -> bool {
        self.is_hollow
    }

    /// Whether another replica is a member of nothing that is known here, for sure.
    pub(crate) fn has_left(&self, id: ReplicaId) -> bool {
        !self.is_member(&self.config, id)
            && !self.config.voters.is_empty()
            && self.chosen > self.config_index
    }

    fn is_member(&self, config: &Config, id: ReplicaId) -> bool {
        config.voters.contains(&id) || config.learners.contains(&id)
    }

    /// Another says that this replica is no member any more.
    pub(crate) fn on_left(&mut self, config: Config, index: Index, chosen: Index) {
        let is_news = config.number >= self.config.number
            && !self.is_member(&config, self.names.me)
            && chosen > index;
        let is_latest = |farewell: &Farewell| {
            (config.number, chosen) > (farewell.config.number, farewell.chosen)
        };
        if is_news && !self.is_hollow && self.farewell.as_ref().is_none_or(is_latest) {
            self.farewell = Some(Farewell {
                config,
                index,
                chosen,
            });
        }
    }

    /// The owner is about to drop the state.
    pub(crate) fn on_retire(&mut self, out: &mut Output) {
        if !self.can_retire() {
            out.refused = Some("only who is no member, and knows more chosen since, retires");
            return;
        }
        if !matches!(self.role, Role::Follower) {
            self.become_follower(out);
        }
        let told = self.is_told();
        if let Some(farewell) = self.farewell.take().filter(|_| told) {
            self.config = farewell.config;
            self.config_index = farewell.index;
            self.chosen = self.chosen.max(farewell.chosen);
            self.grant_for_config();
            out.config = Some(self.config.clone());
        }
        self.is_hollow = true;
        // No record says how far: on disk the state is there, until a checkpoint says that it is not.
        self.chosen_recorded = self.chosen;
        self.incoming = None;
        self.chosen_hint = self.chosen_hint.min(self.chosen);
        // What it accepted beyond stays, as promises report it.
        self.log.restart_after(self.chosen);
        self.count_upto();
        let streams = self.outgoing.drain(..);
        out.snapshot
            .extend(streams.map(|outgoing| SnapshotStep::Drop {
                stream: outgoing.stream(),
            }));
        self.put_deadline_off();
    }

    /// A leader takes this replica for a member: it needs all of the state.
    pub(crate) fn ask_for_state(&self, leader: ReplicaId, out: &mut Output) {
        let request = Kind::CatchUpRequest { from: ALL };
        out.send_first.push(self.names.message(leader, request));
    }
}
