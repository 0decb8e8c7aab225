//! What goes into a replica and what comes out.

use crate::message::Message;
use crate::types::{Ballot, Config, Entry, Index, NodeId, ReplicaId};
use bytes::Bytes;

/// Times and bounds of a group. All replicas of a group must have the same `lease_us` and `drift_ppm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Time between two beats of a leader, us.
    pub heartbeat_us: u64,
    /// A follower that hears no leader for a time drawn from here … us.
    pub election_min_us: u64,
    /// … to here asks for pre-votes.
    pub election_max_us: u64,
    /// A lease's length, us; at most `election_min_us`.
    pub lease_us: u64,
    /// How far a clock's rate may be from true time, parts per million.
    pub drift_ppm: u64,
    /// Safety margin on leases, us.
    pub epsilon_us: u64,
    /// Entries in flight per follower.
    pub window_entries_max: usize,
    /// Noops that a new leader puts behind what phase 1 found, ahead of anything of its own: as many as the widest
    /// `window_entries_max` of any replica of the group, since so far beyond what is chosen an entry of a former leader
    /// may lie with a replica that was not heard.
    pub fill_entries: u64,
    /// Bytes in flight per follower.
    pub window_bytes_max: usize,
    /// Bytes of one Accept, CatchUp or Promise, about.
    pub message_bytes_max: usize,
    /// Applied entries that are kept for followers that lag, bytes; beyond it they get a snapshot.
    pub retained_bytes_max: usize,
    /// Snapshot chunks sent ahead of their acknowledgement.
    pub snapshot_window_chunks: u64,
    /// Whether what is promised and accepted is made durable: records come out and `Input::Persisted` comes back.
    pub durable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            heartbeat_us: 50_000,
            election_min_us: 300_000,
            election_max_us: 450_000,
            lease_us: 250_000,
            drift_ppm: 10_000,
            epsilon_us: 1_000,
            window_entries_max: 64,
            fill_entries: 64,
            window_bytes_max: 8 << 20,
            message_bytes_max: 1 << 20,
            retained_bytes_max: 8 << 20,
            snapshot_window_chunks: 4,
            durable: false,
        }
    }
}

/// What happens to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message came.
    Message(Message),
    /// Time went by. At least every 10 ms while timeouts are as by default.
    Tick,
    /// The owner wants this agreed on. Only while `Replica::can_propose`; dropped otherwise, and `Output::refused` says so.
    Propose {
        /// Log time, ms; raised to that of the proposal before, and to `Replica::log_ms`, if it is below.
        log_ms: u64,
        /// The payload.
        payload: Bytes,
    },
    /// All records up to this token (`Output::token`) are durable.
    Persisted(u64),
    /// The owner has a read with this ticket and no lease for it.
    Read(u64),
    /// The owner, a leader, wants this voter to lead.
    TransferTo(ReplicaId),
    /// The owner, a leader, wants these voters and learners. Refused unless safe now (R4; new voters are learners that
    /// have caught up); `number` is filled in.
    Reconfigure {
        /// New voters.
        voters: Vec<ReplicaId>,
        /// New learners.
        learners: Vec<ReplicaId>,
    },
    /// Campaign at once, without asking first and whoever leads (an operator, a test). Refused unless it votes.
    Campaign,
    /// The connection to this node was refused or broke: it counts as silent at once.
    PeerDown(NodeId),
    /// The owner made a part of a snapshot that `SnapshotStep::More` asked for.
    SnapshotChunk {
        /// The stream.
        stream: u64,
        /// The part.
        bytes: Bytes,
        /// Whether it is the last.
        last: bool,
    },
    /// The owner cannot go on with a snapshot that it produces or receives.
    SnapshotFailed {
        /// The stream.
        stream: u64,
    },
    /// The owner has replaced its state by that of a received snapshot.
    SnapshotInstalled {
        /// The stream.
        stream: u64,
        /// As given with `SnapshotStep::Install`, log time filled in from the state.
        base: SnapshotBase,
    },
    /// With `durable`: the owner's checkpoint covers all up to here, so the log below may go.
    Checkpointed(Index),
    /// The owner drops the state of a replica that is no member any more. Refused unless `Replica::can_retire`.
    Retire,
    /// The owner, a leader, has the others told at once how far the log is chosen, ahead of the next beat.
    Announce,
}

/// What a snapshot's state stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotBase {
    /// The state is that after this index.
    pub index: Index,
    /// Configuration in force after it.
    pub config: Config,
    /// The highest log time in the state, ms.
    pub log_ms: u64,
}

/// What is to be done about snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotStep {
    /// Begin to produce one of the state as it is now (all of `apply` so far, nothing more).
    Begin {
        /// Names it.
        stream: u64,
        /// For whom.
        to: ReplicaId,
    },
    /// Make the next part (`Input::SnapshotChunk`).
    More {
        /// The stream.
        stream: u64,
    },
    /// Forget it: the receiver has what it needs, is gone, or leadership ended.
    Drop {
        /// The stream.
        stream: u64,
    },
    /// A part arrived, in order. Sequence 0 begins a stream and drops what was staged of another.
    Chunk {
        /// The stream.
        stream: u64,
        /// 0, 1, 2 …
        sequence: u64,
        /// The part.
        bytes: Bytes,
    },
    /// All parts have arrived: replace the state, then `Input::SnapshotInstalled`.
    Install {
        /// The stream.
        stream: u64,
        /// What the state stands for; `log_ms` is 0 here.
        base: SnapshotBase,
    },
}

/// What must survive a restart that keeps the incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing below is promised or accepted any more.
    Promised(Ballot),
    /// Accepted under a ballot.
    Accepted {
        /// Where.
        index: Index,
        /// Under which ballot.
        ballot: Ballot,
        /// What.
        entry: Entry,
    },
    /// All up to here is chosen. A hint: it may lag.
    Chosen(Index),
    /// A snapshot replaced state and log up to its base.
    Base(SnapshotBase),
    /// No read was answered by a log time beyond this, ms, on this replica's word; until a later such record.
    LogTime(u64),
}

/// What a replica became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// It follows this leader, or knows none.
    Follower {
        /// The leader, where known.
        leader: Option<ReplicaId>,
    },
    /// It campaigns.
    Candidate,
    /// It leads, but proposes (see `Replica::can_propose`) and shows nothing before `visible_us`. Comes again, for the
    /// same ballot, if a later configuration raises these.
    Leader {
        /// Its ballot.
        ballot: Ballot,
        /// Its log time must go on from here at the least, ms, as of now. `Replica::log_ms` tells it at any time.
        log_ms: u64,
        /// No reply, read or event before this time of its clock, us.
        visible_us: u64,
    },
}

/// What a step makes necessary. The owner performs it in this order:
///
/// 1. `send_first` may leave at once.
/// 2. `persist` is made durable as configured; then `Input::Persisted(token)` is stepped.
/// 3. `send` leaves only after 2.
/// 4. `apply`, `serve`, `role`, `snapshot` are performed in that order; replies to clients only after 2 and not before
///    the leader's `visible_us`.
///
/// With `Settings::durable` off, `persist` stays empty and 2 is nothing.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages that rest on nothing that is to be made durable (an Accept of a leader, a catch-up …).
    pub send_first: Vec<Message>,
    /// Records, in order.
    pub persist: Vec<Record>,
    /// Names the records up to here, for `Input::Persisted`. Rises; unchanged while `persist` is empty.
    pub token: u64,
    /// Messages that rest on the records.
    pub send: Vec<Message>,
    /// Chosen entries to apply, dense and in order.
    pub apply: Vec<(Index, Entry)>,
    /// Tickets of reads that may be answered now, from the state after `apply`.
    pub serve: Vec<u64>,
    /// Expiry in the reads of `serve` is judged by this log time, ms, or by that of the last applied entry if it is later.
    /// Not by the leader's of now, which no quorum knows of yet.
    pub serve_log_ms: u64,
    /// Tickets of reads that this replica cannot answer any more: it does not lead.
    pub deny: Vec<u64>,
    /// The last change of role in this step.
    pub role: Option<RoleChange>,
    /// A configuration that became chosen in this step.
    pub config: Option<Config>,
    /// Snapshots.
    pub snapshot: Vec<SnapshotStep>,
    /// The proposal, transfer or configuration of this step was refused, or a configuration that had waited was given up,
    /// and why.
    pub refused: Option<&'static str>,
}
