//! What replicas of a group tell each other (DESIGN-PAXOS §3.3).

use crate::types::{Ballot, Config, Entry, Generation, GroupId, Index, ReplicaId};
use bytes::Bytes;

/// A message. One whose `to` is not exactly its receiver, or whose generation is not the receiver's, is dropped before
/// anything else is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The group.
    pub group: GroupId,
    /// The group's generation, as the sender knows it.
    pub generation: Generation,
    /// Who sends.
    pub from: ReplicaId,
    /// Who is meant.
    pub to: ReplicaId,
    /// What is said.
    pub kind: Kind,
}

/// Log time as an acceptor knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeardTime {
    /// Log time, ms; 0 if it knows none.
    pub ms: u64,
    /// How long ago that was, us.
    pub age_us: u64,
    /// The ballot whose leader said it; none's if it is from the acceptor's disk.
    pub of: Ballot,
}

/// An entry that an acceptor has accepted, as it reports it in a promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcceptedEntry {
    /// Where.
    pub index: Index,
    /// Under which ballot.
    pub ballot: Ballot,
    /// What.
    pub entry: Entry,
}

/// What a message says. Times are microseconds of the *sender's* clock where they are only echoed (`sent_us`), else
/// durations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Would you promise this ballot? Changes nothing at the receiver.
    PreVote {
        /// The ballot that the sender would use.
        ballot: Ballot,
    },
    /// Answer to a pre-vote.
    PreVoteReply {
        /// The ballot asked for.
        ballot: Ballot,
        /// Yes only if it is above what was promised and no leader was heard for a lease's time.
        granted: bool,
    },
    /// Phase 1a for all indexes from `from` on.
    Prepare {
        /// The ballot.
        ballot: Ballot,
        /// First index that the candidate does not know chosen.
        from: Index,
        /// The ballot whose leader released its lease for this campaign (hand-over), if any.
        released: Option<Ballot>,
    },
    /// Phase 1b.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// The acceptor's contiguous chosen prefix.
        chosen: Index,
        /// What it accepted above max(chosen, from - 1). Split over several messages if it is large: `more` follows.
        accepted: Vec<AcceptedEntry>,
        /// Whether another Promise of this ballot with further entries follows.
        more: bool,
        /// How long the acceptor still owes its last leader that no other's effects show, us.
        lease_left_us: u64,
        /// The latest log time that it has seen.
        log_seen: HeardTime,
        /// The log time of the last leader that it heard.
        log_line: HeardTime,
    },
    /// Phase 2a for consecutive indexes from `first` on.
    Accept {
        /// The ballot.
        ballot: Ballot,
        /// First index.
        first: Index,
        /// The entries of `first`, `first + 1` …
        entries: Vec<Entry>,
        /// All up to here is chosen.
        commit: Index,
        /// When it was sent, the leader's clock, us; 0 if it is to renew no lease.
        sent_us: u64,
    },
    /// Renews the lease and tells what is chosen.
    Beat {
        /// The ballot.
        ballot: Ballot,
        /// All up to here is chosen.
        commit: Index,
        /// When it was sent, the leader's clock, us.
        sent_us: u64,
        /// The leader's log time, ms.
        log_ms: u64,
    },
    /// Phase 2b, cumulative; also answers a beat.
    Accepted {
        /// The ballot.
        ballot: Ballot,
        /// All above the sender's chosen prefix up to here was accepted under `ballot`.
        upto: Index,
        /// `sent_us` of what it answers, for the lease.
        sent_us: u64,
    },
    /// Refusal: the receiver has promised more.
    Nack {
        /// The ballot refused.
        ballot: Ballot,
        /// What it has promised.
        promised: Ballot,
    },
    /// Asks anybody for chosen entries from `from` on.
    CatchUpRequest {
        /// First index wanted.
        from: Index,
    },
    /// To one who is no member any more, and asks for chosen entries that are gone here, or not there yet: it needs none of
    /// them.
    Left {
        /// The configuration without it …
        config: Config,
        /// … and where it stands.
        index: Index,
        /// The sender's chosen prefix, which goes beyond that.
        chosen: Index,
    },
    /// Chosen entries from `first` on.
    CatchUp {
        /// First index.
        first: Index,
        /// They are chosen; whoever learns them need not ask under which ballot.
        entries: Vec<Entry>,
        /// The sender's chosen prefix.
        chosen: Index,
    },
    /// Offers a snapshot: the log that was asked for is gone.
    SnapshotOffer {
        /// Names the stream, unique for its sender.
        stream: u64,
        /// The state is that after this index.
        base: Index,
        /// Configuration in force after `base`.
        config: Config,
    },
    /// A part of a snapshot.
    SnapshotChunk {
        /// The stream.
        stream: u64,
        /// 0, 1, 2 …
        sequence: u64,
        /// Whatever the owner made.
        bytes: Bytes,
        /// Whether it is the last.
        last: bool,
    },
    /// All chunks below `next` arrived; the sender may send up to its window beyond.
    SnapshotAck {
        /// The stream.
        stream: u64,
        /// First chunk that is missing.
        next: u64,
        /// Whether the receiver wants no more of it (it has what it needs, or restarts).
        abort: bool,
    },
    /// Hand-over: the receiver, which has everything, is to campaign at once; the sender serves no read any more.
    Transfer {
        /// The ballot whose lease is released.
        ballot: Ballot,
        /// The sender's log time, ms: no read was answered beyond it.
        log_ms: u64,
    },
    /// Asks whether the sender still leads, for reads without a lease.
    ReadProbe {
        /// The ballot.
        ballot: Ballot,
        /// Names the round.
        round: u64,
        /// The sender's log time, ms: the reads of this round are answered as of then at the latest.
        log_ms: u64,
    },
    /// Yes: nothing above `ballot` was promised when it was asked.
    ReadProbeReply {
        /// The ballot.
        ballot: Ballot,
        /// The round.
        round: u64,
    },
}
