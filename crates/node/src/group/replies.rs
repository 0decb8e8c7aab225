//! Answers of a leader to other nodes that are not given yet: written as they leave, a message a node.

use super::origins::Stored;
use crate::wire::{AnswerBuffer, ForwardReply, PeerMessage, RequestKind};
use paxos::{GroupId, ReplicaId};

/// With so many bytes a message takes no further answer.
const FULL_BYTES: usize = 1 << 20;
/// Memory that a message's answers begin with at most, however large those before them were.
const USUAL_BYTES_MAX: usize = 16 << 10;

/// Answers to other nodes, in the order in which they came about.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    messages: Vec<Answered>,
    /// About what a message's answers came to be, bytes.
    usual_bytes: usize,
}

/// What one node is answered.
#[derive(Debug)]
struct Answered {
    to: ReplicaId,
    answers: AnswerBuffer,
}

impl Replies {
    /// Adds an answer.
    pub fn push(&mut self, to: ReplicaId, kind: RequestKind, number: u64, reply: &Stored) {
        match reply {
            Stored::Short(short) => self.push_short(to, kind, number, short),
            Stored::Long(long) => self.buffer(to).push_shared(kind, number, long.clone()),
        }
    }

    /// The same with an answer that is copied.
    #[inline]
    pub fn push_short(&mut self, to: ReplicaId, kind: RequestKind, number: u64, reply: &[u8]) {
        self.buffer(to).push(kind, number, reply);
    }

    fn buffer(&mut self, to: ReplicaId) -> &mut AnswerBuffer {
        let place = self.place(to).unwrap_or_else(|| {
            let answers = self.fresh();
            self.messages.push(Answered { to, answers });
            self.messages.len() - 1
        });
        &mut self.messages[place].answers
    }

    /// The message that the next answer to a node goes into, if there is one.
    fn place(&self, to: ReplicaId) -> Option<usize> {
        let has_room =
            |message: &Answered| message.to == to && message.answers.bytes() < FULL_BYTES;
        self.messages.iter().rposition(has_room)
    }

    fn fresh(&self) -> AnswerBuffer {
        AnswerBuffer::with_capacity(self.usual_bytes.min(USUAL_BYTES_MAX))
    }

    /// Lends the answers to one node, to which more are added; to be given back.
    pub fn lend(&mut self, to: ReplicaId) -> AnswerBuffer {
        match self.place(to) {
            Some(place) => self.messages.remove(place).answers,
            None => self.fresh(),
        }
    }

    /// Takes back what was lent.
    pub fn give_back(&mut self, to: ReplicaId, answers: AnswerBuffer) {
        if answers.count() > 0 {
            self.messages.push(Answered { to, answers });
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes the next message.
    pub fn take_next(&mut self, group: GroupId) -> Option<(ReplicaId, PeerMessage)> {
        let Answered { to, answers } = match self.messages.is_empty() {
            true => return None,
            false => self.messages.remove(0),
        };
        // Towards a little more than what they came to be.
        self.usual_bytes = (3 * self.usual_bytes + answers.bytes() * 5 / 4) / 4;
        let items = answers.finish();
        let message = PeerMessage::ForwardReply(ForwardReply { group, to, items });
        Some((to, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos::{Incarnation, NodeId};

    fn replica(node: u32) -> ReplicaId {
        ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(1),
        }
    }

    #[test]
    fn a_node_is_answered_in_one_message_until_that_is_full() {
        // Breaks if each answer were a message, or thousands of large values made one that no link takes.
        let mut replies = Replies::default();
        for number in 1..=3 {
            replies.push_short(replica(2), RequestKind::Read, number, b"+OK\r\n");
            replies.push_short(replica(3), RequestKind::Read, number, b"+OK\r\n");
        }
        let large = Stored::of(&vec![b'x'; FULL_BYTES]);
        replies.push(replica(2), RequestKind::Read, 4, &large);
        replies.push(replica(2), RequestKind::Read, 5, &large);
        let lent = replies.lend(replica(3));
        assert_eq!(lent.count(), 3);
        replies.give_back(replica(3), lent);
        let mut told = Vec::new();
        while let Some((to, message)) = replies.take_next(GroupId(1)) {
            let PeerMessage::ForwardReply(reply) = message else {
                panic!("{message:?}");
            };
            told.push((to.node.0, reply.items.count()));
        }
        told.sort_unstable();
        assert_eq!(told, [(2, 1), (2, 4), (3, 3)]);
        assert!(replies.is_empty());
    }
}
