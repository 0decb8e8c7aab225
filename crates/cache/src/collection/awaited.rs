//! Keys at which somebody waits for a collection to have something in it.

use crate::store::Cache;
use crate::{Collection, CollectionType, Key, StreamId, Value};
use std::collections::HashSet;

/// What somebody waits for at a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sought {
    /// A collection of this type with something in it.
    Any(CollectionType),
    /// An entry of a stream above this id.
    After(StreamId),
    /// An entry that this group of a stream has not read, or the end of the group.
    Unread(Box<[u8]>),
}

/// Which keys are waited for, and what happened there. Not part of the replicated state.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    keys: HashSet<(u8, Box<[u8]>)>,
    /// Those that were written to since it was last asked, in order; a key may be there twice.
    changed: Vec<(u8, Box<[u8]>)>,
}

impl Awaited {
    /// Whether it is as it was made.
    pub(crate) fn is_new(&self) -> bool {
        self.keys.is_empty() && self.changed.is_empty()
    }
}

impl Cache {
    /// Takes note of writes of collections at `key` from now on.
    pub fn await_key(&mut self, db: u8, key: &[u8]) {
        self.awaited.keys.insert((db, key.into()));
    }

    /// No longer.
    pub fn forget_awaited(&mut self, db: u8, key: &[u8]) {
        self.awaited.keys.remove(&(db, Box::from(key)));
    }

    /// The awaited keys at which a collection was written since the last call, in the order of the writes.
    #[inline]
    pub fn take_awaited(&mut self) -> Vec<(u8, Box<[u8]>)> {
        std::mem::take(&mut self.awaited.changed)
    }

    /// Whether [`Cache::take_awaited`] has any.
    #[inline]
    pub fn has_awaited(&self) -> bool {
        !self.awaited.changed.is_empty()
    }

    /// How many items the live collection of this type at `key` has; 0 if there is none.
    pub fn collection_len(&self, key: Key<'_>, of: CollectionType) -> usize {
        self.found_len(key, &Sought::Any(of))
    }

    /// How many of those who seek this at `key` would find it: one for each item, or all.
    pub fn found_len(&self, key: Key<'_>, sought: &Sought) -> usize {
        let collection = match self.peek(key).map(|entry| entry.value) {
            Some(Value::Collection(collection)) => Some(collection),
            Some(Value::String(_) | Value::Shared(_)) | None => None,
        };
        match (sought, collection) {
            (Sought::Any(of), Some(found)) if found.type_of() == *of => found.len(),
            (Sought::After(id), Some(Collection::Stream(stream))) => {
                let top = stream.iter_back(stream.len()).next();
                top.map_or(0, |top| if top.id > *id { usize::MAX } else { 0 })
            }
            (Sought::Unread(name), Some(Collection::Stream(stream))) => {
                stream.group(name).map_or(usize::MAX, |group| {
                    let next = group.last_id().next();
                    next.map_or(0, |next| stream.len() - stream.rank(next))
                })
            }
            // They are told that it is gone.
            (Sought::Unread(_), _) => usize::MAX,
            (Sought::Any(_) | Sought::After(_), _) => 0,
        }
    }

    /// A collection was written.
    #[inline]
    pub(crate) fn note_awaited(&mut self, key: Key<'_>) {
        if !self.awaited.keys.is_empty() {
            let id = (key.db, Box::from(key.bytes));
            if self.awaited.keys.contains(&id) {
                self.awaited.changed.push(id);
            }
        }
    }
}
