//! Sets: members.

use super::sealed::Sealed;
use super::tree::{Item, Tree};
use super::{Collection, Typed};
use super::{Scan, hash_of};

/// Most members of a set of integers that is kept as such: Redis's `set-max-intset-entries`.
pub const INTEGERS_LEN_MAX: usize = 512;

/// A set.
///
/// - Up to [`INTEGERS_LEN_MAX`] members that all are integers are in the order of their values; else members are in the
///   order of their hashes, and stay so.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    pub(super) tree: Tree,
    pub(super) is_integers: bool,
}

/// The order word of an integer member: as unsigned integers they sort as the signed ones do.
fn order_of_integer(integer: i64) -> u64 {
    (integer as u64) ^ (1 << 63)
}

/// The integer that `member` is written as in the one usual way, or none.
fn integer_of(member: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(member).ok()?;
    let is_usual = matches!(member, [b'0'] | [b'-', b'1'..=b'9', ..] | [b'1'..=b'9', ..]);
    is_usual.then(|| text.parse().ok()).flatten()
}

impl Set {
    pub(super) fn new() -> Self {
        Set {
            tree: Tree::default(),
            is_integers: true,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none: so only while a command makes it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a small set of integers: what `OBJECT ENCODING` tells apart.
    pub fn is_integers(&self) -> bool {
        self.is_integers
    }

    /// The order word of `member` here; none if it cannot be a member as long as all are integers.
    fn order(&self, member: &[u8]) -> Option<u64> {
        match self.is_integers {
            true => integer_of(member).map(order_of_integer),
            false => Some(hash_of(member)),
        }
    }

    /// Whether `member` is in it.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.order(member)
            .is_some_and(|order| self.tree.find(order, member).is_some())
    }

    /// Adds `member`; whether it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        let order = self.order(member).unwrap_or_else(|| {
            self.unpack();
            hash_of(member)
        });
        let Err(at) = self.tree.seek(order, member) else {
            return false;
        };
        let item = Item {
            order,
            key: member,
            value: b"",
        };
        self.tree.insert(at, item);
        if self.is_integers && self.len() > INTEGERS_LEN_MAX {
            self.unpack();
        }
        true
    }

    /// Puts the members into the order of their hashes.
    fn unpack(&mut self) {
        self.tree = super::by_hash(&self.tree);
        self.is_integers = false;
    }

    /// Removes `member`; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        let order = self.order(member);
        match order.map(|order| self.tree.seek(order, member)) {
            Some(Ok(at)) => {
                self.tree.remove(at);
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// Removes the member at a position below the length.
    pub fn remove_at(&mut self, position: usize) {
        self.tree.remove(position);
    }

    /// The members in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.tree.iter_from(0).map(|item| item.key)
    }

    /// The member at a position below the length: what a draw picks.
    pub fn at(&self, position: usize) -> Option<&[u8]> {
        self.tree.get(position).map(|item| item.key)
    }

    /// A step of SSCAN: members from `cursor` on, about `steps_max`, or all of a small set; see [`Scan`].
    pub fn scan(&self, cursor: u64, steps_max: usize, mut visit: impl FnMut(&[u8])) -> Scan {
        let visit = |member: &[u8], _: &[u8]| visit(member);
        match self.is_integers {
            true => super::scan_all(&self.tree, visit),
            false => super::scan_from(&self.tree, cursor, steps_max, visit),
        }
    }
}

impl Sealed for Set {}

impl Typed for Set {
    fn empty() -> Self {
        Set::new()
    }

    fn of(collection: &Collection) -> Option<&Self> {
        match collection {
            Collection::Set(this) => Some(this),
            _ => None,
        }
    }

    fn of_mut(collection: &mut Collection) -> Option<&mut Self> {
        match collection {
            Collection::Set(this) => Some(this),
            _ => None,
        }
    }

    fn into_collection(self) -> Collection {
        Collection::Set(self)
    }
}
