//! Ranges of a sorted set: by place, by score, by member.

use super::Direction;
use crate::access::integer;
use crate::errors::ErrorText;
use cache::SortedSet;
use std::ops::Range;

/// A range as a client gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Interval<'a> {
    /// From one place to another, both included; negative ones count from the end, -1 being the last.
    Ranks {
        start: i64,
        stop: i64,
        direction: Direction,
    },
    /// Scores from one to another.
    Scores { min: Bound<f64>, max: Bound<f64> },
    /// Members from one to another, all scores being equal.
    Members { min: Member<'a>, max: Member<'a> },
}

/// An end of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound<T> {
    /// It belongs to the range.
    Included(T),
    /// It does not.
    Excluded(T),
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Member<'a> {
    /// `-`: before all members.
    Lowest,
    /// `+`: behind all members.
    Highest,
    /// `[` or `(` and a member.
    At(Bound<&'a [u8]>),
}

impl<'a> Interval<'a> {
    /// Places, counted from the end that `direction` begins at.
    ///
    /// # Errors
    /// `NOT_INTEGER`.
    pub(super) fn of_ranks(
        start: &[u8],
        stop: &[u8],
        direction: Direction,
    ) -> Result<Self, ErrorText> {
        Ok(Interval::Ranks {
            start: integer(start)?,
            stop: integer(stop)?,
            direction,
        })
    }

    /// Scores.
    ///
    /// # Errors
    /// Redis's text.
    pub(super) fn of_scores(min: &[u8], max: &[u8]) -> Result<Self, ErrorText> {
        let bound = |text| score_bound(text).ok_or("ERR min or max is not a float");
        Ok(Interval::Scores {
            min: bound(min)?,
            max: bound(max)?,
        })
    }

    /// Members.
    ///
    /// # Errors
    /// Redis's text.
    pub(super) fn of_members(min: &'a [u8], max: &'a [u8]) -> Result<Self, ErrorText> {
        let bound = |text| member_bound(text).ok_or("ERR min or max not valid string range item");
        Ok(Interval::Members {
            min: bound(min)?,
            max: bound(max)?,
        })
    }

    /// The places of the members that are within, counted from the lowest score on. Cost: O(log N).
    pub(super) fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let (begin, end) = match *self {
            Interval::Ranks {
                start,
                stop,
                direction,
            } => places(start, stop, set.len(), direction),
            Interval::Scores { min, max } => (
                set.count_while(|_, score| match min {
                    Bound::Included(min) => score < min,
                    Bound::Excluded(min) => score <= min,
                }),
                set.count_while(|_, score| match max {
                    Bound::Included(max) => score <= max,
                    Bound::Excluded(max) => score < max,
                }),
            ),
            Interval::Members { min, max } => (count_below(set, min), count_up_to(set, max)),
        };
        begin..end.max(begin)
    }
}

/// The first place and the one behind the last, from the lowest score on.
fn places(start: i64, stop: i64, len: usize, direction: Direction) -> (usize, usize) {
    let from_front = |place: i64| match place {
        0.. => place,
        _ => place.saturating_add(len as i64),
    };
    let start = from_front(start).clamp(0, len as i64) as usize;
    let behind = from_front(stop).saturating_add(1).clamp(0, len as i64) as usize;
    match direction {
        Direction::Upward => (start, behind.max(start)),
        Direction::Downward => (len - behind.max(start), len - start),
    }
}

/// How many members are before the range that begins at `min`.
fn count_below(set: &SortedSet, min: Member<'_>) -> usize {
    match min {
        Member::Lowest => 0,
        Member::Highest => set.len(),
        Member::At(Bound::Included(min)) => count_lowest(set, |member| member < min),
        Member::At(Bound::Excluded(min)) => count_lowest(set, |member| member <= min),
    }
}

/// How many members are before the end of the range that ends at `max`.
fn count_up_to(set: &SortedSet, max: Member<'_>) -> usize {
    match max {
        Member::Lowest => 0,
        Member::Highest => set.len(),
        Member::At(Bound::Included(max)) => count_lowest(set, |member| member <= max),
        Member::At(Bound::Excluded(max)) => count_lowest(set, |member| member < max),
    }
}

/// How many members at the beginning `is_before` is true of, those of the lowest score alone: what Redis does where scores
/// differ is not defined, but all replicas must do the same, whatever path a search takes.
fn count_lowest(set: &SortedSet, is_before: impl Fn(&[u8]) -> bool) -> usize {
    let lowest = set.at(0).map(|(_, score)| score);
    set.count_while(|member, score| Some(score) == lowest && is_before(member))
}

/// A score, behind `(` if it does not belong to the range. Read as C's `strtod` does, which is less strict than for a
/// score that is stored: blanks may precede it, nothing is 0, and what is too large is infinite.
fn score_bound(text: &[u8]) -> Option<Bound<f64>> {
    match text {
        [b'(', rest @ ..] => loose_number(rest).map(Bound::Excluded),
        _ => loose_number(text).map(Bound::Included),
    }
}

fn loose_number(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'\x0b';
    let blanks_count = text.iter().take_while(|byte| is_blank(byte)).count();
    let text = std::str::from_utf8(&text[blanks_count..]).ok()?;
    let number: f64 = text.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

fn member_bound(text: &[u8]) -> Option<Member<'_>> {
    match text {
        b"-" => Some(Member::Lowest),
        b"+" => Some(Member::Highest),
        [b'[', member @ ..] => Some(Member::At(Bound::Included(member))),
        [b'(', member @ ..] => Some(Member::At(Bound::Excluded(member))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_either_end() {
        // Breaks if a place beyond an end wraps around or a range that is turned around is not empty.
        let up = |start, stop| places(start, stop, 5, Direction::Upward);
        assert_eq!(up(0, -1), (0, 5));
        assert_eq!(up(-2, 9), (3, 5));
        assert_eq!(up(3, 1), (3, 3));
        assert_eq!(up(i64::MIN, i64::MAX), (0, 5));
        assert_eq!(up(i64::MAX, i64::MIN), (5, 5));
        let down = |start, stop| places(start, stop, 5, Direction::Downward);
        assert_eq!(down(0, 1), (3, 5));
        assert_eq!(down(-1, -1), (0, 1));
        assert_eq!(down(4, 2), (1, 1));
    }

    #[test]
    fn bounds_are_read_as_c_reads_them() {
        // Breaks if a bound that Redis takes is refused, or the other way round.
        for (text, number) in [
            ("", Some(0.0)),
            (" 5", Some(5.0)),
            ("1e999", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("5 ", None),
            (" ", None),
            ("nan", None),
            ("x", None),
        ] {
            assert_eq!(loose_number(text.as_bytes()), number, "{text:?}");
        }
    }
}
