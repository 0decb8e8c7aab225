//! Lots: which elements of a collection a random command is about, told by their positions. All follows from the
//! one draw that the command was given, so it is the same on every replica.

use crate::STRING_BYTES_MAX;
use crate::access::integer;
use crate::errors::ErrorText;
use cache::Draws;
use std::collections::BTreeSet;
use std::ops::Range;
use std::vec;

/// More than can be answered: Redis's text.
pub(crate) const OUT_OF_RANGE: ErrorText = "ERR value is out of range";

/// Most elements that are drawn with repetition: a few tens of milliseconds. Redis knows no bound but its memory.
const REPEATED_MAX: u64 = 1 << 20;

/// What an element of a reply costs beside its own bytes, at least.
const ELEMENT_HEAD_BYTES: usize = 6;

/// How many elements are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// So many different ones, or all if there are fewer.
    Distinct(u64),
    /// Exactly so many, each drawn from all.
    Repeated(u64),
}

impl Wanted {
    /// The count of SRANDMEMBER and kin: below zero, elements may be drawn again.
    ///
    /// # Errors
    /// Redis's text: no integer, or one without an opposite.
    pub(crate) fn parse(argument: &[u8]) -> Result<Wanted, ErrorText> {
        match integer(argument)? {
            i64::MIN => Err(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
            count if count < 0 => Ok(Wanted::Repeated(count.unsigned_abs())),
            count => Ok(Wanted::Distinct(count.unsigned_abs())),
        }
    }

    /// How many at most.
    pub(crate) fn count(self) -> u64 {
        match self {
            Wanted::Distinct(count) | Wanted::Repeated(count) => count,
        }
    }
}

/// The positions that were drawn, of as many as were wanted.
#[derive(Clone, Debug)]
pub(crate) struct Picks {
    kind: Kind,
    left: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    All(Range<usize>),
    /// Some, in ascending order.
    Some(vec::IntoIter<usize>),
    Repeated {
        draws: Draws,
        len: usize,
    },
}

impl Picks {
    /// Draws positions below `len`, which is above 0.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` for more than [`REPEATED_MAX`] with repetition.
    pub(crate) fn new(wanted: Wanted, len: usize, random: u64) -> Result<Picks, ErrorText> {
        assert!(len > 0, "what is drawn from is not empty");
        let draws = Draws::new(random);
        Ok(match wanted {
            Wanted::Distinct(count) if count >= len as u64 => Picks {
                kind: Kind::All(0..len),
                left: len,
            },
            Wanted::Distinct(count) => Picks {
                kind: Kind::Some(distinct(draws, count as usize, len).into_iter()),
                left: count as usize,
            },
            Wanted::Repeated(count) if count > REPEATED_MAX => return Err(OUT_OF_RANGE),
            Wanted::Repeated(count) => Picks {
                kind: Kind::Repeated { draws, len },
                left: count as usize,
            },
        })
    }

    /// Checks that what is answered for them stays below the longest string's length: elements that are drawn again
    /// and again may be long. `bytes_of` tells an element's length.
    ///
    /// # Errors
    /// `OUT_OF_RANGE`.
    pub(crate) fn check_bytes(&self, bytes_of: impl Fn(usize) -> usize) -> Result<(), ErrorText> {
        if !matches!(self.kind, Kind::Repeated { .. }) {
            return Ok(());
        }
        let mut room = STRING_BYTES_MAX;
        for position in self.clone() {
            room = room
                .checked_sub(ELEMENT_HEAD_BYTES + bytes_of(position))
                .ok_or(OUT_OF_RANGE)?;
        }
        Ok(())
    }
}

impl Iterator for Picks {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.kind {
            Kind::All(positions) => positions.next(),
            Kind::Some(positions) => positions.next(),
            Kind::Repeated { draws, len } => Some(draws.below(*len)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Picks {}

/// So many different positions below `len` in ascending order, every choice of them as likely as any other (Floyd's
/// algorithm: Bentley, "A sample of brilliance", 1987).
pub(crate) fn distinct(mut draws: Draws, count: usize, len: usize) -> Vec<usize> {
    assert!(count <= len, "there are that many positions");
    let mut chosen = BTreeSet::new();
    for last in len - count..len {
        if !chosen.insert(draws.below(last + 1)) {
            chosen.insert(last);
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_about_as_likely() {
        // Breaks if some elements of a collection are drawn more often than others.
        let mut counts = [0_u32; 10];
        for random in 0..10_000 {
            let picks = Picks::new(Wanted::Distinct(3), 10, random).unwrap();
            assert_eq!(picks.len(), 3);
            let positions: Vec<usize> = picks.collect();
            assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
            positions.iter().for_each(|position| counts[*position] += 1);
        }
        assert!(
            counts.iter().all(|count| (2_800..3_200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn counts_have_bounds() {
        // Breaks if one request keeps a shard or fills memory as long as it likes.
        let picks = |wanted, len| Picks::new(wanted, len, 7).map(|picks| picks.len());
        assert_eq!(picks(Wanted::Distinct(u64::MAX), 3), Ok(3));
        assert_eq!(picks(Wanted::Repeated(REPEATED_MAX), 3), Ok(1 << 20));
        assert_eq!(
            picks(Wanted::Repeated(REPEATED_MAX + 1), 3),
            Err(OUT_OF_RANGE)
        );
        let many = Picks::new(Wanted::Repeated(600), 3, 7).unwrap();
        assert_eq!(many.check_bytes(|_| 1 << 10), Ok(()));
        assert_eq!(many.check_bytes(|_| 1 << 20), Err(OUT_OF_RANGE));
    }
}
