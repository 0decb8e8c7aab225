//! Entries that are added at the end and trimmed off the front: XADD, XTRIM.

use super::id::{Wanted, reply_id, strict};
use super::{
    RW_DELETE, STREAM_ROW, UPDATED_KEY, WRITE_GROWS_FAST, edit_stream, notify, wall_now_ms,
};
use crate::access::{integer, reply_integer};
use crate::errors::{ErrorText, SYNTAX};
use crate::keyspec::first_key;
use crate::{Context, Flags, Row, Run};
use cache::{Changed, Key, Stream, StreamId, Typed, Vacant};
use resp::{Args, Reply};

/// So many entries are trimmed together where `~` allows it: Redis's `stream-node-max-entries`.
const TOGETHER: usize = 100;
/// Entries that `~` trims at most unless LIMIT says otherwise.
const LIMIT_DEFAULT: usize = 100 * TOGETHER;

/// What is to be left of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// So many entries at most.
    MaxLen(usize),
    /// No entry below this id.
    MinId(StreamId),
}

/// How a stream is to be trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trim {
    bound: Bound,
    /// `~`: at most so many entries go, and only [`TOGETHER`]; 0 = no limit. None: just what the bound says.
    approximate: Option<usize>,
}

impl Trim {
    /// How many entries at the front go.
    fn count(&self, stream: &Stream) -> usize {
        let len = stream.len();
        let over = match self.bound {
            Bound::MaxLen(len_max) => len.saturating_sub(len_max),
            Bound::MinId(id) => stream.rank(id),
        };
        let Some(limit) = self.approximate else {
            return over;
        };
        let within = match limit {
            0 => over,
            limit => over.min(limit),
        };
        match within == len {
            true => len,
            false => within - within % TOGETHER,
        }
    }

    /// Trims; what went off, if anything did.
    fn run(&self, stream: &mut Stream) -> Option<(usize, Stream)> {
        let count = self.count(stream);
        (count > 0).then(|| (count, stream.cut_front(count)))
    }
}

/// The options before the id of XADD, and those of XTRIM.
#[derive(Debug, Default)]
struct Options {
    trim: Option<Trim>,
    makes_stream: bool,
    /// The id behind them, and where its fields begin; XADD's alone.
    wanted: Option<(Wanted, usize)>,
}

/// What is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Add,
    Trim,
}

impl Options {
    /// # Errors
    /// Redis's texts, in its order.
    fn parse(args: Args<'_>, command: Command) -> Result<Self, ErrorText> {
        let (mut bound, mut is_approximate, mut limit) = (None, false, None);
        let (mut makes_stream, mut wanted) = (true, None);
        let mut at = 2;
        while at < args.len() {
            let option = args.get(at);
            let has_more = at + 1 < args.len();
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if command == Command::Add && option == b"*" {
                wanted = Some((Wanted::Automatic, at + 1));
                break;
            } else if (is(b"maxlen") || is(b"minid")) && has_more {
                if bound.is_some() {
                    return Err(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    );
                }
                let sign = args.get(at + 1);
                is_approximate = at + 2 < args.len() && sign == b"~";
                at += 1 + usize::from(at + 2 < args.len() && (sign == b"~" || sign == b"="));
                bound = Some(parse_bound(option, args.get(at))?);
            } else if is(b"limit") && has_more {
                at += 1;
                let count = usize::try_from(integer(args.get(at))?);
                limit = Some(count.map_err(|_| "ERR The LIMIT argument must be >= 0.")?);
            } else if command == Command::Add && is(b"nomkstream") {
                makes_stream = false;
            } else if command == Command::Add {
                wanted = Some((Wanted::parse(option)?, at + 1));
                break;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        if bound.is_none() && limit.is_some_and(|limit| limit > 0) {
            return Err(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            );
        }
        if bound.is_none() && command == Command::Trim {
            return Err("ERR syntax error, XTRIM must be called with a trimming strategy");
        }
        if limit.is_some() && !is_approximate {
            return Err("ERR syntax error, LIMIT cannot be used without the special ~ option");
        }
        let trim = bound.map(|bound| Trim {
            bound,
            approximate: is_approximate.then(|| limit.unwrap_or(LIMIT_DEFAULT)),
        });
        Ok(Options {
            trim,
            makes_stream,
            wanted,
        })
    }
}

fn parse_bound(option: &[u8], value: &[u8]) -> Result<Bound, ErrorText> {
    if option.eq_ignore_ascii_case(b"minid") {
        return strict(value, 0).map(Bound::MinId);
    }
    let len_max = usize::try_from(integer(value)?);
    let len_max = len_max.map_err(|_| "ERR The MAXLEN argument must be >= 0.")?;
    Ok(Bound::MaxLen(len_max))
}

/// Lets go of what was trimmed, and tells listeners.
fn end_trim(ctx: &mut Context<'_>, key: Key<'_>, gone: Option<(usize, Stream)>) -> i64 {
    let Some((count, gone)) = gone else {
        return 0;
    };
    ctx.cache(key).let_go(gone.into_collection());
    notify(ctx, "xtrim", key);
    count as i64
}

pub(super) const XADD: Row = Row {
    name: "xadd",
    arity: -5,
    flags: WRITE_GROWS_FAST,
    keys: &[UPDATED_KEY],
    summary: "Adds an entry at the end of a stream, and trims its front if asked; answers the entry's id.",
    run: Run::Data(xadd),
    ..STREAM_ROW
};

fn xadd(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match add(ctx, args) {
        Ok(Some(id)) => reply_id(reply, id),
        Ok(None) => reply.null(),
        Err(text) => reply.error(text),
    }
}

/// None if there is no stream and none is to be made.
///
/// # Errors
/// Redis's texts, in its order.
fn add(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Option<StreamId>, ErrorText> {
    let options = Options::parse(args, Command::Add)?;
    let is_whole = |fields_at: usize| {
        let count = args.len() - fields_at;
        count >= 2 && count.is_multiple_of(2)
    };
    let wanted = options.wanted.filter(|(_, fields_at)| is_whole(*fields_at));
    let (wanted, fields_at) = wanted.ok_or("ERR wrong number of arguments for 'xadd' command")?;
    if wanted == Wanted::Given(StreamId::MIN) {
        return Err("ERR The ID specified in XADD must be greater than 0-0");
    }
    let (key, now_ms) = (ctx.first_key(args.get(1)), wall_now_ms(ctx));
    let vacant = match options.makes_stream {
        true => Vacant::Make,
        false => Vacant::Leave,
    };
    let added = edit_stream(ctx, key, vacant, |stream| {
        let last_id = stream.last_id();
        if last_id == StreamId::MAX {
            let refusal =
                "ERR The stream has exhausted the last possible ID, unable to add more items";
            return (Err(refusal), Changed::No);
        }
        let Some(id) = wanted.after(last_id, now_ms) else {
            let refusal =
                "ERR The ID specified in XADD is equal or smaller than the target stream top item";
            return (Err(refusal), Changed::No);
        };
        stream.push(id, args.from(fields_at).iter());
        let gone = options.trim.and_then(|trim| trim.run(stream));
        (Ok((id, gone)), Changed::Yes)
    })?;
    let Some(added) = added else {
        return Ok(None);
    };
    let (id, gone) = added?;
    notify(ctx, "xadd", key);
    end_trim(ctx, key, gone);
    Ok(Some(id))
}

pub(super) const XTRIM: Row = Row {
    name: "xtrim",
    arity: -4,
    flags: Flags::WRITE,
    keys: &[first_key(RW_DELETE)],
    summary: "Removes entries at the front of a stream, and counts them.",
    complexity: "O(log(N)) for N entries; what goes is freed later",
    run: Run::Data(xtrim),
    ..STREAM_ROW
};

fn xtrim(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply_integer(reply, trim(ctx, args));
}

/// # Errors
/// Those of the options, then `WRONG_TYPE`.
fn trim(ctx: &mut Context<'_>, args: Args<'_>) -> Result<i64, ErrorText> {
    let options = Options::parse(args, Command::Trim)?;
    let trim = options.trim.expect("without one it is refused");
    let key = ctx.first_key(args.get(1));
    let gone = edit_stream(ctx, key, Vacant::Leave, |stream| {
        let gone = trim.run(stream);
        let changed = match gone {
            Some(_) => Changed::Yes,
            None => Changed::No,
        };
        (gone, changed)
    })?;
    Ok(end_trim(ctx, key, gone.flatten()))
}
