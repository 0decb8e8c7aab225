//! From a value to a payload's content.

use super::{kind, stream};
use crate::lzf;
use cache::{Collection, Value};
use resp::parse_i64;

/// Strings up to this length are written as integers where they are some.
const INTEGER_BYTES_MAX: usize = 11;
/// Lengths in bytes of strings that are packed. Longer ones are left as they are, so that a DUMP
/// does not hold its shard for more than some milliseconds above the copy.
const PACKED_BYTES: std::ops::RangeInclusive<usize> = 21..=1 << 20;
/// What packing must save to be worth while.
const SAVED_BYTES_MIN: usize = 4;

/// Type and value, without the trailer.
pub(super) fn content_of(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::String(bytes) => content_of_string(bytes),
        Value::Shared(bytes) => content_of_string(bytes),
        Value::Collection(collection) => content_of_collection(collection),
    }
}

fn content_of_string(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(bytes.len().min(*PACKED_BYTES.end()) + 32);
    content.push(kind::STRING);
    write_string(&mut content, bytes);
    content
}

fn content_of_collection(collection: &Collection) -> Vec<u8> {
    let mut content = Vec::new();
    content.push(match collection {
        Collection::Hash(_) => kind::HASH,
        Collection::List(_) => kind::LIST,
        Collection::Set(_) => kind::SET,
        Collection::SortedSet(_) => kind::SORTED_SET,
        Collection::Stream(_) => kind::STREAM_COUNTED,
    });
    if let Collection::Stream(stream) = collection {
        stream::write(&mut content, stream);
        return content;
    }
    write_length(&mut content, collection.len());
    match collection {
        Collection::Hash(hash) => {
            for (field, value) in hash.iter() {
                write_string(&mut content, field);
                write_string(&mut content, value);
            }
        }
        Collection::List(list) => {
            for element in list.iter_from(0) {
                write_string(&mut content, element);
            }
        }
        Collection::Set(set) => {
            for member in set.iter() {
                write_string(&mut content, member);
            }
        }
        // The highest first, as Redis writes them: it then inserts each at the beginning.
        Collection::SortedSet(set) => {
            for (member, score) in set.iter_back(set.len()) {
                write_string(&mut content, member);
                content.extend_from_slice(&score.to_le_bytes());
            }
        }
        Collection::Stream(_) => unreachable!("it is written above"),
    }
    content
}

pub(super) fn write_string(payload: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= INTEGER_BYTES_MAX
        && let Some(number) = parse_i64(bytes).and_then(|number| i32::try_from(number).ok())
    {
        return write_integer(payload, number);
    }
    if PACKED_BYTES.contains(&bytes.len())
        && let Some(packed) = lzf::compress(bytes, SAVED_BYTES_MIN)
    {
        payload.push(0xc3);
        write_length(payload, packed.len());
        write_length(payload, bytes.len());
        return payload.extend_from_slice(&packed);
    }
    write_length(payload, bytes.len());
    payload.extend_from_slice(bytes);
}

fn write_integer(payload: &mut Vec<u8>, number: i32) {
    if let Ok(number) = i8::try_from(number) {
        payload.push(0xc0);
        payload.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        payload.push(0xc1);
        payload.extend_from_slice(&number.to_le_bytes());
    } else {
        payload.push(0xc2);
        payload.extend_from_slice(&number.to_le_bytes());
    }
}

/// The length of a string, or a count.
pub(super) fn write_length(payload: &mut Vec<u8>, length: usize) {
    match length {
        0..0x40 => payload.push(length as u8),
        0x40..0x4000 => payload.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => match u32::try_from(length) {
            Ok(length) => {
                payload.push(0x80);
                payload.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                payload.push(0x81);
                payload.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
}
