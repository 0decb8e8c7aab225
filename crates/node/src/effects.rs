//! Effects: what has become of keys, as triples of key, head and value: what a command over several shards left of one
//! shard's keys, since a shard's log must not depend on another shard's state, and what snapshots are made of.
//!
//! A head, integers little endian:
//!
//! ```text
//! offset  size  what
//!      0     1  0 gone, else 1 + 2 if pinned + 4 if edited
//!      1     8  expiry as log time, ms; 0 = none
//!      9     8  only if pinned: the lock's fence; 0 = a new grant, which is numbered when it is applied
//! ```

use bytes::Bytes;
use cache::{Cache, Entry, FENCE_MAX, Key, OwnedEntry, OwnedValue, Pin, StringForm};
use resp::{Args, OwnedArgs};
use smallvec::SmallVec;

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

/// Whether arguments are triples with heads.
pub(crate) fn are_triples(args: Args<'_>) -> bool {
    args.len().is_multiple_of(3) && (1..args.len()).step_by(3).all(|at| is_head(args.get(at)))
}

/// Whether these bytes are a head: of its length, no unknown flag, and nothing said of a key that is gone.
pub(crate) fn is_head(bytes: &[u8]) -> bool {
    let Some(&flags) = bytes.first() else {
        return false;
    };
    flags & !(EXISTS | PINNED | EDITED) == 0
        && (flags & EXISTS != 0 || flags == 0)
        && bytes.len() == HEAD_BYTES + fence_bytes(flags)
        && fence_of(bytes) <= FENCE_MAX
}

/// Bytes of the fence behind a head's first bytes, of which `flags` is the first.
pub(crate) fn fence_bytes(flags: u8) -> usize {
    match flags & PINNED {
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
    head[0] & PINNED != 0 && fence_of(head) == 0
}

/// The present state of `keys` of `db` as triples of key, head and value.
pub(crate) fn of(cache: &Cache, db: u8, keys: &[&[u8]]) -> OwnedArgs {
    let mut parts: Vec<Vec<u8>> = Vec::with_capacity(3 * keys.len());
    for key in keys {
        let entry = cache.peek(Key::new(cache.seed(), db, key));
        let value = entry.map_or(&b""[..], |entry| entry.value.as_bytes());
        parts.extend([key.to_vec(), head_of(entry).to_vec(), value.to_vec()]);
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
        put(cache, db, args.get(at), args.get(at + 1), args.get(at + 2));
    }
}

/// Gives a key of `db` the state that a head ([`is_head`]) and a value say.
pub(crate) fn put(cache: &mut Cache, db: u8, key: &[u8], head: &[u8], value: &[u8]) {
    let key = Key::new(cache.seed(), db, key);
    let flags = head[0];
    if flags & EXISTS == 0 {
        cache.remove(key);
        return;
    }
    let expires_at = head[1..HEAD_BYTES].try_into().expect("8 bytes");
    let expires_at = u64::from_le_bytes(expires_at);
    let entry = OwnedEntry {
        value: OwnedValue::String(Bytes::copy_from_slice(value)),
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
}
