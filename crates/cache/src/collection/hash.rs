//! Hashes: fields and their values.

use super::sealed::Sealed;
use super::tree::{Item, Tree};
use super::{Collection, Typed};
use super::{PACKED_BYTES_MAX, PACKED_LEN_MAX, Scan, hash_of};

/// A hash.
///
/// - While it is *packed* its fields are in the order of their arrival, as Redis's are; beyond [`PACKED_LEN_MAX`]
///   fields, or with a field or value of over [`PACKED_BYTES_MAX`] bytes, they are in the order of their hashes, and stay so.
#[derive(Clone, Debug, PartialEq)]
pub struct Hash {
    pub(super) tree: Tree,
    pub(super) is_packed: bool,
}

impl Hash {
    pub(super) fn new() -> Self {
        Hash {
            tree: Tree::default(),
            is_packed: true,
        }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none: so only while a command makes it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is small: what `OBJECT ENCODING` tells apart.
    pub fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        let item = match self.is_packed {
            true => self.tree.iter_from(0).find(|item| item.key == field),
            false => self.tree.find(hash_of(field), field),
        };
        item.map(|item| item.value)
    }

    fn position(&self, field: &[u8]) -> Option<usize> {
        match self.is_packed {
            true => self.tree.iter_from(0).position(|item| item.key == field),
            false => self.tree.seek(hash_of(field), field).ok(),
        }
    }

    /// Gives `field` a value; whether the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        if self.is_packed && field.len().max(value.len()) > PACKED_BYTES_MAX {
            self.unpack();
        }
        let order = match self.is_packed {
            true => 0,
            false => hash_of(field),
        };
        let item = Item {
            order,
            key: field,
            value,
        };
        let place = match self.is_packed {
            true => self.position(field).ok_or(self.len()),
            false => self.tree.seek(order, field),
        };
        match place {
            Ok(at) => self.tree.replace(at, item),
            Err(at) => self.tree.insert(at, item),
        }
        if self.is_packed && self.len() > PACKED_LEN_MAX {
            self.unpack();
        }
        place.is_err()
    }

    /// Puts the fields into the order of their hashes.
    fn unpack(&mut self) {
        self.tree = super::by_hash(&self.tree);
        self.is_packed = false;
    }

    /// Removes `field`; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let place = self.position(field);
        if let Some(at) = place {
            self.tree.remove(at);
        }
        place.is_some()
    }

    /// The fields and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.tree.iter_from(0).map(|item| (item.key, item.value))
    }

    /// The field at a position below the length, and its value: what a draw picks.
    pub fn at(&self, position: usize) -> Option<(&[u8], &[u8])> {
        self.tree.get(position).map(|item| (item.key, item.value))
    }

    /// A step of HSCAN: fields from `cursor` on, about `steps_max`, or all of a small hash; see [`Scan`].
    pub fn scan(&self, cursor: u64, steps_max: usize, visit: impl FnMut(&[u8], &[u8])) -> Scan {
        match self.is_packed {
            true => super::scan_all(&self.tree, visit),
            false => super::scan_from(&self.tree, cursor, steps_max, visit),
        }
    }
}

impl Sealed for Hash {}

impl Typed for Hash {
    fn empty() -> Self {
        Hash::new()
    }

    fn of(collection: &Collection) -> Option<&Self> {
        match collection {
            Collection::Hash(this) => Some(this),
            _ => None,
        }
    }

    fn of_mut(collection: &mut Collection) -> Option<&mut Self> {
        match collection {
            Collection::Hash(this) => Some(this),
            _ => None,
        }
    }

    fn into_collection(self) -> Collection {
        Collection::Hash(self)
    }
}
