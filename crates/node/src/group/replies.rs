//! Answers that a leader has worked out and not given yet: to this node's own requests and to those of others.

use super::origins::Stored;
use crate::wire::{ForwardReply, ForwardedReply, PeerMessage, RequestKind};
use bytes::Bytes;
use paxos::{GroupId, ReplicaId};
use std::ops::Range;

/// Answers to other nodes, in the order in which they came about; their short bytes in one piece.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    to: ReplicaId,
    kind: RequestKind,
    number: u64,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Short(Range<usize>),
    Long(Bytes),
}

impl Replies {
    /// Adds an answer.
    pub fn push(&mut self, to: ReplicaId, kind: RequestKind, number: u64, reply: &Stored) {
        match reply {
            Stored::Short(short) => self.push_short(to, kind, number, short),
            Stored::Long(long) => self.items.push(Item {
                to,
                kind,
                number,
                reply: Reply::Long(long.clone()),
            }),
        }
    }

    /// The same with an answer that is copied.
    pub fn push_short(&mut self, to: ReplicaId, kind: RequestKind, number: u64, reply: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(reply);
        self.items.push(Item {
            to,
            kind,
            number,
            reply: Reply::Short(start..self.bytes.len()),
        });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// Takes back all but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.items.truncate(count);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes them as one message a node, in order of nodes.
    pub fn take(&mut self, group: GroupId) -> Vec<(ReplicaId, PeerMessage)> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut items = std::mem::take(&mut self.items);
        // Stable: answers to one node stay in order.
        items.sort_by_key(|item| item.to);
        let one_node = |items: &[Item]| {
            let answers = items.iter().map(|item| ForwardedReply {
                kind: item.kind,
                number: item.number,
                reply: match &item.reply {
                    Reply::Short(range) => bytes.slice(range.clone()),
                    Reply::Long(long) => long.clone(),
                },
            });
            ForwardReply {
                group,
                to: items[0].to,
                items: answers.collect(),
            }
        };
        items
            .chunk_by(|one, next| one.to == next.to)
            .map(|items| (items[0].to, PeerMessage::ForwardReply(one_node(items))))
            .collect()
    }
}
