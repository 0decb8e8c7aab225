//! Sorted sets: members with a score, in the order of both.

use super::sealed::Sealed;
use super::tree::{Item, Tree};
use super::{Collection, Typed};
use super::{PACKED_BYTES_MAX, PACKED_LEN_MAX, Scan, hash_of};

/// A sorted set.
///
/// - `by_score` is sorted by score, then by member; -0 is stored as 0, and no score is NaN;
/// - beyond [`PACKED_LEN_MAX`] members, or with one of over [`PACKED_BYTES_MAX`] bytes, `by_member` holds each member with its
///   score's order word, in the order of their hashes; before that it is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct SortedSet {
    pub(super) by_score: Tree,
    pub(super) by_member: Tree,
    pub(super) is_packed: bool,
}

/// The order word of a score: as unsigned integers they sort as the scores do.
fn order_of(score: f64) -> u64 {
    // Adding 0 makes -0 the other 0.
    let bits = (score + 0.0).to_bits();
    match bits >> 63 {
        0 => bits | 1 << 63,
        _ => !bits,
    }
}

/// The score of an order word.
fn score_of(order: u64) -> f64 {
    f64::from_bits(match order >> 63 {
        0 => !order,
        _ => order & !(1 << 63),
    })
}

impl SortedSet {
    pub(super) fn new() -> Self {
        SortedSet {
            by_score: Tree::default(),
            by_member: Tree::default(),
            is_packed: true,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.by_score.len()
    }

    /// Whether there is none: so only while a command makes it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is small: what `OBJECT ENCODING` tells apart.
    pub fn is_packed(&self) -> bool {
        self.is_packed
    }

    fn order(&self, member: &[u8]) -> Option<u64> {
        if self.is_packed {
            let mut all = self.by_score.iter_from(0);
            return all.find(|item| item.key == member).map(|item| item.order);
        }
        let found = self.by_member.find(hash_of(member), member)?;
        let word = found.value.try_into().expect("an order word has 8 bytes");
        Some(u64::from_le_bytes(word))
    }

    /// The score of `member`.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.order(member).map(score_of)
    }

    /// Gives `member` a score, which must not be NaN; returns the score that it had.
    pub fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        debug_assert!(!score.is_nan(), "the caller refuses NaN");
        if self.is_packed && member.len() > PACKED_BYTES_MAX {
            self.unpack();
        }
        let (before, order) = (self.order(member), order_of(score));
        if before == Some(order) {
            return before.map(score_of);
        }
        if let Some(before) = before {
            let at = self.by_score.seek(before, member);
            self.by_score.remove(at.expect("a member is in both trees"));
        }
        let item = Item {
            order,
            key: member,
            value: b"",
        };
        let at = self.by_score.seek(order, member);
        self.by_score
            .insert(at.expect_err("it was not there"), item);
        if !self.is_packed {
            self.note_member(member, order);
        } else if self.len() > PACKED_LEN_MAX {
            self.unpack();
        }
        before.map(score_of)
    }

    fn note_member(&mut self, member: &[u8], order: u64) {
        let (hash, word) = (hash_of(member), order.to_le_bytes());
        let item = Item {
            order: hash,
            key: member,
            value: &word,
        };
        match self.by_member.seek(hash, member) {
            Ok(at) => self.by_member.replace(at, item),
            Err(at) => self.by_member.insert(at, item),
        }
    }

    fn unpack(&mut self) {
        self.is_packed = false;
        let by_score = self.by_score.clone();
        for item in by_score.iter_from(0) {
            self.note_member(item.key, item.order);
        }
    }

    /// Removes `member`; returns the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let order = self.order(member)?;
        let at = self.by_score.seek(order, member);
        self.by_score.remove(at.expect("a member is in both trees"));
        if !self.is_packed {
            let at = self.by_member.seek(hash_of(member), member);
            self.by_member
                .remove(at.expect("a member is in both trees"));
        }
        Some(score_of(order))
    }

    /// The position of `member` from the lowest score on.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let order = self.order(member)?;
        self.by_score.seek(order, member).ok()
    }

    /// The member at a position from the lowest score on, and its score.
    pub fn at(&self, rank: usize) -> Option<(&[u8], f64)> {
        let item = self.by_score.get(rank)?;
        Some((item.key, score_of(item.order)))
    }

    /// How many members at the beginning `is_before` is true of: a bound by score or, where scores are equal, by member.
    pub fn count_while(&self, mut is_before: impl FnMut(&[u8], f64) -> bool) -> usize {
        self.by_score
            .partition_point(|item| is_before(item.key, score_of(item.order)))
    }

    /// Members and scores from the position `rank` on.
    pub fn iter_from(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        let items = self.by_score.iter_from(rank);
        items.map(|item| (item.key, score_of(item.order)))
    }

    /// Members and scores before the position `rank`, the highest first.
    pub fn iter_back(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        let items = self.by_score.iter_back(rank);
        items.map(|item| (item.key, score_of(item.order)))
    }

    /// A step of ZSCAN: members from `cursor` on, about `steps_max`, or all of a small set; see [`Scan`].
    pub fn scan(&self, cursor: u64, steps_max: usize, mut visit: impl FnMut(&[u8], f64)) -> Scan {
        if self.is_packed {
            self.iter_from(0)
                .for_each(|(member, score)| visit(member, score));
            return Scan::Ended;
        }
        super::scan_from(&self.by_member, cursor, steps_max, |member, word| {
            let word = word.try_into().expect("an order word has 8 bytes");
            visit(member, score_of(u64::from_le_bytes(word)));
        })
    }
}

impl Sealed for SortedSet {}

impl Typed for SortedSet {
    fn empty() -> Self {
        SortedSet::new()
    }

    fn of(collection: &Collection) -> Option<&Self> {
        match collection {
            Collection::SortedSet(this) => Some(this),
            _ => None,
        }
    }

    fn of_mut(collection: &mut Collection) -> Option<&mut Self> {
        match collection {
            Collection::SortedSet(this) => Some(this),
            _ => None,
        }
    }

    fn into_collection(self) -> Collection {
        Collection::SortedSet(self)
    }
}
