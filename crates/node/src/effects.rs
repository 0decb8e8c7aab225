//! Effects: what has become of keys, as triples of key, head (1 byte: 0 gone, else 1 + 2 if pinned + 4 if edited; 8
//! bytes: expiry as log time, 0 = none) and value: what a command over several shards left of one shard's keys, since
//! a shard's log must not depend on another shard's state, and what snapshots are made of.

use bytes::Bytes;
use cache::{Cache, Entry, Key, OwnedEntry, OwnedValue, Pin, StringForm};
use resp::{Args, OwnedArgs};

/// Bytes of a head.
pub(crate) const HEAD_BYTES: usize = 9;
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

/// Whether these bytes are a head: 9 of them, no unknown flag, and nothing said of a key that is gone.
pub(crate) fn is_head(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((&flags, expires_at)) => {
            expires_at.len() + 1 == HEAD_BYTES
                && flags & !(EXISTS | PINNED | EDITED) == 0
                && (flags & EXISTS != 0 || flags == 0)
        }
        None => false,
    }
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
pub(crate) fn head_of(entry: Option<Entry<'_>>) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    if let Some(entry) = entry {
        head[0] = EXISTS;
        if entry.pin == Pin::Pinned {
            head[0] |= PINNED;
        }
        if entry.form == StringForm::Edited {
            head[0] |= EDITED;
        }
        head[1..].copy_from_slice(&entry.expires_at.unwrap_or(0).to_le_bytes());
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
    let (flags, expires_at) = head.split_first().expect("a head has 9 bytes");
    if flags & EXISTS == 0 {
        cache.remove(key);
        return;
    }
    let expires_at = u64::from_le_bytes(expires_at.try_into().expect("a head has 9 bytes"));
    let entry = OwnedEntry {
        value: OwnedValue::String(Bytes::copy_from_slice(value)),
        expires_at: (expires_at != 0).then_some(expires_at),
        pin: match flags & PINNED {
            0 => Pin::Unpinned,
            _ => Pin::Pinned,
        },
        form: match flags & EDITED {
            0 => StringForm::Whole,
            _ => StringForm::Edited,
        },
    };
    cache.put_entry(key, entry);
}
