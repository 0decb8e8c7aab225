//! Replicas, ballots, entries and messages as a transcript shows them.

use paxos::{Ballot, Config, Entry, Index, Kind, ReplicaId};

/// `2`, or `2/3` for node 2 in its third life.
pub fn name(id: ReplicaId) -> String {
    match id.incarnation.0 {
        1 => id.node.0.to_string(),
        life => format!("{}/{life}", id.node.0),
    }
}

/// `5.2`: round 5 of node 2.
pub fn ballot_text(ballot: Ballot) -> String {
    format!("{}.{}", ballot.round, name(ballot.replica))
}

pub fn names(ids: &[ReplicaId]) -> String {
    let names: Vec<String> = ids.iter().copied().map(name).collect();
    names.join(",")
}

pub fn config_text(config: &Config) -> String {
    let voters = names(&config.voters);
    if config.learners.is_empty() {
        return format!("config {} [{voters}]", config.number);
    }
    format!(
        "config {} [{voters} + {}]",
        config.number,
        names(&config.learners)
    )
}

pub fn entry_text(entry: &Entry) -> String {
    match entry {
        Entry::Noop => "noop".to_string(),
        Entry::Batch { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
        Entry::Config(config) => config_text(config),
    }
}

fn entries_text(first: Index, entries: &[Entry]) -> String {
    let texts: Vec<String> = (first.0..)
        .zip(entries)
        .map(|(index, entry)| format!("{index}={}", entry_text(entry)))
        .collect();
    format!("({})", texts.join(" "))
}

pub fn kind_text(kind: &Kind) -> String {
    match kind {
        Kind::PreVote { ballot } => format!("pre-vote {}?", ballot_text(*ballot)),
        Kind::PreVoteReply { ballot, granted } => {
            let word = if *granted { "yes" } else { "no" };
            format!("pre-vote {}: {word}", ballot_text(*ballot))
        }
        Kind::Prepare {
            ballot,
            from,
            released,
        } => {
            let released =
                released.map_or(String::new(), |b| format!(", {} released", ballot_text(b)));
            format!("prepare {} from {}{released}", ballot_text(*ballot), from.0)
        }
        Kind::Promise {
            ballot,
            chosen,
            accepted,
            more,
            lease_left_us,
            ..
        } => {
            let texts: Vec<String> = accepted
                .iter()
                .map(|a| {
                    let (ballot, entry) = (ballot_text(a.ballot), entry_text(&a.entry));
                    format!("{}={entry}@{ballot}", a.index.0)
                })
                .collect();
            let more = if *more { ", more follows" } else { "" };
            format!(
                "promise {}: chosen {}, accepted ({}), lease {} ms{more}",
                ballot_text(*ballot),
                chosen.0,
                texts.join(" "),
                lease_left_us.div_ceil(1000)
            )
        }
        Kind::Accept {
            ballot,
            first,
            entries,
            commit,
            ..
        } => {
            let (ballot, entries) = (ballot_text(*ballot), entries_text(*first, entries));
            format!("accept {ballot} {entries} commit {}", commit.0)
        }
        Kind::Beat { ballot, commit, .. } => {
            format!("beat {} commit {}", ballot_text(*ballot), commit.0)
        }
        Kind::Accepted { ballot, upto, .. } => {
            format!("accepted {} up to {}", ballot_text(*ballot), upto.0)
        }
        Kind::Nack { ballot, promised } => {
            let (ballot, promised) = (ballot_text(*ballot), ballot_text(*promised));
            format!("nack {ballot}: promised {promised}")
        }
        Kind::CatchUpRequest { from } => format!("catch-up from {}?", from.0),
        Kind::Left {
            config,
            index,
            chosen,
        } => format!(
            "you have left: {} at {}, {} is chosen",
            config_text(config),
            index.0,
            chosen.0
        ),
        Kind::CatchUp {
            first,
            entries,
            chosen,
        } => format!("catch-up {} of {}", entries_text(*first, entries), chosen.0),
        Kind::SnapshotOffer { base, config, .. } => {
            format!("snapshot of {}, {}?", base.0, config_text(config))
        }
        Kind::SnapshotChunk {
            sequence,
            bytes,
            last,
            ..
        } => {
            let last = if *last { ", the last" } else { "" };
            format!(
                "chunk {sequence} ({}){last}",
                String::from_utf8_lossy(bytes)
            )
        }
        Kind::SnapshotAck { next, abort, .. } => {
            if *abort {
                "no snapshot".to_string()
            } else {
                format!("chunks below {next} are here")
            }
        }
        Kind::Transfer { ballot, .. } => format!("lead on, {} released", ballot_text(*ballot)),
        Kind::ReadProbe { ballot, round, .. } => {
            format!("probe {} round {round}", ballot_text(*ballot))
        }
        Kind::ReadProbeReply { ballot, round } => {
            format!("probe {} round {round}: yes", ballot_text(*ballot))
        }
    }
}
