//! Messages between replicas.
//!
//! | kind | message | after the head |
//! |---|---|---|
//! | 1 | pre-vote | ballot |
//! | 2 | answer to it | ballot, granted u8 |
//! | 3 | prepare | ballot, from u64, known u8, released ballot |
//! | 4 | promise | ballot, chosen u64, more u8, lease_left_us u64, twice a log time (ms u64, age_us u64, ballot): seen, line; count u32, count × (index u64, ballot, entry) |
//! | 5 | accept | ballot, first u64, commit u64, sent_us u64, count u32, count × entry |
//! | 6 | beat | ballot, commit u64, sent_us u64, log_ms u64 |
//! | 7 | accepted | ballot, upto u64, sent_us u64 |
//! | 8 | nack | ballot, promised ballot |
//! | 9 | catch-up request | from u64 |
//! | 10 | catch-up | first u64, chosen u64, count u32, count × entry |
//! | 11 | snapshot offer | stream u64, base u64, config |
//! | 12 | snapshot chunk | stream u64, sequence u64, last u8, bytes to the end |
//! | 13 | snapshot ack | stream u64, next u64, abort u8 |
//! | 14 | transfer | ballot, log_ms u64 |
//! | 15 | read probe | ballot, round u64, log_ms u64 |
//! | 16 | answer to it | ballot, round u64 |
//! | 17 | left | index u64, chosen u64, config |
//!
//! An entry is a byte and what belongs to it: 0 nothing; 1 log_ms u64, payload bytes; 2 a configuration, which is
//! number u64, count u32 and the voters, count u32 and the learners.
//!
//! Rounds, indexes, times and configurations are read only as far as a sound node says them (`codec`).

use paxos::{
    AcceptedEntry, Ballot, Config, Entry, Generation, GroupId, HeardTime, Incarnation, Kind,
    Message, NodeId, ReplicaId,
};

use super::WireError;
use super::codec::{BALLOT_BYTES, LEASE_LEFT_US_MAX, NUMBER_MAX, REPLICA_BYTES, Reader, Writer};

/// Highest of the kinds here.
pub(super) const KIND_MAX: u8 = 17;

/// The kind's number.
pub(super) fn number(kind: &Kind) -> u8 {
    match kind {
        Kind::PreVote { .. } => 1,
        Kind::PreVoteReply { .. } => 2,
        Kind::Prepare { .. } => 3,
        Kind::Promise { .. } => 4,
        Kind::Accept { .. } => 5,
        Kind::Beat { .. } => 6,
        Kind::Accepted { .. } => 7,
        Kind::Nack { .. } => 8,
        Kind::CatchUpRequest { .. } => 9,
        Kind::CatchUp { .. } => 10,
        Kind::SnapshotOffer { .. } => 11,
        Kind::SnapshotChunk { .. } => 12,
        Kind::SnapshotAck { .. } => 13,
        Kind::Transfer { .. } => 14,
        Kind::ReadProbe { .. } => 15,
        Kind::ReadProbeReply { .. } => 16,
        Kind::Left { .. } => 17,
    }
}

/// Whether entries of a message of this kind end in a log, which keeps them for long.
pub(super) fn is_kept(kind: u8) -> bool {
    matches!(kind, 4 | 5 | 10)
}

pub(super) fn encode(message: &Message, out: &mut Writer<'_>) {
    out.u32(message.group.0);
    out.u32(message.generation.0);
    out.replica(message.from);
    out.replica(message.to);
    match &message.kind {
        Kind::PreVote { ballot } => out.ballot(*ballot),
        Kind::Transfer { ballot, log_ms } => {
            out.ballot(*ballot);
            out.u64(*log_ms);
        }
        Kind::PreVoteReply { ballot, granted } => {
            out.ballot(*ballot);
            out.u8(u8::from(*granted));
        }
        Kind::Prepare {
            ballot,
            from,
            released,
        } => {
            out.ballot(*ballot);
            out.u64(from.0);
            out.u8(u8::from(released.is_some()));
            out.ballot(released.unwrap_or_default());
        }
        Kind::Promise {
            ballot,
            chosen,
            accepted,
            more,
            lease_left_us,
            log_seen,
            log_line,
        } => {
            out.ballot(*ballot);
            out.u64(chosen.0);
            out.u8(u8::from(*more));
            out.u64(*lease_left_us);
            for heard in [log_seen, log_line] {
                out.u64(heard.ms);
                out.u64(heard.age_us);
                out.ballot(heard.of);
            }
            out.count(accepted.len());
            for accepted in accepted {
                out.u64(accepted.index.0);
                out.ballot(accepted.ballot);
                encode_entry(&accepted.entry, out);
            }
        }
        Kind::Accept {
            ballot,
            first,
            entries,
            commit,
            sent_us,
        } => {
            out.ballot(*ballot);
            out.u64(first.0);
            out.u64(commit.0);
            out.u64(*sent_us);
            encode_entries(entries, out);
        }
        Kind::Beat {
            ballot,
            commit,
            sent_us,
            log_ms,
        } => {
            out.ballot(*ballot);
            out.u64(commit.0);
            out.u64(*sent_us);
            out.u64(*log_ms);
        }
        Kind::Accepted {
            ballot,
            upto,
            sent_us,
        } => {
            out.ballot(*ballot);
            out.u64(upto.0);
            out.u64(*sent_us);
        }
        Kind::Nack { ballot, promised } => {
            out.ballot(*ballot);
            out.ballot(*promised);
        }
        Kind::CatchUpRequest { from } => out.u64(from.0),
        Kind::CatchUp {
            first,
            entries,
            chosen,
        } => {
            out.u64(first.0);
            out.u64(chosen.0);
            encode_entries(entries, out);
        }
        Kind::Left {
            config,
            index,
            chosen,
        } => {
            out.u64(index.0);
            out.u64(chosen.0);
            encode_config(config, out);
        }
        Kind::SnapshotOffer {
            stream,
            base,
            config,
        } => {
            out.u64(*stream);
            out.u64(base.0);
            encode_config(config, out);
        }
        Kind::SnapshotChunk {
            stream,
            sequence,
            bytes,
            last,
        } => {
            out.u64(*stream);
            out.u64(*sequence);
            out.u8(u8::from(*last));
            out.rest(bytes);
        }
        Kind::SnapshotAck {
            stream,
            next,
            abort,
        } => {
            out.u64(*stream);
            out.u64(*next);
            out.u8(u8::from(*abort));
        }
        Kind::ReadProbe {
            ballot,
            round,
            log_ms,
        } => {
            out.ballot(*ballot);
            out.u64(*round);
            out.u64(*log_ms);
        }
        Kind::ReadProbeReply { ballot, round } => {
            out.ballot(*ballot);
            out.u64(*round);
        }
    }
}

fn encode_entries(entries: &[Entry], out: &mut Writer<'_>) {
    out.count(entries.len());
    for entry in entries {
        encode_entry(entry, out);
    }
}

fn encode_entry(entry: &Entry, out: &mut Writer<'_>) {
    match entry {
        Entry::Noop => out.u8(0),
        Entry::Batch { log_ms, payload } => {
            out.u8(1);
            out.u64(*log_ms);
            out.bytes(payload);
        }
        Entry::Config(config) => {
            out.u8(2);
            encode_config(config, out);
        }
    }
}

fn encode_config(config: &Config, out: &mut Writer<'_>) {
    out.u64(config.number);
    for members in [&config.voters, &config.learners] {
        out.count(members.len());
        for member in members {
            out.replica(*member);
        }
    }
}

/// Reads the body of a message of kind `number`.
///
/// # Errors
/// Bytes that are none.
pub(super) fn decode(number: u8, from: &mut Reader) -> Result<Message, WireError> {
    let head = from.fixed::<32>()?;
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    let replica_at = |at: usize| ReplicaId {
        node: NodeId(u32_at(at)),
        incarnation: Incarnation(u64::from(u32_at(at + 4)) | u64::from(u32_at(at + 8)) << 32),
    };
    Ok(Message {
        group: GroupId(u32_at(0)),
        generation: Generation(u32_at(4)),
        from: replica_at(8),
        to: replica_at(20),
        kind: decode_kind(number, from)?,
    })
}

fn decode_kind(number: u8, from: &mut Reader) -> Result<Kind, WireError> {
    Ok(match number {
        1 => Kind::PreVote {
            ballot: from.ballot()?,
        },
        2 => Kind::PreVoteReply {
            ballot: from.ballot()?,
            granted: from.flag()?,
        },
        3 => {
            let (ballot, first) = (from.ballot()?, from.index()?);
            let (known, released) = (from.flag()?, from.ballot()?);
            if !known && released != Ballot::default() {
                return Err(from.bad_value());
            }
            Kind::Prepare {
                ballot,
                from: first,
                released: known.then_some(released),
            }
        }
        4 => decode_promise(from)?,
        5 => {
            let (ballot, first) = (from.ballot()?, from.index()?);
            let (commit, sent_us) = (from.index()?, from.u64()?);
            Kind::Accept {
                ballot,
                first,
                entries: decode_entries(from)?,
                commit,
                sent_us,
            }
        }
        6 => Kind::Beat {
            ballot: from.ballot()?,
            commit: from.index()?,
            sent_us: from.u64()?,
            log_ms: from.time()?,
        },
        7 => Kind::Accepted {
            ballot: from.ballot()?,
            upto: from.index()?,
            sent_us: from.u64()?,
        },
        8 => Kind::Nack {
            ballot: from.ballot()?,
            promised: from.ballot()?,
        },
        9 => Kind::CatchUpRequest {
            from: from.index()?,
        },
        10 => {
            let (first, chosen) = (from.index()?, from.index()?);
            Kind::CatchUp {
                first,
                entries: decode_entries(from)?,
                chosen,
            }
        }
        11..=13 => decode_snapshot_kind(number, from)?,
        14 => Kind::Transfer {
            ballot: from.ballot()?,
            log_ms: from.time()?,
        },
        KIND_MAX => {
            let (index, chosen) = (from.index()?, from.index()?);
            Kind::Left {
                config: decode_config(from)?,
                index,
                chosen,
            }
        }
        15 => Kind::ReadProbe {
            ballot: from.ballot()?,
            round: from.at_most(NUMBER_MAX)?,
            log_ms: from.time()?,
        },
        16 => Kind::ReadProbeReply {
            ballot: from.ballot()?,
            round: from.at_most(NUMBER_MAX)?,
        },
        other => return Err(WireError::Kind(other)),
    })
}

fn decode_promise(from: &mut Reader) -> Result<Kind, WireError> {
    let (ballot, chosen, more) = (from.ballot()?, from.index()?, from.flag()?);
    let lease_left_us = from.at_most(LEASE_LEFT_US_MAX)?;
    let (log_seen, log_line) = (decode_heard(from)?, decode_heard(from)?);
    let count = from.count(8 + BALLOT_BYTES + 1)?;
    let mut accepted = Vec::with_capacity(count);
    for _ in 0..count {
        accepted.push(AcceptedEntry {
            index: from.index()?,
            ballot: from.ballot()?,
            entry: decode_entry(from)?,
        });
    }
    Ok(Kind::Promise {
        ballot,
        chosen,
        accepted,
        more,
        lease_left_us,
        log_seen,
        log_line,
    })
}

fn decode_heard(from: &mut Reader) -> Result<HeardTime, WireError> {
    Ok(HeardTime {
        ms: from.time()?,
        age_us: from.time()?,
        of: from.ballot()?,
    })
}

fn decode_snapshot_kind(number: u8, from: &mut Reader) -> Result<Kind, WireError> {
    let stream = from.u64()?;
    Ok(match number {
        11 => Kind::SnapshotOffer {
            stream,
            base: from.index()?,
            config: decode_config(from)?,
        },
        12 => {
            let (sequence, last) = (from.u64()?, from.flag()?);
            Kind::SnapshotChunk {
                stream,
                sequence,
                bytes: from.rest(),
                last,
            }
        }
        _ => Kind::SnapshotAck {
            stream,
            next: from.u64()?,
            abort: from.flag()?,
        },
    })
}

fn decode_entries(from: &mut Reader) -> Result<Vec<Entry>, WireError> {
    let count = from.count(1)?;
    // A no-op is one byte on the wire and more in memory, so the room is not taken on the count's word.
    let mut entries = Vec::with_capacity(count.min(ENTRIES_AHEAD_MAX));
    for _ in 0..count {
        entries.push(decode_entry(from)?);
    }
    Ok(entries)
}

/// Entries that room is taken for at once.
const ENTRIES_AHEAD_MAX: usize = 256;

fn decode_entry(from: &mut Reader) -> Result<Entry, WireError> {
    Ok(match from.u8()? {
        0 => Entry::Noop,
        1 => Entry::Batch {
            log_ms: from.time()?,
            payload: from.bytes()?,
        },
        2 => Entry::Config(decode_config(from)?),
        _ => return Err(from.bad_value()),
    })
}

fn decode_config(from: &mut Reader) -> Result<Config, WireError> {
    let number = from.at_most(NUMBER_MAX)?;
    let mut members = || {
        let count = from.count(REPLICA_BYTES)?;
        (0..count)
            .map(|_| from.replica())
            .collect::<Result<Vec<_>, _>>()
    };
    let config = Config {
        number,
        voters: members()?,
        learners: members()?,
    };
    match is_sound(&config) {
        true => Ok(config),
        false => Err(from.bad_value()),
    }
}

/// Whether leaders propose configurations like this: somebody votes, each node once, and a replica has one part.
fn is_sound(config: &Config) -> bool {
    let Config {
        voters, learners, ..
    } = config;
    !voters.is_empty()
        && voters.len() + learners.len() <= MEMBERS_MAX
        && voters.windows(2).all(|two| two[0].node < two[1].node)
        && learners.windows(2).all(|two| two[0] < two[1])
        && learners.iter().all(|id| !voters.contains(id))
}

/// Members of a configuration.
const MEMBERS_MAX: usize = 64;
