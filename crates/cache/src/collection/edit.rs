//! Changing a collection where it lies.

use super::{Collection, Typed};
use crate::store::{Cache, Found};
use crate::{ChangeKind, Key, record};

/// What is to be done where there is no collection yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacant {
    /// Begin with an empty one, which has no expiry.
    Make,
    /// Nothing.
    Leave,
}

/// Whether a change changed anything: WATCH and tracking ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// It did not.
    No,
}

/// The key holds a value of another type: Redis's `WRONGTYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edited<R> {
    /// What the change returned.
    pub result: R,
    /// Whether it changed anything.
    pub changed: Changed,
    /// Whether the key was not there before, and is now.
    pub is_new: bool,
    /// Whether the key was there and is gone, because nothing is left in it.
    pub is_gone: bool,
}

impl Cache {
    /// Lends the collection at `key` to `change`. It keeps its expiry; when nothing is left in it its key is removed
    /// (a stream's never is). Counts as
    /// an access if it changed. None if there is nothing and `vacant` is [`Vacant::Leave`]: `change` is not called then.
    ///
    /// # Errors
    /// [`WrongType`]; nothing is changed.
    pub fn edit_collection<T: Typed, R>(
        &mut self,
        key: Key<'_>,
        vacant: Vacant,
        change: impl FnOnce(&mut T) -> (R, Changed),
    ) -> Result<Option<Edited<R>>, WrongType> {
        match self.find_live(key) {
            Some(found) => self.edit_found(key, found, change).map(Some),
            None if vacant == Vacant::Leave => Ok(None),
            None => Ok(Some(self.edit_vacant(key, change))),
        }
    }

    fn edit_found<T: Typed, R>(
        &mut self,
        key: Key<'_>,
        found: Found,
        change: impl FnOnce(&mut T) -> (R, Changed),
    ) -> Result<Edited<R>, WrongType> {
        let slot = self.pages.slot(found.location);
        let head = record::head(slot);
        if !head.is_aside() {
            return Err(WrongType);
        }
        let index = record::aside_index(slot, head);
        let edited = self.asides.edit_collection(index, |collection| {
            let typed = T::of_mut(collection)?;
            let (result, changed) = change(typed);
            Some((result, changed, collection.is_void()))
        });
        let (result, changed, is_gone) = edited.flatten().ok_or(WrongType)?;
        if changed == Changed::Yes {
            if is_gone {
                self.delete(key.db, found);
            } else {
                let fence = self.fences.give(0, self.now_ms);
                self.asides.set_fence(index, fence);
                self.count_access(found.location);
                self.note_awaited(key);
            }
            self.record_change(key.db, key.bytes, ChangeKind::Modified);
        }
        Ok(Edited {
            result,
            changed,
            is_new: false,
            is_gone: is_gone && changed == Changed::Yes,
        })
    }

    fn edit_vacant<T: Typed, R>(
        &mut self,
        key: Key<'_>,
        change: impl FnOnce(&mut T) -> (R, Changed),
    ) -> Edited<R> {
        let mut typed = T::empty();
        let (result, changed) = change(&mut typed);
        let collection = typed.into_collection();
        let is_new = changed == Changed::Yes && !collection.is_void();
        if is_new {
            self.put_collection(key, collection, None, 0);
        }
        Edited {
            result,
            changed,
            is_new,
            is_gone: false,
        }
    }

    /// Adds the items of a further piece to the collection at `key`; nothing if the key is not there, as one that expired
    /// meanwhile is not.
    ///
    /// # Errors
    /// [`super::MalformedCollection`]; some items may have been added.
    pub fn extend_collection(
        &mut self,
        key: Key<'_>,
        piece: &[u8],
    ) -> Result<(), super::MalformedCollection> {
        let Some(found) = self.find_live(key) else {
            return Ok(());
        };
        let slot = self.pages.slot(found.location);
        let head = record::head(slot);
        let index = head
            .is_aside()
            .then(|| record::aside_index(slot, head))
            .ok_or(super::MalformedCollection)?;
        let extended = self
            .asides
            .edit_collection(index, |collection: &mut Collection| {
                collection.extend(piece)
            });
        extended.unwrap_or(Err(super::MalformedCollection))
    }

    /// Lets go of a collection that is in no key, or not any more. A large one is freed by [`Cache::bury`].
    pub fn let_go(&mut self, collection: Collection) {
        self.asides.let_go(collection);
    }

    /// Whether something is left of collections that are gone; frees at most so many pieces of them, so that no removal
    /// takes long.
    pub fn bury(&mut self, packs_max: usize) -> bool {
        self.asides.bury(packs_max)
    }
}
