//! Replies that come later, seen from the session: holes in its output.
//!
//! A request that another node or a log answers leaves a hole where its reply belongs, and the requests after it go
//! on; what they answer at once waits behind the first hole. When the batch is through, or a request must not
//! overtake others, the session waits until all holes can be filled, and puts the replies in their places.
//!
//! ```text
//!   output | +PONG |                                   what is before the first hole may be written already
//!   behind         ◦ :7 :8 ◦ $3 foo                     ◦ = a hole, filled from one slot or put together from several
//! ```

use super::gathered::is_whole;
use super::transaction::runs_inside;
use super::{Session, Turn};
use crate::slots::{SlotReply, Slots, Ticket};
use commands::{Row, Run, Session as SessionCommand};
use resp::{Args, Mark, Output, Protocol, Reply, parse_i64, split_array, split_reply};
use smallvec::SmallVec;
use std::ops::Range;

/// Slots of one batch: so many answers may be on their way to a connection.
const SLOTS_MAX: u32 = 4096;
/// Bytes of requests that one connection may have handed over without an answer, about.
const HANDED_BYTES_MAX: usize = 4 << 20;
/// Bytes of replies that may wait behind a hole, about.
const BEHIND_BYTES_SOFT_MAX: usize = 1 << 20;
/// What a client is told when a part of its reply makes no sense: a bug in another node.
const BROKEN_PART: &str = "ERR the node that has the key sent no reply that can be read";

/// The holes of the batch under way.
#[derive(Default)]
pub(super) struct Holes {
    list: Vec<Hole>,
    /// What is behind the first hole; lent to the request that runs.
    behind: Option<Box<Output>>,
    batch: u32,
    slots_count: u32,
    /// Bytes of requests handed over.
    handed_bytes: usize,
    /// By shard, what of the batch's last requests there stands in its queue.
    queued: QueuedTable,
    /// A bit for each shard that the connection ever wrote to through its log: what WAIT asks about.
    written: Vec<u64>,
    /// Holes that were there before the running request.
    before_request: usize,
}

/// Numbers in a shard's queue; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queued {
    /// Of the last write.
    pub write: u64,
    /// Of the last read.
    pub read: u64,
}

/// [`Queued`] by shard: a hash table with open addressing, at most half full. Shards are dense numbers, so they are their
/// own hashes.
#[derive(Debug, Default)]
struct QueuedTable {
    /// None, or a power of two of them.
    places: Vec<(u32, Queued)>,
    count: usize,
}

impl QueuedTable {
    const PLACES_MIN: usize = 16;
    const VACANT: (u32, Queued) = (u32::MAX, Queued { write: 0, read: 0 });

    /// Where a shard is, or would be. There is a vacant place.
    #[inline]
    fn place(&self, shard: u32) -> usize {
        let mask = self.places.len() - 1;
        let mut at = shard as usize & mask;
        while self.places[at].0 != shard && self.places[at].0 != u32::MAX {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    fn get(&self, shard: u32) -> Queued {
        match self.places.is_empty() {
            true => Queued::default(),
            false => self.places[self.place(shard)].1,
        }
    }

    #[inline]
    fn get_mut(&mut self, shard: u32) -> &mut Queued {
        if 2 * (self.count + 1) > self.places.len() {
            self.grow();
        }
        let at = self.place(shard);
        let place = &mut self.places[at];
        if place.0 != shard {
            place.0 = shard;
            self.count += 1;
        }
        &mut place.1
    }

    #[cold]
    fn grow(&mut self) {
        let places_count = (2 * self.places.len()).max(Self::PLACES_MIN);
        let before = std::mem::replace(&mut self.places, vec![Self::VACANT; places_count]);
        for one in before {
            if one.0 != u32::MAX {
                let at = self.place(one.0);
                self.places[at] = one;
            }
        }
    }

    /// Keeps as many places as this batch needed.
    fn clear(&mut self) {
        if self.count > 0 {
            self.places
                .truncate((4 * self.count).next_power_of_two().max(Self::PLACES_MIN));
            self.places.fill(Self::VACANT);
            self.count = 0;
        }
    }
}

/// A place for a reply, or for several in a row.
struct Hole {
    /// Where in what is behind the first hole.
    at: Mark,
    row: &'static Row,
    fill: Fill,
    shown: Shown,
}

impl Hole {
    /// Takes in the reply in a slot, if it is a run of replies whose next slot that is; whether it did.
    #[inline]
    fn takes(&mut self, slot: u32) -> bool {
        let run = match &self.fill {
            Fill::Reply(last) => *last..last + 1,
            Fill::Replies(run) => run.clone(),
            Fill::Sum(_) | Fill::AllOk(_) | Fill::Gather { .. } => return false,
        };
        let follows = run.end == slot && self.shown == Shown::Yes;
        if follows {
            self.fill = Fill::Replies(run.start..slot + 1);
        }
        follows
    }
}

/// Whether the client is to see a reply (CLIENT REPLY).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

/// What a hole is filled with.
#[derive(Debug)]
pub(super) enum Fill {
    /// The reply in a slot, as it is.
    Reply(u32),
    /// Replies to requests one behind the other, as they are.
    Replies(Range<u32>),
    /// The sum of integers; the first error, if there is one.
    Sum(Range<u32>),
    /// OK, or the first error.
    AllOk(Range<u32>),
    /// The elements of arrays, in the order of the command's keys.
    Gather {
        /// The arrays.
        parts: Range<u32>,
        /// For each key, which of the arrays has it next.
        order: Box<[u32]>,
    },
}

/// Whether all holes are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    /// There is no hole left.
    Done,
    /// Replies are missing; the connection is roused when the last one is there.
    Waiting,
}

impl Holes {
    /// Whether the batch has holes.
    pub fn is_open(&self) -> bool {
        !self.list.is_empty()
    }

    /// Whether nothing more should be handed over before answers came.
    pub fn is_full(&self) -> bool {
        self.slots_count >= SLOTS_MAX
            || self.handed_bytes >= HANDED_BYTES_MAX
            || self.behind.as_ref().map_or(0, |behind| behind.len()) >= BEHIND_BYTES_SOFT_MAX
    }

    /// The batch's last requests on a shard.
    pub fn queued(&self, shard: u32) -> Queued {
        self.queued.get(shard)
    }

    /// The same, to take note of one.
    pub fn queued_mut(&mut self, shard: u32) -> &mut Queued {
        self.queued.get_mut(shard)
    }

    /// Takes note of the bytes of a request that was handed over.
    pub fn note_handed(&mut self, bytes: usize) {
        self.handed_bytes += bytes;
    }

    /// Takes note of a write that goes through a shard's log.
    pub fn note_written(&mut self, shard: usize) {
        let word = shard / 64;
        if word >= self.written.len() {
            self.written.resize(word + 1, 0);
        }
        self.written[word] |= 1 << (shard % 64);
    }

    /// Whether the connection wrote to a shard through its log.
    pub fn has_written(&self, shard: usize) -> bool {
        let word = self.written.get(shard / 64);
        word.is_some_and(|word| word >> (shard % 64) & 1 == 1)
    }

    /// How many slots were opened.
    pub fn slots_count(&self) -> u32 {
        self.slots_count
    }

    /// A request begins.
    pub fn begin_request(&mut self) {
        self.before_request = self.list.len();
    }

    /// The running request's replies are not to be seen.
    pub fn hide_request(&mut self) {
        for hole in &mut self.list[self.before_request..] {
            hole.shown = Shown::No;
        }
    }

    /// Forgets the batch, whose slots are void.
    fn end(&mut self, batch: u32) {
        self.batch = batch;
        self.slots_count = 0;
        self.before_request = 0;
        self.handed_bytes = 0;
        self.queued.clear();
        if let Some(behind) = &mut self.behind {
            behind.shrink();
        }
    }
}

impl Session {
    /// Whether replies are missing.
    #[inline]
    pub(super) fn has_holes(&self) -> bool {
        self.holes.as_ref().is_some_and(|holes| holes.is_open())
    }

    /// The holes, for a session whose replies begin to come later.
    pub(super) fn holes(&mut self) -> &mut Holes {
        self.holes.get_or_insert_with(|| {
            Box::new(Holes {
                batch: self.client.slots().batch(),
                ..Holes::default()
            })
        })
    }

    /// Whether a request may run while replies before its own are missing: it does nothing that others could tell
    /// from having overtaken them.
    pub(super) fn may_follow(&self, row: Option<&'static Row>, args: Args<'_>) -> bool {
        use SessionCommand as C;
        let Some(row) = row else {
            return true; // it is refused
        };
        if self.transaction.is_some() && !runs_inside(row) {
            return true; // it is queued
        }
        match row.run {
            // It waits alone.
            Run::Data(_)
                if row.blocks.is_some_and(|blocks| blocks.waits(args))
                    || self.patience_of(row, args).is_some() =>
            {
                false
            }
            // It may have to.
            Run::Data(_) if matches!(row.name, "lock.guard" | "msetnx") => false,
            Run::Data(_) if is_whole(row) && !is_of_one_slot(row, args) => false,
            Run::Data(_) => self.holes.as_ref().is_none_or(|holes| !holes.is_full()),
            Run::Session(command) => {
                matches!(command, C::Ping | C::Echo | C::Select | C::Multi | C::Time)
            }
            Run::Later => true,
        }
    }

    /// Nothing more is run before all replies are there.
    pub(super) fn await_replies(&mut self, turn: Turn<'_>, output: &mut Output) -> Filling {
        turn.node.request_flush();
        self.fill_holes(turn, output)
    }

    /// Opens a slot for a reply.
    pub(super) fn open_slot(&mut self) -> (u32, Ticket) {
        let holes = self.holes();
        let (batch, slot) = (holes.batch, holes.slots_count);
        holes.slots_count += 1;
        (slot, Ticket::new(self.client.clone(), batch, slot))
    }

    /// Takes the last slot back: nobody has its ticket.
    pub(super) fn close_last_slot(&mut self) {
        self.holes().slots_count -= 1;
    }

    /// Leaves a hole at the end of `output`, where the running request answers.
    pub(super) fn open_hole(&mut self, row: &'static Row, fill: Fill, output: &Output) {
        // On the short way no reply is hidden.
        let is_plain = self.plain;
        let holes = self.holes();
        let at = if holes.is_open() {
            output.mark()
        } else {
            // From here on it is what is behind the hole that is written to.
            holes.behind.get_or_insert_default().mark()
        };
        if is_plain
            && let Fill::Reply(slot) = fill
            && let Some(last) = holes.list.last_mut()
            && last.at == at
            && std::ptr::eq(last.row, row)
            && last.takes(slot)
        {
            return;
        }
        let shown = Shown::Yes;
        holes.list.push(Hole {
            at,
            row,
            fill,
            shown,
        });
        self.client.hold_pushes();
    }

    /// What is behind the first hole, to be written to by the next request and given back.
    pub(super) fn take_behind(&mut self) -> Box<Output> {
        self.holes().behind.take().unwrap_or_default()
    }

    /// Gives back what [`Session::take_behind`] took.
    pub(super) fn put_behind(&mut self, behind: Box<Output>) {
        self.holes().behind = Some(behind);
    }

    /// Fills the holes if all replies are there.
    pub(super) fn fill_holes(&mut self, turn: Turn<'_>, output: &mut Output) -> Filling {
        let Some(holes) = self.holes.as_deref_mut() else {
            return Filling::Done;
        };
        if !holes.is_open() {
            return Filling::Done;
        }
        let mut errors: SmallVec<[(&'static Row, Vec<u8>); 0]> = SmallVec::new();
        let mut slots = self.client.slots();
        if !slots.wait_for(holes.slots_count as usize) {
            return Filling::Waiting;
        }
        let behind = holes.behind.get_or_insert_default();
        for hole in holes.list.drain(..) {
            behind.move_front(hole.at, output);
            let mark = output.mark();
            if let Fill::Replies(run) = hole.fill {
                for slot in run {
                    let reply = write_reply(&slots, slot, output);
                    if let Some((b'-', text)) = reply.split_first() {
                        errors.push((hole.row, text.to_vec()));
                    }
                }
            } else {
                hole.fill.write(&slots, self.protocol, output);
                if output.since(mark) == Some(b'-') {
                    errors.push((hole.row, output.tail_since(mark)[1..].to_vec()));
                }
            }
            if hole.shown == Shown::No {
                output.rewind(mark);
            }
        }
        let end = behind.mark();
        behind.move_front(end, output);
        slots.next_batch();
        holes.end(slots.batch());
        drop(slots);
        for (row, text) in errors {
            turn.node.stats.failed(self.client.id, row.id());
            turn.node.stats.error(&text);
        }
        self.client.release_pushes(output);
        Filling::Done
    }

    /// The reply in a slot that a request which waits alone has opened, and the end of that batch; none if it is not
    /// there yet.
    pub(super) fn take_replies<R>(&mut self, read: impl FnOnce(&Slots) -> R) -> Option<R> {
        let holes = self.holes.as_deref_mut()?;
        assert!(!holes.is_open(), "who waits alone leaves no holes");
        let mut slots = self.client.slots();
        if !slots.wait_for(holes.slots_count as usize) {
            return None;
        }
        let result = read(&slots);
        slots.next_batch();
        holes.end(slots.batch());
        Some(result)
    }

    /// Copies of the replies in the first slots, so many as were asked for, which may be none.
    pub(super) fn take_answers(&mut self, count: usize) -> Option<Vec<Vec<u8>>> {
        if count == 0 {
            return Some(Vec::new());
        }
        self.take_replies(|slots| {
            let answers = (0..count as u32).map(|slot| slots.get(slot).unwrap_or_default());
            answers.map(<[u8]>::to_vec).collect()
        })
    }

    /// The connection ends, or what it waits for is not wanted any more: tickets that are out are void.
    pub(super) fn void_tickets(&mut self) {
        if let Some(holes) = self.holes.as_deref_mut() {
            holes.list.clear();
            holes.behind = None;
            let mut slots = self.client.slots();
            slots.next_batch();
            holes.end(slots.batch());
        }
    }
}

impl Fill {
    /// Writes the reply.
    pub fn write(&self, slots: &Slots, protocol: Protocol, output: &mut Output) {
        match self {
            Fill::Reply(slot) => {
                write_reply(slots, *slot, output);
            }
            Fill::Replies(run) => run.clone().for_each(|slot| {
                write_reply(slots, slot, output);
            }),
            Fill::Sum(parts) => {
                if let Some(sum) = sum_of(slots, parts.clone(), protocol, output) {
                    Reply::new(output, protocol).integer(sum);
                }
            }
            Fill::AllOk(parts) => {
                if !write_error(slots, parts.clone(), output) {
                    Reply::new(output, protocol).ok();
                }
            }
            Fill::Gather { parts, order } => {
                if !write_error(slots, parts.clone(), output) {
                    let mark = output.mark();
                    if gather(slots, parts, order, protocol, output).is_none() {
                        output.rewind(mark);
                        Reply::new(output, protocol).error(BROKEN_PART);
                    }
                }
            }
        }
    }
}

/// Writes the reply in a slot, and returns it.
#[inline]
fn write_reply<'a>(slots: &'a Slots, slot: u32, output: &mut Output) -> &'a [u8] {
    let reply = slots.reply(slot).expect("all slots are filled");
    match reply {
        SlotReply::Short(short) => output.tail_mut().extend_from_slice(short),
        SlotReply::Shared(shared) => output.push_shared(shared.clone()),
    }
    reply.bytes()
}

/// Writes the first error among the parts; whether there was one.
fn write_error(slots: &Slots, mut parts: Range<u32>, output: &mut Output) -> bool {
    let error = parts.find(|slot| {
        slots
            .get(*slot)
            .is_some_and(|reply| reply.starts_with(b"-"))
    });
    if let Some(slot) = error {
        write_reply(slots, slot, output);
    }
    error.is_some()
}

/// The sum of the parts; none if an error was written instead.
fn sum_of(
    slots: &Slots,
    parts: Range<u32>,
    protocol: Protocol,
    output: &mut Output,
) -> Option<i64> {
    if write_error(slots, parts.clone(), output) {
        return None;
    }
    let sum = parts
        .map(|slot| integer_of(slots.get(slot)?))
        .try_fold(0i64, |sum, part| sum.checked_add(part?));
    if sum.is_none() {
        Reply::new(output, protocol).error(BROKEN_PART);
    }
    sum
}

/// The number of a reply `:n`.
pub(super) fn integer_of(reply: &[u8]) -> Option<i64> {
    parse_i64(reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
}

/// Whether a command's keys cannot live apart.
fn is_of_one_slot(row: &Row, args: Args<'_>) -> bool {
    let mut positions = commands::KeyPositions::new();
    // Arguments that do not tell their keys are refused by the command itself.
    if commands::keys_of(row, args, &mut positions).is_err() {
        return true;
    }
    let mut slots = positions.iter().map(|at| placement::slot_of(args.get(*at)));
    let first = slots.next();
    slots.all(|slot| Some(slot) == first)
}

fn gather(
    slots: &Slots,
    parts: &Range<u32>,
    order: &[u32],
    protocol: Protocol,
    output: &mut Output,
) -> Option<()> {
    let mut rests: SmallVec<[&[u8]; 16]> = parts
        .clone()
        .map(|slot| split_array(slots.get(slot)?))
        .collect::<Option<_>>()?;
    Reply::new(output, protocol).array(order.len());
    for part in order {
        let rest = rests.get_mut(*part as usize)?;
        let (element, after) = split_reply(rest)?;
        output.tail_mut().extend_from_slice(element);
        *rest = after;
    }
    Some(())
}

#[cfg(test)]
mod tests;
