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
//! Type 0 is a string. Its value begins with a length, whose first byte tells how it is written:
//!
//! ```text
//! 00nnnnnn                       n bytes follow
//! 01nnnnnn nnnnnnnn              n bytes follow (big-endian)
//! 10000000 u32, 10000001 u64     as many bytes follow (big-endian)
//! 11000000 i8, 11000001 i16, 11000010 i32    the integer itself (little-endian)
//! 11000011 length length bytes   LZF: packed length, plain length, packed bytes
//! ```
//!
//! The value "1" is `00 c0 01 0a 00` and eight bytes of checksum.

use crate::{
    Category, Context, EventClass, Flags, KeyAccess, Row, Run, STRING_BYTES_MAX,
    errors::{NOT_INTEGER, SYNTAX},
    expire::{log_deadline_ms, wall_now_ms},
    key::{Look, ROW, read},
    lzf,
    table::first_key,
};
use bytes::Bytes;
use cache::{OwnedEntry, OwnedValue, Pin, StringForm};
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
/// them. Strings have the same form in all.
const VERSION: u16 = 10;
/// The newest version that is read: that of Redis 7.4.
const VERSION_MAX: u16 = 12;
const TRAILER_BYTES: usize = 10;
const TYPE_STRING: u8 = 0;
/// Highest type of a value in version 12; beyond are marks that only files hold. 8 was never given.
const TYPE_MAX: u8 = 25;
/// Strings up to this length are written as integers where they are some.
const INTEGER_BYTES_MAX: usize = 11;
/// Lengths in bytes of strings that are packed. Longer ones are left as they are, so that a DUMP
/// does not hold its shard for more than some milliseconds above the copy.
const PACKED_BYTES: std::ops::RangeInclusive<usize> = 21..=1 << 20;
/// What packing must save to be worth while.
const SAVED_BYTES_MIN: usize = 4;

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

fn dump(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let key = ctx.first_key(args.get(1));
    match read(ctx, key, Look::Access) {
        Some(entry) => {
            let payload = match entry.value {
                cache::Value::String(_) | cache::Value::Shared(_) => {
                    string_payload(entry.value.as_bytes())
                }
            };
            reply.bulk_shared(&Bytes::from(payload));
        }
        None => reply.null(),
    }
}

/// The payload of a string.
fn string_payload(bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes.len().min(*PACKED_BYTES.end()) + 32);
    payload.push(TYPE_STRING);
    write_string(&mut payload, bytes);
    payload.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = CHECKSUM.checksum(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

fn write_string(payload: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= INTEGER_BYTES_MAX
        && let Some(number) = parse_i64(bytes).and_then(|number| i32::try_from(number).ok())
    {
        return write_integer(payload, number);
    }
    if PACKED_BYTES.contains(&bytes.len())
        && let Some(packed) = lzf::compress(bytes, SAVED_BYTES_MIN)
    {
        payload.push(0xc3);
        write_length(payload, packed.len());
        write_length(payload, bytes.len());
        return payload.extend_from_slice(&packed);
    }
    write_length(payload, bytes.len());
    payload.extend_from_slice(bytes);
}

fn write_integer(payload: &mut Vec<u8>, number: i32) {
    if let Ok(number) = i8::try_from(number) {
        payload.push(0xc0);
        payload.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        payload.push(0xc1);
        payload.extend_from_slice(&number.to_le_bytes());
    } else {
        payload.push(0xc2);
        payload.extend_from_slice(&number.to_le_bytes());
    }
}

fn write_length(payload: &mut Vec<u8>, length: usize) {
    match length {
        0..0x40 => payload.push(length as u8),
        0x40..0x4000 => payload.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => {
            let length = u32::try_from(length).expect("a string is at most 512 MiB long");
            payload.push(0x80);
            payload.extend_from_slice(&length.to_be_bytes());
        }
    }
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
    let bytes = match content.split_first() {
        Some((&TYPE_STRING, string)) => read_string(string).ok_or(BAD_DATA)?,
        Some((1..=7 | 9..=TYPE_MAX, _)) => {
            return Err("ERR RESTORE of this type is not supported by this version of Torc");
        }
        _ => return Err(BAD_DATA),
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
        value: OwnedValue::String(Bytes::from(bytes)),
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

const BAD_DATA: &str = "ERR Bad data format";

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

/// The string at the beginning of `bytes`, or none if there is none. Bytes after it are ignored, as
/// in Redis.
fn read_string(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let number = match read_head(&mut bytes)? {
        Head::Plain(length) => {
            let length = usize::try_from(length).ok()?;
            return bytes.get(..length).map(<[u8]>::to_vec);
        }
        Head::Packed => return read_packed(bytes),
        Head::Int8 => i32::from(i8::from_le_bytes(*bytes.first_chunk()?)),
        Head::Int16 => i32::from(i16::from_le_bytes(*bytes.first_chunk()?)),
        Head::Int32 => i32::from_le_bytes(*bytes.first_chunk()?),
    };
    Some(itoa::Buffer::new().format(number).as_bytes().to_vec())
}

/// What the head of a string says of the rest.
enum Head {
    Plain(u64),
    Int8,
    Int16,
    Int32,
    Packed,
}

/// Reads a string's head off the front of `bytes`.
fn read_head(bytes: &mut &[u8]) -> Option<Head> {
    let first = *bytes.split_off_first()?;
    let low = first & 0x3f;
    Some(match first >> 6 {
        0 => Head::Plain(u64::from(low)),
        1 => Head::Plain(u64::from(low) << 8 | u64::from(*bytes.split_off_first()?)),
        2 => Head::Plain(match low {
            0 => u64::from(u32::from_be_bytes(take(bytes)?)),
            1 => u64::from_be_bytes(take(bytes)?),
            _ => return None,
        }),
        _ => match low {
            0 => Head::Int8,
            1 => Head::Int16,
            2 => Head::Int32,
            3 => Head::Packed,
            _ => return None,
        },
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn read_packed(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let (Head::Plain(packed), Head::Plain(plain)) =
        (read_head(&mut bytes)?, read_head(&mut bytes)?)
    else {
        return None;
    };
    if plain > STRING_BYTES_MAX as u64 {
        return None;
    }
    let packed = bytes.get(..usize::try_from(packed).ok()?)?;
    lzf::decompress(packed, usize::try_from(plain).ok()?)
}

#[cfg(test)]
mod tests;
