//! What a node that does not lead does with its requests: sends them to whoever leads, again if need be.

use super::Work;
use super::requests::NextOps;
use crate::peers::Sent;
use crate::shard::Shard;
use crate::wire::{Forward, ForwardRefused, ForwardReply, PeerMessage};
use bytes::Bytes;
use paxos::NodeId;

/// After a refusal nothing is forwarded for so long, us.
const PAUSE_US: u64 = 10_000;

impl Shard {
    /// Who is asked when this replica does not lead.
    pub(super) fn leader_elsewhere(&self, work: &Work<'_>) -> Option<NodeId> {
        let (group, config) = (&self.group, self.group.replica.config());
        let is_member = config.voters.contains(&group.me) || config.learners.contains(&group.me);
        let heard = group.replica.leader().filter(|_| is_member);
        let leader = heard.map(|leader| leader.node);
        leader
            .or_else(|| work.cluster.leader(group.id))
            .filter(|node| *node != group.me.node)
    }

    /// Sends what waits to whoever leads.
    pub(super) fn forward(&mut self, work: &mut Work<'_>) {
        let Some(leader) = self.leader_elsewhere(work) else {
            return;
        };
        let group = &mut self.group;
        if group.target != Some(leader) {
            group.target = Some(leader);
            group.requests.send_again();
        }
        if work.now_us() < group.pause_until_us || !group.requests.has_unsent() {
            return;
        }
        let (id, origin) = (group.id, group.origin);
        let done_seq = group.requests.writes.done();
        let mut sent = Sent::Queued;
        let mut send = |ops: Bytes| {
            let forward = Forward {
                group: id,
                origin,
                done_seq,
                ops,
            };
            let outcome = work
                .cluster
                .peers
                .send(leader, &PeerMessage::Forward(forward));
            if outcome != Sent::Queued {
                sent = outcome;
            }
        };
        while let Some(ops) = group.requests.next_reads() {
            send(ops);
        }
        while group.requests.may_forward()
            && let Some(next) = group.requests.next_writes()
        {
            send(match next.ops {
                NextOps::Fresh(memory) => {
                    group.requests.writes.sealed(memory.into());
                    group.requests.writes.sealed_ops()
                }
                NextOps::Shared(ops) => ops,
            });
        }
        if sent != Sent::Queued {
            group.requests.send_again();
            group.pause_until_us = work.now_us() + PAUSE_US;
        }
    }

    /// Another leader has told of itself: its predecessor's refusal counts no longer.
    pub(crate) fn may_ask_again(&mut self) {
        self.group.pause_until_us = 0;
    }

    /// Answers to this node's requests.
    pub(crate) fn on_forward_reply(&mut self, reply: ForwardReply, work: &mut Work<'_>) {
        self.group.requests.resolve_all(reply.items, work.now_us());
        if self.group.requests.has_unsent() {
            work.cluster.mark_dirty(self.index());
        }
    }

    /// The node that was asked does not lead, or has not got what came before.
    pub(crate) fn on_forward_refused(
        &mut self,
        by: NodeId,
        refused: ForwardRefused,
        work: &mut Work<'_>,
    ) {
        let group = &mut self.group;
        if group.target != Some(by) {
            return;
        }
        group.requests.send_again();
        group.target = None;
        group.pause_until_us = work.now_us() + PAUSE_US;
        if work.cluster.leader(group.id) == Some(by) {
            work.cluster.set_leader(group.id, refused.leader);
        }
    }
}
