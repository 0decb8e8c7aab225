//! Replies of COMMAND: the table as clients read it.

use crate::{BeginSearch, FindKeys, Row};

/// First key, last key (negative: from the end) and the distance between keys, as versions before Redis 7
/// described them; all 0 if there is no such range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// Position of the first key.
    pub first: i64,
    /// Position of the last key; -1 is the last argument.
    pub last: i64,
    /// Distance between keys.
    pub step: i64,
}

impl Row {
    /// Its keys as one range, so far as ranges that begin at a fixed argument and follow each other tell.
    pub fn key_range(&self) -> KeyRange {
        let mut whole = KeyRange::default();
        for spec in self.keys {
            let (BeginSearch::Index(first), FindKeys::Range { last, step, .. }) =
                (spec.begin, spec.find)
            else {
                continue;
            };
            let first = i64::from(first);
            let last = i64::from(last) + if last < 0 { 0 } else { first };
            if whole.first == 0 {
                whole.first = first;
            } else if whole.last != first - 1 {
                break;
            }
            whole.last = last;
            whole.step = i64::from(step);
        }
        whole
    }
}
