//! Commands that wait until a collection has something in it (BLPOP and kin, XREAD): how their arguments tell what they
//! wait for.
//!
//! Run as data commands they do not wait: they answer null if there is nothing, as in a transaction. Whoever can wait tries
//! them again when there may be something ([`Row::blocks`](crate::Row)).

use crate::errors::ErrorText;
use crate::stream::{RESOLVE, parse_id};
use cache::{CollectionType, Sought, StreamId};
use resp::{Args, OwnedArgs, parse_i64};
use std::ops::Range;

/// How a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The type that it waits for.
    pub of: CollectionType,
    /// Where its keys and its timeout stand.
    pub shape: BlockShape,
}

/// Where keys and timeout stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockShape {
    /// `BLPOP key … timeout`
    KeysFirst,
    /// `BLMOVE source … timeout`: it waits for its first key alone.
    Source,
    /// `BLMPOP timeout numkeys key … …`
    TimeoutFirst,
    /// `XREAD … BLOCK timeout … STREAMS key … id …`, which waits only if it has a BLOCK
    Streams,
}

const NOT_FLOAT: ErrorText = "ERR timeout is not a float or out of range";
const NEGATIVE: ErrorText = "ERR timeout is negative";
const OUT_OF_RANGE: ErrorText = "ERR timeout is out of range";
const NOT_INTEGER: ErrorText = "ERR timeout is not an integer or out of range";

/// A timeout in seconds as milliseconds, rounded up; none = without end.
///
/// # Errors
/// Redis's texts: no number, negative, beyond what a clock counts.
pub fn timeout_ms(seconds: &[u8]) -> Result<Option<u64>, ErrorText> {
    let text = std::str::from_utf8(seconds).map_err(|_| NOT_FLOAT)?;
    let seconds: f64 = match text.trim() == text && !text.is_empty() {
        true => text.parse().map_err(|_| NOT_FLOAT)?,
        false => return Err(NOT_FLOAT),
    };
    let ms = seconds * 1000.0;
    if !ms.is_finite() || ms > i64::MAX as f64 {
        return Err(match ms.is_nan() {
            true => NOT_FLOAT,
            false => OUT_OF_RANGE,
        });
    }
    if seconds < 0.0 {
        return Err(NEGATIVE);
    }
    let ms = ms.ceil() as u64;
    Ok((ms > 0).then_some(ms))
}

/// A timeout in whole milliseconds; none = without end.
///
/// # Errors
/// Redis's texts: no number, negative.
pub(crate) fn whole_timeout_ms(ms: &[u8]) -> Result<Option<u64>, ErrorText> {
    let ms = parse_i64(ms).ok_or(NOT_INTEGER)?;
    let ms = u64::try_from(ms).map_err(|_| NEGATIVE)?;
    Ok((ms > 0).then_some(ms))
}

/// Where the parts of [`BlockShape::Streams`] stand.
struct StreamsShape {
    timeout_at: Option<usize>,
    group_at: Option<usize>,
    keys: Range<usize>,
}

impl StreamsShape {
    /// None if the arguments are not of this shape: the command's own function refuses them.
    fn of(args: Args<'_>) -> Option<Self> {
        let (mut timeout_at, mut group_at) = (None, None);
        let mut at = 1;
        while at + 1 < args.len() {
            let is = |name: &[u8]| args.get(at).eq_ignore_ascii_case(name);
            if is(b"streams") {
                let count = args.len() - at - 1;
                let keys = at + 1..at + 1 + count / 2;
                return count.is_multiple_of(2).then_some(StreamsShape {
                    timeout_at,
                    group_at,
                    keys,
                });
            } else if is(b"block") {
                timeout_at = Some(at + 1);
            } else if is(b"group") {
                group_at = Some(at + 1);
            }
            at += match () {
                () if is(b"noack") => 1,
                () if is(b"group") => 3,
                () => 2,
            };
        }
        None
    }
}

impl Blocks {
    /// Whether a request of these arguments waits at all.
    pub fn waits(&self, args: Args<'_>) -> bool {
        match self.shape {
            BlockShape::KeysFirst | BlockShape::Source | BlockShape::TimeoutFirst => true,
            BlockShape::Streams => {
                StreamsShape::of(args).is_some_and(|shape| shape.timeout_at.is_some())
            }
        }
    }

    /// The command's timeout, as [`timeout_ms`] says.
    ///
    /// # Errors
    /// Those of [`timeout_ms`].
    pub fn timeout_ms(&self, args: Args<'_>) -> Result<Option<u64>, ErrorText> {
        match self.shape {
            BlockShape::KeysFirst | BlockShape::Source => timeout_ms(args.get(args.len() - 1)),
            BlockShape::TimeoutFirst => timeout_ms(args.get(1)),
            BlockShape::Streams => {
                let timeout_at = StreamsShape::of(args).and_then(|shape| shape.timeout_at);
                whole_timeout_ms(timeout_at.map_or(b"", |at| args.get(at)))
            }
        }
    }

    /// Where its timeout stands. Without one that is a number the command's own function does nothing.
    pub fn timeout_at(&self, args: Args<'_>) -> Option<usize> {
        match self.shape {
            BlockShape::KeysFirst | BlockShape::Source => Some(args.len() - 1),
            BlockShape::TimeoutFirst => Some(1),
            BlockShape::Streams => StreamsShape::of(args).and_then(|shape| shape.timeout_at),
        }
    }

    /// Positions of the keys that it waits for; empty if the arguments do not tell.
    pub fn keys(&self, args: Args<'_>) -> Range<usize> {
        match self.shape {
            BlockShape::KeysFirst => 1..args.len() - 1,
            BlockShape::Source => 1..2,
            BlockShape::TimeoutFirst => {
                let count = parse_i64(args.get(2)).and_then(|count| usize::try_from(count).ok());
                match count.filter(|count| *count <= args.len() - 3) {
                    Some(count) => 3..3 + count,
                    None => 0..0,
                }
            }
            BlockShape::Streams => StreamsShape::of(args).map_or(0..0, |shape| shape.keys),
        }
    }

    /// What it waits for at the key at this position, if anything but a [`Blocks::of`] with something in it.
    pub fn sought(&self, args: Args<'_>, key: usize) -> Sought {
        let shape = match self.shape {
            BlockShape::KeysFirst | BlockShape::Source | BlockShape::TimeoutFirst => None,
            BlockShape::Streams => StreamsShape::of(args),
        };
        let Some(shape) = shape else {
            return Sought::Any(self.of);
        };
        match shape.group_at {
            Some(at) => Sought::Unread(args.get(at).into()),
            None => {
                let id = parse_id(args.get(key + shape.keys.len()));
                Sought::After(id.unwrap_or(StreamId::MAX))
            }
        }
    }

    /// The same command for the keys at these positions alone.
    pub fn part(&self, args: Args<'_>, keys: Range<usize>) -> OwnedArgs {
        let named: Vec<&[u8]> = keys.clone().map(|at| args.get(at)).collect();
        let count = named.len().to_string();
        let mut parts: Vec<&[u8]> = vec![args.get(0)];
        match self.shape {
            BlockShape::KeysFirst => {
                parts.extend(named);
                parts.push(args.get(args.len() - 1));
            }
            BlockShape::Source => parts.extend((1..args.len()).map(|at| args.get(at))),
            BlockShape::TimeoutFirst => {
                parts.extend([args.get(1), count.as_bytes()]);
                parts.extend(named);
                parts.extend((self.keys(args).end..args.len()).map(|at| args.get(at)));
            }
            BlockShape::Streams => {
                let all = self.keys(args);
                let ids = (keys.start + all.len()..keys.end + all.len()).map(|at| args.get(at));
                parts.extend((1..all.start).map(|at| args.get(at)));
                parts.extend(named);
                // The first try tells which ids these are.
                parts.extend(ids.map(|id| if id == b"$" { RESOLVE } else { id }));
            }
        }
        OwnedArgs::from_slices(&parts)
    }

    /// The request with the ids that a `$` of it stood for, if that is what `reply` tells: it found nothing, and is to
    /// be tried with these from now on.
    pub fn resolved(&self, args: Args<'_>, reply: &[u8]) -> Option<OwnedArgs> {
        if self.shape != BlockShape::Streams {
            return None;
        }
        let ids = reply.strip_prefix(b"+")?.strip_suffix(b"\r\n")?;
        let keys = self.keys(args);
        let ids = ids.split(|byte| *byte == b' ');
        let parts: Vec<&[u8]> = args.iter().take(keys.end).chain(ids).collect();
        (parts.len() == args.len()).then(|| OwnedArgs::from_slices(&parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Breaks if a timeout is taken that Redis refuses, or the other way round, or if a short one becomes no end.
    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        assert_eq!(timeout_ms(b"0"), Ok(None));
        assert_eq!(timeout_ms(b"0.001"), Ok(Some(1)));
        assert_eq!(timeout_ms(b"0.0001"), Ok(Some(1)));
        assert_eq!(timeout_ms(b"1.5"), Ok(Some(1500)));
        assert_eq!(timeout_ms(b"-1"), Err(NEGATIVE));
        assert_eq!(timeout_ms(b"abc"), Err(NOT_FLOAT));
        assert_eq!(timeout_ms(b""), Err(NOT_FLOAT));
        assert_eq!(timeout_ms(b" 1"), Err(NOT_FLOAT));
        assert_eq!(timeout_ms(b"nan"), Err(NOT_FLOAT));
        assert_eq!(timeout_ms(b"1e300"), Err(OUT_OF_RANGE));
    }

    // Breaks if a part of XREAD waits for other keys than its own, `$` is not what it stood for at first, or a read without
    // BLOCK waits.
    #[test]
    fn reads_of_streams_wait_behind_their_ids() {
        let blocks = Blocks {
            of: CollectionType::Stream,
            shape: BlockShape::Streams,
        };
        let of = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            OwnedArgs::from_slices(&words)
        };
        let line = |args: &OwnedArgs| args.args().iter().collect::<Vec<_>>().join(&b' ');
        let whole = of("XREAD COUNT 2 BLOCK 30 STREAMS block b c $ 7-1 $");
        let args = whole.args();
        assert!(blocks.waits(args));
        assert_eq!(blocks.timeout_ms(args), Ok(Some(30)));
        assert_eq!(blocks.keys(args), 6..9);
        let id = StreamId { ms: 7, seq: 1 };
        assert_eq!(blocks.sought(args, 7), Sought::After(id));
        let part = blocks.part(args, 7..9);
        assert_eq!(line(&part), b"XREAD COUNT 2 BLOCK 30 STREAMS b c 7-1 \0$");
        assert_eq!(blocks.resolved(part.args(), b"*-1\r\n"), None);
        let resolved = blocks.resolved(part.args(), b"+7-1 9-3\r\n");
        let resolved = resolved.expect("it tells the ids");
        assert_eq!(
            line(&resolved),
            b"XREAD COUNT 2 BLOCK 30 STREAMS b c 7-1 9-3"
        );
        let group = of("XREADGROUP GROUP streams c NOACK BLOCK 0 STREAMS a >");
        assert_eq!(blocks.timeout_ms(group.args()), Ok(None));
        assert_eq!(blocks.keys(group.args()), 8..9);
        let sought = Sought::Unread(b"streams".as_slice().into());
        assert_eq!(blocks.sought(group.args(), 8), sought);
        for line in [
            "XREAD STREAMS a 0",
            "XREAD BLOCK 5 STREAMS a b 0",
            "XREAD BLOCK",
        ] {
            assert!(!blocks.waits(of(line).args()), "{line}");
        }
    }

    // Breaks if a part of a command waits for other keys than its own, or loses an option.
    #[test]
    fn parts_have_their_own_keys() {
        let blocks = Blocks {
            of: CollectionType::List,
            shape: BlockShape::TimeoutFirst,
        };
        let whole = [
            b"BLMPOP".as_slice(),
            b"0",
            b"2",
            b"a",
            b"b",
            b"LEFT",
            b"COUNT",
            b"3",
        ];
        let whole = OwnedArgs::from_slices(&whole);
        assert_eq!(blocks.keys(whole.args()), 3..5);
        let part = blocks.part(whole.args(), 4..5);
        let words: Vec<&[u8]> = part.args().iter().collect();
        assert_eq!(
            words,
            [
                b"BLMPOP".as_slice(),
                b"0",
                b"1",
                b"b",
                b"LEFT",
                b"COUNT",
                b"3"
            ]
        );
    }
}
