//! Catch-up: a chosen prefix is immutable, so anybody may serve it to anybody.

use crate::door::Output;
use crate::follower::take;
use crate::message::{Kind, Message};
use crate::replica::{ConfigNews, Replica, Role};
use crate::types::{Entry, Index, ReplicaId};

impl Replica {
    /// The question to `whom` for what it knows chosen beyond this replica. For an owner that knows more than the replica:
    /// that its leader cannot hear it.
    pub fn catch_up_request(&self, whom: ReplicaId) -> Message {
        let from = self.chosen.next();
        self.names.message(whom, Kind::CatchUpRequest { from })
    }

    /// Somebody wants chosen entries.
    pub(crate) fn on_catch_up_request(&mut self, from: ReplicaId, first: Index, out: &mut Output) {
        let is_gone = first <= self.log.trimmed();
        // Who has all that is chosen, and still asks, does not know that it may go.
        if (is_gone || first > self.chosen) && self.has_left(from) {
            let kind = Kind::Left {
                config: self.config.clone(),
                index: self.config_index,
                chosen: self.chosen,
            };
            out.send_first.push(self.names.message(from, kind));
            return;
        }
        if is_gone {
            if !self.is_hollow {
                self.offers.push(from);
            }
            return;
        }
        if let Role::Leader(leader) = &mut self.role
            && let Some(follower) = leader.followers.iter_mut().find(|f| f.id == from)
            && follower.takes_back(first, &self.log)
        {
            // It is fed from there at the end of this step.
            return;
        }
        let (entries, _) = take(
            &self.log,
            first,
            self.chosen,
            self.settings.message_bytes_max,
        );
        let kind = Kind::CatchUp {
            first,
            entries,
            chosen: self.chosen,
        };
        out.send_first.push(self.names.message(from, kind));
    }

    /// Chosen entries came.
    pub(crate) fn on_catch_up(
        &mut self,
        from: ReplicaId,
        first: Index,
        entries: Vec<Entry>,
        chosen: Index,
        out: &mut Output,
    ) {
        if let Role::Leader(leader) = &self.role
            && (leader.ready || leader.last > self.chosen)
        {
            // What it has proposed and counts itself is not mixed with what others have chosen meanwhile.
            return;
        }
        if self.is_hollow {
            return;
        }
        let how = if from == self.promised.replica {
            ConfigNews::FromLeader
        } else {
            ConfigNews::Learned
        };
        let hole = first > self.chosen.next() && !entries.is_empty();
        let news = self.learn_chosen(first, entries, how, out);
        if from == self.promised.replica && matches!(self.role, Role::Follower) {
            // The leader feeds on its own; it wants to know how far this is. No send time: this renews no lease.
            self.send_accepted(from, self.promised, 0, out);
            if hole && !self.is_installing() && self.hole_asked < self.chosen.next() {
                // Something before it is late or lost; the leader would notice at the next beat only. Once an index:
                // all that is in flight comes behind the same hole.
                self.hole_asked = self.chosen.next();
                self.ask_for_chosen(from, out);
            }
        }
        // Who has not led for a while may have left, and then feeds nobody.
        let is_fed = from == self.promised.replica && self.now_us < self.sticky_until_us;
        if news && chosen > self.chosen && !is_fed {
            self.ask_for_chosen(from, out);
        }
        if news {
            self.after_learning(out);
        }
    }

    /// More is known chosen, by a snapshot or by catch-up: does a campaign come further?
    pub(crate) fn after_learning(&mut self, out: &mut Output) {
        if let Role::Candidate(phase1) = &mut self.role {
            let chosen = self.chosen;
            phase1.best.retain(|&index, _| index > chosen);
            self.send_prepares(out);
            self.count_promises(out);
        }
    }
}
