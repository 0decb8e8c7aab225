//! Effects: what a command over several shards left of one shard's keys, as the arguments of a log entry
//! ([`EntryKind::Effects`](crate::EntryKind)). A shard's log must not depend on another shard's state, so such a
//! command is logged by its outcome.

use crate::entry::Entry;
use bytes::Bytes;
use cache::{Cache, Key, OwnedEntry, OwnedValue, Pin, StringForm};
use resp::OwnedArgs;

/// First byte of a head: the key exists.
const EXISTS: u8 = 1;
/// It is pinned.
const PINNED: u8 = 2;
/// Its string was edited in place.
const EDITED: u8 = 4;

/// Whether these bytes are a head: 9 of them, no unknown flag, and nothing said of a key that is gone.
pub(crate) fn is_head(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((&flags, expires_at)) => {
            expires_at.len() == 8
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
        let mut head = vec![0; 9];
        let mut value = Vec::new();
        if let Some(entry) = cache.peek(Key::new(cache.seed(), db, key)) {
            head[0] = EXISTS;
            if entry.pin == Pin::Pinned {
                head[0] |= PINNED;
            }
            if entry.form == StringForm::Edited {
                head[0] |= EDITED;
            }
            head[1..].copy_from_slice(&entry.expires_at.unwrap_or(0).to_le_bytes());
            value = entry.value.as_bytes().to_vec();
        }
        parts.extend([key.to_vec(), head, value]);
    }
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
    OwnedArgs::from_slices(&parts)
}

/// Puts the effects of `entry` into `cache`.
///
/// # Panics
/// If they are not what [`of`] makes: the leader's bug.
pub(crate) fn apply(cache: &mut Cache, entry: Entry<'_>) {
    assert!(
        entry.args.len().is_multiple_of(3),
        "effects come in triples"
    );
    for at in (0..entry.args.len()).step_by(3) {
        let key = Key::new(cache.seed(), entry.db, entry.args.get(at));
        let (flags, expires_at) = entry
            .args
            .get(at + 1)
            .split_first()
            .expect("a head has 9 bytes");
        if flags & EXISTS == 0 {
            cache.remove(key);
            continue;
        }
        let expires_at = u64::from_le_bytes(expires_at.try_into().expect("a head has 9 bytes"));
        cache.put_entry(
            key,
            OwnedEntry {
                value: OwnedValue::String(Bytes::copy_from_slice(entry.args.get(at + 2))),
                expires_at: (expires_at != 0).then_some(expires_at),
                pin: if flags & PINNED == 0 {
                    Pin::Unpinned
                } else {
                    Pin::Pinned
                },
                form: if flags & EDITED == 0 {
                    StringForm::Whole
                } else {
                    StringForm::Edited
                },
            },
        );
    }
}
