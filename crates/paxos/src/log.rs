//! The log of one acceptor: a dense ring of accepted entries above what was trimmed.

use crate::types::{Ballot, Entry, Index};
use std::collections::VecDeque;

/// What an entry costs beside its payload, bytes, as counted against the log's budget.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// Accepted entries of `trimmed + 1 ..= last`.
///
/// - Dense: an acceptor takes an entry only right behind what it has under the same ballot, so there are no holes.
/// - At most one entry an index: a later ballot's replaces an earlier one's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    trimmed: Index,
    entries: VecDeque<(Ballot, Entry)>,
    /// Weight of all entries, bytes.
    bytes: usize,
}

/// What an entry counts, bytes.
pub(crate) fn weight(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES
        + match entry {
            Entry::Noop => 0,
            Entry::Batch { payload, .. } => payload.len(),
            Entry::Config(config) => 16 * (config.voters.len() + config.learners.len()),
        }
}

impl Log {
    /// A log whose first entry will be the one after `trimmed`.
    pub(crate) fn after(trimmed: Index) -> Log {
        Log {
            trimmed,
            ..Log::default()
        }
    }

    /// Everything up to here is gone.
    pub(crate) fn trimmed(&self) -> Index {
        self.trimmed
    }

    /// The last entry; `trimmed` if there is none.
    pub(crate) fn last(&self) -> Index {
        Index(self.trimmed.0 + self.entries.len() as u64)
    }

    /// Weight of all entries, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry at an index, with the ballot under which it was accepted.
    pub(crate) fn get(&self, index: Index) -> Option<&(Ballot, Entry)> {
        let offset = index.0.checked_sub(self.trimmed.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Puts an entry in place of an older one, or behind the last.
    pub(crate) fn put(&mut self, index: Index, ballot: Ballot, entry: Entry) {
        assert!(
            index > self.trimmed && index <= self.last().next(),
            "the log stays dense"
        );
        self.bytes += weight(&entry);
        let offset = (index.0 - self.trimmed.0 - 1) as usize;
        match self.entries.get_mut(offset) {
            Some(old) => {
                self.bytes -= weight(&old.1);
                *old = (ballot, entry);
            }
            None => self.entries.push_back((ballot, entry)),
        }
    }

    /// Drops the first entry. It must exist.
    pub(crate) fn trim_first(&mut self) {
        let (_, entry) = self
            .entries
            .pop_front()
            .expect("only a log with entries is trimmed");
        self.bytes -= weight(&entry);
        self.trimmed = self.trimmed.next();
    }

    /// Drops all up to `base`, and goes on behind it even if the log does not reach there.
    pub(crate) fn restart_after(&mut self, base: Index) {
        while self.trimmed < base && !self.entries.is_empty() {
            self.trim_first();
        }
        self.trimmed = self.trimmed.max(base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(text: &'static str) -> Entry {
        Entry::Batch {
            log_ms: 1,
            payload: Bytes::from_static(text.as_bytes()),
        }
    }

    #[test]
    fn replacing_and_trimming_keep_indexes_and_weight() {
        // Broken indexes would answer for other entries; broken weights would trim too much or never.
        let mut log = Log::after(Index(10));
        for (index, text) in [(11, "a"), (12, "bb"), (13, "ccc"), (12, "dddd")] {
            log.put(Index(index), Ballot::default(), entry(text));
        }
        assert_eq!(log.last(), Index(13));
        assert_eq!(log.get(Index(12)).unwrap().1, entry("dddd"));
        assert_eq!(log.bytes(), 3 * ENTRY_OVERHEAD_BYTES + 8);
        log.trim_first();
        assert_eq!(log.get(Index(11)), None);
        assert_eq!(log.get(Index(13)).unwrap().1, entry("ccc"));
        log.restart_after(Index(20));
        assert_eq!(
            (log.trimmed(), log.last(), log.bytes()),
            (Index(20), Index(20), 0)
        );
    }

    #[test]
    #[should_panic(expected = "dense")]
    fn a_hole_is_refused() {
        // A log with holes would report a shorter tail in a promise than it has accepted.
        Log::after(Index(0)).put(Index(2), Ballot::default(), Entry::Noop);
    }
}
