//! What is too long for a page: values kept apart, and keys of over 2 KiB.
//!
//! A slot of the slab is named by the 4-byte body of its record. A value set whole is a [`Bytes`] of
//! exactly its size, so that a reply shares it; one that is being edited is a [`BytesMut`] with room to
//! grow, and becomes shareable again when it is read, both without a copy unless a reply still holds it.
//!
//! Collections are a further kind of [`Body`], with their own count of bytes. One that is let go of is taken apart in steps
//! ([`Asides::bury`]), so that no removal takes long.

use crate::OwnedValue;
use crate::class::allocated_bytes;
use crate::collection::Collection;
use bytes::{Bytes, BytesMut};

/// The bytes kept apart for one record.
pub(crate) enum Body {
    /// Shareable.
    Text(Bytes),
    /// Being edited.
    Buffer(BytesMut),
    /// Any other type than a string.
    Collection(Box<Kept>),
}

/// A collection and the number of its last change ([`crate::Entry::fence`]).
pub(crate) struct Kept {
    pub(crate) collection: Collection,
    pub(crate) fence: u64,
}

/// A key kept apart, with its hash: hashing it again when its record moves would cost its length.
pub(crate) struct LongKey {
    pub(crate) hash: u32,
    pub(crate) bytes: Box<[u8]>,
}

struct Aside {
    key: Option<Box<LongKey>>,
    body: Body,
    /// What the allocator takes for the body, its room to grow included.
    body_cost: usize,
}

enum Slot {
    Used(Aside),
    /// The next free slot, or `u32::MAX`.
    Free(u32),
}

/// A slab of asides.
pub(crate) struct Asides {
    slots: Vec<Slot>,
    first_free: u32,
    /// Sum of `cost`.
    bytes: usize,
    /// Large collections that were let go of: not counted, as they are on their way out.
    graves: Vec<Collection>,
}

/// A collection of at most so many bytes is let go of at once.
const GRAVE_BYTES_MIN: usize = 64 << 10;

/// Bookkeeping of a shared allocation.
const SHARED_BYTES: usize = 32;

fn cost_of(capacity: usize) -> usize {
    allocated_bytes(capacity) + SHARED_BYTES
}

impl Aside {
    fn cost(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| {
            allocated_bytes(key.bytes.len()) + size_of::<LongKey>()
        });
        key + self.body_cost
    }
}

impl Asides {
    pub(crate) fn new() -> Self {
        Asides {
            slots: Vec::new(),
            first_free: u32::MAX,
            bytes: 0,
            graves: Vec::new(),
        }
    }

    /// Lets go of all; of large collections as [`Asides::bury`] does.
    pub(crate) fn clear(&mut self) {
        let emptied = std::mem::replace(self, Asides::new());
        self.graves = emptied.graves;
        for slot in emptied.slots {
            match slot {
                Slot::Used(aside) => self.discard(aside.body),
                Slot::Free(_) => {}
            }
        }
    }

    /// Memory in bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        self.bytes + self.slots.capacity() * size_of::<Slot>()
    }

    /// Memory of one of them.
    pub(crate) fn cost(&self, index: u32) -> usize {
        self.aside(index).cost() + size_of::<Slot>()
    }

    /// Keeps a body, and a key if it is long; returns their index.
    pub(crate) fn insert(&mut self, key: Option<LongKey>, body: Body) -> u32 {
        let aside = Aside {
            key: key.map(Box::new),
            body_cost: body.cost(),
            body,
        };
        self.bytes += aside.cost();
        let used = Slot::Used(aside);
        match self.slots.get(self.first_free as usize) {
            Some(Slot::Free(next)) => {
                let index = self.first_free;
                self.first_free = *next;
                self.slots[index as usize] = used;
                index
            }
            Some(Slot::Used(_)) => unreachable!("a used slot is in no free list"),
            None => {
                crate::pages::grow_by_quarters(&mut self.slots);
                self.slots.push(used);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Lets go of a slot and returns its body.
    pub(crate) fn remove(&mut self, index: u32) -> Body {
        let free = Slot::Free(self.first_free);
        match std::mem::replace(&mut self.slots[index as usize], free) {
            Slot::Used(aside) => {
                self.first_free = index;
                self.bytes -= aside.cost();
                aside.body
            }
            Slot::Free(_) => unreachable!("a record names a used slot"),
        }
    }

    fn aside(&self, index: u32) -> &Aside {
        match &self.slots[index as usize] {
            Slot::Used(aside) => aside,
            Slot::Free(_) => unreachable!("a record names a used slot"),
        }
    }

    fn aside_mut(&mut self, index: u32) -> &mut Aside {
        match &mut self.slots[index as usize] {
            Slot::Used(aside) => aside,
            Slot::Free(_) => unreachable!("a record names a used slot"),
        }
    }

    /// The long key of a slot that has one.
    pub(crate) fn key(&self, index: u32) -> &LongKey {
        self.aside(index)
            .key
            .as_deref()
            .expect("a record without inline key has a long one")
    }

    pub(crate) fn body(&self, index: u32) -> &Body {
        &self.aside(index).body
    }

    /// Makes a body shareable in place (no copy; what room it had to grow is kept and stays counted).
    pub(crate) fn share(&mut self, index: u32) {
        let aside = self.aside_mut(index);
        if let Body::Buffer(buffer) = &mut aside.body {
            aside.body = Body::Text(std::mem::take(buffer).freeze());
        }
    }

    /// Lends a collection for a change; none if the body is a string.
    pub(crate) fn edit_collection<R>(
        &mut self,
        index: u32,
        change: impl FnOnce(&mut Collection) -> R,
    ) -> Option<R> {
        let aside = self.aside_mut(index);
        let Body::Collection(kept) = &mut aside.body else {
            return None;
        };
        let result = change(&mut kept.collection);
        let before = std::mem::replace(&mut aside.body_cost, aside.body.cost());
        let after = aside.body_cost;
        self.bytes = self.bytes - before + after;
        Some(result)
    }

    /// Numbers the last change of a collection.
    pub(crate) fn set_fence(&mut self, index: u32, fence: u64) {
        if let Body::Collection(kept) = &mut self.aside_mut(index).body {
            kept.fence = fence;
        }
    }

    /// Lets go of a body.
    pub(crate) fn discard(&mut self, body: Body) {
        if let Body::Collection(kept) = body {
            self.let_go(kept.collection);
        }
    }

    /// Lets go of a collection.
    pub(crate) fn let_go(&mut self, collection: Collection) {
        if collection.bytes() > GRAVE_BYTES_MIN {
            self.graves.push(collection);
        }
    }

    /// Frees at most so many pieces of what was let go of; whether anything is left.
    #[inline]
    pub(crate) fn bury(&mut self, packs_max: usize) -> bool {
        match self.graves.is_empty() {
            true => false,
            false => self.bury_some(packs_max),
        }
    }

    #[cold]
    fn bury_some(&mut self, packs_max: usize) -> bool {
        if let Some(collection) = self.graves.last_mut()
            && !collection.dismantle(packs_max)
        {
            self.graves.pop();
        }
        !self.graves.is_empty()
    }

    /// Replaces a body by another.
    pub(crate) fn replace(&mut self, index: u32, body: Body) {
        self.change(index, |_| (body.cost(), body));
    }

    /// Overwrites a body with `value`, in its own memory if nobody shares it and it is of about that size.
    pub(crate) fn overwrite(&mut self, index: u32, value: &[u8]) {
        self.change(index, |old| match into_buffer(old) {
            Ok(mut buffer) if is_close(value.len(), buffer.capacity()) => {
                buffer.clear();
                buffer.extend_from_slice(value);
                (cost_of(buffer.capacity()), Body::Text(buffer.freeze()))
            }
            Ok(_) | Err(_) => {
                let copy = Bytes::copy_from_slice(value);
                (cost_of(value.len()), Body::Text(copy))
            }
        });
    }

    /// Makes a body exactly `len` bytes long, new ones zero, and lends it. Costs the bytes appended, on
    /// average: room grows by a quarter whenever it runs out.
    pub(crate) fn edit(&mut self, index: u32, len: usize) -> &mut [u8] {
        self.change(index, |old| {
            let mut buffer = into_buffer(old).unwrap_or_else(|shared| {
                let mut copy = BytesMut::with_capacity(shared.len().max(len));
                copy.extend_from_slice(&shared);
                copy
            });
            if len > buffer.capacity() {
                let mut larger = BytesMut::with_capacity(len + buffer.len() / 4);
                larger.extend_from_slice(&buffer);
                buffer = larger;
            }
            buffer.resize(len, 0);
            (cost_of(buffer.capacity()), Body::Buffer(buffer))
        });
        match &mut self.aside_mut(index).body {
            Body::Buffer(buffer) => buffer,
            Body::Text(_) | Body::Collection(_) => unreachable!("made a buffer above"),
        }
    }

    /// Puts another string, of the cost that `change` returns with it, in place of the one there.
    fn change(&mut self, index: u32, change: impl FnOnce(Body) -> (usize, Body)) {
        let aside = self.aside_mut(index);
        let before = aside.body_cost;
        let old = std::mem::replace(&mut aside.body, Body::Text(Bytes::new()));
        let (cost, body) = change(old);
        aside.body = body;
        aside.body_cost = cost;
        let after = aside.body_cost;
        self.bytes = self.bytes - before + after;
    }
}

/// Whether an allocation of `capacity` bytes serves for `len` without much waste.
fn is_close(len: usize, capacity: usize) -> bool {
    len <= capacity && capacity - len <= len / 8
}

/// The body as a buffer to write into, or the shared bytes if somebody else holds them.
fn into_buffer(body: Body) -> Result<BytesMut, Bytes> {
    match body {
        Body::Text(bytes) => bytes.try_into_mut(),
        Body::Buffer(buffer) => Ok(buffer),
        Body::Collection(_) => unreachable!("a collection is replaced, not overwritten"),
    }
}

impl Body {
    /// The memory that it takes.
    fn cost(&self) -> usize {
        match self {
            Body::Text(bytes) => cost_of(bytes.len()),
            Body::Buffer(buffer) => cost_of(buffer.capacity()),
            Body::Collection(kept) => allocated_bytes(size_of::<Kept>()) + kept.collection.bytes(),
        }
    }

    /// The value, apart from the cache, and its fence if it is a collection.
    pub(crate) fn into_value(self) -> (OwnedValue, u64) {
        match self {
            Body::Text(bytes) => (OwnedValue::String(bytes), 0),
            Body::Buffer(buffer) => (OwnedValue::String(buffer.freeze()), 0),
            Body::Collection(kept) => (OwnedValue::Collection(kept.collection), kept.fence),
        }
    }

    /// A body from bytes of unknown origin: as they are if nobody shares them and their allocation is
    /// theirs alone, else a copy. A slice of a larger buffer would keep all of it alive, uncounted.
    pub(crate) fn exact(bytes: Bytes) -> Body {
        match bytes.try_into_mut() {
            Ok(buffer) if is_close(buffer.len(), buffer.capacity()) => Body::Text(buffer.freeze()),
            Ok(buffer) => Body::Text(Bytes::copy_from_slice(&buffer)),
            Err(shared) => Body::Text(Bytes::copy_from_slice(&shared)),
        }
    }
}
