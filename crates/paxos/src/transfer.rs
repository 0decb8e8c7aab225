//! Hand-over of leadership (DESIGN-PAXOS §3.6, Transfer).
//!
//! ```text
//!   wanted ─(the target is about level)─▶ closing: nothing is proposed ─(it has everything)─▶ released: it is asked to campaign
//!                                            └─(not within half a heartbeat)─▶ given up
//! ```
//!
//! So a target that is slow costs nobody a wait.

use crate::door::Output;
use crate::message::Kind;
use crate::replica::{Replica, Role};
use crate::types::{Ballot, ReplicaId};

/// A hand-over under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    /// To whom.
    target: ReplicaId,
    /// Given up then, us.
    until_us: u64,
    /// Nothing is proposed until then, us, so that the target comes to have everything.
    closed_until_us: Option<u64>,
}

/// So many entries behind the last a target counts as about level.
const CLOSING_LAG_MAX: u64 = 2;

impl Transfer {
    /// Whether nothing may be proposed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed_until_us.is_some()
    }

    /// The earliest time at which a tick does anything about it, us.
    pub(crate) fn wake_us(&self) -> u64 {
        self.closed_until_us
            .map_or(self.until_us, |us| us.min(self.until_us))
    }
}

impl Replica {
    /// The owner wants another voter to lead.
    pub(crate) fn on_transfer_to(&mut self, target: ReplicaId, out: &mut Output) {
        let may = self.is_voter(target) && target != self.names.me;
        let until_us = self.now_us + self.settings.election_min_us;
        match &mut self.role {
            Role::Leader(leader)
                if may
                    && leader.ready
                    && leader.barrier.is_none()
                    && leader.wanted.is_none()
                    && leader.transfer.is_none() =>
            {
                leader.transfer = Some(Transfer {
                    target,
                    until_us,
                    closed_until_us: None,
                });
            }
            Role::Leader(_) | Role::Follower | Role::Asking(_) | Role::Candidate(_) => {
                out.refused = Some("no hand-over now");
            }
        }
    }

    /// Sends the hand-over once its target has everything. From then on no read rests on this ballot's lease.
    pub(crate) fn hand_over(&mut self, out: &mut Output) {
        let (now_us, chosen) = (self.now_us, self.chosen);
        let until_us = now_us + self.settings.election_min_us;
        let closed_until_us = now_us + self.settings.heartbeat_us / 2;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(transfer) = &mut leader.transfer else {
            return;
        };
        let target = transfer.target;
        let follower = leader.followers.iter().find(|f| f.id == target);
        let acked = follower.map(|follower| follower.acked);
        let has_all = acked >= Some(leader.last);
        let is_level = acked.is_some_and(|acked| acked.0 + CLOSING_LAG_MAX >= leader.last.0);
        if is_level && !transfer.is_closed() {
            transfer.closed_until_us = Some(closed_until_us);
        }
        // Before it may show anything itself, its release would hide that former leases last.
        let shows = now_us >= leader.phase1.visible_us;
        if leader.released || !has_all || leader.last > chosen || !shows {
            return;
        }
        leader.released = true;
        transfer.until_us = until_us;
        transfer.closed_until_us = Some(until_us);
        let ballot = leader.phase1.ballot;
        self.send_transfer(ballot, target, out);
    }

    /// Says what is chosen, and asks to campaign.
    pub(crate) fn send_transfer(&self, ballot: Ballot, target: ReplicaId, out: &mut Output) {
        self.send_beat(ballot, target, out);
        let log_ms = self.log_time.now_ms(self.now_us);
        let kind = Kind::Transfer { ballot, log_ms };
        out.send_first.push(self.names.message(target, kind));
    }

    /// A hand-over that takes too long: not sent yet, it is forgotten; sent, the lease is gone for good, so this
    /// replica campaigns for a new ballot.
    pub(crate) fn tick_transfer(&mut self, out: &mut Output) {
        let now_us = self.now_us;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if leader
            .transfer
            .is_none_or(|transfer| now_us < transfer.wake_us())
        {
            return;
        }
        leader.transfer = None;
        if leader.released {
            self.campaign(None, out);
        }
    }

    /// This replica is to lead.
    pub(crate) fn on_transfer(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        log_ms: u64,
        out: &mut Output,
    ) {
        if from != ballot.replica || ballot != self.promised || !self.may_campaign() {
            return;
        }
        self.see_log_ms(log_ms);
        self.campaign(Some(ballot), out);
    }
}
