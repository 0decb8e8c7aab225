//! Requests of one kind, in chunks of memory.

use super::Request;
use crate::entry::reserve_heads;
use crate::group::op::{self, OpHead, OpKind, encode};
use crate::slots::Ticket;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes that are worth a batch or a message though another one is on its way.
pub(crate) const BATCH_BYTES_MIN: usize = 32 << 10;
/// Bytes at which a chunk is closed.
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Memory that a chunk begins with at most, however large those before it were.
const USUAL_BYTES_MAX: usize = 4 << 10;
/// Operations of a chunk.
const CHUNK_OPS_MAX: u32 = 4096;
/// Forwarded bytes of a lane that may be unanswered: fewer than a leader has room for ([`super::forward`]), or it would
/// refuse, and all would be sent again and again.
const WINDOW_BYTES_MAX: usize = 8 << 20;
/// Forwarded requests of a lane that may be unanswered, but for the last chunk's.
const WINDOW_REQUESTS_MAX: u64 = 4096;

/// Requests of one kind.
///
/// Invariants: numbers of `waiting` are `first`, `first + 1` …; chunks follow each other without a gap and hold
/// `first` and all beyond; only the last may be open.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) first: u64,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) chunks: VecDeque<Chunk>,
    /// The last that was sent, or proposed, to whoever leads now.
    pub(super) sent: u64,
    /// Since when the first waits at its place, or when all were last to be sent again, us.
    pub(super) front_us: u64,
    /// Up to here the clients were told that it took too long.
    pub(super) given_up: u64,
    /// About what chunks came to be, bytes.
    pub(super) usual_bytes: usize,
    /// Room that a chunk keeps at its front for the heads of an entry.
    pub(super) reserve: usize,
    /// The last for which others wait, 0 = none: what goes up to it does not wait for answers.
    pub(super) urgent: u64,
    /// The last that was answered, or of which the leader said that it waits.
    pub(super) heard: u64,
}

#[derive(Debug)]
pub(super) enum Waiting {
    /// Not answered; the ticket is gone once the client was told that it took too long.
    Open {
        ticket: Option<Ticket>,
        queued_us: u64,
        /// Whether the leader said that it waits for a transaction: no others wait for its answer.
        is_due: bool,
    },
    Done,
}

/// Operations in one piece of memory.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Number of the first.
    pub(super) first: u64,
    pub(super) count: u32,
    /// The read that must be answered before any of them is sent; 0 = none.
    pub(super) behind: u64,
    /// Where the operations are.
    pub(super) ops: Range<usize>,
    pub(super) memory: Memory,
    /// Whether it is one script: no other operation is in the entry that comes of it.
    pub(super) is_script: bool,
}

#[derive(Debug)]
pub(super) enum Memory {
    Open(Vec<u8>),
    Sealed(Bytes),
}

impl Chunk {
    pub(super) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Open(bytes) => bytes,
            Memory::Sealed(bytes) => bytes,
        }
    }

    /// The bytes of the operations from number `from` on.
    pub(super) fn range_from(&self, from: u64) -> Range<usize> {
        let mut at = self.ops.start;
        for _ in self.first..from {
            at += op::peek(&self.bytes()[at..]).2;
        }
        at..self.ops.end
    }

    /// No more is added; the memory can be shared from now on.
    pub(super) fn seal(&mut self) -> &Bytes {
        if let Memory::Open(bytes) = &mut self.memory {
            self.memory = Memory::Sealed(std::mem::take(bytes).into());
        }
        match &self.memory {
            Memory::Sealed(bytes) => bytes,
            Memory::Open(_) => unreachable!("sealed above"),
        }
    }
}

/// Operations that are next to be sent.
pub(crate) struct Next {
    /// How many.
    pub count: u32,
    /// Their bytes.
    pub ops: NextOps,
}

/// Where they are.
pub(crate) enum NextOps {
    /// In memory that begins with room for an entry's heads, to be filled in, and may be appended to; give it back by
    /// [`Lane::sealed`].
    Fresh(Vec<u8>),
    /// In memory that was sent before.
    Shared(Bytes),
}

/// What answering a request gives free.
pub(super) struct Settled {
    pub(super) ticket: Option<Ticket>,
    pub(super) bytes: usize,
}

impl Lane {
    pub(super) fn new(reserve: usize) -> Self {
        Lane {
            first: 1,
            waiting: VecDeque::new(),
            chunks: VecDeque::new(),
            sent: 0,
            front_us: 0,
            given_up: 0,
            usual_bytes: 256,
            reserve,
            urgent: 0,
            heard: 0,
        }
    }

    /// The number of the last request that was queued, 0 before the first.
    pub fn last(&self) -> u64 {
        self.first + self.waiting.len() as u64 - 1
    }

    /// The lowest number that is not answered, less one: all up to here are.
    pub fn done(&self) -> u64 {
        self.first - 1
    }

    /// Whether request `number` is not answered yet.
    pub fn is_open(&self, number: u64) -> bool {
        number
            .checked_sub(self.first)
            .and_then(|place| self.waiting.get(place as usize))
            .is_some_and(|waiting| matches!(waiting, Waiting::Open { .. }))
    }

    pub(super) fn push(
        &mut self,
        request: Request<'_>,
        after: u64,
        behind: u64,
        bytes: usize,
        waiting: Waiting,
    ) -> u64 {
        let number = self.last() + 1;
        let is_script = request.kind == OpKind::Script;
        let fits = |chunk: &Chunk| {
            matches!(chunk.memory, Memory::Open(_))
                && !is_script
                && !chunk.is_script
                && behind == 0
                && chunk.count < CHUNK_OPS_MAX
                && chunk.ops.len() + bytes <= CHUNK_BYTES_MAX
        };
        if !self.chunks.back().is_some_and(fits) {
            let room = self.reserve + bytes.max(self.usual_bytes.min(USUAL_BYTES_MAX));
            let mut memory = Vec::with_capacity(room);
            if self.reserve > 0 {
                reserve_heads(&mut memory);
            }
            self.chunks.push_back(Chunk {
                first: number,
                count: 0,
                behind,
                ops: self.reserve..self.reserve,
                memory: Memory::Open(memory),
                is_script,
            });
        }
        let chunk = self.chunks.back_mut().expect("there is one now");
        let Memory::Open(memory) = &mut chunk.memory else {
            unreachable!("the last chunk is open")
        };
        let head = OpHead {
            kind: request.kind,
            db: request.db,
            flags: request.flags,
            seq: number,
            after,
        };
        encode(memory, head, request.args.iter());
        chunk.ops.end = memory.len();
        chunk.count += 1;
        if self.waiting.is_empty()
            && let Waiting::Open { queued_us, .. } = waiting
        {
            self.front_us = queued_us;
        }
        self.waiting.push_back(waiting);
        number
    }

    pub(super) fn settle(&mut self, number: u64, now_us: u64) -> Option<Settled> {
        let place = number.checked_sub(self.first)?;
        let waiting = self.waiting.get_mut(usize::try_from(place).ok()?)?;
        let Waiting::Open { ticket, .. } = std::mem::replace(waiting, Waiting::Done) else {
            return None;
        };
        self.heard = self.heard.max(number);
        let mut bytes = 0;
        while let Some(Waiting::Done) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
            self.front_us = now_us;
        }
        self.sent = self.sent.max(self.first - 1);
        while let Some(chunk) = self.chunks.front()
            && chunk.last() < self.first
        {
            bytes += chunk.ops.len();
            self.chunks.pop_front();
        }
        Some(Settled { ticket, bytes })
    }

    /// The leader said that a request waits for a transaction.
    pub(super) fn note_due(&mut self, number: u64) {
        let place = number.checked_sub(self.first).map(|place| place as usize);
        if let Some(Waiting::Open { is_due, .. }) =
            place.and_then(|place| self.waiting.get_mut(place))
        {
            *is_due = true;
            self.heard = self.heard.max(number);
        }
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.last()
    }

    pub(super) fn send_again(&mut self) {
        self.sent = self.done();
        self.heard = self.sent;
    }

    /// How long the first has been here, us, as far as it does not wait for a transaction.
    pub(super) fn waited_us(&self, now_us: u64) -> u64 {
        match self.waiting.front() {
            Some(Waiting::Open { is_due: true, .. }) => 0,
            Some(Waiting::Open { queued_us, .. }) => now_us.saturating_sub(*queued_us),
            Some(Waiting::Done) | None => 0,
        }
    }

    /// Whether what was sent and is not answered leaves the leader room for more.
    fn has_window(&self) -> bool {
        if self.sent - self.done() >= WINDOW_REQUESTS_MAX {
            return false;
        }
        let sent = self.chunks.iter().take_while(|one| one.first <= self.sent);
        sent.map(|chunk| chunk.ops.len()).sum::<usize>() < WINDOW_BYTES_MAX
    }

    /// Whether more is to be sent now. While something is on its way what comes next waits and gathers, unless it is much:
    /// a message costs more than what it carries.
    ///
    /// What belongs to a transaction goes at once: what is on its way may wait for that very transaction.
    pub(super) fn may_send(&self) -> bool {
        let is_answered = self.sent == self.done() || self.heard >= self.sent;
        self.sent < self.urgent
            || (is_answered || self.next_bytes() >= BATCH_BYTES_MIN) && self.has_window()
    }

    pub(super) fn place_of(&self, number: u64) -> Option<usize> {
        // What is not sent is at the end, mostly in the last chunk.
        let behind = self
            .chunks
            .iter()
            .rev()
            .take_while(|chunk| chunk.first > number)
            .count();
        self.chunks.len().checked_sub(behind + 1)
    }

    /// The chunk of the next write that may be sent.
    pub(super) fn next_place(&self, reads: &Lane) -> Option<usize> {
        if !self.has_unsent() {
            return None;
        }
        let place = self.place_of(self.sent + 1)?;
        (!reads.is_open(self.chunks[place].behind)).then_some(place)
    }

    /// Bytes of the chunk whose operations are the next to be sent.
    pub fn next_bytes(&self) -> usize {
        match self.has_unsent() {
            true => self
                .place_of(self.sent + 1)
                .map_or(0, |place| self.chunks[place].ops.len()),
            false => 0,
        }
    }

    pub(super) fn take_next(&mut self, place: usize) -> Next {
        let from = self.sent + 1;
        let chunk = &mut self.chunks[place];
        let count = (chunk.last() + 1 - from) as u32;
        self.sent = chunk.last();
        // Towards a little more than what chunks came to be.
        self.usual_bytes = (3 * self.usual_bytes + chunk.ops.len() * 5 / 4) / 4;
        let ops = match &mut chunk.memory {
            Memory::Open(bytes) if from == chunk.first => NextOps::Fresh(std::mem::take(bytes)),
            Memory::Open(_) | Memory::Sealed(_) => {
                let range = chunk.range_from(from);
                NextOps::Shared(chunk.seal().slice(range))
            }
        };
        Next { count, ops }
    }

    /// Gives back what [`NextOps::Fresh`] lent, with its heads filled in and maybe more behind its operations.
    pub fn sealed(&mut self, memory: Bytes) {
        let place = self.place_of(self.sent).expect("lent from here");
        self.chunks[place].memory = Memory::Sealed(memory);
    }

    /// The operations that [`Lane::sealed`] gave back.
    pub fn sealed_ops(&self) -> Bytes {
        let place = self.place_of(self.sent).expect("lent from here");
        let chunk = &self.chunks[place];
        match &chunk.memory {
            Memory::Sealed(bytes) => bytes.slice(chunk.ops.clone()),
            Memory::Open(_) => unreachable!("sealed before"),
        }
    }
}
