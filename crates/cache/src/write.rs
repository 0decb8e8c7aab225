//! Writing: whole values, edits in place, expiry.
//!
//! A record that stays in its size class is rewritten where it lies: no allocation, and its bytes are
//! copied once. Else it moves to a slot of its new class and its bucket is told.

use crate::aside::{Body, Kept, LongKey};
use crate::class::{CLASSES, class_of, is_of_class};
use crate::collection::Collection;
use crate::fence;
use crate::index::{Index, Lookup, Place};
use crate::record::{self, ASIDE_INDEX_BYTES, Head, Location, Placement, Traits};
use crate::store::{Cache, Found};
use crate::{
    ChangeKind, Entry, Expiry, Key, OwnedEntry, OwnedValue, PINNED_VALUE_BYTES_MAX, Pin,
    StringForm, Value,
};
use bytes::{Bytes, BytesMut};

/// A value to be stored.
enum New<'a> {
    /// To be copied.
    Slice(&'a [u8]),
    /// May be kept as it is, if it is long.
    Owned(Bytes),
    /// This many zero bytes, to be edited.
    Zeroes(usize),
    /// No string.
    Collection(Box<Kept>),
}

impl New<'_> {
    fn len(&self) -> usize {
        match self {
            New::Slice(bytes) => bytes.len(),
            New::Owned(bytes) => bytes.len(),
            New::Zeroes(len) => *len,
            // Never in a page, and never a lock's.
            New::Collection(_) => usize::MAX,
        }
    }

    fn write_to(&self, target: &mut [u8]) {
        match self {
            New::Slice(bytes) => target.copy_from_slice(bytes),
            New::Owned(bytes) => target.copy_from_slice(bytes),
            New::Zeroes(_) => target.fill(0),
            New::Collection(_) => unreachable!("a collection lies aside"),
        }
    }

    fn into_body(self) -> Body {
        match self {
            New::Slice(bytes) => Body::Text(Bytes::copy_from_slice(bytes)),
            New::Owned(bytes) => Body::exact(bytes),
            New::Zeroes(len) => Body::Buffer(BytesMut::zeroed(len)),
            New::Collection(kept) => Body::Collection(kept),
        }
    }
}

/// What is stored beside a value.
#[derive(Clone, Copy)]
struct Marks {
    /// Log time in ms, or none.
    expires_at: Option<u64>,
    pin: Pin,
    /// That of a pinned entry; 0 = a new grant, which gets its number when it is stored.
    fence: u64,
    form: StringForm,
}

impl Marks {
    fn traits(self, db: u8) -> Traits {
        Traits {
            volatile: self.expires_at.is_some(),
            pin: self.pin,
            form: self.form,
            db,
        }
    }

    fn write_to(self, slot: &mut [u8], head: Head) {
        if let Some(at) = self.expires_at {
            record::set_expires_at(slot, at);
        }
        if head.is_pinned() {
            record::set_fence(slot, head, self.fence);
        }
    }
}

/// The kind of page that a record with this head lies in.
fn kind_of(head: Head) -> usize {
    class_of(head.record_len()) + usize::from(head.is_volatile()) * CLASSES
}

impl Cache {
    /// Sets `key` to a whole string. `At(t)` with `t` at or before log time stores nothing and removes
    /// what was there. A pinned one is a new grant and gets a fence, unless the lock is there and has this value.
    pub fn put(&mut self, key: Key<'_>, value: &[u8], expiry: Expiry, pin: Pin) {
        let place = self.find_or_place(key);
        if pin == Pin::Pinned {
            let before = place.found().filter(|at| !self.is_expired(*at));
            let fence = fence::kept(before.map(|at| self.view(at)), value);
            return self.put_anew(key, place, value, expiry, (pin, fence));
        }
        self.put_at(key, place, value, expiry);
    }

    /// Sets `key` to the whole string that `compute` makes of what is there (nothing, if no live entry is), and
    /// keeps its expiry, its pin and its fence: one search where [`Cache::peek`] and [`Cache::put`] would be two.
    ///
    /// # Errors
    /// Those of `compute`; the cache is as it was.
    pub fn update<'n, E>(
        &mut self,
        key: Key<'_>,
        compute: impl FnOnce(Option<Value<'_>>) -> Result<&'n [u8], E>,
    ) -> Result<(), E> {
        let place = self.find_or_place(key);
        let (value, pin, fence) = match place {
            Lookup::Found(_, location) if !self.is_expired(location) => {
                let entry = self.view(location);
                (compute(Some(entry.value))?, entry.pin, entry.fence)
            }
            Lookup::Found(..) | Lookup::Absent(_) => (compute(None)?, Pin::Unpinned, 0),
        };
        match pin {
            Pin::Pinned => self.put_anew(key, place, value, Expiry::Keep, (pin, fence)),
            Pin::Unpinned => self.put_at(key, place, value, Expiry::Keep),
        }
        Ok(())
    }

    /// Writes a whole string that is not pinned.
    #[inline]
    fn put_at(&mut self, key: Key<'_>, place: Lookup<Place>, value: &[u8], expiry: Expiry) {
        match place {
            Lookup::Found(_, location) if self.put_over(location, value, expiry) => {
                self.record_change(key.db, key.bytes, ChangeKind::Modified);
            }
            Lookup::Found(..) | Lookup::Absent(_) => {
                self.put_anew(key, place, value, expiry, (Pin::Unpinned, 0));
            }
        }
    }

    /// Writes a whole string over a live one, neither of them pinned, whose place and list serve for it as they are,
    /// and makes it the most recent one. Otherwise does nothing and returns false. This is the way of nearly every SET, INCR
    /// and MSET of a key that is there.
    #[inline]
    fn put_over(&mut self, location: Location, value: &[u8], expiry: Expiry) -> bool {
        let stamp = self.stamp();
        let slot = self.pages.slot_mut(location);
        let old = record::head(slot);
        let record_len = old.body_start() + value.len();
        if old.is_aside() || old.is_pinned() || !is_of_class(slot.len(), record_len) {
            return false;
        }
        if old.is_volatile() {
            let old_at = record::volatile_expires_at(slot);
            let at = match expiry {
                Expiry::Keep => old_at,
                Expiry::At(at) => at,
                Expiry::Never => return false,
            };
            if old_at.min(at) <= self.now_ms {
                return false;
            }
            record::set_expires_at(slot, at);
            self.pages.note_expiry(location, at);
        } else if matches!(expiry, Expiry::At(_)) {
            return false;
        }
        let head = old.with_whole(value.len());
        let slot = self.pages.slot_mut(location);
        record::set_head(slot, head);
        record::set_stamp(slot, stamp);
        record::body_mut(slot, head).copy_from_slice(value);
        self.recency.access(&mut self.pages, location);
        true
    }

    fn put_anew(
        &mut self,
        key: Key<'_>,
        place: Lookup<Place>,
        value: &[u8],
        expiry: Expiry,
        (pin, fence): (Pin, u64),
    ) {
        let place = self.prepare_write(key, place);
        let expires_at = match expiry {
            Expiry::Keep => match place {
                Lookup::Found(_, location) => {
                    let slot = self.pages.slot(location);
                    record::expires_at(slot, record::head(slot))
                }
                Lookup::Absent(_) => None,
            },
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        let marks = Marks {
            expires_at,
            pin,
            fence,
            form: StringForm::Whole,
        };
        self.store(key, place, New::Slice(value), marks);
    }

    /// Puts an entry in place of whatever is at `key`. An expiry at or before log time stores nothing. A pinned one
    /// keeps its fence; if that is 0 it is a new grant and gets one.
    pub fn put_entry(&mut self, key: Key<'_>, entry: OwnedEntry) {
        let bytes = match entry.value {
            OwnedValue::String(bytes) => bytes,
            OwnedValue::Collection(collection) => {
                return self.put_collection(key, collection, entry.expires_at, entry.fence);
            }
        };
        let place = self.find_for_write(key);
        let marks = Marks {
            expires_at: entry.expires_at,
            pin: entry.pin,
            fence: entry.fence,
            form: entry.form,
        };
        self.store(key, place, New::Owned(bytes), marks);
    }

    /// The same of an entry of another cache: its string is copied, what is long or a collection is shared.
    pub(crate) fn put_view(&mut self, key: Key<'_>, entry: Entry<'_>) {
        let value = match entry.value {
            Value::String(bytes) => New::Slice(bytes),
            Value::Shared(bytes) => New::Owned(bytes.clone()),
            Value::Collection(collection) => {
                let collection = collection.clone();
                return self.put_collection(key, collection, entry.expires_at, entry.fence);
            }
        };
        let place = self.find_for_write(key);
        let marks = Marks {
            expires_at: entry.expires_at,
            pin: entry.pin,
            fence: entry.fence,
            form: entry.form,
        };
        self.store(key, place, value, marks);
    }

    /// Puts a collection that is not empty in place of whatever is at `key`. A `fence` of 0 numbers it as a change of now.
    pub(crate) fn put_collection(
        &mut self,
        key: Key<'_>,
        collection: Collection,
        expires_at: Option<u64>,
        fence: u64,
    ) {
        let place = self.find_for_write(key);
        let fence = self.fences.give(fence, self.now_ms);
        let marks = Marks {
            expires_at,
            pin: Pin::Unpinned,
            fence: 0,
            form: StringForm::Whole,
        };
        let kept = Box::new(Kept { collection, fence });
        self.store(key, place, New::Collection(kept), marks);
        self.note_awaited(key);
    }

    /// Where `key` is or goes; what expired there is dropped first, and the write is recorded.
    fn find_for_write(&mut self, key: Key<'_>) -> Lookup<Place> {
        let place = self.find_or_place(key);
        self.prepare_write(key, place)
    }

    /// Drops what expired at `place` and records the write; returns where `key` is or goes then.
    fn prepare_write(&mut self, key: Key<'_>, place: Lookup<Place>) -> Lookup<Place> {
        let place = match place {
            Lookup::Found(place, location) if self.is_expired(location) => {
                self.drop_expired(key, Found { place, location });
                self.find_or_place(key)
            }
            Lookup::Found(..) | Lookup::Absent(_) => place,
        };
        self.record_change(key.db, key.bytes, ChangeKind::Modified);
        place
    }

    #[inline]
    fn find_or_place(&mut self, key: Key<'_>) -> Lookup<Place> {
        match self.indexes[usize::from(key.db)].as_deref() {
            Some(index) => self.find_in(index, key),
            None => self.place_in_new_index(key),
        }
    }

    #[cold]
    fn place_in_new_index(&mut self, key: Key<'_>) -> Lookup<Place> {
        let index = Box::new(Index::new());
        self.indexes_bytes += index.used_bytes();
        let place = self.find_in(&index, key);
        self.indexes[usize::from(key.db)] = Some(index);
        place
    }

    /// Stores an entry and returns where, or removes what is there if its expiry has passed already.
    fn store(
        &mut self,
        key: Key<'_>,
        place: Lookup<Place>,
        value: New<'_>,
        mut marks: Marks,
    ) -> Option<Location> {
        if marks.expires_at.is_some_and(|at| at <= self.now_ms) {
            if let Lookup::Found(place, location) = place {
                self.delete(key.db, Found { place, location });
            }
            return None;
        }
        if value.len() > PINNED_VALUE_BYTES_MAX {
            marks.pin = Pin::Unpinned;
        }
        if marks.pin == Pin::Pinned {
            marks.fence = self.fences.give(marks.fence, self.now_ms);
            self.note_lock_span(marks.expires_at);
        }
        let traits = marks.traits(key.db);
        let placement = Placement::of(key.bytes.len(), value.len(), traits);
        let head = Head::new(traits, placement, key.bytes.len(), value.len());
        match place {
            Lookup::Absent(place) => {
                let location = self.write_new(key, head, value, marks);
                self.name(key, place, location);
                self.index_mut(key.db).volatile_count += usize::from(traits.volatile);
                Some(location)
            }
            Lookup::Found(place, location) => {
                let old = record::head(self.pages.slot(location));
                let index = self.index_mut(key.db);
                index.volatile_count += usize::from(traits.volatile);
                index.volatile_count -= usize::from(old.is_volatile());
                if kind_of(head) == self.pages.kind_at(location)
                    && head.is_aside() == old.is_aside()
                    && head.pin() == old.pin()
                    && !matches!(value, New::Collection(_))
                    && !self.is_collection(location, old)
                {
                    self.overwrite(location, head, value, marks);
                    Some(location)
                } else {
                    if let Some(body) = self.release(location, old) {
                        self.asides.discard(body);
                    }
                    let location = self.write_new(key, head, value, marks);
                    self.index_mut(key.db).set_location(place, location);
                    Some(location)
                }
            }
        }
    }

    fn is_collection(&self, location: Location, head: Head) -> bool {
        head.is_aside() && {
            let index = record::aside_index(self.pages.slot(location), head);
            matches!(self.asides.body(index), Body::Collection(_))
        }
    }

    /// Writes a record into a fresh slot and enters it in its list.
    fn write_new(&mut self, key: Key<'_>, head: Head, value: New<'_>, marks: Marks) -> Location {
        let location = self.pages.allocate(kind_of(head));
        let slot = self.pages.slot_mut(location);
        record::set_head(slot, head);
        if head.is_aside() {
            let long = head.is_key_aside().then(|| LongKey {
                hash: key.hash,
                bytes: key.bytes.into(),
            });
            let index = self.asides.insert(long, value.into_body());
            record::body_mut(slot, head).copy_from_slice(&index.to_le_bytes());
        } else {
            value.write_to(record::body_mut(slot, head));
        }
        if !head.is_key_aside() {
            slot[head.key_start()..head.body_start()].copy_from_slice(key.bytes);
        }
        self.write_marks(location, head, marks);
        let stamp = self.stamp();
        self.recency.enter(&mut self.pages, location, stamp);
        if head.is_pinned() {
            self.pinned_bytes += self.pinned_cost(location);
        }
        location
    }

    /// Writes a new value over a record of the same key, pin, kind of page and placement.
    fn overwrite(&mut self, location: Location, head: Head, value: New<'_>, marks: Marks) {
        self.rewrite_head(location, head);
        let slot = self.pages.slot_mut(location);
        if head.is_aside() {
            let index = record::aside_index(slot, head);
            match value {
                New::Slice(bytes) => self.asides.overwrite(index, bytes),
                New::Owned(_) | New::Zeroes(_) | New::Collection(_) => {
                    self.asides.replace(index, value.into_body());
                }
            }
        } else {
            value.write_to(record::body_mut(slot, head));
        }
        self.write_marks(location, head, marks);
    }

    /// Writes expiry and fence of a record with a head that says so.
    fn write_marks(&mut self, location: Location, head: Head, marks: Marks) {
        marks.write_to(self.pages.slot_mut(location), head);
        if let Some(at) = marks.expires_at {
            self.pages.note_expiry(location, at);
        }
    }

    /// Gives a record a new head of the same kind and pin and makes it the most recent one.
    fn rewrite_head(&mut self, location: Location, head: Head) {
        debug_assert_eq!(
            record::head(self.pages.slot(location)).key_start(),
            head.key_start(),
            "the key stays where it is"
        );
        record::set_head(self.pages.slot_mut(location), head);
        self.count_access(location);
    }

    /// Writes the expiry of a record with a head that says so.
    fn note_expiry(&mut self, location: Location, expires_at: Option<u64>) {
        if let Some(at) = expires_at {
            record::set_expires_at(self.pages.slot_mut(location), at);
            self.pages.note_expiry(location, at);
        }
    }

    /// Moves a record to a slot for `head`, with its key and as much of its body as both hold, and its fence if it
    /// stays pinned.
    fn reshape(&mut self, db: u8, found: Found, head: Head, expires_at: Option<u64>) -> Location {
        let Found {
            place,
            location: from,
        } = found;
        let old = record::head(self.pages.slot(from));
        if old.is_pinned() {
            self.pinned_bytes -= self.pinned_cost(from);
        }
        let to = self.pages.allocate(kind_of(head));
        record::set_head(self.pages.slot_mut(to), head);
        let kept = old.key_len() + old.body_len().min(head.body_len());
        self.pages
            .copy((from, old.key_start()), (to, head.key_start()), kept);
        let marks = Marks {
            expires_at,
            pin: head.pin(),
            fence: record::fence(self.pages.slot(from), old),
            form: head.form(),
        };
        self.write_marks(to, head, marks);
        self.recency.leave(&mut self.pages, from);
        let index = self.index_mut(db);
        index.set_location(place, to);
        index.volatile_count += usize::from(head.is_volatile());
        index.volatile_count -= usize::from(old.is_volatile());
        let stamp = self.stamp();
        self.recency.enter(&mut self.pages, to, stamp);
        if head.is_pinned() {
            self.pinned_bytes += self.pinned_cost(to);
        }
        // The bucket names the new slot already: what fills the old one is another kind's record.
        self.free_slot(from);
        to
    }

    fn note_lock_span(&mut self, ends_ms: Option<u64>) {
        let span_ms = ends_ms.map_or(0, |ends_ms| ends_ms.saturating_sub(self.now_ms));
        self.lock_span_ms = self.lock_span_ms.max(span_ms);
    }

    /// Sets or clears the expiry of a live entry; whether there was one. A time at or before log time removes it.
    /// A key that loses its expiry is a lock no longer, or it would be pinned for ever.
    pub fn set_expiry(&mut self, key: Key<'_>, expires_at: Option<u64>) -> bool {
        let Some(found) = self.find_live(key) else {
            return false;
        };
        self.record_change(key.db, key.bytes, ChangeKind::Modified);
        if expires_at.is_some_and(|at| at <= self.now_ms) {
            self.delete(key.db, found);
            return true;
        }
        let old = record::head(self.pages.slot(found.location));
        let pin = match expires_at {
            None if old.is_volatile() => Pin::Unpinned,
            _ => old.pin(),
        };
        let traits = Traits {
            volatile: expires_at.is_some(),
            pin,
            ..old.traits()
        };
        if pin == Pin::Pinned {
            self.note_lock_span(expires_at);
        }
        if traits.volatile == old.is_volatile() {
            self.count_access(found.location);
            self.note_expiry(found.location, expires_at);
            return true;
        }
        let value_bytes = old.body_len();
        let placement = match (old.is_aside(), old.is_key_aside()) {
            (false, _) => Placement::of(key.bytes.len(), value_bytes, traits),
            (true, false) => Placement::ValueAside,
            (true, true) => Placement::AllAside,
        };
        if placement == Placement::ValueAside && !old.is_aside() {
            // The eight bytes more make it too long for a page.
            let slot = self.pages.slot(found.location);
            let value = New::Owned(Bytes::copy_from_slice(record::body(slot, old)));
            let marks = Marks {
                expires_at,
                pin,
                fence: record::fence(slot, old),
                form: old.form(),
            };
            let place = Lookup::Found(found.place, found.location);
            self.store(key, place, value, marks);
            return true;
        }
        let head = Head::new(traits, placement, key.bytes.len(), value_bytes);
        self.reshape(key.db, found, head, expires_at);
        true
    }

    /// Makes the string at `key` exactly `len` bytes long (new bytes are zero; a new key has no expiry),
    /// marks it edited, and lends it for writing. Keeps expiry, pin and fence, but what grows too long for a lock is none.
    /// Counts as an access.
    pub fn edit(&mut self, key: Key<'_>, len: usize) -> &mut [u8] {
        let mut place = self.find_for_write(key);
        if len > PINNED_VALUE_BYTES_MAX
            && let Lookup::Found(bucket, location) = place
            && record::head(self.pages.slot(location)).is_pinned()
        {
            place = Lookup::Found(bucket, self.unpin(key, place, location));
        }
        let location = match place {
            Lookup::Absent(place) => self.edit_new(key, place, len),
            Lookup::Found(place, location) => self.edit_there(key, Found { place, location }, len),
        };
        let slot = self.pages.slot_mut(location);
        let head = record::head(slot);
        if head.is_aside() {
            let index = record::aside_index(slot, head);
            return self.asides.edit(index, len);
        }
        record::body_mut(slot, head)
    }

    /// Makes a lock an ordinary key, as it is otherwise; returns where it lies then.
    fn unpin(&mut self, key: Key<'_>, place: Lookup<Place>, location: Location) -> Location {
        let entry = self.view(location);
        let value = entry.value.string().expect("what is pinned is a string");
        let value = New::Owned(Bytes::copy_from_slice(value));
        let marks = Marks {
            expires_at: entry.expires_at,
            pin: Pin::Unpinned,
            fence: 0,
            form: entry.form,
        };
        self.store(key, place, value, marks)
            .expect("it is live, so it is stored")
    }

    fn edit_new(&mut self, key: Key<'_>, place: Place, len: usize) -> Location {
        let place = Lookup::Absent(place);
        let marks = Marks {
            expires_at: None,
            pin: Pin::Unpinned,
            fence: 0,
            form: StringForm::Edited,
        };
        self.store(key, place, New::Zeroes(len), marks)
            .expect("an entry without expiry is stored")
    }

    /// Gives the record at `place` the shape for `len` bytes; an aside body is left as it is.
    fn edit_there(&mut self, key: Key<'_>, found: Found, len: usize) -> Location {
        let location = found.location;
        let slot = self.pages.slot(location);
        let old = record::head(slot);
        let expires_at = record::expires_at(slot, old);
        let traits = Traits {
            form: StringForm::Edited,
            ..old.traits()
        };
        let placement = Placement::of(key.bytes.len(), len, traits);
        let head = Head::new(traits, placement, key.bytes.len(), len);
        match (old.is_aside(), head.is_aside()) {
            (true, true) => {
                self.rewrite_head(location, head);
                location
            }
            (false, false) => {
                let kept = old.body_len();
                let location = if kind_of(head) == self.pages.kind_at(location) {
                    self.rewrite_head(location, head);
                    location
                } else {
                    self.reshape(key.db, found, head, expires_at)
                };
                let body = record::body_mut(self.pages.slot_mut(location), head);
                if let Some(new) = body.get_mut(kept..) {
                    new.fill(0);
                }
                location
            }
            (false, true) => {
                // Room for as much again: a string that outgrows its page is likely to go on growing.
                let old_body = record::body(slot, old);
                let mut buffer = BytesMut::with_capacity(len + len.min(old_body.len()) / 4);
                buffer.extend_from_slice(old_body);
                let index = self.asides.insert(None, Body::Buffer(buffer));
                self.replace_body(key, found, head, expires_at, index.to_le_bytes())
            }
            (true, false) => {
                let index = record::aside_index(slot, old);
                let (body, _) = self.asides.remove(index).into_value();
                let OwnedValue::String(body) = body else {
                    unreachable!("only strings are edited")
                };
                let mut bytes = body[..len.min(body.len())].to_vec();
                bytes.resize(len, 0);
                self.replace_body(key, found, head, expires_at, bytes)
            }
        }
    }

    /// Gives the record at `place` another head and body, without its aside being let go of.
    fn replace_body(
        &mut self,
        key: Key<'_>,
        found: Found,
        head: Head,
        expires_at: Option<u64>,
        body: impl AsRef<[u8]>,
    ) -> Location {
        let location = found.location;
        let location = if kind_of(head) == self.pages.kind_at(location) {
            self.rewrite_head(location, head);
            location
        } else {
            self.reshape(key.db, found, head, expires_at)
        };
        let slot = self.pages.slot_mut(location);
        record::body_mut(slot, head).copy_from_slice(body.as_ref());
        debug_assert!(!head.is_aside() || head.body_len() == ASIDE_INDEX_BYTES);
        location
    }
}
