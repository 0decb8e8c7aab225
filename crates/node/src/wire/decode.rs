//! A message out of a frame's bytes.

use bytes::{Buf, Bytes};
use cache::{CollectionType, Sought, StreamId};
use paxos::{GroupId, NodeId};

use super::answers::Answers;
use super::codec::{BALLOT_BYTES, Reader};
use super::message::{
    Called, Changed, Expect, Expected, Forward, ForwardRefused, ForwardReply, KeyChange,
    KeyChangeKind, LockAsk, LockTold, NodeBeat, PeerMessage, Place, Publish, PublishKind, Ready,
    Touched,
};
use super::{SLICED_BYTES_MIN, WireError, replicas};

/// Takes one message off the front of `bytes`. Its payloads share the memory of `bytes`, unless it is short and will be
/// kept for long.
///
/// # Errors
/// Bytes that are no message of this version.
pub fn decode(bytes: &mut Bytes) -> Result<PeerMessage, WireError> {
    let head = bytes.first_chunk::<5>().ok_or(WireError::Length(0))?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let kind = head[4];
    if length == 0 || length > bytes.len() - 4 {
        return Err(WireError::Length(kind));
    }
    bytes.advance(4);
    let message = bytes.split_to(length);
    let mut from = if length < SLICED_BYTES_MIN && replicas::is_kept(kind) {
        Reader::new(Bytes::copy_from_slice(&message))
    } else {
        Reader::new(message)
    };
    let message = decode_body(kind, &mut from)?;
    from.finish()?;
    Ok(message)
}

fn decode_body(kind: u8, from: &mut Reader) -> Result<PeerMessage, WireError> {
    Ok(match kind {
        1..=replicas::KIND_MAX => PeerMessage::Paxos(replicas::decode(kind, from)?),
        32 => PeerMessage::Forward(Forward {
            group: GroupId(from.u32()?),
            origin: from.replica()?,
            done_seq: from.u64()?,
            ops: from.rest(),
        }),
        33 => PeerMessage::ForwardReply(decode_forward_reply(from)?),
        34 => {
            let group = GroupId(from.u32()?);
            let (known, leader) = (from.flag()?, NodeId(from.u32()?));
            if !known && leader != NodeId::default() {
                return Err(from.bad_value());
            }
            PeerMessage::ForwardRefused(ForwardRefused {
                group,
                leader: known.then_some(leader),
            })
        }
        35 => PeerMessage::NodeBeat(decode_beat(from)?),
        36 => PeerMessage::Publish(Publish {
            call: from.u64()?,
            kind: match from.u8()? {
                0 => PublishKind::Channel,
                1 => PublishKind::Shard,
                _ => return Err(from.bad_value()),
            },
            place: match from.flag()? {
                true => Some(Place {
                    group: GroupId(from.u32()?),
                    generation: from.u32()?,
                    index: from.u64()?,
                    ordinal: from.u32()?,
                }),
                false => None,
            },
            channel: from.bytes()?,
            payload: from.rest(),
        }),
        37 => PeerMessage::Called(Called {
            call: from.u64()?,
            integer: from.u64()? as i64,
        }),
        38 => PeerMessage::Changed(decode_changed(from)?),
        39 => PeerMessage::Meta(from.rest()),
        40 => PeerMessage::Touched(decode_touched(from)?),
        41 => PeerMessage::LockAsk(decode_lock_ask(from)?),
        42 => PeerMessage::LockTold(decode_lock_told(from)?),
        43 => PeerMessage::Expect(decode_expect(from)?),
        44 => PeerMessage::Ready(decode_ready(from)?),
        other => return Err(WireError::Kind(other)),
    })
}

fn decode_forward_reply(from: &mut Reader) -> Result<ForwardReply, WireError> {
    let (group, to) = (GroupId(from.u32()?), from.replica()?);
    let (count, kind) = (from.u32()?, from.kind());
    let items = Answers::decode(count, from.rest(), kind)?;
    Ok(ForwardReply { group, to, items })
}

fn decode_beat(from: &mut Reader) -> Result<NodeBeat, WireError> {
    let (sent_us, meta_epoch) = (from.u64()?, from.u64()?);
    let (needs_room_bytes, listens_to) = (from.u64()?, from.u8()?);
    let count = from.count(4 + BALLOT_BYTES)?;
    let mut leads = Vec::with_capacity(count);
    for _ in 0..count {
        leads.push((GroupId(from.u32()?), from.ballot()?));
    }
    Ok(NodeBeat {
        sent_us,
        meta_epoch,
        leads,
        needs_room_bytes,
        listens_to,
    })
}

fn decode_changed(from: &mut Reader) -> Result<Changed, WireError> {
    let by = (NodeId(from.u32()?), from.u64()?);
    let count = from.count(1 + 1 + 4)?;
    let mut items = Vec::with_capacity(count.min(CHANGES_AHEAD_MAX));
    for _ in 0..count {
        let (db, kind, key) = (from.u8()?, from.u8()?, from.bytes()?);
        let kind = match kind {
            0 => KeyChangeKind::Modified,
            1 => KeyChangeKind::Expired,
            2 => KeyChangeKind::Evicted,
            3 => KeyChangeKind::Flushed,
            4 => KeyChangeKind::Event {
                class: from.u16()?,
                name: from.bytes()?,
            },
            _ => return Err(from.bad_value()),
        };
        items.push(KeyChange { db, kind, key });
    }
    Ok(Changed { by, items })
}

fn decode_touched(from: &mut Reader) -> Result<Touched, WireError> {
    let (group, log_ms) = (GroupId(from.u32()?), from.time()?);
    let count = from.count(1 + 4)?;
    let mut keys = Vec::with_capacity(count.min(CHANGES_AHEAD_MAX));
    for _ in 0..count {
        keys.push((from.u8()?, from.bytes()?));
    }
    Ok(Touched {
        group,
        log_ms,
        keys,
    })
}

fn decode_lock_ask(from: &mut Reader) -> Result<LockAsk, WireError> {
    let (group, origin, sent_us) = (GroupId(from.u32()?), from.replica()?, from.u64()?);
    let (requests, held) = (lock_requests(from)?, lock_requests(from)?);
    if sent_us == 0 {
        return Err(from.bad_value());
    }
    Ok(LockAsk {
        group,
        origin,
        sent_us,
        requests,
        held,
    })
}

fn lock_requests(from: &mut Reader) -> Result<Vec<(u8, Bytes, u64)>, WireError> {
    let count = from.count(1 + 8 + 4)?;
    let mut requests = Vec::with_capacity(count.min(CHANGES_AHEAD_MAX));
    for _ in 0..count {
        let (db, number) = (from.u8()?, from.u64()?);
        requests.push((db, from.bytes()?, number));
    }
    Ok(requests)
}

fn decode_expect(from: &mut Reader) -> Result<Expect, WireError> {
    let (group, origin) = (GroupId(from.u32()?), from.replica()?);
    let count = from.count(8 + 1 + 1 + 4)?;
    let mut waits = Vec::with_capacity(count.min(CHANGES_AHEAD_MAX));
    for _ in 0..count {
        waits.push(Expected {
            number: from.u64()?,
            db: from.u8()?,
            sought: sought(from)?,
            key: from.bytes()?,
        });
    }
    Ok(Expect {
        group,
        origin,
        waits,
        ended: numbers(from)?,
    })
}

fn sought(from: &mut Reader) -> Result<Sought, WireError> {
    let of = match from.u8()? {
        0 => CollectionType::Hash,
        1 => CollectionType::List,
        2 => CollectionType::Set,
        3 => CollectionType::SortedSet,
        4 => CollectionType::Stream,
        5 => {
            return Ok(Sought::After(StreamId {
                ms: from.u64()?,
                seq: from.u64()?,
            }));
        }
        6 => return Ok(Sought::Unread(from.bytes()?.as_ref().into())),
        _ => return Err(from.bad_value()),
    };
    Ok(Sought::Any(of))
}

fn decode_ready(from: &mut Reader) -> Result<Ready, WireError> {
    Ok(Ready {
        group: GroupId(from.u32()?),
        to: from.replica()?,
        numbers: numbers(from)?,
    })
}

fn decode_lock_told(from: &mut Reader) -> Result<LockTold, WireError> {
    let (group, to, sent_us) = (GroupId(from.u32()?), from.replica()?, from.u64()?);
    let count = from.count(8 + 8)?;
    let mut granted = Vec::with_capacity(count);
    for _ in 0..count {
        granted.push((from.u64()?, from.u64()?));
    }
    let (settled, ended) = (numbers(from)?, numbers(from)?);
    Ok(LockTold {
        group,
        to,
        sent_us,
        granted,
        settled,
        ended,
    })
}

fn numbers(from: &mut Reader) -> Result<Vec<u64>, WireError> {
    let count = from.count(8)?;
    (0..count).map(|_| from.u64()).collect()
}

/// Changes that room is taken for at once: they are larger in memory than at their shortest on the wire.
const CHANGES_AHEAD_MAX: usize = 256;
