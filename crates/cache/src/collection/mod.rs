//! Collections: hashes, lists, sets, sorted sets and streams.
//!
//! All are made of trees of items ([`tree`]), so a clone of any costs O(1): a snapshot streams a clone while the original
//! goes on changing. Their order is defined and the same on every replica: nothing depends on the layout in memory.
//!
//! A collection lives in a [`crate::Cache`] beside its record, as a value that is too long for a page does. It is changed
//! by [`crate::Cache::edit_collection`] alone, which keeps account of its memory and removes it when it is empty (but a stream).

mod awaited;
mod edit;
mod encoding;
mod hash;
mod list;
mod set;
mod sorted_set;
mod stream;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use awaited::Awaited;
pub use awaited::Sought;
pub use edit::{Changed, Edited, Vacant, WrongType};
pub use encoding::{MalformedCollection, Piece};
pub use hash::Hash;
pub use list::List;
pub use set::{INTEGERS_LEN_MAX, Set};
pub use sorted_set::SortedSet;
pub use stream::{Consumer, Fields, Group, Pending, Stream, StreamEntry, StreamId};
use tree::{Item, Tree};
use xxhash_rust::xxh3::xxh3_64;

/// Most items of a small hash or sorted set: Redis's `zset-max-listpack-entries`. A hash of 129 to 512 fields is small in Redis 7.0 and is not here: its fields are found faster.
pub const PACKED_LEN_MAX: usize = 128;
/// Longest field, value or member of a small hash or sorted set, bytes: Redis's `…-max-listpack-value`.
pub const PACKED_BYTES_MAX: usize = 64;

/// A value of any type but string. A clone costs O(1).
#[derive(Clone, Debug, PartialEq)]
pub enum Collection {
    /// Fields with values.
    Hash(Hash),
    /// Elements by position.
    List(List),
    /// Members.
    Set(Set),
    /// Members with scores.
    SortedSet(SortedSet),
    /// Entries by id, and groups of consumers.
    Stream(Stream),
}

/// The five types of [`Collection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CollectionType {
    /// [`Hash`]
    Hash,
    /// [`List`]
    List,
    /// [`Set`]
    Set,
    /// [`SortedSet`]
    SortedSet,
    /// [`Stream`]
    Stream,
}

/// Where a walk of one collection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// From this cursor, which is good on every replica; never 0.
    From(u64),
    /// All was visited. What was there from the first step to the last was visited at least once.
    Ended,
}

/// One type of collection: how generic code gets at it.
pub trait Typed: Sized + sealed::Sealed {
    /// An empty one.
    fn empty() -> Self;
    /// The collection as this type, if it is of it.
    fn of(collection: &Collection) -> Option<&Self>;
    /// The same, for a change.
    fn of_mut(collection: &mut Collection) -> Option<&mut Self>;
    /// This as a collection.
    fn into_collection(self) -> Collection;
}

mod sealed {
    pub trait Sealed {}
}

impl Collection {
    /// An empty one of this type.
    pub fn new(of: CollectionType) -> Self {
        match of {
            CollectionType::Hash => Collection::Hash(Hash::new()),
            CollectionType::List => Collection::List(List::new()),
            CollectionType::Set => Collection::Set(Set::new()),
            CollectionType::SortedSet => Collection::SortedSet(SortedSet::new()),
            CollectionType::Stream => Collection::Stream(Stream::new()),
        }
    }

    /// Its type.
    pub fn type_of(&self) -> CollectionType {
        match self {
            Collection::Hash(_) => CollectionType::Hash,
            Collection::List(_) => CollectionType::List,
            Collection::Set(_) => CollectionType::Set,
            Collection::SortedSet(_) => CollectionType::SortedSet,
            Collection::Stream(_) => CollectionType::Stream,
        }
    }

    /// How many fields, elements, members or entries there are.
    pub fn len(&self) -> usize {
        match self {
            Collection::Hash(hash) => hash.len(),
            Collection::List(list) => list.len(),
            Collection::Set(set) => set.len(),
            Collection::SortedSet(set) => set.len(),
            Collection::Stream(stream) => stream.len(),
        }
    }

    /// Whether there is none: so only while a command makes it, unless it is a stream.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is left for which its key would stay: never so of a stream, which keeps its last id and its groups.
    pub fn is_void(&self) -> bool {
        self.is_empty() && self.type_of() != CollectionType::Stream
    }

    /// Memory in bytes, as if nothing were shared with a clone. O(1).
    pub fn bytes(&self) -> usize {
        match self {
            Collection::Hash(hash) => hash.tree.bytes(),
            Collection::List(list) => list.tree.bytes(),
            Collection::Set(set) => set.tree.bytes(),
            Collection::SortedSet(set) => set.by_score.bytes() + set.by_member.bytes(),
            Collection::Stream(stream) => stream.bytes(),
        }
    }

    /// Frees at most so many pieces of it; whether anything is left.
    pub(crate) fn dismantle(&mut self, packs_max: usize) -> bool {
        match self {
            Collection::Hash(hash) => hash.tree.dismantle(packs_max),
            Collection::List(list) => list.tree.dismantle(packs_max),
            Collection::Set(set) => set.tree.dismantle(packs_max),
            Collection::SortedSet(set) => {
                set.by_score.dismantle(packs_max) || set.by_member.dismantle(packs_max)
            }
            Collection::Stream(stream) => stream.dismantle(packs_max),
        }
    }
}

/// The same items in the same order.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter_from(0).eq(other.iter_from(0))
    }
}

/// The order word of an item that is kept by its hash: 32 bits, never 0. Under no seed: what a draw picks must be the same
/// wherever the log is applied. Who makes hashes collide gains nothing but longer steps of a walk: equal ones are found by key.
fn hash_of(key: &[u8]) -> u64 {
    (xxh3_64(key) >> 32).max(1)
}

/// The same items in the order of their hashes.
fn by_hash(tree: &Tree) -> Tree {
    let mut sorted = Tree::default();
    for item in tree.iter_from(0) {
        let item = Item {
            order: hash_of(item.key),
            ..item
        };
        let at = sorted.seek(item.order, item.key);
        sorted.insert(at.expect_err("an item is there once"), item);
    }
    sorted
}

/// Visits all.
fn scan_all(tree: &Tree, mut visit: impl FnMut(&[u8], &[u8])) -> Scan {
    tree.iter_from(0)
        .for_each(|item| visit(item.key, item.value));
    Scan::Ended
}

/// Visits items of a tree in the order of their hashes from `cursor` on, about `steps_max` of them: all that share a hash
/// are visited together.
fn scan_from(
    tree: &Tree,
    cursor: u64,
    steps_max: usize,
    mut visit: impl FnMut(&[u8], &[u8]),
) -> Scan {
    let begin = tree.partition_point(|item| item.order < cursor);
    let mut last = 0;
    for (step, item) in tree.iter_from(begin).enumerate() {
        if step >= steps_max.max(1) && item.order != last {
            return Scan::From(item.order);
        }
        last = item.order;
        visit(item.key, item.value);
    }
    Scan::Ended
}
