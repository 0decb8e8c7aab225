//! Entries behind an id, of several streams: XREAD, and XREADGROUP, which hands each entry to one consumer of a group.
//!
//! Run as data commands they do not wait, whatever BLOCK says ([`crate::blocking`]).

use super::id::{reply_id, strict};
use super::{
    READ, RO_ACCESS, Refusal, STREAM_ROW, edit_stream, no_group, notify, progress, reply_entry,
    reply_refusal, wall_now_ms,
};
use crate::access::integer;
use crate::blocking::{BlockShape, Blocks, whole_timeout_ms};
use crate::collection::{peek_collection, read_collection};
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::half_of_rest;
use crate::{Context, Flags, Row, Run};
use cache::{Changed, CollectionType, Key, Pending, Stream, StreamId, Vacant};
use resp::{Args, Output, Protocol, Reply};
use smallvec::SmallVec;

/// In the place of `$`: as that, but if there is nothing the answer tells, as a simple string, which ids it stood for.
/// Who waits asks so first; no client does.
pub(crate) const RESOLVE: &[u8] = b"\0$";

const UNBALANCED: ErrorText =
    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.";

const BLOCKS: Option<Blocks> = Some(Blocks {
    of: CollectionType::Stream,
    shape: BlockShape::Streams,
});

pub(super) const XREAD: Row = Row {
    name: "xread",
    arity: -4,
    flags: READ.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS),
    keys: &[half_of_rest("STREAMS", 1, RO_ACCESS)],
    summary: "Returns the entries of streams behind an id of each, or waits until there are any.",
    complexity: "O(log(N)+M) for each stream of N entries, M being returned",
    run: Run::Data(xread),
    blocks: BLOCKS,
    ..STREAM_ROW
};

pub(super) const XREADGROUP: Row = Row {
    name: "xreadgroup",
    arity: -7,
    flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS),
    keys: &[half_of_rest("STREAMS", 4, RO_ACCESS)],
    summary: "Hands a consumer the entries of streams that its group has not read, or its own pending ones, or waits until there are any.",
    complexity: "O(M*log(N)) for M entries handed out of N",
    run: Run::Data(xreadgroup),
    ..XREAD
};

/// A group, a consumer of it, and whether what it gets is pending until it is acknowledged.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    acknowledges: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    /// Entries of each stream at most.
    count_max: usize,
    /// XREADGROUP's.
    reader: Option<Reader<'a>>,
    keys: Args<'a>,
    ids: Args<'a>,
    streams_count: usize,
    /// It has a BLOCK.
    waits: bool,
}

impl<'a> Request<'a> {
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(args: Args<'a>, is_group: bool) -> Result<Self, ErrorText> {
        let (mut count_max, mut group, mut acknowledges) = (usize::MAX, None, true);
        let mut waits = false;
        let mut at = 1;
        while at < args.len() {
            let more = args.len() - at - 1;
            let is = |name: &[u8]| args.get(at).eq_ignore_ascii_case(name);
            if is(b"block") && more >= 1 {
                whole_timeout_ms(args.get(at + 1))?;
                waits = true;
                at += 1;
            } else if is(b"count") && more >= 1 {
                let count = integer(args.get(at + 1))?.max(0) as usize;
                count_max = if count == 0 { usize::MAX } else { count };
                at += 1;
            } else if is(b"streams") && more >= 1 {
                if !more.is_multiple_of(2) {
                    return Err(UNBALANCED);
                }
                if is_group && group.is_none() {
                    return Err("ERR Missing GROUP option for XREADGROUP");
                }
                let (keys, streams_count) = (args.from(at + 1), more / 2);
                return Ok(Request {
                    count_max,
                    reader: group.map(|(group, consumer)| Reader {
                        group,
                        consumer,
                        acknowledges,
                    }),
                    keys,
                    ids: keys.from(streams_count),
                    streams_count,
                    waits,
                });
            } else if is(b"group") && more >= 2 {
                if !is_group {
                    return Err(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    );
                }
                group = Some((args.get(at + 1), args.get(at + 2)));
                at += 2;
            } else if is(b"noack") {
                if !is_group {
                    return Err(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    );
                }
                acknowledges = false;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Err(SYNTAX)
    }

    fn streams(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let keys = self.keys.iter().take(self.streams_count);
        keys.zip(self.ids.iter())
    }
}

/// Starts the answer: each stream's name and its entries.
fn reply_streams(reply: &mut Reply<'_>, count: usize) {
    match reply.protocol() {
        Protocol::Resp2 => reply.array(count),
        Protocol::Resp3 => reply.map(count),
    }
}

fn reply_name(reply: &mut Reply<'_>, key: &[u8]) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

fn xread(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = Request::parse(args, false)
        .and_then(|request| read(ctx, request, reply))
        .map_err(Refusal::from);
    reply_refusal(reply, outcome);
}

/// # Errors
/// `WRONG_TYPE`, and arguments that are no ids.
fn read(
    ctx: &mut Context<'_>,
    request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let mut behind: SmallVec<[StreamId; 8]> = SmallVec::new();
    let mut is_resolving = false;
    for (key, id) in request.streams() {
        let key = ctx.key(key);
        let stream = read_collection::<Stream>(ctx, key)?;
        behind.push(match id {
            b"$" => stream.map_or(StreamId::MIN, Stream::last_id),
            RESOLVE if request.waits => {
                is_resolving = true;
                stream.map_or(StreamId::MIN, Stream::last_id)
            }
            b">" => {
                return Err(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                );
            }
            id => strict(id, 0)?,
        });
    }
    let mut served: SmallVec<[(&[u8], usize); 8]> = SmallVec::new();
    for ((bytes, _), behind) in request.streams().zip(&behind) {
        let key = ctx.key(bytes);
        let stream = read_collection::<Stream>(ctx, key)?;
        let first = stream.zip(behind.next());
        let rank = first.map(|(stream, first)| (stream.rank(first), stream.len()));
        if let Some((rank, len)) = rank
            && rank < len
        {
            served.push((bytes, rank));
        }
    }
    match (served.is_empty(), is_resolving) {
        (true, false) => reply.null_array(),
        (true, true) => {
            let ids = behind.iter().map(|id| format!("{}-{}", id.ms, id.seq));
            reply.simple(&ids.collect::<Vec<_>>().join(" "));
        }
        (false, _) => {
            reply_streams(reply, served.len());
            for (bytes, rank) in served {
                reply_name(reply, bytes);
                let key = ctx.key(bytes);
                let stream = peek_collection::<Stream>(ctx, key)?.expect("it was there");
                let count = (stream.len() - rank).min(request.count_max);
                reply.array(count);
                for entry in stream.iter_from(rank).take(count) {
                    reply_entry(reply, entry);
                }
            }
        }
    }
    Ok(())
}

fn xreadgroup(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = Request::parse(args, true)
        .map_err(Refusal::from)
        .and_then(|request| read_group(ctx, request, reply));
    reply_refusal(reply, outcome);
}

/// Which entries a consumer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// `>`: those that the group has not read.
    Fresh,
    /// Its own pending ones behind this id.
    Own(StreamId),
}

impl Asked {
    fn parse(id: &[u8]) -> Result<Self, ErrorText> {
        match id {
            b"$" => Err(
                "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
            ),
            b">" => Ok(Asked::Fresh),
            id => strict(id, 0).map(|id| match id {
                StreamId::MAX => Asked::Fresh,
                id => Asked::Own(id),
            }),
        }
    }
}

/// # Errors
/// `WRONG_TYPE`, no such group, and arguments that are no ids; nothing is handed out.
fn read_group(
    ctx: &mut Context<'_>,
    request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let reader = request.reader.expect("it is refused without one");
    let mut asked: SmallVec<[Asked; 8]> = SmallVec::new();
    for (bytes, id) in request.streams() {
        let key = ctx.key(bytes);
        let stream = read_collection::<Stream>(ctx, key)?;
        if stream.is_none_or(|stream| stream.group(reader.group).is_none()) {
            let behind = " in XREADGROUP with GROUP option";
            return Err(no_group(bytes, reader.group, behind));
        }
        asked.push(Asked::parse(id)?);
    }
    let mut served = Output::new();
    let mut part = Reply::new(&mut served, reply.protocol());
    let mut served_count = 0;
    for ((bytes, _), asked) in request.streams().zip(asked) {
        let key = ctx.key(bytes);
        served_count += usize::from(serve(ctx, key, (reader, asked), request, &mut part)?);
    }
    match served_count {
        0 => reply.null_array(),
        count => {
            reply_streams(reply, count);
            let tail = reply.output().tail_mut();
            tail.extend_from_slice(&served.into_bytes());
        }
    }
    Ok(())
}

/// Answers one stream's entries; false if there are none for the group.
///
/// # Errors
/// `WRONG_TYPE`.
fn serve(
    ctx: &mut Context<'_>,
    key: Key<'_>,
    (reader, asked): (Reader<'_>, Asked),
    request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<bool, ErrorText> {
    let now_ms = wall_now_ms(ctx);
    let served = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let group = stream.group(reader.group).expect("looked at by the caller");
        let top = stream.iter_back(stream.len()).next().map(|entry| entry.id);
        if asked == Asked::Fresh && top.is_none_or(|top| top <= group.last_id()) {
            return (None, Changed::No);
        }
        let made = stream.edit_group(reader.group, |group| {
            let is_there = group.consumer(reader.consumer).is_some();
            match is_there {
                true => group.see_consumer(reader.consumer, now_ms),
                false => drop(group.make_consumer(reader.consumer, now_ms)),
            }
            !is_there
        });
        reply_name(reply, key.bytes);
        match asked {
            Asked::Fresh => hand_out(stream, reader, request.count_max, now_ms, reply),
            Asked::Own(id) => show_own(stream, reader, (id, request.count_max), now_ms, reply),
        }
        (made, Changed::Yes)
    })?;
    let made = served.flatten();
    if made == Some(true) {
        notify(ctx, "xgroup-createconsumer", key);
    }
    Ok(made.is_some())
}

/// Answers the entries behind what the group has read, and notes who has them.
fn hand_out(
    stream: &mut Stream,
    reader: Reader<'_>,
    count_max: usize,
    now_ms: i64,
    reply: &mut Reply<'_>,
) {
    let group = stream.group(reader.group).expect("looked at by the caller");
    let consumer = group.consumer(reader.consumer).expect("made before");
    let consumer = consumer.number;
    let (mut last_id, mut entries_read) = (group.last_id(), group.entries_read());
    let rank = last_id.next().map_or(stream.len(), |id| stream.rank(id));
    let count = (stream.len() - rank).min(count_max);
    let mut ids = Vec::with_capacity(count);
    reply.array(count);
    for entry in stream.iter_from(rank).take(count) {
        last_id = entry.id;
        entries_read = progress::count_with(stream, entries_read, entry.id);
        ids.push(entry.id);
        reply_entry(reply, entry);
    }
    stream.edit_group(reader.group, |group| {
        group.set_position(last_id, entries_read);
        if !reader.acknowledges {
            return;
        }
        for id in ids {
            group.give(Pending {
                id,
                consumer,
                delivered_ms: now_ms,
                deliveries: 1,
            });
        }
    });
}

/// Answers a consumer's own pending entries behind an id; of such as are gone the id alone.
fn show_own(
    stream: &mut Stream,
    reader: Reader<'_>,
    (behind, count_max): (StreamId, usize),
    now_ms: i64,
    reply: &mut Reply<'_>,
) {
    let group = stream.group(reader.group).expect("looked at by the caller");
    let consumer = group.consumer(reader.consumer).expect("made before");
    let first = behind.next().expect("the highest id asks for fresh ones");
    let ids = group.ids_of(consumer.number, first).take(count_max);
    let ids: Vec<StreamId> = ids.collect();
    let mut shown = Vec::with_capacity(ids.len());
    reply.array(ids.len());
    for id in ids {
        match stream.get(id) {
            Some(entry) => {
                reply_entry(reply, entry);
                shown.push(id);
            }
            None => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        }
    }
    stream.edit_group(reader.group, |group| {
        for id in shown {
            let before = group.pending(id).expect("it is the consumer's");
            group.give(Pending {
                delivered_ms: now_ms,
                deliveries: before.deliveries.saturating_add(1),
                ..before
            });
        }
    });
}
