//! LOCK.ACQUIRE, LOCK.RELEASE, LOCK.EXTEND: a lock with a queue, shared holders, holders that hang on a connection
//! ([`cache::Cache::acquire_lock`]). A lock that one holds is the pinned string that `SET key owner NX PX ttl` makes.

use crate::errors::{ErrorText, SYNTAX};
use crate::lock::{LOCK_ROW, may_be_lock};
use crate::string_options::TimeForm;
use crate::table::{Patience, first_key};
use crate::{Context, EventClass, Flags, KeyAccess, Row, Run};
use cache::{Acquired, LockMode, LockWait, OWNER_BYTES_MAX, Wish};
use resp::{Args, Reply, parse_i64};

/// The reply of a LOCK.ACQUIRE that was queued. The node that asked keeps it from the client, who is answered later.
pub const WAITING: &str = "WAITING";
/// The keyspace events of a grant: those of the `SET key owner PX ttl` that it amounts to.
pub const GRANT_EVENTS: [(EventClass, &str); 2] =
    [(EventClass::String, "set"), (EventClass::Generic, "expire")];

/// What a request's time in the queue is longer by than it asked for, as a divisor, and ms beside it. The node that
/// asked takes it out in time; this is for those whose node cannot.
const LATE_DIVISOR: u64 = 64;
const LATE_MS: u64 = 1000;

const NO_REQUEST: ErrorText =
    "ERR LOCK.ACQUIRE with SESSION cannot be part of a transaction or run under LOCK.GUARD";
const OWNER_TOO_LONG: ErrorText = "ERR the owner's name is longer than 256 bytes";
const QUEUE_FULL: ErrorText = "ERR too many clients wait for this lock";
const TABLE_FULL: ErrorText =
    "ERR the locks of this shard with queues, shared holders or sessions take too much memory";

pub(crate) const ACQUIRE: Row = Row {
    name: "lock.acquire",
    arity: -4,
    flags: Flags::WRITE
        .and(Flags::DENYOOM)
        .and(Flags::BLOCKING)
        .and(Flags::NOSCRIPT),
    keys: &[first_key(
        KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE),
    )],
    summary: "Acquires a lock for an owner and a time and returns its fence; waits for it if asked.",
    complexity: "O(log N) where N is the number of locks of the shard that have waiters, shared holders or sessions.",
    run: Run::Data(acquire),
    patience: Some(patience),
    blocks: None,
    ..LOCK_ROW
};

/// What LOCK.ACQUIRE is asked for beyond owner and time.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// 0 = as long as it takes; none = it does not wait.
    wait_ms: Option<u64>,
    is_session: bool,
    is_shared: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, ErrorText> {
        let mut options = Options::default();
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            if word.eq_ignore_ascii_case(b"wait") && options.wait_ms.is_none() {
                options.wait_ms = Some(wait_ms(rest.next().ok_or(SYNTAX)?)?);
            } else if word.eq_ignore_ascii_case(b"session") && !options.is_session {
                options.is_session = true;
            } else if word.eq_ignore_ascii_case(b"shared") && !options.is_shared {
                options.is_shared = true;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

/// A time to wait, ms.
fn wait_ms(argument: &[u8]) -> Result<u64, ErrorText> {
    let Some(ms) = parse_i64(argument) else {
        return Err("ERR timeout is not an integer or out of range");
    };
    match u64::try_from(ms) {
        Err(_) => Err("ERR timeout is negative"),
        // Its sum with the present time, in microseconds, must not overflow.
        Ok(ms) if ms > i64::MAX as u64 / 4000 => Err("ERR timeout is out of range"),
        Ok(ms) => Ok(ms),
    }
}

fn patience(args: Args<'_>) -> Option<Patience> {
    let options = Options::parse(args.from(4)).ok()?;
    let patience = Patience {
        wait_ms: options.wait_ms,
        is_session: options.is_session,
    };
    (patience.wait_ms.is_some() || patience.is_session).then_some(patience)
}

fn acquire(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if let Err(text) = try_acquire(ctx, args, reply) {
        reply.error(text);
    }
}

/// The order of refusals: syntax, the owner, the time.
fn try_acquire(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let options = Options::parse(args.from(4))?;
    let owner = owner(args.get(2))?;
    let invalid = "ERR invalid expire time in 'lock.acquire' command";
    let deadline_ms = TimeForm::Milliseconds.deadline_ms(ctx, args.get(3), invalid)?;
    if options.is_session && ctx.request.is_none() {
        return Err(NO_REQUEST);
    }
    let key = ctx.first_key(args.get(1));
    may_be_lock(ctx, key)?;
    let wish = Wish {
        request: ctx.request,
        owner,
        ttl_ms: deadline_ms - ctx.now_ms,
        mode: match options.is_shared {
            true => LockMode::Shared,
            false => LockMode::Exclusive,
        },
        is_session: options.is_session,
        wait: match options.wait_ms {
            None => LockWait::No,
            Some(0) => LockWait::Forever,
            Some(ms) => LockWait::Until(ctx.now_ms + ms + ms / LATE_DIVISOR + LATE_MS),
        },
    };
    match ctx.cache(key).acquire_lock(key, wish) {
        Acquired::Granted(fence) => {
            for (class, name) in GRANT_EVENTS {
                ctx.notify(class, name, key);
            }
            reply.integer(fence as i64);
        }
        Acquired::Refused => reply.null(),
        Acquired::Queued => reply.simple(WAITING),
        Acquired::QueueFull => return Err(QUEUE_FULL),
        Acquired::TableFull => return Err(TABLE_FULL),
    }
    Ok(())
}

fn owner(argument: &[u8]) -> Result<&[u8], ErrorText> {
    match argument.len() <= OWNER_BYTES_MAX {
        true => Ok(argument),
        false => Err(OWNER_TOO_LONG),
    }
}

pub(crate) const RELEASE: Row = Row {
    name: "lock.release",
    arity: 3,
    flags: Flags::WRITE.and(Flags::FAST).and(Flags::NOSCRIPT),
    keys: &[first_key(
        KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE),
    )],
    summary: "Ends what an owner holds of a lock; who waits gets it.",
    complexity: "O(log N) where N is the number of locks of the shard that have waiters, shared holders or sessions.",
    run: Run::Data(release),
    patience: None,
    blocks: None,
    ..ACQUIRE
};

fn release(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    if let Err(text) = may_be_lock(ctx, key) {
        return reply.error(text);
    }
    let released = ctx.cache(key).release_lock(key, args.get(2));
    if released {
        ctx.notify(EventClass::Generic, "del", key);
    }
    reply.integer(i64::from(released));
}

pub(crate) const EXTEND: Row = Row {
    name: "lock.extend",
    arity: 4,
    flags: Flags::WRITE.and(Flags::FAST).and(Flags::NOSCRIPT),
    keys: &[first_key(
        KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE),
    )],
    summary: "Lets what an owner holds of a lock end a time from now.",
    complexity: "O(log N) where N is the number of locks of the shard that have waiters, shared holders or sessions.",
    run: Run::Data(extend),
    patience: None,
    blocks: None,
    ..ACQUIRE
};

fn extend(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let invalid = "ERR invalid expire time in 'lock.extend' command";
    let deadline_ms = match TimeForm::Milliseconds.deadline_ms(ctx, args.get(3), invalid) {
        Ok(deadline_ms) => deadline_ms,
        Err(text) => return reply.error(text),
    };
    let key = ctx.first_key(args.get(1));
    if let Err(text) = may_be_lock(ctx, key) {
        return reply.error(text);
    }
    let ttl_ms = deadline_ms - ctx.now_ms;
    let extended = ctx.cache(key).extend_lock(key, args.get(2), ttl_ms);
    if extended {
        ctx.notify(EventClass::Generic, "expire", key);
    }
    reply.integer(i64::from(extended));
}

pub(crate) const INFO: Row = Row {
    name: "lock.info",
    arity: 2,
    flags: Flags::READONLY.and(Flags::FAST).and(Flags::NOSCRIPT),
    keys: &[first_key(KeyAccess::RO.and(KeyAccess::ACCESS))],
    summary: "Tells who holds a lock, under which fence and for how long, and who waits for it.",
    complexity: "O(N) where N is the number of those who share the lock.",
    run: Run::Data(info),
    patience: None,
    blocks: None,
    ..ACQUIRE
};

/// Holders, and as many waiting owners, that LOCK.INFO names; the others are counted.
const NAMED_MAX: usize = 128;

fn info(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    if let Err(text) = may_be_lock(ctx, key) {
        return reply.error(text);
    }
    let now_ms = ctx.now_ms;
    let Some(lock) = ctx.cache(key).lock_view(key, NAMED_MAX) else {
        return reply.null();
    };
    reply.map(5);
    reply.bulk(b"mode");
    reply.bulk(match (lock.mode, lock.holders_count) {
        (_, 0) => b"none",
        (LockMode::Exclusive, _) => b"exclusive",
        (LockMode::Shared, _) => b"shared",
    });
    reply.bulk(b"holding");
    reply.integer(lock.holders_count as i64);
    reply.bulk(b"holders");
    reply.array(lock.holders.len());
    for holder in &lock.holders {
        reply.map(4);
        reply.bulk(b"owner");
        reply.bulk(holder.owner);
        reply.bulk(b"fence");
        reply.integer(holder.fence as i64);
        reply.bulk(b"ttl");
        let left_ms = |at: u64| at.saturating_sub(now_ms) as i64;
        reply.integer(holder.expires_at.map_or(-1, left_ms));
        reply.bulk(b"session");
        reply.integer(i64::from(holder.is_session));
    }
    reply.bulk(b"waiting");
    reply.integer(lock.waiters_count as i64);
    reply.bulk(b"queue");
    reply.array(lock.waiters.len());
    for owner in &lock.waiters {
        reply.bulk(owner);
    }
}

#[cfg(test)]
mod tests;
