//! The index of one numbered database: hash → location, in hash order.
//!
//! It is a row of [`Segment`]s, each of which holds the hashes that begin with the same few bits; a
//! directory by the leading bits names the segment. A segment that would outgrow a fixed size is split at
//! the next bit (extendible hashing, Fagin et al. 1979), so that no step copies more than one segment.
//!
//! Order is by hash through and through. That gives SCAN its cursor (a hash), which stays good while the
//! index grows, shrinks or loses entries, and on another replica with the same hash seed.

mod segment;
#[cfg(test)]
mod tests;

use crate::pages::grow_by_quarters;
use crate::record::Location;
use segment::{BUCKETS_MAX, BUCKETS_MIN, Segment, buckets_for, next_buckets};

/// The outcome of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup<T> {
    /// There, at this place, and the record that it names.
    Found(T, Location),
    /// Not there; this is its place if it is inserted next.
    Absent(T),
}

impl<T> Lookup<T> {
    /// The record that is there.
    pub(crate) fn found(&self) -> Option<Location> {
        match self {
            Lookup::Found(_, location) => Some(*location),
            Lookup::Absent(_) => None,
        }
    }
}

/// A bucket; good until the next insertion or removal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    segment: u32,
    at: u32,
}

/// See the module's head.
pub(crate) struct Index {
    /// By the leading `bits` of a hash: its segment. A segment's cells are adjacent.
    directory: Vec<u32>,
    bits: u32,
    segments: Vec<Segment>,
    entries: usize,
    /// How many of the entries are volatile; the store keeps it.
    pub(crate) volatile_count: usize,
    /// Sum of the segments' memory.
    segments_bytes: usize,
}

impl Index {
    pub(crate) fn new() -> Self {
        let first = Segment::new(0, BUCKETS_MIN);
        Index {
            directory: vec![0],
            bits: 0,
            segments_bytes: first.used_bytes(),
            segments: vec![first],
            entries: 0,
            volatile_count: 0,
        }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Memory in bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        size_of::<Index>()
            + self.segments_bytes
            + self.directory.capacity() * size_of::<u32>()
            + self.segments.capacity() * size_of::<Segment>()
    }

    #[inline]
    fn cell(&self, hash: u32) -> usize {
        ((u64::from(hash) << self.bits) >> 32) as usize
    }

    #[inline]
    fn segment_of(&self, hash: u32) -> usize {
        self.directory[self.cell(hash)] as usize
    }

    /// The bucket where a search for `hash` starts, to be loaded ahead.
    #[inline]
    pub(crate) fn first_bucket(&self, hash: u32) -> &u64 {
        self.segments[self.segment_of(hash)].first_bucket(hash)
    }

    /// The location that a search for `hash` would look at first.
    #[inline]
    pub(crate) fn first_location(&self, hash: u32) -> Option<Location> {
        self.segments[self.segment_of(hash)].first_location(hash)
    }

    /// The entry under `hash` whose location `matches`.
    #[inline]
    pub(crate) fn find(&self, hash: u32, matches: impl FnMut(Location) -> bool) -> Lookup<Place> {
        let segment = self.segment_of(hash);
        let place = |at: usize| Place {
            segment: segment as u32,
            at: at as u32,
        };
        match self.segments[segment].find(hash, matches) {
            Lookup::Found(at, location) => Lookup::Found(place(at), location),
            Lookup::Absent(at) => Lookup::Absent(place(at)),
        }
    }

    #[inline]
    pub(crate) fn set_location(&mut self, place: Place, location: Location) {
        self.segments[place.segment as usize].set_location(place.at as usize, location);
    }

    /// Tells the index that the record under `hash` at `from` is now at `to`.
    pub(crate) fn relocate(&mut self, hash: u32, from: Location, to: Location) {
        match self.find(hash, |location| location == from) {
            Lookup::Found(place, _) => self.set_location(place, to),
            Lookup::Absent(_) => unreachable!("every record is in its index under its key's hash"),
        }
    }

    /// Inserts at a place that [`Index::find`] called absent.
    pub(crate) fn insert(&mut self, place: Place, hash: u32, location: Location) {
        let (mut number, mut at) = (place.segment as usize, place.at as usize);
        loop {
            let segment = &mut self.segments[number];
            if !segment.is_full() && segment.insert(at, hash, location) {
                break;
            }
            self.make_room(number);
            // Behind those of its own hash: no location matches.
            let Lookup::Absent(place) = self.find(hash, |_| false) else {
                unreachable!("nothing matched");
            };
            (number, at) = (place.segment as usize, place.at as usize);
        }
        self.entries += 1;
    }

    /// Removes the entry at `place`.
    pub(crate) fn remove(&mut self, place: Place) {
        let number = place.segment as usize;
        self.segments[number].remove(place.at as usize);
        self.entries -= 1;
        if self.entries == 0 && self.segments.len() > 1 {
            *self = Index::new();
        } else if self.segments[number].is_sparse() {
            let segment = &self.segments[number];
            let smaller = segment.resized(buckets_for(segment.entries()));
            self.replace(number, smaller);
        }
    }

    fn replace(&mut self, number: usize, new: Segment) {
        self.segments_bytes += new.used_bytes();
        self.segments_bytes -= self.segments[number].used_bytes();
        self.segments[number] = new;
    }

    /// Splits a segment, or grows it, or lengthens its tail if its hashes are too few to be spread.
    fn make_room(&mut self, number: usize) {
        let segment = &mut self.segments[number];
        if segment.buckets() >= BUCKETS_MAX
            && let Some([low, high]) = segment.split()
        {
            self.replace(number, low);
            self.add_sibling(number, high);
        } else if self.segments[number].is_half_full() {
            let segment = &self.segments[number];
            let larger = segment.resized(next_buckets(segment.buckets()));
            self.replace(number, larger);
        } else {
            self.segments_bytes -= self.segments[number].used_bytes();
            self.segments[number].extend_tail();
            self.segments_bytes += self.segments[number].used_bytes();
        }
    }

    /// Enters the upper half of a segment that was split into the directory.
    fn add_sibling(&mut self, number: usize, high: Segment) {
        if high.depth() > self.bits {
            self.directory = self.directory.iter().flat_map(|cell| [*cell; 2]).collect();
            self.bits += 1;
        }
        let added = self.segments.len() as u32;
        self.segments_bytes += high.used_bytes();
        grow_by_quarters(&mut self.segments);
        let cells = 1 << (self.bits - high.depth());
        self.segments.push(high);
        let first = self
            .directory
            .iter()
            .position(|cell| *cell as usize == number)
            .expect("every segment is in the directory");
        self.directory[first + cells..first + 2 * cells].fill(added);
    }

    /// Entries in hash order from `from` on, as (hash, location).
    pub(crate) fn walk(&self, from: u32) -> impl Iterator<Item = (u32, Location)> + '_ {
        let first = self.cell(from);
        let mut last = self.directory[first];
        let later = self.directory[first + 1..].iter().filter(move |number| {
            let is_new = **number != last;
            last = **number;
            is_new
        });
        self.segments[self.directory[first] as usize]
            .walk_from(from)
            .chain(later.flat_map(|number| self.segments[*number as usize].walk(0)))
    }
}
