//! What groups remember, from the log's records in order.
//!
//! - Records of an earlier generation than the group's count for nothing; one of a later generation forgets all before.
//! - An entry belongs to the record with the highest lsn; a *moved* record counts with the lsn of the one it repeats.
//! - When another incarnation begins, promises and entries that are not known to be chosen are forgotten: they were
//!   somebody else's.

use super::layout::{self, LayoutError, RecordHead, RecordKind, Standing};
use super::{
    AcceptedEntry, Ballot, Doubt, Entry, Generation, GroupId, Index, Record, SnapshotBase,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Takes records and ends with groups.
#[derive(Debug, Default)]
pub struct Replay {
    groups: BTreeMap<GroupId, Group>,
}

/// What is known of a group so far.
#[derive(Debug, Default)]
struct Group {
    generation: Generation,
    promised: Ballot,
    chosen: Index,
    /// The highest base that the log names: a checkpoint of at least this must be there.
    base_named: Index,
    /// The checkpoint's.
    base: SnapshotBase,
    /// Chosen when the last life began.
    inherited: Index,
    /// The last record of log time, ms.
    log_ms_ceiling: u64,
    log: BTreeMap<Index, Held>,
}

#[derive(Debug)]
struct Held {
    lsn: u64,
    ballot: Ballot,
    entry: Entry,
}

/// What a group remembers, in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMemory {
    /// The group.
    pub group: GroupId,
    /// Its generation.
    pub generation: Generation,
    /// The ballot promised.
    pub promised: Ballot,
    /// The checkpoint's base.
    pub base: SnapshotBase,
    /// Entries above it.
    pub log: Vec<AcceptedEntry>,
    /// All up to here is chosen, and there.
    pub chosen: Index,
    /// What was chosen when this incarnation began, if there was an earlier one: of that one's entries, only these count.
    pub inherited: Index,
    /// The last `Record::LogTime`, ms.
    pub log_ms_ceiling: u64,
}

impl Replay {
    /// There is a checkpoint of the group, verified. Told before any record; of several, the last told counts.
    pub fn checkpoint(&mut self, group: GroupId, generation: Generation, base: SnapshotBase) {
        let held = self.groups.entry(group).or_default();
        *held = Group {
            generation,
            chosen: base.index,
            base,
            ..Group::default()
        };
    }

    /// The records from here on are those of another incarnation.
    pub fn begin_life(&mut self) {
        for group in self.groups.values_mut() {
            group.promised = Ballot::default();
            group.log_ms_ceiling = 0;
            group.inherited = group.chosen;
            group.log.split_off(&group.chosen.next());
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    ///
    /// Its checksum held, but it says nothing that this code would write.
    pub fn record(&mut self, head: &RecordHead, mut payload: Bytes) -> Result<(), LayoutError> {
        match head.kind {
            RecordKind::Promised
            | RecordKind::Accepted
            | RecordKind::Chosen
            | RecordKind::Base
            | RecordKind::LogTime => {
                let record = layout::decode_record(head.kind, payload)?;
                if let Some(group) = self.group(head) {
                    group.take(head.lsn, record);
                }
            }
            RecordKind::Moved => {
                let lsn = layout::take_number(&mut payload)?;
                let record = layout::decode_record(RecordKind::Accepted, payload)?;
                if let (
                    Some(group),
                    Record::Accepted {
                        index,
                        ballot,
                        entry,
                    },
                ) = (self.group(head), record)
                {
                    group.hold(index, Held { lsn, ballot, entry });
                }
            }
            RecordKind::Standing => {
                let standing = Standing::decode(payload)?;
                if let Some(group) = self.group(head) {
                    group.stand(&standing);
                }
            }
            RecordKind::Sealed | RecordKind::Trimmed | RecordKind::Closed => {}
        }
        Ok(())
    }

    /// The group of a record, begun anew if its generation is; `None` if the record is of an earlier one.
    fn group(&mut self, head: &RecordHead) -> Option<&mut Group> {
        let group = self.groups.entry(head.group).or_default();
        if head.generation < group.generation {
            return None;
        }
        if head.generation > group.generation {
            *group = Group {
                generation: head.generation,
                ..Group::default()
            };
        }
        Some(group)
    }

    /// What the groups remember, by number, and whatever is missing of it.
    pub fn finish(self) -> (Vec<GroupMemory>, Vec<Doubt>) {
        let mut doubts = Vec::new();
        let groups = self
            .groups
            .into_iter()
            .map(|(id, group)| group.finish(id, &mut doubts))
            .collect();
        (groups, doubts)
    }
}

impl Group {
    fn take(&mut self, lsn: u64, record: Record) {
        match record {
            Record::Promised(ballot) => self.promised = self.promised.max(ballot),
            Record::Accepted {
                index,
                ballot,
                entry,
            } => {
                // Also a promise (R1): whoever accepts under a ballot takes part in none below.
                self.promised = self.promised.max(ballot);
                self.hold(index, Held { lsn, ballot, entry });
            }
            Record::Chosen(index) => self.chosen = self.chosen.max(index),
            Record::Base(base) => {
                self.base_named = self.base_named.max(base.index);
                self.chosen = self.chosen.max(base.index);
                self.log = self.log.split_off(&base.index.next());
            }
            Record::LogTime(ms) => self.log_ms_ceiling = self.log_ms_ceiling.max(ms),
        }
    }

    /// Keeps an entry, unless a later record was there first or the checkpoint covers it.
    fn hold(&mut self, index: Index, entry: Held) {
        let is_newest = self.log.get(&index).is_none_or(|held| held.lsn < entry.lsn);
        if index > self.base.index && is_newest {
            self.log.insert(index, entry);
        }
    }

    /// All at once, whatever was read before: what came before may have been found lacking.
    fn stand(&mut self, standing: &Standing) {
        self.promised = standing.promised;
        self.log_ms_ceiling = standing.log_ms_ceiling;
        self.chosen = standing.chosen.max(self.base.index);
        self.base_named = standing.base;
        // Of several in a life, the first says the least.
        self.inherited = self.inherited.min(self.chosen);
    }

    fn finish(mut self, id: GroupId, doubts: &mut Vec<Doubt>) -> GroupMemory {
        if self.base_named > self.base.index {
            doubts.push(Doubt::CheckpointMissing { group: id.0 });
        }
        self.log = self.log.split_off(&self.base.index.next());
        let mut whole = self.base.index;
        while whole < self.chosen && self.log.contains_key(&whole.next()) {
            whole = whole.next();
        }
        if whole < self.chosen {
            doubts.push(Doubt::EntryMissing {
                group: id.0,
                index: whole.next().0,
            });
        }
        let log = self.log.into_iter().map(|(index, held)| AcceptedEntry {
            index,
            ballot: held.ballot,
            entry: held.entry,
        });
        GroupMemory {
            group: id,
            generation: self.generation,
            promised: self.promised,
            log_ms_ceiling: self.log_ms_ceiling,
            base: self.base,
            log: log.collect(),
            chosen: whole,
            inherited: self.inherited,
        }
    }
}

impl GroupMemory {
    /// Leaves what anybody may use: the chosen prefix, without a promise.
    pub fn forget_votes(&mut self) {
        self.promised = Ballot::default();
        self.log_ms_ceiling = 0;
        self.log.retain(|entry| entry.index <= self.chosen);
    }
}
