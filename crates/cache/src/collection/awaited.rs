//! Keys at which somebody waits for a collection to have something in it.

use crate::store::Cache;
use crate::{CollectionType, Key, Value};
use std::collections::HashSet;

/// Which keys are waited for, and what happened there. Not part of the replicated state.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    keys: HashSet<(u8, Box<[u8]>)>,
    /// Those that were written to since it was last asked, in order; a key may be there twice.
    changed: Vec<(u8, Box<[u8]>)>,
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
        match self.peek(key).map(|entry| entry.value) {
            Some(Value::Collection(collection)) if collection.type_of() == of => collection.len(),
            Some(Value::Collection(_) | Value::String(_) | Value::Shared(_)) | None => 0,
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
