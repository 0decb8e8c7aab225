//! Effects: what has become of keys, as triples of key, head and value: what a command over several shards left of one
//! shard's keys, since a shard's log must not depend on another shard's state, and what snapshots are made of.
//!
//! A head, integers little endian:
//!
//! ```text
//! offset  size  what
//!      0     1  0 gone, else 1 + 2 if pinned + 4 if edited + 8 if a collection, + 16 in a snapshot if its value is no whole
//!               collection, but a further piece of one
//!      1     8  expiry as log time, ms; 0 = none
//!      9     8  only if pinned or a collection: the lock's fence, or the number of the collection's last change; 0 = a new
//!               one, which is numbered when it is applied
//! ```
//!
//! The value of a collection is a piece of it (`cache::Collection::encode_from`).

use bytes::Bytes;
use cache::{
    Cache, Collection, Entry, FENCE_MAX, Key, MalformedCollection, OwnedEntry, OwnedValue, Pin,
    StringForm, Value,
};
use resp::{Args, OwnedArgs};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Bytes of a head, but those of a fence.
pub(crate) const HEAD_BYTES: usize = 9;
/// Bytes of a fence.
pub(crate) const FENCE_BYTES: usize = 8;
/// A head.
pub(crate) type Head = SmallVec<[u8; HEAD_BYTES + FENCE_BYTES]>;
/// First byte of a head: the key exists.
const EXISTS: u8 = 1;
/// It is pinned.
const PINNED: u8 = 2;
/// Its string was edited in place.
const EDITED: u8 = 4;
/// It is no string.
const COLLECTION: u8 = 8;
/// What it holds is to be added to what is there.
const FURTHER: u8 = 16;
/// What has a number.
const NUMBERED: u8 = PINNED | COLLECTION;

/// Whether arguments are triples with heads.
pub(crate) fn are_triples(args: Args<'_>) -> bool {
    let is_whole = |head: &[u8]| is_head(head) && !is_further(head);
    args.len().is_multiple_of(3) && (1..args.len()).step_by(3).all(|at| is_whole(args.get(at)))
}

/// Whether triples can be applied: each value fits its head.
pub(crate) fn are_sound(triples: Args<'_>) -> bool {
    let fits = |at: usize| {
        let (head, value) = (triples.get(at + 1), triples.get(at + 2));
        head[0] & COLLECTION == 0 || Collection::decode(value).is_ok()
    };
    (0..triples.len()).step_by(3).all(fits)
}

/// Whether triples take a lock: one of their locks has no number yet.
pub(crate) fn take_lock(triples: Args<'_>) -> bool {
    let takes = |head: &[u8]| head[0] & PINNED != 0 && is_unnumbered(head);
    (1..triples.len())
        .step_by(3)
        .any(|at| takes(triples.get(at)))
}

/// Whether these bytes are a head: of its length, no unknown flag, and nothing said of a key that is gone.
pub(crate) fn is_head(bytes: &[u8]) -> bool {
    let Some(&flags) = bytes.first() else {
        return false;
    };
    flags & !(EXISTS | PINNED | EDITED | COLLECTION | FURTHER) == 0
        && (flags & EXISTS != 0 || flags == 0)
        && (flags & COLLECTION == 0 || flags & (PINNED | EDITED) == 0)
        && (flags & FURTHER == 0 || flags & COLLECTION != 0)
        && bytes.len() == HEAD_BYTES + fence_bytes(flags)
        && fence_of(bytes) <= FENCE_MAX
}

/// Bytes of the fence behind a head's first bytes, of which `flags` is the first.
pub(crate) fn fence_bytes(flags: u8) -> usize {
    match flags & NUMBERED {
        0 => 0,
        _ => FENCE_BYTES,
    }
}

/// The fence that a head of the right length names; 0 if it has none.
fn fence_of(head: &[u8]) -> u64 {
    head[HEAD_BYTES..]
        .first_chunk()
        .map_or(0, |fence| u64::from_le_bytes(*fence))
}

/// Whether a head leaves a grant's number to whoever applies it: so does none of a state that was applied.
pub(crate) fn is_unnumbered(head: &[u8]) -> bool {
    head[0] & NUMBERED != 0 && fence_of(head) == 0
}

/// Leaves the number of what a head says to whoever applies it.
pub(crate) fn unnumber(head: &mut [u8]) {
    head[HEAD_BYTES..].fill(0);
}

/// Whether a head is that of a further piece of a collection.
pub(crate) fn is_further(head: &[u8]) -> bool {
    head[0] & FURTHER != 0
}

/// Moves the expiry that a head says, if it says one, by so many milliseconds: log times of shards differ.
pub(crate) fn shift_expiry(head: &mut [u8], by_ms: i64) {
    let field = &mut head[1..HEAD_BYTES];
    let expires_at = u64::from_le_bytes((&*field).try_into().expect("8 bytes"));
    if expires_at != 0 {
        let moved = expires_at.saturating_add_signed(by_ms).max(1);
        field.copy_from_slice(&moved.to_le_bytes());
    }
}

/// Makes the head of a collection's first piece that of a further one.
pub(crate) fn make_further(head: &mut Head) {
    head[0] |= FURTHER;
}

/// What stands for an entry's value; nothing if the key is gone.
pub(crate) fn value_of(entry: Option<Entry<'_>>) -> Cow<'_, [u8]> {
    match entry.map(|entry| entry.value) {
        None => Cow::Borrowed(b""),
        Some(Value::String(bytes)) => Cow::Borrowed(bytes),
        Some(Value::Shared(bytes)) => Cow::Borrowed(bytes),
        Some(Value::Collection(collection)) => Cow::Owned(collection.encode()),
    }
}

/// The present state of `keys` of `db` as triples of key, head and value.
pub(crate) fn of(cache: &Cache, db: u8, keys: &[&[u8]]) -> OwnedArgs {
    let mut parts: Vec<Vec<u8>> = Vec::with_capacity(3 * keys.len());
    for key in keys {
        let entry = cache.peek(Key::new(cache.seed(), db, key));
        let value = value_of(entry).into_owned();
        parts.extend([key.to_vec(), head_of(entry).to_vec(), value]);
    }
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
    OwnedArgs::from_slices(&parts)
}

/// The head that says what a key holds.
pub(crate) fn head_of(entry: Option<Entry<'_>>) -> Head {
    let mut head = Head::from_elem(0, HEAD_BYTES);
    if let Some(entry) = entry {
        head[0] = EXISTS;
        if entry.pin == Pin::Pinned {
            head[0] |= PINNED;
        }
        if matches!(entry.value, Value::Collection(_)) {
            head[0] |= COLLECTION;
        }
        if head[0] & NUMBERED != 0 {
            head.extend_from_slice(&entry.fence.to_le_bytes());
        }
        if entry.form == StringForm::Edited {
            head[0] |= EDITED;
        }
        head[1..HEAD_BYTES].copy_from_slice(&entry.expires_at.unwrap_or(0).to_le_bytes());
    }
    head
}

/// Puts effects on keys of `db` into `cache`.
///
/// # Panics
/// If they are not what [`of`] makes: the leader's bug.
pub(crate) fn apply(cache: &mut Cache, db: u8, args: Args<'_>) {
    assert!(are_triples(args), "effects come in triples");
    for at in (0..args.len()).step_by(3) {
        put(cache, db, args.get(at), args.get(at + 1), args.get(at + 2))
            .expect("a value fits its head");
    }
}

/// Gives a key of `db` the state that a head ([`is_head`]) and a value say.
///
/// # Errors
/// The value is no piece of a collection though the head says so.
pub(crate) fn put(
    cache: &mut Cache,
    db: u8,
    key: &[u8],
    head: &[u8],
    value: &[u8],
) -> Result<(), MalformedCollection> {
    let key = Key::new(cache.seed(), db, key);
    let flags = head[0];
    if flags & EXISTS == 0 {
        cache.remove(key);
        return Ok(());
    }
    if flags & FURTHER != 0 {
        return cache.extend_collection(key, value);
    }
    let expires_at = head[1..HEAD_BYTES].try_into().expect("8 bytes");
    let expires_at = u64::from_le_bytes(expires_at);
    let entry = OwnedEntry {
        value: match flags & COLLECTION {
            0 => OwnedValue::String(Bytes::copy_from_slice(value)),
            _ => OwnedValue::Collection(Collection::decode(value)?),
        },
        expires_at: (expires_at != 0).then_some(expires_at),
        pin: match flags & PINNED {
            0 => Pin::Unpinned,
            _ => Pin::Pinned,
        },
        fence: fence_of(head),
        form: match flags & EDITED {
            0 => StringForm::Whole,
            _ => StringForm::Edited,
        },
    };
    cache.put_entry(key, entry);
    Ok(())
}
