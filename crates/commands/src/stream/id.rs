//! Ids of entries as clients write them: `ms-seq`, `ms` alone, `-` and `+` for the ends, `(` before one that is left out.

use crate::errors::ErrorText;
use cache::StreamId;
use resp::Reply;
use std::fmt::Write;

/// No id.
pub(super) const INVALID: ErrorText = "ERR Invalid stream ID specified as stream command argument";
const INVALID_START: ErrorText = "ERR invalid start ID for the interval";
const INVALID_END: ErrorText = "ERR invalid end ID for the interval";

/// Longest text that is looked at: Redis's buffer.
const TEXT_BYTES_MAX: usize = 127;

/// A number as Redis reads it here: leading zeros, a plus sign and space before it do no harm.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_start();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `ms-seq`; without the second number it is none.
///
/// # Errors
/// [`INVALID`].
fn halves(text: &[u8]) -> Result<(u64, Option<&[u8]>), ErrorText> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(INVALID);
    }
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    Ok((number(ms).ok_or(INVALID)?, seq))
}

/// An id; the ends have no name here.
///
/// # Errors
/// [`INVALID`].
pub(super) fn strict(text: &[u8], missing_seq: u64) -> Result<StreamId, ErrorText> {
    let (ms, seq) = halves(text)?;
    let seq = seq.map_or(Some(missing_seq), number).ok_or(INVALID)?;
    Ok(StreamId { ms, seq })
}

/// An id, or the name of an end.
///
/// # Errors
/// [`INVALID`].
pub(super) fn any(text: &[u8], missing_seq: u64) -> Result<StreamId, ErrorText> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => strict(text, missing_seq),
    }
}

/// The first id of a range.
///
/// # Errors
/// [`INVALID`]; the last of all left out.
pub(super) fn range_start(text: &[u8]) -> Result<StreamId, ErrorText> {
    match text.strip_prefix(b"(").filter(|rest| !rest.is_empty()) {
        Some(rest) => strict(rest, 0)?.next().ok_or(INVALID_START),
        None => any(text, 0),
    }
}

/// The last id of a range.
///
/// # Errors
/// [`INVALID`]; the first of all left out.
pub(super) fn range_end(text: &[u8]) -> Result<StreamId, ErrorText> {
    match text.strip_prefix(b"(").filter(|rest| !rest.is_empty()) {
        Some(rest) => strict(rest, u64::MAX)?.previous().ok_or(INVALID_END),
        None => any(text, u64::MAX),
    }
}

/// The id that XADD is to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `*`: log time as wall time, or the next id if that is not above the last one.
    Automatic,
    /// `ms-*`
    OfTime(u64),
    /// `ms-seq`
    Given(StreamId),
}

impl Wanted {
    /// # Errors
    /// [`INVALID`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, ErrorText> {
        if text == b"*" {
            return Ok(Wanted::Automatic);
        }
        match halves(text)? {
            (ms, Some(b"*")) => Ok(Wanted::OfTime(ms)),
            _ => strict(text, 0).map(Wanted::Given),
        }
    }

    /// The id itself, behind `last`; none if it would not be above that.
    pub(super) fn after(self, last: StreamId, wall_now_ms: i64) -> Option<StreamId> {
        let wall_now_ms = wall_now_ms.max(0) as u64;
        let id = match self {
            Wanted::Automatic if wall_now_ms <= last.ms => last.next()?,
            Wanted::Automatic => of_time(wall_now_ms),
            Wanted::OfTime(ms) if ms == last.ms => StreamId {
                ms,
                seq: last.seq.checked_add(1)?,
            },
            Wanted::OfTime(ms) => of_time(ms),
            Wanted::Given(id) => id,
        };
        (id > last).then_some(id)
    }
}

fn of_time(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

/// Answers an id.
pub(super) fn reply_id(reply: &mut Reply<'_>, id: StreamId) {
    let mut text = String::with_capacity(24);
    write!(text, "{}-{}", id.ms, id.seq).expect("a string takes all");
    reply.bulk(text.as_bytes());
}
