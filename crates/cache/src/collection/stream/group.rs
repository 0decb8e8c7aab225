//! Groups of consumers: who reads a stream together, and what was handed out and is not acknowledged yet.
//!
//! All of a group is in trees, so a group of many pending entries is copied on write as well. A consumer has a number in its
//! group, which stands for its name wherever it is named.

use super::fields::{push_number, take_number};
use super::{Item, StreamId, Tree, id_of, put_in, rank_in, seq_key};
use crate::class::allocated_bytes;
use std::sync::Arc;

/// A group of consumers.
///
/// - `pending` is sorted by id: to whom an entry was handed out, when, how often;
/// - `by_consumer` holds the same ids, by the number of the consumer that has them;
/// - `consumers` is sorted by name, `names` by number, and both hold the same consumers.
#[derive(Clone, Debug)]
pub struct Group {
    name: Arc<[u8]>,
    last_id: StreamId,
    /// None if it cannot be told.
    entries_read: Option<u64>,
    pending: Tree,
    by_consumer: Tree,
    consumers: Tree,
    names: Tree,
    /// Numbers of consumers are not given twice.
    last_number: u64,
}

/// A consumer of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What stands for its name in its group.
    pub number: u64,
    /// When it last asked for something, wall time in milliseconds.
    pub seen_ms: i64,
}

/// An entry that was handed out and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The entry's id; the entry itself may be gone.
    pub id: StreamId,
    /// The number of the consumer that has it.
    pub consumer: u64,
    /// When it was handed out last, wall time in milliseconds.
    pub delivered_ms: i64,
    /// How often it was.
    pub deliveries: u64,
}

fn pending_of(item: Item<'_>) -> Pending {
    let mut value = item.value;
    let consumer = take_number(&mut value).expect("a pending entry has a consumer");
    let (delivered, mut value) = value.split_first_chunk().expect("and a time");
    Pending {
        id: id_of(&item),
        consumer,
        delivered_ms: i64::from_le_bytes(*delivered),
        deliveries: take_number(&mut value).expect("and a count"),
    }
}

fn consumer_of(item: Item<'_>) -> Consumer<'_> {
    let (number, seen) = item.value.split_at(8);
    Consumer {
        name: item.key,
        number: u64::from_le_bytes(number.try_into().expect("8 bytes")),
        seen_ms: i64::from_le_bytes(seen.try_into().expect("8 bytes")),
    }
}

/// The same content, whatever numbers stand for the consumers.
impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        let seen = |group: &Group| -> Vec<(Vec<u8>, i64)> {
            let consumers = group.consumers();
            consumers
                .map(|one| (one.name.to_vec(), one.seen_ms))
                .collect()
        };
        let named = |group: &Group| -> Vec<(Pending, Vec<u8>)> {
            let pending = group.pending_from(StreamId::MIN);
            let named = pending.map(|one| {
                let name = group.name_of(one.consumer).expect("it has a name");
                (Pending { consumer: 0, ..one }, name.to_vec())
            });
            named.collect()
        };
        self.name == other.name
            && self.last_id == other.last_id
            && self.entries_read == other.entries_read
            && seen(self) == seen(other)
            && named(self) == named(other)
    }
}

/// An id as the key of `by_consumer`.
fn id_key(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

fn id_of_key(key: &[u8]) -> StreamId {
    let id = u128::from_be_bytes(key.try_into().expect("an id has 16 bytes"));
    StreamId {
        ms: (id >> 64) as u64,
        seq: id as u64,
    }
}

impl Group {
    pub(super) fn new(name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> Self {
        Group {
            name: name.into(),
            last_id,
            entries_read,
            pending: Tree::default(),
            by_consumer: Tree::default(),
            consumers: Tree::default(),
            names: Tree::default(),
            last_number: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The id of the last entry that was handed out.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// How many entries of all there have been ever were handed out; none if it cannot be told.
    pub fn entries_read(&self) -> Option<u64> {
        self.entries_read
    }

    /// Sets where the group stands.
    pub fn set_position(&mut self, last_id: StreamId, entries_read: Option<u64>) {
        (self.last_id, self.entries_read) = (last_id, entries_read);
    }

    /// How many consumers there are.
    pub fn consumers_len(&self) -> usize {
        self.consumers.len()
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = Consumer<'_>> {
        self.consumers_from(0)
    }

    pub(super) fn consumers_from(&self, rank: usize) -> impl Iterator<Item = Consumer<'_>> {
        self.consumers.iter_from(rank).map(consumer_of)
    }

    /// The consumer of this name.
    pub fn consumer(&self, name: &[u8]) -> Option<Consumer<'_>> {
        self.consumers.find(0, name).map(consumer_of)
    }

    /// The name of the consumer of this number.
    pub fn name_of(&self, number: u64) -> Option<&[u8]> {
        let at = self.names.partition_point(|item| item.order < number);
        let item = self.names.get(at).filter(|item| item.order == number)?;
        Some(item.key)
    }

    /// Makes a consumer, which must not be there, and returns its number.
    pub fn make_consumer(&mut self, name: &[u8], seen_ms: i64) -> u64 {
        self.last_number += 1;
        self.put_consumer(name, self.last_number, seen_ms);
        self.last_number
    }

    /// Notes that a consumer, which must be there, asked for something.
    pub fn see_consumer(&mut self, name: &[u8], seen_ms: i64) {
        let number = self.consumer(name).expect("it is there").number;
        self.put_consumer(name, number, seen_ms);
    }

    pub(super) fn put_consumer(&mut self, name: &[u8], number: u64, seen_ms: i64) {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&number.to_le_bytes());
        value[8..].copy_from_slice(&seen_ms.to_le_bytes());
        let item = Item {
            order: 0,
            key: name,
            value: &value,
        };
        match self.consumers.seek(0, name) {
            Ok(at) => self.consumers.replace(at, item),
            Err(at) => {
                self.consumers.insert(at, item);
                let at = self.names.partition_point(|item| item.order < number);
                let item = Item {
                    order: number,
                    key: name,
                    value: b"",
                };
                self.names.insert(at, item);
            }
        }
    }

    /// Removes a consumer with all that it has not acknowledged; returns how much that was. O(that).
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.consumer(name)?.number;
        let ids: Vec<StreamId> = self.ids_of(number, StreamId::MIN).collect();
        for id in &ids {
            self.acknowledge(*id);
        }
        let at = self.consumers.seek(0, name).expect("it is there");
        self.consumers.remove(at);
        let at = self.names.partition_point(|item| item.order < number);
        self.names.remove(at);
        Some(ids.len())
    }

    /// How many entries are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// How many entries are pending with one consumer.
    pub fn pending_len_of(&self, number: u64) -> usize {
        let end = self
            .by_consumer
            .partition_point(|item| item.order <= number);
        end - self.by_consumer.partition_point(|item| item.order < number)
    }

    /// A pending entry.
    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        let found = self.pending.find(id.ms, &seq_key(id.seq));
        found.map(pending_of)
    }

    /// The pending entries from `id` on.
    pub fn pending_from(&self, id: StreamId) -> impl Iterator<Item = Pending> {
        self.pending_from_rank(rank_in(&self.pending, id))
    }

    pub(super) fn pending_from_rank(&self, rank: usize) -> impl Iterator<Item = Pending> {
        self.pending.iter_from(rank).map(pending_of)
    }

    /// The last pending entry's id.
    pub fn last_pending_id(&self) -> Option<StreamId> {
        let last = self.pending.len().checked_sub(1)?;
        self.pending.get(last).map(|item| id_of(&item))
    }

    /// The ids of the entries that are pending with one consumer, from `id` on.
    pub fn ids_of(&self, number: u64, id: StreamId) -> impl Iterator<Item = StreamId> {
        let (Ok(at) | Err(at)) = self.by_consumer.seek(number, &id_key(id));
        let items = self.by_consumer.iter_from(at);
        items
            .take_while(move |item| item.order == number)
            .map(|item| id_of_key(item.key))
    }

    /// Makes an entry pending, or changes who has it.
    pub fn give(&mut self, pending: Pending) {
        let before = self.pending(pending.id).map(|before| before.consumer);
        let mut value = Vec::with_capacity(16);
        push_number(&mut value, pending.consumer);
        value.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        push_number(&mut value, pending.deliveries);
        put_in(&mut self.pending, pending.id, &value);
        if before == Some(pending.consumer) {
            return;
        }
        let key = id_key(pending.id);
        if let Some(before) = before {
            let at = self.by_consumer.seek(before, &key);
            self.by_consumer.remove(at.expect("its consumer has it"));
        }
        let at = self.by_consumer.seek(pending.consumer, &key);
        let item = Item {
            order: pending.consumer,
            key: &key,
            value: b"",
        };
        let at = at.expect_err("it is pending once");
        self.by_consumer.insert(at, item);
    }

    /// An entry is pending no longer; whether it was.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Ok(at) = self.pending.seek(id.ms, &seq_key(id.seq)) else {
            return false;
        };
        let item = self.pending.get(at).expect("it was found there");
        let consumer = pending_of(item).consumer;
        self.pending.remove(at);
        let at = self.by_consumer.seek(consumer, &id_key(id));
        self.by_consumer.remove(at.expect("its consumer has it"));
        true
    }

    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    pub(super) fn set_last_number(&mut self, number: u64) {
        self.last_number = number;
    }

    /// Memory in bytes beside itself, as if nothing were shared with a clone. O(1).
    pub(super) fn bytes(&self) -> usize {
        let trees = [
            &self.pending,
            &self.by_consumer,
            &self.consumers,
            &self.names,
        ];
        let trees: usize = trees.iter().map(|tree| tree.bytes()).sum();
        trees + allocated_bytes(self.name.len() + 2 * size_of::<usize>())
    }

    /// Frees at most so many pieces of it; whether anything is left.
    pub(super) fn dismantle(&mut self, packs_max: usize) -> bool {
        self.pending.dismantle(packs_max)
            || self.by_consumer.dismantle(packs_max)
            || self.consumers.dismantle(packs_max)
            || self.names.dismantle(packs_max)
    }
}
