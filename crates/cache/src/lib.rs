//! One shard's keys: values, exact LRU order in a byte budget, expiry by log time, cursors for SCAN.
//!
//! A [`Cache`] is plain data behind `&mut self`: no lock, thread, clock or random source. Time is the
//! *log time* that the caller sets ([`Cache::set_now`]); draws come in as arguments. A key whose expiry
//! is at or before log time does not exist, whether or not its bytes have been reclaimed yet.
//!
//! What it does not know: the log, shards other than itself, commands, replies.
//!
//! How it is laid out, and why (per key of 16 bytes with a value of 64: about 29 bytes above both):
//!
//! - a record is header, key and value in one piece ([`record`]), in a page of equal slots ([`pages`],
//!   [`class`]); deleting moves the class's last record into the hole, so memory never fragments;
//! - the index ([`index`]) is eight bytes a bucket in hash order, which is what SCAN walks;
//! - recency ([`recency`]) is two lists linked through the records themselves, by page and slot number: a
//!   lookup touches one bucket and one record and nothing else;
//! - values over 4 KiB lie apart ([`aside`]), where replies share them, and so do collections ([`collection`]).
//!
//! Reading order: [`key`], [`value`], [`record`], [`class`], [`pages`], [`aside`], [`collection`], [`index`], [`recency`],
//! [`store`], [`lookups`], [`fence`], [`write`], [`locks`], [`expire`], [`evict`], [`lock_memory`], [`hints`],
//! [`walk`]. `naive` is the model of the property tests.

mod aside;
mod class;
mod collection;
mod draw;
mod evict;
mod expire;
mod fence;
mod hints;
mod index;
mod key;
mod lock_memory;
mod locks;
mod lookups;
#[cfg(test)]
mod naive;
mod pages;
mod recency;
mod record;
mod scratch;
mod store;
#[cfg(test)]
mod tests;
mod value;
mod walk;
mod write;

pub use collection::{
    Changed, Collection, CollectionType, Consumer, Edited, Fields, Group, Hash, INTEGERS_LEN_MAX,
    List, MalformedCollection, PACKED_BYTES_MAX, PACKED_LEN_MAX, Pending, Piece, Scan, Set,
    SortedSet, Sought, Stream, StreamEntry, StreamId, Typed, Vacant, WrongType,
};
pub use draw::Draws;
pub use fence::FENCE_MAX;
pub use key::Key;
pub use lock_memory::LockVictim;
pub use locks::{
    Acquired, Grant, HolderView, LOCKS_BYTES_MAX, LockMode, LockOrigin, LockRequest, LockView,
    LockWait, Locks, OWNER_BYTES_MAX, Standing, WAITERS_PER_LOCK_MAX, Wish,
};
pub use lookups::Lookups;
pub use store::Cache;
pub use value::{
    Change, ChangeKind, Entry, Expiry, OwnedEntry, OwnedValue, PINNED_VALUE_BYTES_MAX, Pin, Policy,
    StringForm, Value, Victim,
};
