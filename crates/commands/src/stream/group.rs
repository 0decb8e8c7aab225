//! Groups of consumers themselves: XGROUP.

use super::id::{any, strict};
use super::{
    RW_DELETE, RW_INSERT, RW_UPDATE, Refusal, STREAM_ROW, edit_stream, no_group_in_key, notify,
    reply_refusal, subcommand_syntax, wall_now_ms,
};
use crate::access::integer;
use crate::errors::{ErrorText, SYNTAX};
use crate::help::help_row;
use crate::keyspec::key_at;
use crate::{Category, Context, Flags, Group, Row, Run};
use cache::{Changed, Stream, Typed, Vacant};
use resp::{Args, Reply};

const WRITE: Flags = Flags::WRITE;
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);

const NEEDS_KEY: ErrorText = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.";

pub(super) const XGROUP: Row = Row {
    name: "xgroup",
    arity: -2,
    categories: Category::NONE,
    summary: "Makes, changes and removes groups of consumers.",
    complexity: "That of the subcommand.",
    run: Run::Data(container),
    subcommands: &[
        Row {
            name: "create",
            arity: -5,
            flags: WRITE_GROWS,
            keys: &[key_at(2, RW_INSERT)],
            summary: "Makes a group, which reads on from an id.",
            complexity: "O(G) for G groups",
            run: Run::Data(create),
            ..STREAM_ROW
        },
        Row {
            name: "createconsumer",
            arity: 5,
            flags: WRITE_GROWS,
            keys: &[key_at(2, RW_INSERT)],
            since: "6.2.0",
            summary: "Makes a consumer of a group; 0 if it is there already.",
            complexity: "O(log(C)) for C consumers",
            run: Run::Data(create_consumer),
            ..STREAM_ROW
        },
        Row {
            name: "delconsumer",
            arity: 5,
            flags: WRITE,
            keys: &[key_at(2, RW_DELETE)],
            summary: "Removes a consumer with its pending entries, and counts them.",
            complexity: "O(M*log(N)) for M of N pending entries",
            run: Run::Data(delete_consumer),
            ..STREAM_ROW
        },
        Row {
            name: "destroy",
            arity: 4,
            flags: WRITE,
            keys: &[key_at(2, RW_DELETE)],
            summary: "Removes a group; 1 if it was there.",
            complexity: "O(G) for G groups; what is in it is freed later",
            run: Run::Data(destroy),
            ..STREAM_ROW
        },
        help_row(Group::Stream, "5.0.0"),
        Row {
            name: "setid",
            arity: -5,
            flags: WRITE,
            keys: &[key_at(2, RW_UPDATE)],
            summary: "Sets the id behind which a group reads on.",
            complexity: "O(log(G)) for G groups",
            run: Run::Data(set_id),
            ..STREAM_ROW
        },
    ],
    ..STREAM_ROW
};

/// XGROUP by itself runs nothing: its callers run the subcommand's row.
fn container(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.error(SYNTAX);
}

/// The options of CREATE and SETID.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(args: Args<'_>, may_make_stream: bool) -> Result<Self, Refusal> {
        let mut options = Options::default();
        let mut rest = args.from(5).iter();
        while let Some(option) = rest.next() {
            if may_make_stream && option.eq_ignore_ascii_case(b"mkstream") {
                options.makes_stream = true;
            } else if option.eq_ignore_ascii_case(b"entriesread") {
                let count = rest.next().ok_or_else(|| subcommand_syntax(args))?;
                let count = integer(count)?;
                if count < -1 {
                    return Err("ERR value for ENTRIESREAD must be positive or -1".into());
                }
                options.entries_read = u64::try_from(count).ok();
            } else {
                return Err(subcommand_syntax(args));
            }
        }
        Ok(options)
    }
}

/// Lends the stream that the arguments name, with the name of its group, which is there.
///
/// # Errors
/// `WRONG_TYPE`, no such key, no such group; nothing is changed.
fn edit_group<R>(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    change: impl FnOnce(&mut Stream, &[u8]) -> (Result<R, Refusal>, Changed),
) -> Result<R, Refusal> {
    let (key, name) = (ctx.first_key(args.get(2)), args.get(3));
    let edited = edit_stream(ctx, key, Vacant::Leave, |stream| {
        match stream.group(name).is_some() {
            true => change(stream, name),
            false => (Err(no_group_in_key(key.bytes, name)), Changed::No),
        }
    })?;
    edited.unwrap_or(Err(NEEDS_KEY.into()))
}

fn create(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match try_create(ctx, args) {
        Ok(()) => reply.ok(),
        refused => reply_refusal(reply, refused),
    }
}

/// # Errors
/// Redis's texts, in its order.
fn try_create(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(), Refusal> {
    let options = Options::parse(args, true)?;
    let (key, name) = (ctx.first_key(args.get(2)), args.get(3));
    let vacant = match options.makes_stream {
        true => Vacant::Make,
        false => Vacant::Leave,
    };
    let made = edit_stream(ctx, key, vacant, |stream| {
        if args.len() > 8 {
            return (Err(subcommand_syntax(args)), Changed::No);
        }
        let last_id = match args.get(4) {
            b"$" => Ok(stream.last_id()),
            text => strict(text, 0),
        };
        let last_id = match last_id {
            Ok(last_id) => last_id,
            Err(text) => return (Err(text.into()), Changed::No),
        };
        match stream.make_group(name, last_id, options.entries_read) {
            true => (Ok(()), Changed::Yes),
            false => {
                let refusal = "BUSYGROUP Consumer Group name already exists";
                (Err(refusal.into()), Changed::No)
            }
        }
    })?;
    made.unwrap_or(Err(NEEDS_KEY.into()))?;
    notify(ctx, "xgroup-create", key);
    Ok(())
}

fn set_id(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match try_set_id(ctx, args) {
        Ok(()) => reply.ok(),
        refused => reply_refusal(reply, refused),
    }
}

/// # Errors
/// Redis's texts, in its order.
fn try_set_id(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(), Refusal> {
    let options = Options::parse(args, false)?;
    edit_group(ctx, args, |stream, name| {
        if args.len() != 5 && args.len() != 7 {
            return (Err(subcommand_syntax(args)), Changed::No);
        }
        let last_id = match args.get(4) {
            b"$" => Ok(stream.last_id()),
            text => any(text, 0),
        };
        match last_id {
            Ok(id) => {
                stream.edit_group(name, |group| group.set_position(id, options.entries_read));
                (Ok(()), Changed::Yes)
            }
            Err(text) => (Err(text.into()), Changed::No),
        }
    })?;
    let key = ctx.first_key(args.get(2));
    notify(ctx, "xgroup-setid", key);
    Ok(())
}

fn destroy(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let (key, name) = (ctx.first_key(args.get(2)), args.get(3));
    let removed = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let removed = stream.remove_group(name);
        let changed = match removed {
            Some(_) => Changed::Yes,
            None => Changed::No,
        };
        (removed, changed)
    });
    match removed {
        Err(text) => reply.error(text),
        Ok(None) => reply.error(NEEDS_KEY),
        Ok(Some(None)) => reply.integer(0),
        Ok(Some(Some(gone))) => {
            ctx.cache(key).let_go(gone.into_collection());
            notify(ctx, "xgroup-destroy", key);
            reply.integer(1);
        }
    }
}

fn create_consumer(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let (consumer, now_ms) = (args.get(4), wall_now_ms(ctx));
    let made = edit_group(ctx, args, |stream, name| {
        let made = stream.edit_group(name, |group| {
            let is_new = group.consumer(consumer).is_none();
            if is_new {
                group.make_consumer(consumer, now_ms);
            }
            is_new
        });
        match made {
            Some(true) => (Ok(1), Changed::Yes),
            Some(false) | None => (Ok(0), Changed::No),
        }
    });
    if matches!(made, Ok(1)) {
        let key = ctx.first_key(args.get(2));
        notify(ctx, "xgroup-createconsumer", key);
    }
    reply_count(reply, made);
}

fn delete_consumer(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let consumer = args.get(4);
    let mut was_there = false;
    let removed = edit_group(ctx, args, |stream, name| {
        let removed = stream.edit_group(name, |group| group.remove_consumer(consumer));
        match removed.flatten() {
            Some(pending) => {
                was_there = true;
                (Ok(pending as i64), Changed::Yes)
            }
            None => (Ok(0), Changed::No),
        }
    });
    if was_there {
        let key = ctx.first_key(args.get(2));
        notify(ctx, "xgroup-delconsumer", key);
    }
    reply_count(reply, removed);
}

/// Answers a count, or why there is none.
fn reply_count(reply: &mut Reply<'_>, count: Result<i64, Refusal>) {
    match count {
        Ok(count) => reply.integer(count),
        Err(refusal) => reply_refusal(reply, Err(refusal)),
    }
}
