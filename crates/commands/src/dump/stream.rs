//! Streams in payloads, as Redis 7.0 writes them, and the forms before and after that.
//!
//! ```text
//! count of nodes, and of each a string of 16 bytes (the node's id), and a string that is a listpack:
//!     live entries, deleted ones, N, N fields, 0                           the node's own fields
//!     flags, ms and seq above the node's id, and then of each entry
//!         flag 2: N values of the node's fields; else n, n fields, each with its value
//!         how many items that were
//! live entries, last id; since 7.0 first id, highest deleted id, entries ever
//! count of groups, and of each: name, last id; since 7.0 entries read (all ones: cannot be told)
//!     count of pending entries: id (16 bytes), time (8, little-endian), deliveries
//!     count of consumers: name, seen (8); since 7.2 active (8); count of pending entries: id (16 bytes)
//! ```
//!
//! An id is its two numbers, in 16 bytes or behind each other as counts are written; 16 bytes are big-endian.

use super::kind;
use super::packed::{Listpack, visit_listpack};
use super::read::{Reader, take};
use super::write::{write_length, write_string};
use crate::stream::entries_up_to;
use cache::{Pending, Stream, StreamId};
use resp::parse_i64;
use std::collections::BTreeMap;

/// Entries of a node that is written, and bytes of its listpack from which on no further one comes in.
const NODE_ENTRIES_MAX: usize = 100;
const NODE_BYTES: usize = 4096;

/// An entry that is not there any more.
const DELETED: i64 = 1;
/// An entry that has the node's fields.
const SAME_FIELDS: i64 = 2;

fn id_bytes(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

fn write_id(content: &mut Vec<u8>, id: StreamId) {
    write_length(content, id.ms as usize);
    write_length(content, id.seq as usize);
}

/// Appends a stream, without its type.
pub(super) fn write(content: &mut Vec<u8>, stream: &Stream) {
    let mut nodes = Vec::new();
    let mut nodes_count = 0;
    let mut rank = 0;
    while rank < stream.len() {
        rank += write_node(&mut nodes, stream, rank);
        nodes_count += 1;
    }
    write_length(content, nodes_count);
    content.append(&mut nodes);
    write_length(content, stream.len());
    write_id(content, stream.last_id());
    write_id(content, stream.first_id());
    write_id(content, stream.max_deleted_id());
    write_length(content, stream.entries_added() as usize);
    write_length(content, stream.groups().len());
    for group in stream.groups() {
        write_string(content, group.name());
        write_id(content, group.last_id());
        write_length(content, group.entries_read().unwrap_or(u64::MAX) as usize);
        write_length(content, group.pending_len());
        for pending in group.pending_from(StreamId::MIN) {
            content.extend_from_slice(&id_bytes(pending.id));
            content.extend_from_slice(&pending.delivered_ms.to_le_bytes());
            write_length(content, pending.deliveries as usize);
        }
        write_length(content, group.consumers_len());
        for consumer in group.consumers() {
            write_string(content, consumer.name);
            content.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            write_length(content, group.pending_len_of(consumer.number));
            for id in group.ids_of(consumer.number, StreamId::MIN) {
                content.extend_from_slice(&id_bytes(id));
            }
        }
    }
}

/// Appends a node of the entries from a position on; returns how many it has.
fn write_node(content: &mut Vec<u8>, stream: &Stream, rank: usize) -> usize {
    let first = stream.at(rank).expect("the caller looked");
    let fields: Vec<&[u8]> = first.fields.clone().step_by(2).collect();
    let (mut entries, mut count) = (Listpack::default(), 0);
    for entry in stream.iter_from(rank).take(NODE_ENTRIES_MAX) {
        if count > 0 && entries.bytes_len() >= NODE_BYTES {
            break;
        }
        count += 1;
        let own = entry.fields.clone().step_by(2);
        let is_same = own.eq(fields.iter().copied());
        entries.integer(if is_same { SAME_FIELDS } else { 0 });
        entries.integer(entry.id.ms.wrapping_sub(first.id.ms) as i64);
        entries.integer(entry.id.seq.wrapping_sub(first.id.seq) as i64);
        let items = match is_same {
            true => fields.len() + 3,
            false => entry.fields.len() + 4,
        };
        match is_same {
            true => entry
                .fields
                .skip(1)
                .step_by(2)
                .for_each(|value| entries.text(value)),
            false => {
                entries.integer((entry.fields.len() / 2) as i64);
                entry.fields.for_each(|text| entries.text(text));
            }
        }
        entries.integer(items as i64);
    }
    let mut node = Listpack::default();
    node.integer(count as i64);
    node.integer(0);
    node.integer(fields.len() as i64);
    fields.iter().for_each(|field| node.text(field));
    node.integer(0);
    node.append(entries);
    write_string(content, &id_bytes(first.id));
    write_string(content, &node.into_bytes());
    count
}

/// Fills an empty stream; none if the content is not what its type says.
pub(super) fn fill(kind: u8, reader: &mut Reader<'_>, stream: &mut Stream) -> Option<()> {
    for _ in 0..reader.length()? {
        let id = id_of_bytes(reader.string()?.as_ref().try_into().ok()?);
        read_node(id, &reader.string()?, stream)?;
    }
    let top = stream.last_id();
    if reader.length()? != stream.len() as u64 {
        return None;
    }
    let last_id = read_id(reader)?;
    if last_id < top {
        return None;
    }
    stream.set_last_id(last_id);
    if kind != kind::STREAM {
        let _first_id = read_id(reader)?;
        stream.set_max_deleted_id(read_id(reader)?);
        stream.set_entries_added(reader.length()?);
    }
    for _ in 0..reader.length()? {
        read_group(kind, reader, stream)?;
    }
    Some(())
}

fn id_of_bytes(bytes: [u8; 16]) -> StreamId {
    let id = u128::from_be_bytes(bytes);
    StreamId {
        ms: (id >> 64) as u64,
        seq: id as u64,
    }
}

fn read_id(reader: &mut Reader<'_>) -> Option<StreamId> {
    Some(StreamId {
        ms: reader.length()?,
        seq: reader.length()?,
    })
}

fn read_node(node: StreamId, listpack: &[u8], stream: &mut Stream) -> Option<()> {
    let mut items: Vec<Vec<u8>> = Vec::new();
    visit_listpack(listpack, &mut |item| {
        items.push(item.to_vec());
        Some(())
    })?;
    let mut rest = items.as_slice();
    let number = |rest: &mut &[Vec<u8>]| parse_i64(rest.split_off_first()?);
    let (live, deleted) = (number(&mut rest)?, number(&mut rest)?);
    let entries_count = live.checked_add(deleted).filter(|count| *count > 0)?;
    let fields_count = usize::try_from(number(&mut rest)?).ok()?;
    let fields = rest.split_off(..fields_count)?;
    if number(&mut rest)? != 0 {
        return None;
    }
    let mut live_seen = 0;
    for _ in 0..entries_count {
        let flags = number(&mut rest)?;
        let id = StreamId {
            ms: node.ms.wrapping_add(number(&mut rest)? as u64),
            seq: node.seq.wrapping_add(number(&mut rest)? as u64),
        };
        let strings: Vec<&[u8]> = if flags & SAME_FIELDS != 0 {
            let values = rest.split_off(..fields_count)?;
            let pairs = fields.iter().zip(values);
            pairs
                .flat_map(|(field, value)| [field.as_slice(), value.as_slice()])
                .collect()
        } else {
            let count = usize::try_from(number(&mut rest)?).ok()?.checked_mul(2)?;
            let pairs = rest.split_off(..count)?;
            pairs.iter().map(Vec::as_slice).collect()
        };
        let _items = number(&mut rest)?;
        if flags & DELETED == 0 {
            if id <= stream.last_id() {
                return None;
            }
            stream.push(id, strings.into_iter());
            live_seen += 1;
        }
    }
    (rest.is_empty() && live_seen == live).then_some(())
}

fn read_group(kind: u8, reader: &mut Reader<'_>, stream: &mut Stream) -> Option<()> {
    let name = reader.string()?;
    let last_id = read_id(reader)?;
    let entries_read = match kind {
        kind::STREAM => entries_up_to(stream, last_id),
        _ => reader
            .length()
            .map(|read| (read != u64::MAX).then_some(read))?,
    };
    let mut pending = BTreeMap::new();
    for _ in 0..reader.length()? {
        let id = id_of_bytes(take(reader.rest())?);
        let delivered_ms = i64::from_le_bytes(take(reader.rest())?);
        let before = pending.insert(id, (delivered_ms, reader.length()?));
        if before.is_some() {
            return None;
        }
    }
    if !stream.make_group(&name, last_id, entries_read) {
        return None;
    }
    for _ in 0..reader.length()? {
        let consumer = reader.string()?;
        let seen_ms = i64::from_le_bytes(take(reader.rest())?);
        if kind == kind::STREAM_ACTIVE {
            let _active_ms: [u8; 8] = take(reader.rest())?;
        }
        let mut owned = Vec::new();
        for _ in 0..reader.length()? {
            let id = id_of_bytes(take(reader.rest())?);
            owned.push((id, pending.remove(&id)?));
        }
        stream.edit_group(&name, |group| {
            if group.consumer(&consumer).is_some() {
                return None;
            }
            let consumer = group.make_consumer(&consumer, seen_ms);
            for (id, (delivered_ms, deliveries)) in owned {
                group.give(Pending {
                    id,
                    consumer,
                    delivered_ms,
                    deliveries,
                });
            }
            Some(())
        })??;
    }
    // What is pending is pending with somebody.
    pending.is_empty().then_some(())
}
