//! What a script published, as the log has it. It stands with the script's outcome: whoever leads when that is applied tells it
//! to all nodes, and these hear it once ([`crate::telling`]).
//!
//! Layout, integers little endian, each message behind the other:
//!
//! ```text
//! offset  size  what
//!      0     1  0 for a channel's subscribers, 1 for a shard channel's
//!      1     4  length of the channel's name
//!      5     4  length of the message
//!      9     …  the name, then the message
//! ```

use crate::wire::{Place, Publish, PublishKind};
use bytes::Bytes;
use commands::Event;
use commands::context::EventClass;

const HEAD_BYTES: usize = 9;

/// Whom an event is for, if it is a message.
pub(crate) fn kind_of(event: &Event) -> Option<PublishKind> {
    match event.class {
        EventClass::Message => Some(PublishKind::Channel),
        EventClass::ShardMessage => Some(PublishKind::Shard),
        _ => None,
    }
}

/// The messages among events, encoded; empty if there is none.
pub(super) fn encode(events: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        let Some(kind) = kind_of(event) else {
            continue;
        };
        let length =
            |bytes: &[u8]| u32::try_from(bytes.len()).expect("bounded by a script's memory");
        out.push(u8::from(kind == PublishKind::Shard));
        out.extend_from_slice(&length(&event.key).to_le_bytes());
        out.extend_from_slice(&length(&event.payload).to_le_bytes());
        out.extend_from_slice(&event.key);
        out.extend_from_slice(&event.payload);
    }
    out
}

/// One message.
struct Said<'a> {
    kind: PublishKind,
    channel: &'a [u8],
    message: &'a [u8],
}

/// The message at the front of `bytes`, and what follows it; none if there is no whole one.
fn split_first(bytes: &[u8]) -> Option<(Said<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let kind = match head[0] {
        0 => PublishKind::Channel,
        1 => PublishKind::Shard,
        _ => return None,
    };
    let length = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    let (channel, rest) = rest.split_at_checked(length(1) as usize)?;
    let (message, rest) = rest.split_at_checked(length(5) as usize)?;
    let said = Said {
        kind,
        channel,
        message,
    };
    Some((said, rest))
}

/// Whether `bytes` are messages and nothing else.
pub(super) fn is_sound(mut bytes: &[u8]) -> bool {
    while let Some((_, rest)) = split_first(bytes) {
        bytes = rest;
    }
    bytes.is_empty()
}

/// The messages of the entry at `place`, each with its own place.
pub(super) fn decode(mut bytes: &[u8], place: Place, out: &mut Vec<Publish>) {
    let mut ordinal = place.ordinal;
    while let Some((said, rest)) = split_first(bytes) {
        bytes = rest;
        out.push(Publish {
            call: 0,
            kind: said.kind,
            place: Some(Place { ordinal, ..place }),
            channel: Bytes::copy_from_slice(said.channel),
            payload: Bytes::copy_from_slice(said.message),
        });
        ordinal += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos::GroupId;

    fn event(class: EventClass, key: &[u8], payload: &[u8]) -> Event {
        Event {
            class,
            name: "",
            db: 0,
            key: key.into(),
            payload: payload.into(),
        }
    }

    #[test]
    fn messages_come_back_in_order_and_nothing_else_does() {
        // Breaks if a message changed on its way through the log, or broken bytes were taken for some.
        let events = [
            event(EventClass::Message, b"one", b"\0\xff"),
            event(EventClass::Generic, b"key", b""),
            event(EventClass::ShardMessage, b"", b"two"),
        ];
        let bytes = encode(&events);
        assert_eq!(bytes[..HEAD_BYTES], [0, 3, 0, 0, 0, 2, 0, 0, 0]);
        let place = Place {
            group: GroupId(3),
            generation: 1,
            index: 7,
            ordinal: 0,
        };
        let mut back = Vec::new();
        decode(&bytes, place, &mut back);
        let told: Vec<_> = back
            .iter()
            .map(|said| (said.kind, &said.channel[..], &said.payload[..]))
            .collect();
        assert_eq!(
            told,
            [
                (PublishKind::Channel, &b"one"[..], &b"\0\xff"[..]),
                (PublishKind::Shard, b"", b"two")
            ]
        );
        assert_eq!(
            back[1].place,
            Some(Place {
                ordinal: 1,
                ..place
            })
        );
        assert!(is_sound(&bytes) && is_sound(b""));
        for cut in 1..bytes.len() {
            assert_eq!(
                is_sound(&bytes[..cut]),
                cut == HEAD_BYTES + 5,
                "{cut} bytes"
            );
        }
        assert!(!is_sound(&[2, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(encode(&events[1..2]).is_empty());
    }
}
