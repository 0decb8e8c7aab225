//! A leader's reads under `--read-mode quorum`: which of them wait for which word of a majority that this replica leads.
//!
//! The replica answers *tickets* ([`paxos::Input::Read`], [`paxos::Output::serve`]). One ticket stands for all reads that
//! came before it was asked for, so that all that wait are served by one round of probes; reads that come while a round is
//! under way are for the next one.
//!
//! ```text
//!   reads   1 2 3 │ 4 5 │ 6
//!   tickets       1     2        ← 6 has none yet
//! ```

use std::collections::VecDeque;

/// The tickets of one group's leader.
///
/// * Tickets rise by one, over all leaderships, so that a late answer means nothing to reads of today.
/// * `open` is in order of both its parts.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The last ticket that was asked for.
    asked: u64,
    /// Tickets without an answer, each with this node's own last read that came before it.
    open: VecDeque<(u64, u64)>,
    /// This node's own last read that a ticket of this leadership stands for.
    own_asked: u64,
    /// Whether reads of other nodes came that no ticket stands for, or a ticket was refused.
    is_wanted: bool,
    /// Reads were left when the last ticket was answered, as a write before them was not applied: applied was up to here.
    left_at: Option<u64>,
}

impl Rounds {
    /// A read of another node came, or comes again: the ticket that stands for it.
    pub(super) fn ticket_for_other(&mut self) -> u64 {
        self.is_wanted = true;
        self.asked + 1
    }

    /// The ticket to ask for now, if there are reads that need one: this node's own came up to `own_last`, and everything
    /// up to `applied` is applied.
    pub(super) fn next(&mut self, own_last: u64, applied: u64) -> Option<u64> {
        let is_left = self.open.is_empty() && self.left_at.is_some_and(|at| applied > at);
        if !self.is_wanted && own_last <= self.own_asked && !is_left {
            return None;
        }
        self.asked += 1;
        self.own_asked = own_last;
        self.is_wanted = false;
        self.left_at = None;
        self.open.push_back((self.asked, own_last));
        Some(self.asked)
    }

    /// A majority's word came for `ticket` and all before it. Returns this node's own last read that they stand for.
    pub(super) fn confirm(&mut self, ticket: u64) -> Option<u64> {
        let mut own_last = None;
        while let Some(&(open, own)) = self.open.front()
            && open <= ticket
        {
            self.open.pop_front();
            own_last = Some(own);
        }
        own_last
    }

    /// Reads that tickets stood for wait for a write: they need another one when more than `applied` is.
    pub(super) fn leave(&mut self, applied: u64) {
        self.left_at = Some(applied);
    }

    /// The replica has no room for `ticket`.
    pub(super) fn refuse(&mut self, ticket: u64) {
        self.open.retain(|&(open, _)| open != ticket);
        self.is_wanted = true;
    }

    /// Another leadership begins, or none: whatever waits is asked for anew.
    pub(super) fn begin_again(&mut self) {
        *self = Rounds {
            asked: self.asked,
            is_wanted: true,
            ..Rounds::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ticket_stands_for_all_that_wait() {
        // Breaks if each read costs a round, or a read gets a word that was given before it came.
        let mut rounds = Rounds::default();
        assert_eq!(rounds.next(0, 0), None);
        assert_eq!(rounds.next(3, 0), Some(1));
        assert_eq!(rounds.next(3, 0), None);
        assert_eq!(rounds.next(5, 0), Some(2));
        assert_eq!(rounds.ticket_for_other(), 3);
        assert_eq!(rounds.confirm(1), Some(3));
        assert_eq!(rounds.next(5, 0), Some(3));
        assert_eq!(rounds.confirm(3), Some(5));
        assert_eq!(rounds.confirm(3), None);
    }

    #[test]
    fn reads_that_are_left_are_asked_for_when_more_is_applied() {
        // Breaks if a read behind a write that is under way waits for ever, or asks in a circle until it is applied.
        let mut rounds = Rounds::default();
        assert_eq!(rounds.next(1, 7), Some(1));
        assert_eq!(rounds.confirm(1), Some(1));
        rounds.leave(7);
        assert_eq!(rounds.next(1, 7), None);
        assert_eq!(rounds.next(1, 8), Some(2));
        // One that was asked for in the meantime stands for it too.
        rounds.leave(8);
        assert_eq!(rounds.next(1, 9), None);
    }

    #[test]
    fn what_is_refused_or_of_a_former_leadership_is_asked_for_again() {
        // Breaks if reads are stuck behind a ticket that is never answered, or an old answer serves a new read.
        let mut rounds = Rounds::default();
        assert_eq!(rounds.next(1, 0), Some(1));
        rounds.refuse(1);
        assert_eq!(rounds.next(1, 0), Some(2));
        rounds.begin_again();
        assert_eq!(rounds.confirm(2), None);
        assert_eq!(rounds.next(1, 0), Some(3));
    }
}
