//! Commands that wait until a collection has something in it (BLPOP and kin): how their arguments tell what they wait for.
//!
//! Run as data commands they do not wait: they answer null if there is nothing, as in a transaction. Whoever can wait tries
//! them again when there may be something ([`Row::blocks`](crate::Row)).

use crate::errors::ErrorText;
use cache::CollectionType;
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
}

const NOT_FLOAT: ErrorText = "ERR timeout is not a float or out of range";
const NEGATIVE: ErrorText = "ERR timeout is negative";
const OUT_OF_RANGE: ErrorText = "ERR timeout is out of range";

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

impl Blocks {
    /// The command's timeout, as [`timeout_ms`] says.
    ///
    /// # Errors
    /// Those of [`timeout_ms`].
    pub fn timeout_ms(&self, args: Args<'_>) -> Result<Option<u64>, ErrorText> {
        timeout_ms(match self.shape {
            BlockShape::KeysFirst | BlockShape::Source => args.get(args.len() - 1),
            BlockShape::TimeoutFirst => args.get(1),
        })
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
        }
    }

    /// The same command for the keys at these positions alone.
    pub fn part(&self, args: Args<'_>, keys: Range<usize>) -> OwnedArgs {
        let named: Vec<&[u8]> = keys.map(|at| args.get(at)).collect();
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
        }
        OwnedArgs::from_slices(&parts)
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
