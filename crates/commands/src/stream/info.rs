//! What is known of a stream, its groups and their consumers: XINFO.

use super::id::reply_id;
use super::{
    NO_KEY, READ, RO_ACCESS, Refusal, STREAM_ROW, no_group_in_key, progress, reply_entry,
    reply_refusal, subcommand_syntax, wall_now_ms,
};
use crate::access::integer;
use crate::collection::read_collection;
use crate::errors::SYNTAX;
use crate::help::help_row;
use crate::keyspec::key_at;
use crate::{Category, Context, Row, Run};
use cache::{Consumer, Group, Stream, StreamEntry, StreamId};
use resp::{Args, Reply};

/// Elements that FULL shows of each list unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;
/// Entries of one of Redis's nodes: what its counts of nodes are told by, as a tree of Torc's has others.
const NODE_ENTRIES: usize = 100;

/// What the subcommands have in common.
const INFO_ROW: Row = Row {
    flags: READ,
    keys: &[key_at(2, RO_ACCESS)],
    ..STREAM_ROW
};

pub(super) const XINFO: Row = Row {
    name: "xinfo",
    arity: -2,
    categories: Category::NONE,
    summary: "Tells what is known of a stream, its groups and their consumers.",
    complexity: "That of the subcommand.",
    run: Run::Data(container),
    subcommands: &[
        Row {
            name: "consumers",
            arity: 4,
            summary: "Lists the consumers of a group.",
            complexity: "O(C*log(N)) for C consumers with N pending entries",
            run: Run::Data(consumers),
            ..INFO_ROW
        },
        Row {
            name: "groups",
            arity: 3,
            summary: "Lists the groups of a stream.",
            complexity: "O(G) for G groups",
            run: Run::Data(groups),
            ..INFO_ROW
        },
        help_row(crate::Group::Stream, "5.0.0"),
        Row {
            name: "stream",
            arity: -3,
            summary: "Tells what is known of a stream; of everything in it if asked.",
            complexity: "O(1), or O(N) for N elements shown",
            run: Run::Data(stream),
            ..INFO_ROW
        },
    ],
    ..STREAM_ROW
};

/// XINFO by itself runs nothing: its callers run the subcommand's row.
fn container(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.error(SYNTAX);
}

/// The stream at argument 2.
///
/// # Errors
/// No such key, `WRONG_TYPE`.
fn stream_of<'c>(ctx: &'c mut Context<'_>, args: Args<'_>) -> Result<&'c Stream, Refusal> {
    let key = ctx.first_key(args.get(2));
    let stream = read_collection::<Stream>(ctx, key)?;
    stream.ok_or(NO_KEY.into())
}

fn consumers(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = list_consumers(ctx, args, reply);
    reply_refusal(reply, outcome);
}

/// # Errors
/// Redis's texts, in its order.
fn list_consumers(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let now_ms = wall_now_ms(ctx);
    let group = stream_of(ctx, args)?.group(args.get(3));
    let group = group.ok_or_else(|| no_group_in_key(args.get(2), args.get(3)))?;
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(consumer.name);
        reply.bulk(b"pending");
        reply.integer(group.pending_len_of(consumer.number) as i64);
        reply.bulk(b"idle");
        reply.integer(now_ms.saturating_sub(consumer.seen_ms).max(0));
    }
    Ok(())
}

fn groups(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let stream = match stream_of(ctx, args) {
        Ok(stream) => stream,
        Err(refusal) => return reply_refusal(reply, Err(refusal)),
    };
    reply.array(stream.groups().len());
    for group in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(group.name());
        reply.bulk(b"consumers");
        reply.integer(group.consumers_len() as i64);
        reply.bulk(b"pending");
        reply.integer(group.pending_len() as i64);
        reply.bulk(b"last-delivered-id");
        reply_id(reply, group.last_id());
        reply_progress(reply, stream, group);
    }
}

/// How far a group has come.
fn reply_progress(reply: &mut Reply<'_>, stream: &Stream, group: &Group) {
    let read = group.entries_read().map(|read| read as i64);
    for (name, count) in [
        ("entries-read", read),
        ("lag", progress::lag(stream, group)),
    ] {
        reply.bulk(name.as_bytes());
        match count {
            Some(count) => reply.integer(count),
            None => reply.null(),
        }
    }
}

fn stream(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = tell_stream(ctx, args, reply);
    reply_refusal(reply, outcome);
}

/// How much XINFO STREAM tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Summary,
    /// Of each list at most so many elements.
    Full(usize),
}

impl Shown {
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(args: Args<'_>) -> Result<Self, Refusal> {
        let options = args.from(3);
        let is = |at: usize, name: &[u8]| options.get(at).eq_ignore_ascii_case(name);
        match options.len() {
            0 => Ok(Shown::Summary),
            1 if is(0, b"full") => Ok(Shown::Full(COUNT_DEFAULT)),
            3 if is(0, b"full") && is(1, b"count") => {
                let count = integer(options.get(2))?;
                Ok(Shown::Full(match usize::try_from(count) {
                    Ok(0) => usize::MAX,
                    Ok(count) => count,
                    Err(_) => COUNT_DEFAULT,
                }))
            }
            _ => Err(subcommand_syntax(args)),
        }
    }
}

/// # Errors
/// Redis's texts, in its order.
fn tell_stream(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let stream = stream_of(ctx, args)?;
    let shown = Shown::parse(args)?;
    reply.map(match shown {
        Shown::Summary => 10,
        Shown::Full(_) => 9,
    });
    let nodes = stream.len().div_ceil(NODE_ENTRIES);
    let inner = match nodes {
        0 => 1,
        nodes => nodes + 1,
    };
    reply_count(reply, "length", stream.len());
    reply_count(reply, "radix-tree-keys", nodes);
    reply_count(reply, "radix-tree-nodes", inner);
    reply_named_id(reply, "last-generated-id", stream.last_id());
    reply_named_id(reply, "max-deleted-entry-id", stream.max_deleted_id());
    reply_count(reply, "entries-added", stream.entries_added() as usize);
    reply_named_id(reply, "recorded-first-entry-id", stream.first_id());
    match shown {
        Shown::Summary => {
            reply_count(reply, "groups", stream.groups().len());
            reply.bulk(b"first-entry");
            reply_entry_or_null(reply, stream.at(0));
            reply.bulk(b"last-entry");
            reply_entry_or_null(reply, stream.iter_back(stream.len()).next());
        }
        Shown::Full(count_max) => {
            reply.bulk(b"entries");
            reply.array(stream.len().min(count_max));
            let entries = stream.iter_from(0).take(count_max);
            entries.for_each(|entry| reply_entry(reply, entry));
            reply.bulk(b"groups");
            reply.array(stream.groups().len());
            for group in stream.groups() {
                reply_group(reply, stream, group, count_max);
            }
        }
    }
    Ok(())
}

fn reply_count(reply: &mut Reply<'_>, name: &str, count: usize) {
    reply.bulk(name.as_bytes());
    reply.integer(count as i64);
}

fn reply_named_id(reply: &mut Reply<'_>, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    reply_id(reply, id);
}

fn reply_entry_or_null(reply: &mut Reply<'_>, entry: Option<StreamEntry<'_>>) {
    match entry {
        Some(entry) => reply_entry(reply, entry),
        None => reply.null(),
    }
}

/// A group with what is pending and its consumers, of each list at most so many elements; but all consumers.
fn reply_group(reply: &mut Reply<'_>, stream: &Stream, group: &Group, count_max: usize) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(group.name());
    reply_named_id(reply, "last-delivered-id", group.last_id());
    reply_progress(reply, stream, group);
    reply_count(reply, "pel-count", group.pending_len());
    reply.bulk(b"pending");
    reply.array(group.pending_len().min(count_max));
    for pending in group.pending_from(StreamId::MIN).take(count_max) {
        reply.array(4);
        reply_id(reply, pending.id);
        reply.bulk(group.name_of(pending.consumer).expect("it has a name"));
        reply.integer(pending.delivered_ms);
        reply.integer(pending.deliveries as i64);
    }
    reply.bulk(b"consumers");
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        reply_consumer(reply, group, consumer, count_max);
    }
}

fn reply_consumer(reply: &mut Reply<'_>, group: &Group, consumer: Consumer<'_>, count_max: usize) {
    let len = group.pending_len_of(consumer.number);
    reply.map(4);
    reply.bulk(b"name");
    reply.bulk(consumer.name);
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen_ms);
    reply_count(reply, "pel-count", len);
    reply.bulk(b"pending");
    reply.array(len.min(count_max));
    let ids = group.ids_of(consumer.number, StreamId::MIN);
    for id in ids.take(count_max) {
        let pending = group.pending(id).expect("it is the consumer's");
        reply.array(3);
        reply_id(reply, id);
        reply.integer(pending.delivered_ms);
        reply.integer(pending.deliveries as i64);
    }
}
