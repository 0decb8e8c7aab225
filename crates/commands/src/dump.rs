//! DUMP and RESTORE: a value as bytes that any Redis understands.
//!
//! A payload is a value in the form of Redis's RDB files and a trailer:
//!
//! ```text
//! +------+---------------------+---------------+----------------------+
//! | type | value               | version (u16) | checksum (u64)       |
//! +------+---------------------+---------------+----------------------+
//!                               little-endian   CRC-64/Redis of all before it, little-endian
//! ```
//!
//! A value is made of strings and counts. Both begin with a length, whose first byte tells how it is written:
//!
//! ```text
//! 00nnnnnn                       n bytes follow
//! 01nnnnnn nnnnnnnn              n bytes follow (big-endian)
//! 10000000 u32, 10000001 u64     as many bytes follow (big-endian)
//! 11000000 i8, 11000001 i16, 11000010 i32    the integer itself (little-endian); strings only
//! 11000011 length length bytes   LZF: packed length, plain length, packed bytes; strings only
//! ```
//!
//! The value "1" is `00 c0 01 0a 00` and eight bytes of checksum; the list of "a" and "b" begins `01 02 01 61 01 62`.
//! [`kind`] lists the types. What is written are the plain forms, which are the oldest; [`read`](mod@read) and [`packed`] know those of
//! later versions as well.

mod kind;
mod packed;
mod read;
mod stream;
mod write;

use self::read::Unreadable;
use crate::{
    Category, Context, EventClass, Flags, KeyAccess, Row, Run,
    errors::{NOT_INTEGER, SYNTAX},
    expire::{log_deadline_ms, wall_now_ms},
    key::{Look, ROW, read},
    table::first_key,
};
use bytes::Bytes;
use cache::{OwnedEntry, Pin, StringForm, Value};
use crc::{CRC_64_REDIS, Crc, Table};
use resp::{Args, Reply, parse_i64};

const RESTORED: Row = Row {
    arity: -4,
    flags: Flags::WRITE.and(Flags::DENYOOM),
    keys: &[first_key(KeyAccess::OW.and(KeyAccess::UPDATE))],
    categories: Category::KEYSPACE.and(Category::DANGEROUS),
    complexity: "O(N) in the payload's bytes",
    run: Run::Data(restore),
    ..ROW
};

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row {
        name: "dump",
        arity: 2,
        flags: Flags::READONLY,
        keys: &[first_key(KeyAccess::RO.and(KeyAccess::ACCESS))],
        since: "2.6.0",
        summary: "Answers a key's value as bytes that RESTORE takes.",
        complexity: "O(N) in the value's bytes",
        run: Run::Data(dump),
        ..ROW
    },
    Row {
        name: "restore",
        since: "2.6.0",
        summary: "Makes a key from the bytes that DUMP answered.",
        ..RESTORED
    },
    Row {
        name: "restore-asking",
        flags: RESTORED.flags.and(Flags::ASKING),
        since: "3.0.0",
        summary: "RESTORE within a cluster's own migration of keys.",
        ..RESTORED
    },
];

/// The version that payloads of ours carry: that of Redis 7.0, so that it and all later ones restore
/// them. What is written has the same form in all.
const VERSION: u16 = 10;
/// The newest version that is read: that of Redis 7.4.
const VERSION_MAX: u16 = 12;
const TRAILER_BYTES: usize = 10;
static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

fn dump(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    match read(ctx, key, Look::Access) {
        Some(entry) => reply.bulk_shared(&Bytes::from(payload_of(&entry.value))),
        None => reply.null(),
    }
}

/// The payload of a value.
fn payload_of(value: &Value<'_>) -> Vec<u8> {
    let mut payload = write::content_of(value);
    payload.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = CHECKSUM.checksum(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

fn restore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if let Err(text) = try_restore(ctx, args) {
        return reply.error(text);
    }
    reply.ok();
}

/// RESTORE, in Redis's order of checks: options, key, time, checksum, content.
fn try_restore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(), &'static str> {
    let options = RestoreOptions::parse(args)?;
    let key = ctx.first_key(args.get(1));
    if !options.replaces && ctx.cache(key).get(key).is_some() {
        return Err("BUSYKEY Target key name already exists.");
    }
    let ttl_ms = parse_i64(args.get(2)).ok_or(NOT_INTEGER)?;
    if ttl_ms < 0 {
        return Err("ERR Invalid TTL value, must be >= 0");
    }
    let content = checked_content(args.get(3))?;
    let value = match read::value_of(content) {
        Ok(value) => value,
        Err(Unreadable::Malformed) => return Err("ERR Bad data format"),
        Err(Unreadable::Unknown) => {
            return Err("ERR RESTORE of this type is not supported by this version of Torc");
        }
    };
    let expires_at = match (ttl_ms, options.base) {
        (0, _) => None,
        (ttl_ms, base) => {
            let wall_ms = match base {
                // A sum beyond 64 bits turns negative, as in Redis, and so is long past.
                Base::Now => wall_now_ms(ctx).wrapping_add(ttl_ms),
                Base::UnixEpoch => ttl_ms,
            };
            let Some(log_ms) = log_deadline_ms(ctx, wall_ms) else {
                if ctx.cache(key).remove(key) {
                    ctx.notify(EventClass::Generic, "del", key);
                }
                return Ok(());
            };
            Some(log_ms)
        }
    };
    let entry = OwnedEntry {
        value,
        expires_at,
        pin: Pin::Unpinned,
        fence: 0,
        form: StringForm::Whole,
    };
    ctx.cache(key).put_entry(key, entry);
    ctx.notify(EventClass::New, "new", key);
    ctx.notify(EventClass::Generic, "restore", key);
    Ok(())
}

/// What a RESTORE's time counts from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Now,
    /// ABSTTL
    UnixEpoch,
}

/// RESTORE's options. IDLETIME and FREQ are checked and have no effect: recency here is an exact
/// order, into whose middle nothing can be put, and no LFU policy exists.
struct RestoreOptions {
    replaces: bool,
    base: Base,
}

impl RestoreOptions {
    fn parse(args: Args<'_>) -> Result<RestoreOptions, &'static str> {
        let mut options = RestoreOptions {
            replaces: false,
            base: Base::Now,
        };
        let (mut has_idle_time, mut has_frequency) = (false, false);
        let mut rest = args.from(4).iter();
        while let Some(option) = rest.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"replace" => options.replaces = true,
                b"absttl" => options.base = Base::UnixEpoch,
                b"idletime" if !has_frequency => {
                    has_idle_time = true;
                    let seconds = rest.next().ok_or(SYNTAX)?;
                    if parse_i64(seconds).ok_or(NOT_INTEGER)? < 0 {
                        return Err("ERR Invalid IDLETIME value, must be >= 0");
                    }
                }
                b"freq" if !has_idle_time => {
                    has_frequency = true;
                    let frequency = rest.next().ok_or(SYNTAX)?;
                    let frequency = parse_i64(frequency).ok_or(NOT_INTEGER)?;
                    if !(0..=255).contains(&frequency) {
                        return Err("ERR Invalid FREQ value, must be >= 0 and <= 255");
                    }
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(options)
    }
}

/// A payload without its trailer, once version and checksum are found right.
fn checked_content(payload: &[u8]) -> Result<&[u8], &'static str> {
    const WRONG: &str = "ERR DUMP payload version or checksum are wrong";
    let content_bytes = payload.len().checked_sub(TRAILER_BYTES).ok_or(WRONG)?;
    let (covered, checksum) = payload.split_at(content_bytes + 2);
    let (content, version) = covered.split_at(content_bytes);
    let version = u16::from_le_bytes([version[0], version[1]]);
    if version > VERSION_MAX || CHECKSUM.checksum(covered).to_le_bytes() != checksum {
        return Err(WRONG);
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
