//! What a leader knows of one other member, and how it is fed: window, loss, resending.

use crate::door::{Output, Settings};
use crate::log::{Log, weight};
use crate::message::Kind;
use crate::replica::Names;
use crate::types::{Ballot, Entry, Index, ReplicaId};

/// What a leader knows of another member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    pub(crate) id: ReplicaId,
    /// Counts in quorums; else a learner.
    pub(crate) is_voter: bool,
    /// Has said in this ballot how far it is, over the connection that stands.
    pub(crate) is_known: bool,
    /// It has all up to here.
    pub(crate) acked: Index,
    /// The next entry to send it.
    next: Index,
    /// Weight of `acked + 1 .. next`, bytes, about.
    flight_bytes: usize,
    /// `acked + 1` was sent at this time at the latest, if it was: an answer to something later that does not
    /// acknowledge it says that it was lost. Us.
    sent_us: u64,
    /// All up to here was sent as chosen. That goes another way than beats, with whatever else is large, and may be long
    /// under way: that a beat's answer does not acknowledge it says nothing, and what is sent behind it would overtake it.
    caught_up_to: Index,
    /// Sending began here, or began again after a loss: that it lacks this is known, and says nothing new.
    began_at: Index,
    /// The latest send time that it has answered, us.
    pub(crate) echoed_us: u64,
    /// The latest read round that it has answered.
    pub(crate) probe: u64,
    /// Not to be offered a snapshot before, us.
    pub(crate) snapshot_after_us: u64,
}

/// What feeding a follower looks at.
pub(crate) struct View<'a> {
    pub(crate) log: &'a Log,
    pub(crate) names: Names,
    pub(crate) settings: &'a Settings,
    pub(crate) ballot: Ballot,
    pub(crate) chosen: Index,
    pub(crate) last: Index,
    pub(crate) now_us: u64,
    /// The leader's log time, ms.
    pub(crate) log_ms: u64,
}

/// Whether the log still has what a follower lacks.
#[derive(PartialEq, Eq)]
pub(crate) enum Fed {
    FromLog,
    NeedsSnapshot,
}

impl Follower {
    pub(crate) fn new(id: ReplicaId) -> Follower {
        Follower {
            id,
            is_voter: false,
            is_known: false,
            acked: Index(0),
            next: Index(1),
            flight_bytes: 0,
            sent_us: 0,
            caught_up_to: Index(0),
            began_at: Index(1),
            echoed_us: 0,
            probe: 0,
            snapshot_after_us: 0,
        }
    }

    /// It has all up to `upto`, and nothing is in flight.
    pub(crate) fn go_on_from(&mut self, upto: Index, now_us: u64) {
        self.is_known = true;
        self.acked = self.acked.max(upto);
        self.next = self.acked.next();
        self.flight_bytes = 0;
        self.caught_up_to = self.acked;
        self.began_at = self.next;
        self.sent_us = now_us;
    }

    /// It asks for what is chosen from `first` on, since something behind it has arrived. If that was sent and not
    /// acknowledged it was lost, and all from there goes again. Answered one by one, a hole would stay as wide as it is:
    /// each entry that closes it opens the window for one more behind it. Whether that is so; not if it was sent again
    /// already, which may be long under way.
    pub(crate) fn takes_back(&mut self, first: Index, log: &Log) -> bool {
        let is_in_flight = self.is_known && first > self.acked && first < self.next;
        if !is_in_flight || first <= self.began_at {
            return false;
        }
        // All before it has arrived, though the acknowledgement may still wait for a disk.
        let landed = (self.acked.0 + 1..first.0).filter_map(|i| log.get(Index(i)));
        self.flight_bytes = landed.map(|(_, entry)| weight(entry)).sum();
        self.next = first;
        self.began_at = first;
        true
    }

    /// Takes in an acknowledgement. What is chosen counts as lost after `patience_us` without progress.
    pub(crate) fn on_upto(
        &mut self,
        upto: Index,
        sent_us: u64,
        log: &Log,
        (now_us, patience_us): (u64, u64),
    ) {
        let lost_after_us = match self.acked < self.caught_up_to && upto == self.acked {
            true => self.sent_us + patience_us,
            false => self.sent_us,
        };
        if !self.is_known {
            self.go_on_from(upto, now_us);
        } else if upto > self.acked {
            if upto >= self.next {
                self.next = upto.next();
                self.flight_bytes = 0;
            } else {
                let landed = (self.acked.0 + 1..=upto.0).filter_map(|i| log.get(Index(i)));
                let bytes: usize = landed.map(|(_, entry)| weight(entry)).sum();
                self.flight_bytes = self.flight_bytes.saturating_sub(bytes);
            }
            self.acked = upto;
            self.sent_us = now_us;
        } else if sent_us > lost_after_us && (upto < self.acked || self.next > self.acked.next()) {
            // Something sent later was answered, so what was in flight is lost; or it came back from its disk, where
            // how far it knew the log chosen may lag.
            self.acked = upto;
            self.go_on_from(upto, now_us);
        }
        if self.next == self.acked.next() {
            // What was trimmed since it was sent could not be taken off one by one.
            self.flight_bytes = 0;
        }
    }

    /// Sends what it lacks, as far as its window allows.
    pub(crate) fn feed(&mut self, view: &View<'_>, out: &mut Output) -> Fed {
        let settings = view.settings;
        while self.is_known && self.next <= view.last {
            if self.next <= view.log.trimmed() {
                return Fed::NeedsSnapshot;
            }
            let in_flight = (self.next.0 - self.acked.0 - 1) as usize;
            if in_flight >= settings.window_entries_max
                || self.flight_bytes >= settings.window_bytes_max
            {
                break;
            }
            let first = self.next;
            if first > view.chosen && self.acked < self.caught_up_to {
                break;
            }
            // What is chosen goes as such: its value stands under every ballot.
            let end = if first <= view.chosen {
                view.chosen
            } else {
                view.last
            };
            let room = (settings.window_entries_max - in_flight) as u64;
            let end = Index(end.0.min(first.0 + room - 1));
            let (entries, bytes) = take(view.log, first, end, settings.message_bytes_max);
            if in_flight == 0 {
                self.sent_us = view.now_us;
            }
            self.next = Index(first.0 + entries.len() as u64);
            self.flight_bytes += bytes;
            if first <= view.chosen {
                self.caught_up_to = Index(self.next.0 - 1);
            }
            let kind = if first <= view.chosen {
                Kind::CatchUp {
                    first,
                    entries,
                    chosen: view.chosen,
                }
            } else {
                // An answer renews the lease, and with it the right to read by log times up to its end, so the
                // follower must have seen what log time it is. Entries that go later than they were proposed do not
                // tell; then the next beat renews.
                let tells = matches!(entries.last(), Some(Entry::Batch { log_ms, .. }) if *log_ms >= view.log_ms);
                Kind::Accept {
                    ballot: view.ballot,
                    first,
                    entries,
                    commit: view.chosen,
                    sent_us: if tells { view.now_us } else { 0 },
                }
            };
            out.send_first.push(view.names.message(self.id, kind));
        }
        Fed::FromLog
    }
}

/// Entries of `first..=end`, at least one, up to about so many bytes; and their weight.
pub(crate) fn take(log: &Log, first: Index, end: Index, bytes_max: usize) -> (Vec<Entry>, usize) {
    let mut entries = Vec::with_capacity(1);
    let mut bytes = 0;
    for index in first.0..=end.0 {
        let Some((_, entry)) = log.get(Index(index)) else {
            break;
        };
        let more = weight(entry);
        if !entries.is_empty() && bytes + more > bytes_max {
            break;
        }
        bytes += more;
        entries.push(entry.clone());
    }
    (entries, bytes)
}
