//! What is known of segments and groups while the log is written: who still needs which segment.
//!
//! - Beside entries, all that holds of a group stands anew at the beginning of every segment (*standing*). So a
//!   segment is needed exactly by groups that have entries above their base in it.
//! - Segments are given up from the oldest on, never in between.

use node::journal::layout::Standing;
use node::journal::{Ballot, BatchRecord, Generation, GroupId, Index, Note};
use std::collections::{BTreeMap, VecDeque};

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The incarnation that writes now.
    This,
    /// An earlier one: of its entries only those that are known to be chosen count.
    Earlier,
}

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) life: Life,
    /// Groups with entries here.
    pub(super) pins: BTreeMap<GroupId, Pin>,
}

/// A group's entries in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pin {
    pub(super) generation: Generation,
    pub(super) index_max: Index,
    pub(super) bytes: u64,
}

/// A group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) generation: Generation,
    pub(super) promised: Ballot,
    pub(super) chosen: Index,
    /// The last record of log time, ms.
    pub(super) log_ms_ceiling: u64,
    /// The checkpoint's; 0 without one.
    pub(super) base: Index,
    pub(super) checkpoint_bytes: u64,
    /// What was chosen when this incarnation began: entries of earlier ones count up to here.
    pub(super) inherited: Index,
    /// Checkpoints under way.
    pub(super) checkpoints_open: u32,
}

impl Group {
    pub(super) fn standing(&self) -> Standing {
        Standing {
            promised: self.promised,
            chosen: self.chosen,
            base: self.base,
            log_ms_ceiling: self.log_ms_ceiling,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// From the oldest to the one that is written.
    pub(super) list: VecDeque<Segment>,
    pub(super) groups: BTreeMap<GroupId, Group>,
}

impl Segment {
    pub(super) fn new(number: u64, bytes: u64, life: Life) -> Segment {
        Segment {
            number,
            bytes,
            life,
            pins: BTreeMap::new(),
        }
    }

    /// An entry stands here.
    pub(super) fn pin(&mut self, group: GroupId, generation: Generation, index: Index, bytes: u64) {
        let fresh = Pin {
            generation,
            index_max: Index(0),
            bytes: 0,
        };
        let pin = self.pins.entry(group).or_insert(fresh);
        if generation > pin.generation {
            *pin = fresh;
        }
        if generation == pin.generation {
            pin.index_max = pin.index_max.max(index);
            pin.bytes += bytes;
        }
    }
}

impl Segments {
    /// A record was written to the newest segment, `bytes` long with its head.
    pub(super) fn note(&mut self, record: &BatchRecord<'_>, bytes: u64) {
        let segment = self.list.back_mut().expect("one segment is written");
        segment.bytes += bytes;
        if record.note == Note::Own {
            return;
        }
        let group = self.groups.entry(record.group).or_default();
        if record.generation < group.generation {
            return;
        }
        if record.generation > group.generation {
            *group = Group {
                generation: record.generation,
                checkpoints_open: group.checkpoints_open,
                ..Group::default()
            };
        }
        match record.note {
            Note::Promised(ballot) => group.promised = group.promised.max(ballot),
            Note::Entry(index, ballot) => {
                group.promised = group.promised.max(ballot);
                segment.pin(record.group, record.generation, index, bytes);
            }
            Note::Moved(index) => segment.pin(record.group, record.generation, index, bytes),
            Note::Chosen(index) | Note::Base(index) => group.chosen = group.chosen.max(index),
            Note::LogTime(ms) => group.log_ms_ceiling = group.log_ms_ceiling.max(ms),
            Note::Own => {}
        }
    }

    /// The group's entries in a segment, if it still needs any.
    pub(super) fn live(&self, segment: &Segment, group: GroupId) -> Option<(Pin, &Group)> {
        let pin = *segment.pins.get(&group)?;
        let held = self.groups.get(&group)?;
        let needed = held.base < self.highest(segment, &pin, held);
        (pin.generation == held.generation && needed).then_some((pin, held))
    }

    /// The highest index that counts of a group's entries in a segment.
    pub(super) fn highest(&self, segment: &Segment, pin: &Pin, group: &Group) -> Index {
        match segment.life {
            Life::This => pin.index_max,
            Life::Earlier => pin.index_max.min(group.inherited),
        }
    }

    /// Groups that need a segment, by number.
    pub(super) fn needed_by<'a>(
        &'a self,
        segment: &'a Segment,
    ) -> impl Iterator<Item = (GroupId, Pin, &'a Group)> {
        segment.pins.keys().filter_map(move |&group| {
            let (pin, held) = self.live(segment, group)?;
            Some((group, pin, held))
        })
    }

    /// How many of the oldest segments nobody needs. Never the one that is written.
    pub(super) fn free_count(&self) -> usize {
        self.list
            .iter()
            .take(self.list.len() - 1)
            .take_while(|segment| self.needed_by(segment).next().is_none())
            .count()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.list.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn checkpoints_bytes(&self) -> u64 {
        self.groups
            .values()
            .map(|group| group.checkpoint_bytes)
            .sum()
    }

    /// Bytes by which the segments exceed what they should take: as much as the checkpoints, and two segments.
    pub(super) fn excess_bytes(&self, segment_bytes_max: u64) -> u64 {
        let allowed = self.checkpoints_bytes() + 2 * segment_bytes_max;
        self.bytes().saturating_sub(allowed)
    }

    /// Whether a group's entries in an old segment are better written again than covered by a checkpoint: they are few
    /// beside its state, or not known to be chosen, so that no checkpoint could cover them.
    pub(super) fn is_movable(pin: &Pin, group: &Group, segment_bytes_max: u64) -> bool {
        let few = pin.bytes <= segment_bytes_max / 8 && pin.bytes * 4 <= group.checkpoint_bytes;
        let open = group.chosen <= group.base;
        (few || open) && pin.bytes <= segment_bytes_max / 2
    }

    /// Groups that hold up the deletion of the oldest segments, as far as those exceed their bounds; the oldest first.
    pub(super) fn groups_to_checkpoint(&self, segment_bytes_max: u64) -> Vec<GroupId> {
        let mut excess = self.excess_bytes(segment_bytes_max);
        let mut wanted = Vec::new();
        for segment in self.list.iter().take(self.list.len() - 1) {
            if excess == 0 {
                break;
            }
            for (id, pin, group) in self.needed_by(segment) {
                let covered = group.chosen > group.base && group.checkpoints_open == 0;
                if covered
                    && !wanted.contains(&id)
                    && !Self::is_movable(&pin, group, segment_bytes_max)
                {
                    wanted.push(id);
                }
            }
            excess = excess.saturating_sub(segment.bytes);
        }
        wanted
    }
}
