//! Replies that come later: where a connection keeps room for them, and the tickets by which others fill it in.
//!
//! A session that hands a request to a group's log or to another node takes a [`Ticket`] for it. Whoever learns the
//! reply (the task that applies the log, the one that reads a link) fills it in; the session's task is woken once, when
//! the last reply that it waits for is there.
//!
//! ```text
//!   session: open 0, 1, 2 ──▶ await 3 ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ▶ take ──▶ batch + 1
//!   others:            fill 1 … fill 0 … fill 2 (all there: rouse) ─ ─ ─ ─ ┘
//! ```
//!
//! A ticket whose client is gone, or whose batch is over, falls to the ground.

use crate::client::Client;
use bytes::Bytes;
use std::sync::Arc;

/// Replies shorter than this are copied even if they come as shared memory.
const SHARED_BYTES_MIN: usize = 4096;
/// Memory of a batch's short replies that is kept for the next batch.
const KEPT_BYTES_MAX: usize = 16 << 10;
/// Slots that are kept for the next batch.
const KEPT_SLOTS_MAX: usize = 1024;

/// The right to fill in one reply of one connection.
#[derive(Clone, Debug)]
pub struct Ticket {
    client: Arc<Client>,
    batch: u32,
    slot: u32,
}

impl Ticket {
    /// For slot `slot` of the batch that `client` has under way.
    pub fn new(client: Arc<Client>, batch: u32, slot: u32) -> Self {
        Ticket {
            client,
            batch,
            slot,
        }
    }

    /// Fills the reply in, in the protocol that the request asked for, and wakes the connection if it was the last that
    /// was missing. The second reply to one ticket is dropped.
    pub fn fill(&self, reply: &[u8]) {
        let complete = self.client.slots().put(self.batch, self.slot, reply);
        self.rouse(complete);
    }

    /// The same with memory that is shared; long replies are not copied.
    pub fn fill_shared(&self, reply: Bytes) {
        if reply.len() < SHARED_BYTES_MIN {
            return self.fill(&reply);
        }
        let complete = self.client.slots().put_shared(self.batch, self.slot, reply);
        self.rouse(complete);
    }

    fn rouse(&self, complete: Complete) {
        match complete {
            Complete::Now => self.client.rouse(),
            Complete::NotYet => {}
        }
    }
}

/// Whether what a connection waits for is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complete {
    /// With the reply that has just come.
    Now,
    /// Something is missing, or nobody waits yet.
    NotYet,
}

/// The replies of one batch of a connection.
///
/// Invariants:
/// - `filled` is the count of slots that are not missing;
/// - ranges lie in `short`;
/// - a slot is filled once; what comes for another batch changes nothing.
#[derive(Debug, Default)]
pub struct Slots {
    batch: u32,
    replies: Vec<Filled>,
    filled: usize,
    /// The short replies, in the order in which they came.
    short: Vec<u8>,
    /// The long ones, likewise.
    shared: Vec<Bytes>,
    shared_bytes: usize,
    /// How many replies the session waits for; none while it still opens slots.
    awaited: Option<usize>,
}

/// What has become of a slot: where in [`Slots::short`] its reply is. In 8 bytes, as there is one for each request that is
/// on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Filled {
    start: u32,
    /// [`Filled::SHARED`]: the reply is number `start` of [`Slots::shared`].
    end: u32,
}

impl Filled {
    /// No reply came.
    const MISSING: Filled = Filled {
        start: u32::MAX,
        end: 0,
    };
    const SHARED: u32 = u32::MAX;
}

/// A reply.
#[derive(Clone, Copy, Debug)]
pub enum SlotReply<'a> {
    /// A short one.
    Short(&'a [u8]),
    /// A long one.
    Shared(&'a Bytes),
}

impl<'a> SlotReply<'a> {
    /// Its bytes.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            SlotReply::Short(bytes) => bytes,
            SlotReply::Shared(bytes) => bytes,
        }
    }
}

impl Slots {
    /// The batch under way: what tickets must name.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Bytes of replies that came.
    pub fn bytes(&self) -> usize {
        self.short.len() + self.shared_bytes
    }

    /// Whether replies to the first `count` slots are there; if not, the connection is roused once they are.
    pub fn wait_for(&mut self, count: usize) -> bool {
        let there = self.filled >= count;
        self.awaited = (!there).then_some(count);
        there
    }

    /// The reply in `slot`, if it is there.
    #[inline]
    pub fn reply(&self, slot: u32) -> Option<SlotReply<'_>> {
        let filled = *self.replies.get(slot as usize)?;
        let start = filled.start as usize;
        match filled {
            Filled::MISSING => None,
            Filled {
                end: Filled::SHARED,
                ..
            } => Some(SlotReply::Shared(&self.shared[start])),
            Filled { end, .. } => Some(SlotReply::Short(&self.short[start..end as usize])),
        }
    }

    /// Its bytes.
    pub fn get(&self, slot: u32) -> Option<&[u8]> {
        self.reply(slot).map(SlotReply::bytes)
    }

    /// The replies to the first slots; the connection is roused when the next reply comes, to whatever slot.
    pub fn await_next<const N: usize>(&mut self) -> [Option<Vec<u8>>; N] {
        self.awaited = Some(self.filled + 1);
        std::array::from_fn(|slot| self.get(slot as u32).map(<[u8]>::to_vec))
    }

    /// Ends the batch: its replies are dropped, its tickets void.
    pub fn next_batch(&mut self) {
        self.batch = self.batch.wrapping_add(1);
        self.replies.clear();
        self.filled = 0;
        self.short.clear();
        self.shared = Vec::new();
        self.shared_bytes = 0;
        self.awaited = None;
        self.short.shrink_to(KEPT_BYTES_MAX);
        self.replies.shrink_to(KEPT_SLOTS_MAX);
    }

    fn put(&mut self, batch: u32, slot: u32, reply: &[u8]) -> Complete {
        if !self.is_missing(batch, slot) {
            return Complete::NotYet;
        }
        let start = self.short.len();
        match u32::try_from(start + reply.len()) {
            Ok(end) if end != Filled::SHARED => {
                self.short.extend_from_slice(reply);
                let start = start as u32;
                self.set(slot, Filled { start, end })
            }
            _ => self.put_shared(batch, slot, Bytes::copy_from_slice(reply)),
        }
    }

    fn put_shared(&mut self, batch: u32, slot: u32, reply: Bytes) -> Complete {
        if !self.is_missing(batch, slot) {
            return Complete::NotYet;
        }
        self.shared_bytes += reply.len();
        self.shared.push(reply);
        let start = self.shared.len() as u32 - 1;
        let end = Filled::SHARED;
        self.set(slot, Filled { start, end })
    }

    fn is_missing(&self, batch: u32, slot: u32) -> bool {
        batch == self.batch
            && self
                .replies
                .get(slot as usize)
                .is_none_or(|filled| *filled == Filled::MISSING)
    }

    fn set(&mut self, slot: u32, filled: Filled) -> Complete {
        let slot = slot as usize;
        if slot >= self.replies.len() {
            self.replies.resize(slot + 1, Filled::MISSING);
        }
        self.replies[slot] = filled;
        self.filled += 1;
        if self.awaited == Some(self.filled) {
            self.awaited = None;
            return Complete::Now;
        }
        Complete::NotYet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Arc<Client> {
        Arc::new(Client::new(1, String::new(), String::new(), 0))
    }

    fn ticket(client: &Arc<Client>, slot: u32) -> Ticket {
        let batch = client.slots().batch();
        Ticket::new(client.clone(), batch, slot)
    }

    #[test]
    fn the_last_missing_reply_wakes_the_connection_once() {
        // Breaks if a connection slept on after its last reply, or woke for each of a thousand.
        let client = client();
        let tickets: Vec<Ticket> = (0..3).map(|slot| ticket(&client, slot)).collect();
        tickets[1].fill(b":1\r\n");
        assert!(!client.slots().wait_for(3));
        tickets[2].fill(b":2\r\n");
        assert!(!client.wants_attention());
        tickets[0].fill(b":0\r\n");
        assert!(client.wants_attention());
        let mut slots = client.slots();
        assert!(slots.wait_for(3));
        let replies: Vec<&[u8]> = (0..3).filter_map(|slot| slots.get(slot)).collect();
        assert_eq!(replies, [b":0\r\n", b":1\r\n", b":2\r\n"]);
        assert_eq!(slots.bytes(), 12);
        slots.next_batch();
        assert_eq!((slots.bytes(), slots.get(0)), (0, None));
    }

    #[test]
    fn replies_that_came_before_the_wait_need_no_waking() {
        // Breaks if a reply that was there first were waited for, for ever.
        let client = client();
        ticket(&client, 0).fill(b"+OK\r\n");
        assert!(client.slots().wait_for(1));
        assert!(!client.wants_attention());
    }

    #[test]
    fn tickets_of_a_batch_that_is_over_and_second_replies_are_dropped() {
        // Breaks if an answer that comes late were taken for that of another request.
        let client = client();
        let late = ticket(&client, 0);
        client.slots().next_batch();
        late.fill(b"-late\r\n");
        late.fill_shared(Bytes::from(vec![b'l'; 8192]));
        assert_eq!(client.slots().get(0), None);
        let again = ticket(&client, 0);
        again.fill(b"+one\r\n");
        again.fill(b"+two\r\n");
        again.fill_shared(Bytes::from(vec![b'3'; 8192]));
        assert_eq!(client.slots().get(0), Some(&b"+one\r\n"[..]));
        assert!(!client.slots().wait_for(2));
    }

    #[test]
    fn long_replies_are_shared_and_short_ones_copied() {
        // Breaks if a value of megabytes were copied once more on its way, or a few bytes kept a large block alive.
        let client = client();
        let long = Bytes::from(vec![b'x'; 8192]);
        ticket(&client, 0).fill_shared(long.clone());
        ticket(&client, 1).fill_shared(long.slice(..10));
        let slots = client.slots();
        let shared = |slot| match slots.reply(slot) {
            Some(SlotReply::Shared(bytes)) => Some(bytes.as_ptr()),
            Some(SlotReply::Short(_)) | None => None,
        };
        assert_eq!(shared(0), Some(long.as_ptr()));
        assert_eq!(shared(1), None);
        assert_eq!(slots.get(1), Some(&long[..10]));
        assert_eq!(slots.bytes(), 8202);
    }
}
