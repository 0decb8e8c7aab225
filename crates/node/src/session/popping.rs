//! Commands that wait until a collection has something in it (BLPOP and kin, XREAD): try, wait to be called, try again
//! ([`crate::awaiting`]). A connection waits for one of them at a time, and nothing behind it runs.
//!
//! Keys of several shards are tried shard by shard, in their order; the wait is at all of them.

use super::access::Access;
use super::window::places_of;
use super::{Pending, Session, Step, Turn};
use crate::awaiting::{WAITS_PER_REQUEST_MAX, weight_of};
use crate::client::Unblock;
use crate::group::{Fate, Mode};
use crate::node::Node;
use crate::shard::Call;
use bytes::Bytes;
use cache::Sought;
use commands::{BlockShape, Blocks, Execute, Flags, Row};
use resp::{Args, Output, OwnedArgs, Protocol, Reply};
use std::collections::HashSet;

/// What CLIENT UNBLOCK ERROR makes of a request.
const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";

/// Trying at all shards may take so long though the request's time is over, us: what is there is worth more than an answer
/// on time, and what takes longer waits for a leader.
const TRY_US_MIN: u64 = 500_000;
/// Nobody says in time what has become of a try that a leader may have seen. To send another after it that takes it back would
/// be of no use, as that waits for the same leader; and to answer null would be to lose what it may still take.
const UNKNOWN: &[u8] = b"-CLUSTERDOWN The shard does not answer, and the timeout is over: \
    whether anything was taken is not known\r\n";
/// The same of a try that was taken back, of a request that never saw its keys empty: null would say that it had.
const UNSEEN: &[u8] = b"-CLUSTERDOWN The shard does not answer, and the timeout is over: \
    nothing was taken\r\n";
const TOO_MANY_KEYS: &[u8] = b"-ERR too many keys are waited for by one request\r\n";
const TOO_MANY_WAITS: &[u8] = b"-ERR too many keys are waited for at this node\r\n";

/// A request that waits, or tries.
pub(super) struct HalfPop {
    row: &'static Row,
    execute: Execute,
    /// The request, shard by shard: one part unless its keys live in several shards.
    parts: Vec<Part>,
    /// What it waits at: shard, key, and the wait's number there once it waits.
    keys: Vec<(usize, Bytes, u64)>,
    blocks: Blocks,
    db: u8,
    /// When its time is over, us; none = never.
    until_us: Option<u64>,
    /// When the present try began, us.
    tried_us: u64,
    /// What of the node's room for waits it has, once it waits.
    admitted: usize,
    stage: Stage,
}

/// The request for the keys of one shard.
struct Part {
    shard: usize,
    args: OwnedArgs,
}

enum Stage {
    /// This part is tried.
    Trying(usize),
    /// There was nothing: it waits. The null that it gets when its time is over.
    Waiting(Vec<u8>),
}

impl Session {
    /// Runs a command that may wait.
    pub(super) fn run_popping(
        &mut self,
        turn: Turn<'_>,
        (row, blocks): (&'static Row, Blocks),
        execute: Execute,
        args: Args<'_>,
        output: &mut Output,
    ) -> Step {
        let node = turn.node;
        let keys = blocks.keys(args);
        let (Ok(timeout_ms), false) = (blocks.timeout_ms(args), keys.is_empty()) else {
            // Its own function refuses it, whatever the keys hold.
            let call = self.call(turn, execute, args);
            self.run_nowhere(turn, call, output);
            return Step::Done;
        };
        let places = places_of(node, row, args);
        let shards = |position: usize| {
            let place = places
                .iter()
                .find(|place| place.position as usize == position);
            place.map_or(0, |place| place.shard as usize)
        };
        let is_spread = places.iter().any(|place| place.shard != places[0].shard);
        if is_spread && keys.len() < places.len() {
            // What it takes and where it puts it live apart: only without replicas is that one step.
            return self.run_spread(turn, (row, blocks), execute, args, output);
        }
        if let Some(refusal) = self.lacks_room(turn, row, args)
            && node.judges_room(shards(keys.start))
        {
            Reply::new(output, self.protocol).error(refusal);
            return Step::Done;
        }
        let is_solo = |shard: u32| node.mode(shard as usize) == Mode::Solo;
        if is_spread
            && blocks.shape == BlockShape::Streams
            && places.iter().all(|place| is_solo(place.shard))
        {
            // It takes nothing away from the next one: what is there of all of them is answered together.
            let mut tried = Output::new();
            self.run_data(turn, row, execute, args, &[], &mut Access::Free, &mut tried);
            let reply = tried.into_bytes();
            if !is_null(&reply) {
                output.tail_mut().extend_from_slice(&reply);
                return Step::Done;
            }
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut first = keys.start;
        for at in keys.clone() {
            if shards(at) != shards(first) {
                parts.push(Part {
                    shard: shards(first),
                    args: blocks.part(args, first..at),
                });
                first = at;
            }
        }
        parts.push(Part {
            shard: shards(first),
            args: blocks.part(args, first..keys.end),
        });
        let half = HalfPop {
            row,
            execute,
            parts,
            keys: keys
                .map(|at| (shards(at), Bytes::copy_from_slice(args.get(at)), 0))
                .collect(),
            blocks,
            db: self.db,
            until_us: until_us(turn, timeout_ms),
            tried_us: turn.now.monotonic_us,
            admitted: 0,
            stage: Stage::Trying(0),
        };
        self.begin_pop(turn, half, output)
    }

    /// A move between two shards.
    fn run_spread(
        &mut self,
        turn: Turn<'_>,
        (row, blocks): (&'static Row, Blocks),
        execute: Execute,
        args: Args<'_>,
        output: &mut Output,
    ) -> Step {
        let node = turn.node;
        let places = places_of(node, row, args);
        if let Some(refusal) = self.lacks_room(turn, row, args)
            && places
                .iter()
                .any(|place| node.judges_room(place.shard as usize))
        {
            Reply::new(output, self.protocol).error(refusal);
            return Step::Done;
        }
        let timeout_ms = blocks.timeout_ms(args).expect("looked at by the caller");
        let shard = places[0].shard as usize;
        let half = HalfPop {
            row,
            execute,
            parts: vec![Part {
                shard: usize::MAX,
                args: OwnedArgs::from_slices(&args.iter().collect::<Vec<_>>()),
            }],
            keys: vec![(shard, Bytes::copy_from_slice(args.get(1)), 0)],
            blocks,
            db: self.db,
            until_us: until_us(turn, timeout_ms),
            tried_us: turn.now.monotonic_us,
            admitted: 0,
            stage: Stage::Trying(0),
        };
        self.begin_pop(turn, half, output)
    }

    /// Tries for the first time.
    fn begin_pop(&mut self, turn: Turn<'_>, half: HalfPop, output: &mut Output) -> Step {
        if half.is_move(turn.node) {
            return self.try_move(turn, Box::new(half), output);
        }
        self.try_part(turn, &half, 0);
        self.wait_alone(turn, Pending::Pop(Box::new(half)), output)
    }

    /// Hands a part to its shard; the reply comes to slot 0.
    fn try_part(&mut self, turn: Turn<'_>, half: &HalfPop, part: usize) {
        let Part { shard, args } = &half.parts[part];
        if *shard == usize::MAX {
            let mut output = Output::new();
            let access = &mut Access::Free;
            self.run_data(
                turn,
                half.row,
                half.execute,
                args.args(),
                &[],
                access,
                &mut output,
            );
            let (_, ticket) = self.open_slot();
            ticket.fill_shared(output.into_bytes());
            return;
        }
        self.remember_reads_ahead(turn, [(half.row, args.args())].into_iter());
        let call = Call {
            db: half.db,
            ..self.call(turn, half.execute, args.args())
        };
        self.run_part(turn, half.row, call, *shard);
        turn.node.request_flush();
    }

    /// Goes on with a request that tries or waits.
    pub(super) fn go_on_pop(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfPop>,
        output: &mut Output,
    ) -> Step {
        loop {
            let [reply] = self.client.slots().await_next();
            let now_us = turn.now.monotonic_us;
            match half.stage {
                Stage::Trying(part) => {
                    let Some(reply) = reply else {
                        let deadline_us = half.deadline_us();
                        if deadline_us.is_some_and(|deadline| deadline <= now_us)
                            && let Some(reply) = self.give_up_try(turn, &half, part)
                        {
                            return self.end_pop(turn, *half, &reply, output);
                        }
                        self.pending = Some(Pending::Pop(half));
                        let is_over = |deadline: &u64| *deadline <= now_us;
                        return match deadline_us.filter(|deadline| !is_over(deadline)) {
                            None => Step::Replies,
                            until_us => Step::Wait { until_us },
                        };
                    };
                    let args = &mut half.parts[part].args;
                    let resolved = half.blocks.resolved(args.args(), &reply);
                    let reply = match (resolved, self.protocol) {
                        (None, _) => reply,
                        (Some(resolved), protocol) => {
                            *args = resolved;
                            match protocol {
                                Protocol::Resp2 => b"*-1\r\n".to_vec(),
                                Protocol::Resp3 => b"_\r\n".to_vec(),
                            }
                        }
                    };
                    if !is_null(&reply) {
                        return self.end_pop(turn, *half, &reply, output);
                    }
                    self.void_tickets();
                    if part + 1 < half.parts.len() {
                        half.stage = Stage::Trying(part + 1);
                        self.try_part(turn, &half, part + 1);
                    } else {
                        if let Err(refusal) = self.wait_for_call(turn, &mut half) {
                            return self.end_pop(turn, *half, refusal, output);
                        }
                        half.stage = Stage::Waiting(null_of_waiting(reply));
                        // Who waits hears meanwhile of what else it has read.
                        self.release_if_held(output);
                    }
                }
                Stage::Waiting(ref null) => {
                    let is_late = half.until_us.is_some_and(|until| until <= now_us);
                    // Who is about to try, or is late, is not to be unblocked any more.
                    let unblocked = match is_late || reply.is_some() {
                        true => self.client.end_block(),
                        false => self.client.take_unblock(),
                    };
                    let reply_now = match (reply.is_some(), unblocked) {
                        (_, Some(Unblock::Error)) => Some(UNBLOCKED.to_vec()),
                        (_, Some(Unblock::Timeout)) => Some(null.clone()),
                        (false, None) if is_late => Some(null.clone()),
                        (_, None) => None,
                    };
                    if let Some(reply) = reply_now {
                        return self.end_pop(turn, *half, &reply, output);
                    }
                    if reply.is_none() {
                        let until_us = half.until_us;
                        self.pending = Some(Pending::Pop(half));
                        return Step::Blocked { until_us };
                    }
                    self.void_tickets();
                    if half.is_move(turn.node) {
                        return self.try_move(turn, half, output);
                    }
                    half.stage = Stage::Trying(0);
                    half.tried_us = now_us;
                    self.try_part(turn, &half, 0);
                }
            }
        }
    }

    /// Tries to move an element between shards of which one has replicas.
    fn try_move(&mut self, turn: Turn<'_>, half: Box<HalfPop>, output: &mut Output) -> Step {
        let args = half.parts[0].args.clone();
        let moved = self.move_of(turn, half.row, args.args());
        let moved = moved.expect("it waits for its source alone");
        self.begin_move(turn, half.execute, args.args(), moved, Some(half), output)
    }

    /// There was nothing to move.
    pub(super) fn wait_after_move(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfPop>,
        null: Vec<u8>,
        output: &mut Output,
    ) -> Step {
        if let Err(refusal) = self.wait_for_call(turn, &mut half) {
            return self.end_pop(turn, *half, refusal, output);
        }
        half.stage = Stage::Waiting(null_of_waiting(null));
        self.go_on_pop(turn, half, output)
    }

    /// What a try is answered that takes too long: null, if it has not been sent to anybody and one before found nothing. None: its reply is about to come.
    fn give_up_try(&mut self, turn: Turn<'_>, half: &HalfPop, part: usize) -> Option<Vec<u8>> {
        let Part { shard, args } = &half.parts[part];
        if *shard == usize::MAX {
            return None;
        }
        let nothing = match (half.admitted, self.protocol) {
            (0, _) => UNSEEN,
            (_, Protocol::Resp2) => b"*-1\r\n",
            (_, Protocol::Resp3) => b"_\r\n".as_slice(),
        };
        if !half.row.flags.has(Flags::WRITE) {
            return Some(nothing.to_vec());
        }
        let number = self.queued_on(*shard).write;
        let timeout_at = half.blocks.timeout_at(args.args())?;
        let mut state = turn.node.lock(*shard);
        match state.withdraw_write(number, timeout_at) {
            Fate::Withdrawn => Some(nothing.to_vec()),
            Fate::Answered => None,
            Fate::Unknown => Some(UNKNOWN.to_vec()),
        }
    }

    /// Waits at all keys: the ticket is slot 0's. Refused, with nothing taken, if these are too many.
    fn wait_for_call(&mut self, turn: Turn<'_>, half: &mut HalfPop) -> Result<(), &'static [u8]> {
        let waited = match half.admitted {
            0 => Some(half.admit_waits(turn.node)?),
            _ => None,
        };
        let (_, ticket) = self.open_slot();
        let now_us = turn.now.monotonic_us;
        let mut sought = waited.into_iter().flatten();
        for (shard, key, number) in &mut half.keys {
            let mut state = turn.node.lock(*shard);
            match sought.next() {
                Some(sought) => {
                    let (db, key) = (half.db, key.clone());
                    *number = state.begin_wait(db, sought, key, ticket.clone(), now_us);
                }
                None => state.wait_again(*number, ticket.clone(), now_us),
            }
            drop(state);
            turn.node.cluster.set_wake_us(*shard, 0);
            turn.node.mark_dirty(*shard);
        }
        turn.node.request_flush();
        self.client.begin_block();
        Ok(())
    }

    /// The client is answered.
    pub(super) fn end_pop(
        &mut self,
        turn: Turn<'_>,
        half: HalfPop,
        reply: &[u8],
        output: &mut Output,
    ) -> Step {
        half.end_waits(turn.node, turn.now.monotonic_us);
        self.void_tickets();
        output.tail_mut().extend_from_slice(reply);
        if reply.starts_with(b"-") {
            turn.node.stats.failed(self.client.id, half.row.id());
            turn.node.stats.error(&reply[1..]);
        }
        Step::Done
    }
}

impl HalfPop {
    /// Whether its time is over.
    pub(super) fn is_late(&self, turn: Turn<'_>) -> bool {
        self.until_us
            .is_some_and(|until_us| until_us <= turn.now.monotonic_us)
    }

    /// Whether it moves something between shards of which one has replicas.
    fn is_move(&self, node: &Node) -> bool {
        let [Part { shard, args }] = &self.parts[..] else {
            return false;
        };
        let places = || places_of(node, self.row, args.args());
        *shard == usize::MAX
            && places()
                .iter()
                .any(|place| node.mode(place.shard as usize) == Mode::Grouped)
    }

    /// When the present try takes too long, us; none = never.
    fn deadline_us(&self) -> Option<u64> {
        self.until_us
            .map(|until_us| until_us.max(self.tried_us + TRY_US_MIN))
    }

    /// Takes room for its waits, of which each key has one for each thing that is sought there. Returns what is sought at each.
    fn admit_waits(&mut self, node: &Node) -> Result<Vec<Sought>, &'static [u8]> {
        let blocks = self.blocks;
        let sought = self.parts.iter().flat_map(|part| {
            let args = part.args.args();
            let keys = blocks.keys(args);
            keys.map(move |at| blocks.sought(args, at))
        });
        let mut seen = HashSet::new();
        let keys = std::mem::take(&mut self.keys).into_iter().zip(sought);
        let (keys, sought) = keys
            .filter(|((_, key, _), sought)| seen.insert((key.clone(), sought.clone())))
            .unzip();
        self.keys = keys;
        let count = self.keys.iter().map(|(_, key, _)| weight_of(key)).sum();
        if count > WAITS_PER_REQUEST_MAX {
            return Err(TOO_MANY_KEYS);
        }
        if !node.waits_count.admit(count) {
            return Err(TOO_MANY_WAITS);
        }
        self.admitted = count;
        Ok(sought)
    }

    /// The request is over, or its connection is: it waits nowhere any more.
    pub(super) fn end_waits(&self, node: &Node, now_us: u64) {
        node.waits_count.release(self.admitted);
        for (shard, _, number) in &self.keys {
            if *number > 0 {
                node.lock(*shard).end_wait(*number, now_us);
                node.cluster.set_wake_us(*shard, 0);
                node.mark_dirty(*shard);
            }
        }
        node.request_flush();
    }
}

/// What Redis answers when the time of any of these commands is over: a null array, even where the command itself
/// (BLMOVE inside MULTI) answers a null bulk.
fn null_of_waiting(null: Vec<u8>) -> Vec<u8> {
    if null == b"$-1\r\n" {
        b"*-1\r\n".to_vec()
    } else {
        null
    }
}

/// When a request's time is over, us; none = never.
fn until_us(turn: Turn<'_>, timeout_ms: Option<u64>) -> Option<u64> {
    let now_us = turn.now.monotonic_us;
    timeout_ms.map(|ms| now_us.saturating_add(ms.saturating_mul(1000)))
}

fn is_null(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n")
}
