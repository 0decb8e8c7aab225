//! What connections of this node wait for at one shard: requests that were queued there and are answered when something
//! happens, and what hangs on connections.
//!
//! Who waits has a ticket here under the number of its request. Whoever learns that the wait is over fills it in: that
//! wakes the connection, whose session finds out what to make of it ([`crate::Session`]). A session leaves by itself:
//! when it was answered, when its time is over, when its client is gone. In the latter two cases it says so through the
//! shard's log, and what cannot be said at once is said later (`owed`), so that nobody is left in a queue.
//!
//! As long as anything is here the shard's leader is asked, each second and whenever it changes, whether it still waits.
//! Answers get lost, leaders die; so nothing else is needed for a wait to end. And the leader learns that this node lives.
//! Of what hangs on connections it is asked in turn: locks end by their time or by others without a word to who held them.

use crate::client::Client;
use crate::group::LockWord;
use crate::slots::Ticket;
use bytes::Bytes;
use paxos::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a ticket is filled with when the wait may be over: the log is to be asked.
pub(crate) const SETTLED: &[u8] = b"+SETTLED\r\n";
/// Time between two questions, us.
const ASK_US: u64 = 1_000_000;
/// The same while none is answered.
const ASK_AGAIN_US: u64 = 200_000;
/// Least time between two questions, us.
const ASK_US_MIN: u64 = 20_000;
/// Words that wait for room in the shard's queue. More are not kept: what they are about ends with its time, or when the
/// leader hears nothing of this node.
const OWED_MAX: usize = 65_536;
/// Time until what found no room is tried again, us.
const OWE_AGAIN_US: u64 = 50_000;
/// Requests of one question, and as many locks that hang on connections.
const ASKED_MAX: usize = 1024;

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub db: u8,
    pub key: Bytes,
    /// Filled when the wait is over.
    pub ticket: Ticket,
    pub client: Arc<Client>,
    /// Whether what it waits for will hang on the connection.
    pub is_session: bool,
    /// Whether the shard said that the request stands in its queue.
    pub is_queued: bool,
    /// When it was asked for, us.
    pub asked_us: u64,
}

/// What hangs on a connection.
#[derive(Debug)]
struct Bound {
    db: u8,
    key: Bytes,
    client: Arc<Client>,
}

/// What the leader said.
pub(crate) struct Told {
    /// All that was asked about waits still, but these requests.
    pub settled: Vec<u64>,
    /// All that was asked about hangs on connections still, but these.
    pub ended: Vec<u64>,
}

/// Who waits here, and what hangs on connections, by number of the request.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    waiting: BTreeMap<u64, Waiting>,
    bound: BTreeMap<u64, Bound>,
    /// The number from which on `bound` is asked about next.
    bound_next: u64,
    owed: VecDeque<LockWord>,
    /// When what is owed may be tried, us.
    owed_at_us: u64,
    /// Whom the last question went to.
    leader: Option<NodeId>,
    /// When to ask next, us.
    ask_at_us: u64,
    /// A question asked at this time was answered, or nothing was here before it: until then at least the leader knew that
    /// this node lives, us.
    confirmed_us: u64,
}

impl Blocked {
    /// Whether nothing is here.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.bound.is_empty() && self.owed.is_empty()
    }

    /// When a tick does something, us.
    pub fn wake_us(&self) -> u64 {
        match (self.is_idle(), self.owed.is_empty()) {
            (true, _) => u64::MAX,
            (false, true) => self.ask_at_us,
            (false, false) => self.ask_at_us.min(self.owed_at_us),
        }
    }

    /// Somebody is about to wait.
    pub fn wait(&mut self, number: u64, waiting: Waiting) {
        self.begin(waiting.asked_us);
        self.waiting.insert(number, waiting);
    }

    fn begin(&mut self, now_us: u64) {
        if self.waiting.is_empty() && self.bound.is_empty() {
            self.confirmed_us = now_us;
            // At the next tick: the delay after which silence counts may be short.
            self.ask_at_us = now_us;
        }
    }

    /// The request stands in the shard's queue.
    pub fn note_queued(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.is_queued = true;
        }
    }

    /// Nobody waits for it any more.
    pub fn forget(&mut self, number: u64) {
        self.waiting.remove(&number);
    }

    /// It was granted, under a fence.
    pub fn grant(&mut self, number: u64, fence: u64) {
        self.end(number, format!(":{fence}\r\n").as_bytes());
    }

    fn end(&mut self, number: u64, reply: &[u8]) {
        if let Some(waiting) = self.waiting.remove(&number) {
            waiting.ticket.fill(reply);
            if waiting.is_session {
                let Waiting {
                    db, key, client, ..
                } = waiting;
                self.bound.insert(number, Bound { db, key, client });
            }
        }
    }

    /// What came of a request, asked for at `asked_us`, hangs on a connection.
    pub fn bind(&mut self, number: u64, db: u8, key: Bytes, client: Arc<Client>, asked_us: u64) {
        self.begin(asked_us);
        // The answer says that the leader knew then that this node lives.
        self.confirmed_us = self.confirmed_us.max(asked_us);
        self.bound.insert(number, Bound { db, key, client });
    }

    /// It does no longer.
    pub fn unbind(&mut self, number: u64) {
        self.bound.remove(&number);
    }

    /// Whether it does, as far as this node knows.
    pub fn is_bound(&self, number: u64) -> bool {
        self.bound.contains_key(&number)
    }

    /// Something is to be said to the shard as soon as there is room in its queue.
    pub fn owe(&mut self, word: LockWord) {
        if self.owed.len() < OWED_MAX {
            self.owed.push_back(word);
        }
    }

    /// The next of what is owed, if it is time to try.
    pub fn next_owed(&mut self, now_us: u64) -> Option<LockWord> {
        match self.owed_at_us <= now_us {
            true => self.owed.pop_front(),
            false => None,
        }
    }

    /// It could not be said. It is tried again a while later: nothing tells when there is room.
    pub fn owe_again(&mut self, word: LockWord, now_us: u64) {
        self.owed.push_front(word);
        self.owed_at_us = now_us + OWE_AGAIN_US;
    }

    /// Whether whoever leads is to be asked now.
    pub fn asks(&mut self, leader: Option<NodeId>, now_us: u64, lock_delay_ms: u64) -> bool {
        let is_new = self.leader != leader;
        self.leader = leader;
        let asks = is_new || now_us >= self.ask_at_us;
        if asks {
            self.ask_at_us = now_us + interval_us(lock_delay_ms).min(ASK_AGAIN_US);
        }
        asks
    }

    /// A link came up, or what was sent may be lost: asks at the next tick.
    pub fn ask_again(&mut self) {
        self.ask_at_us = 0;
    }

    /// What is waited for in the shard's queue.
    pub fn queued(&self) -> Vec<(u8, Bytes, u64)> {
        let queued = self.waiting.iter().filter(|(_, one)| one.is_queued);
        queued
            .map(|(number, one)| (one.db, one.key.clone(), *number))
            .collect()
    }

    /// Of what hangs on connections, what is to be asked about next: all of it in turn.
    pub fn next_bound(&mut self) -> Vec<(u8, Bytes, u64)> {
        let behind = self.bound.range(self.bound_next..).take(ASKED_MAX);
        let part: Vec<(u8, Bytes, u64)> = behind
            .map(|(number, one)| (one.db, one.key.clone(), *number))
            .collect();
        let last = part.last().filter(|_| part.len() == ASKED_MAX);
        self.bound_next = last.map_or(0, |(.., number)| number + 1);
        part
    }

    /// What is waited for in the shard's queue, in the parts of so many questions, at least one.
    pub fn queued_in_parts(&self) -> Vec<Vec<(u8, Bytes, u64)>> {
        let queued = self.queued();
        match queued.is_empty() {
            true => vec![queued],
            false => queued.chunks(ASKED_MAX).map(<[_]>::to_vec).collect(),
        }
    }

    /// The leader answered a question of `sent_us`.
    pub fn hear(&mut self, told: &Told, sent_us: u64, now_us: u64, lock_delay_ms: u64) {
        self.confirmed_us = self.confirmed_us.max(sent_us);
        self.ask_at_us = now_us + interval_us(lock_delay_ms);
        // Who was not confirmed for too long may have lost it by this node's silence: his client is to hear of that.
        if !self.is_unconfirmed(now_us, lock_delay_ms) {
            for number in &told.ended {
                self.bound.remove(number);
            }
        }
        for number in &told.settled {
            // What hangs on the connection does so once the log has said so.
            if let Some(waiting) = self.waiting.remove(number) {
                waiting.ticket.fill(SETTLED);
            }
        }
    }

    /// Nobody could end what hangs on connections but this node itself, until now.
    pub fn confirm_all(&mut self, now_us: u64) {
        self.confirmed_us = self.confirmed_us.max(now_us);
    }

    /// Ends the connections on which something hangs if nobody confirmed for half of the delay that it does: in the other
    /// half their clients learn of it, before anybody else can have it.
    pub fn end_unconfirmed(&self, now_us: u64, lock_delay_ms: u64) {
        if self.is_unconfirmed(now_us, lock_delay_ms) {
            for bound in self.bound.values() {
                bound.client.kill();
            }
        }
    }

    fn is_unconfirmed(&self, now_us: u64, lock_delay_ms: u64) -> bool {
        let patience_us = lock_delay_ms * 1000 / 2;
        lock_delay_ms > 0 && now_us.saturating_sub(self.confirmed_us) > patience_us
    }

    /// A ticket that nobody reads.
    pub fn nobody(&self) -> Ticket {
        let client = Client::new(0, String::new(), String::new(), 0);
        Ticket::new(Arc::new(client), u32::MAX, 0)
    }
}

/// Time between two questions that are answered, us. Connections are ended between two questions as well, so several must
/// fit into the delay.
fn interval_us(lock_delay_ms: u64) -> u64 {
    match lock_delay_ms {
        0 => ASK_US,
        ms => (ms * 1000 / 10).clamp(ASK_US_MIN, ASK_US),
    }
}

#[cfg(test)]
mod tests;
