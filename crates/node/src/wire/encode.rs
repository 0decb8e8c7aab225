//! A message into a frame's output.

use bytes::Bytes;
use cache::{CollectionType, Sought};
use resp::Output;

use super::codec::Writer;
use super::message::{
    Changed, Expect, Forward, ForwardReply, KeyChangeKind, LockAsk, LockTold, NodeBeat,
    PeerMessage, PublishKind, Ready, Touched,
};
use super::{MESSAGE_BYTES_MAX, WireError, replicas};

/// What a message added to an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Its bytes.
    pub bytes: usize,
    /// How many chunks of them were added without a copy.
    pub shared_count: usize,
}

/// Appends a message.
///
/// # Errors
/// [`WireError::TooLong`]; nothing is appended then.
pub fn encode(message: &PeerMessage, output: &mut Output) -> Result<Encoded, WireError> {
    let (mark, at) = (output.mark(), output.tail_mut().len());
    let mut out = Writer::new(output);
    out.u32(0);
    body(message, &mut out);
    let (shared_bytes, shared_count) = (out.shared_bytes, out.shared_count);
    let tail = output.tail_mut();
    let bytes = tail.len() - at + shared_bytes;
    if bytes > MESSAGE_BYTES_MAX {
        output.rewind(mark);
        return Err(WireError::TooLong(bytes));
    }
    tail[at..at + 4].copy_from_slice(&(bytes as u32 - 4).to_le_bytes());
    Ok(Encoded {
        bytes,
        shared_count,
    })
}

fn body(message: &PeerMessage, out: &mut Writer<'_>) {
    match message {
        PeerMessage::Paxos(message) => {
            out.u8(replicas::number(&message.kind));
            replicas::encode(message, out);
        }
        PeerMessage::Forward(forward) => encode_forward(forward, out),
        PeerMessage::ForwardReply(reply) => encode_forward_reply(reply, out),
        PeerMessage::ForwardRefused(refused) => {
            out.u8(34);
            out.u32(refused.group.0);
            out.u8(u8::from(refused.leader.is_some()));
            out.u32(refused.leader.map_or(0, |leader| leader.0));
        }
        PeerMessage::NodeBeat(beat) => encode_beat(beat, out),
        PeerMessage::Publish(publish) => {
            out.u8(36);
            out.u64(publish.call);
            out.u8(match publish.kind {
                PublishKind::Channel => 0,
                PublishKind::Shard => 1,
            });
            out.u8(u8::from(publish.place.is_some()));
            if let Some(place) = publish.place {
                out.u32(place.group.0);
                out.u32(place.generation);
                out.u64(place.index);
                out.u32(place.ordinal);
            }
            out.bytes(&publish.channel);
            out.rest(&publish.payload);
        }
        PeerMessage::Called(called) => {
            out.u8(37);
            out.u64(called.call);
            out.u64(called.integer as u64);
        }
        PeerMessage::Changed(changed) => encode_changed(changed, out),
        PeerMessage::Touched(touched) => encode_touched(touched, out),
        PeerMessage::Meta(bytes) => {
            out.u8(39);
            out.rest(bytes);
        }
        PeerMessage::LockAsk(ask) => encode_lock_ask(ask, out),
        PeerMessage::LockTold(told) => encode_lock_told(told, out),
        PeerMessage::Expect(expect) => encode_expect(expect, out),
        PeerMessage::Ready(ready) => encode_ready(ready, out),
    }
}

fn encode_forward(forward: &Forward, out: &mut Writer<'_>) {
    out.u8(32);
    out.u32(forward.group.0);
    out.replica(forward.origin);
    out.u64(forward.done_seq);
    out.rest(&forward.ops);
}

fn encode_forward_reply(reply: &ForwardReply, out: &mut Writer<'_>) {
    out.u8(33);
    out.u32(reply.group.0);
    out.replica(reply.to);
    reply.items.encode(out);
}

fn encode_beat(beat: &NodeBeat, out: &mut Writer<'_>) {
    out.u8(35);
    out.u64(beat.sent_us);
    out.u64(beat.meta_epoch);
    out.u64(beat.needs_room_bytes);
    out.u8(beat.listens_to);
    out.count(beat.leads.len());
    for (group, ballot) in &beat.leads {
        out.u32(group.0);
        out.ballot(*ballot);
    }
}

fn encode_touched(touched: &Touched, out: &mut Writer<'_>) {
    out.u8(40);
    out.u32(touched.group.0);
    out.u64(touched.log_ms);
    out.count(touched.keys.len());
    for (db, key) in &touched.keys {
        out.u8(*db);
        out.bytes(key);
    }
}

fn encode_lock_ask(ask: &LockAsk, out: &mut Writer<'_>) {
    out.u8(41);
    out.u32(ask.group.0);
    out.replica(ask.origin);
    out.u64(ask.sent_us);
    for requests in [&ask.requests, &ask.held] {
        out.count(requests.len());
        for (db, key, number) in requests {
            out.u8(*db);
            out.u64(*number);
            out.bytes(key);
        }
    }
}

fn encode_expect(expect: &Expect, out: &mut Writer<'_>) {
    out.u8(43);
    out.u32(expect.group.0);
    out.replica(expect.origin);
    out.count(expect.waits.len());
    for wait in &expect.waits {
        out.u64(wait.number);
        out.u8(wait.db);
        encode_sought(&wait.sought, out);
        out.bytes(&wait.key);
    }
    out.count(expect.ended.len());
    for number in &expect.ended {
        out.u64(*number);
    }
}

fn encode_sought(sought: &Sought, out: &mut Writer<'_>) {
    match sought {
        Sought::Any(of) => out.u8(match of {
            CollectionType::Hash => 0,
            CollectionType::List => 1,
            CollectionType::Set => 2,
            CollectionType::SortedSet => 3,
            CollectionType::Stream => 4,
        }),
        Sought::After(id) => {
            out.u8(5);
            out.u64(id.ms);
            out.u64(id.seq);
        }
        Sought::Unread(group) => {
            out.u8(6);
            out.bytes(&Bytes::copy_from_slice(group));
        }
    }
}

fn encode_ready(ready: &Ready, out: &mut Writer<'_>) {
    out.u8(44);
    out.u32(ready.group.0);
    out.replica(ready.to);
    out.count(ready.numbers.len());
    for number in &ready.numbers {
        out.u64(*number);
    }
}

fn encode_lock_told(told: &LockTold, out: &mut Writer<'_>) {
    out.u8(42);
    out.u32(told.group.0);
    out.replica(told.to);
    out.u64(told.sent_us);
    out.count(told.granted.len());
    for (number, fence) in &told.granted {
        out.u64(*number);
        out.u64(*fence);
    }
    for numbers in [&told.settled, &told.ended] {
        out.count(numbers.len());
        numbers.iter().for_each(|number| out.u64(*number));
    }
}

fn encode_changed(changed: &Changed, out: &mut Writer<'_>) {
    out.u8(38);
    out.u32(changed.by.0.0);
    out.u64(changed.by.1);
    out.count(changed.items.len());
    for change in &changed.items {
        out.u8(change.db);
        out.u8(match change.kind {
            KeyChangeKind::Modified => 0,
            KeyChangeKind::Expired => 1,
            KeyChangeKind::Evicted => 2,
            KeyChangeKind::Flushed => 3,
            KeyChangeKind::Event { .. } => 4,
        });
        out.bytes(&change.key);
        if let KeyChangeKind::Event { class, name } = &change.kind {
            out.u16(*class);
            out.bytes(name);
        }
    }
}
