//! Short words for a run's trace, so that a failing seed can be read.

use paxos::{Ballot, Entry, Kind, Message, ReplicaId, RoleChange, SnapshotStep};

fn id(id: ReplicaId) -> String {
    format!("n{}.{}", id.node.0, id.incarnation.0)
}

/// Replicas.
pub fn ids(of: &[ReplicaId]) -> String {
    of.iter().map(|of| id(*of)).collect::<Vec<_>>().join(" ")
}

fn ballot(ballot: &Ballot) -> String {
    format!("b{}@{}", ballot.round, id(ballot.replica))
}

/// An entry.
pub fn entry(entry: &Entry) -> String {
    match entry {
        Entry::Noop => "noop".to_owned(),
        Entry::Batch { log_ms, payload } => {
            let ids: Vec<u32> = super::operations::operations_of(payload).collect();
            format!("{ids:?}@{log_ms}ms")
        }
        Entry::Config(config) => {
            let (voters, learners) = (ids(&config.voters), ids(&config.learners));
            format!("config {} [{voters}] + [{learners}]", config.number)
        }
    }
}

fn entries<'a>(of: impl Iterator<Item = &'a Entry>) -> String {
    of.map(entry).collect::<Vec<_>>().join(" ")
}

/// A message, with what happened to it.
pub fn message(verb: &str, message: &Message) -> String {
    let said = match &message.kind {
        Kind::Accept {
            ballot: b,
            first,
            entries: of,
            commit,
            ..
        } => format!(
            "Accept {} {}.. [{}] commit {}",
            ballot(b),
            first.0,
            entries(of.iter()),
            commit.0
        ),
        Kind::Beat {
            ballot: b, commit, ..
        } => format!("Beat {} commit {}", ballot(b), commit.0),
        Kind::Accepted {
            ballot: b, upto, ..
        } => format!("Accepted {} upto {}", ballot(b), upto.0),
        Kind::Promise {
            ballot: b,
            chosen,
            accepted,
            more,
            lease_left_us,
            ..
        } => {
            let of: Vec<String> = accepted
                .iter()
                .map(|a| format!("{}:{} {}", a.index.0, ballot(&a.ballot), entry(&a.entry)))
                .collect();
            format!(
                "Promise {} chosen {} accepted {of:?} more {more} lease left {lease_left_us}",
                ballot(b),
                chosen.0
            )
        }
        Kind::CatchUp {
            first,
            entries: of,
            chosen,
        } => format!(
            "CatchUp {}.. [{}] chosen {}",
            first.0,
            entries(of.iter()),
            chosen.0
        ),
        other => format!("{other:?}"),
    };
    format!("{verb} {} -> {}: {said}", id(message.from), id(message.to))
}

/// A change of role.
pub fn role(role: &RoleChange) -> String {
    match role {
        RoleChange::Follower { leader } => match leader {
            Some(leader) => format!("a follower of {}", id(*leader)),
            None => "a follower of nobody".to_owned(),
        },
        RoleChange::Candidate => "a candidate".to_owned(),
        RoleChange::Leader {
            ballot: b,
            log_ms,
            visible_us,
        } => format!(
            "LEADER {} log {log_ms} ms, visible at {visible_us} us of its clock",
            ballot(b)
        ),
    }
}

/// A step of a snapshot.
pub fn snapshot(step: &SnapshotStep) -> String {
    match step {
        SnapshotStep::Begin { stream, to } => format!("begins snapshot {stream:x} for {}", id(*to)),
        SnapshotStep::More { stream } => format!("is to make more of snapshot {stream:x}"),
        SnapshotStep::Drop { stream } => format!("drops snapshot {stream:x}"),
        SnapshotStep::Chunk {
            stream,
            sequence,
            bytes,
        } => format!(
            "gets part {sequence} of snapshot {stream:x}, {} bytes",
            bytes.len()
        ),
        SnapshotStep::Install { stream, base } => {
            format!("installs snapshot {stream:x} at {}", base.index.0)
        }
    }
}
