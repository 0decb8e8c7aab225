//! Walks over all keys: what SCAN, KEYS and RANDOMKEY share. The node runs them, as they concern all
//! shards; here is what they ask, where they stand and what they found, step by step.
//!
//! A walk goes through the shards in the order of their numbers and within a shard in the order of
//! the keys' hashes. Both are the same on every replica and do not move when tables grow, shrink or
//! evict, so a cursor is simply a place in that order, good for ever and anywhere in the cluster:
//!
//! ```text
//! bit  63      53 52          32 31            0
//!      +---------+--------------+---------------+
//!      | 0       | shard's      | position in   |
//!      |         | number       | hash order    |
//!      +---------+--------------+---------------+
//! ```
//!
//! Below 2^53, so that clients that keep numbers as doubles keep it whole. A walk that stands before
//! hash 7 of shard 2 has the cursor 8589934599; 0 is the beginning, and says that the end was reached.

use crate::{
    errors::{ErrorText, NOT_INTEGER, SYNTAX},
    glob,
    key::type_name,
};
use cache::{Cache, Entry, Pin};
use resp::{Args, Reply, parse_i64, parse_u64};
use std::borrow::Cow;

/// Keys that SCAN looks at unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;

/// Most entries that a walk looks at while it holds one shard: some tens of microseconds.
pub const STEPS_MAX: usize = 512;

/// Highest number of shards that a cursor can tell apart.
pub const SHARDS_MAX: u32 = 1 << 21;

/// A place in the order of all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The shard's number.
    pub shard: u32,
    /// Where to go on in it, in hash order.
    pub position: u32,
}

impl Cursor {
    /// Before the first key.
    pub const START: Cursor = Cursor {
        shard: 0,
        position: 0,
    };

    /// The cursor as clients see it, below 2^53. Panics if the shard's number is [`SHARDS_MAX`] or more.
    pub fn encode(self) -> u64 {
        assert!(self.shard < SHARDS_MAX, "a cursor fits a double");
        u64::from(self.shard) << 32 | u64::from(self.position)
    }

    /// The place that any number from a client stands for; it may be beyond the last shard, where a
    /// walk ends at once.
    pub fn decode(number: u64) -> Cursor {
        Cursor {
            shard: (number >> 32) as u32,
            position: number as u32,
        }
    }
}

/// Which keys a walk returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter<'a> {
    /// A glob pattern, or none for all.
    pub pattern: Option<Cow<'a, [u8]>>,
    /// The name of a type in any case, or none for all. No entry has a type of an unknown name.
    pub type_name: Option<Cow<'a, [u8]>>,
    /// Whether locks alone are wanted.
    pub is_lock: bool,
}

impl Filter<'_> {
    /// The keys that a pattern matches.
    pub fn pattern(pattern: Cow<'_, [u8]>) -> Filter<'_> {
        Filter {
            pattern: (!glob::is_everything(&pattern)).then_some(pattern),
            ..Filter::default()
        }
    }

    /// Whether an entry is to be returned.
    pub fn admits(&self, key: &[u8], entry: &Entry<'_>) -> bool {
        (!self.is_lock || entry.pin == Pin::Pinned)
            && self
                .type_name
                .as_ref()
                .is_none_or(|name| name.eq_ignore_ascii_case(type_name(&entry.value).as_bytes()))
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| glob::matches(pattern, key))
    }
}

/// What a SCAN asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    /// Where to go on.
    pub cursor: Cursor,
    /// How many entries to look at, at least 1.
    pub count: usize,
    /// Which to return.
    pub filter: Filter<'a>,
}

impl<'a> ScanOptions<'a> {
    /// The arguments of SCAN, its name at 0.
    ///
    /// # Errors
    /// Redis's text: the cursor is no number, COUNT is no number, or an option is unknown or incomplete.
    pub fn parse(args: Args<'a>) -> Result<Self, ErrorText> {
        let cursor = parse_u64(args.get(1)).ok_or("ERR invalid cursor")?;
        let mut options = ScanOptions {
            cursor: Cursor::decode(cursor),
            count: COUNT_DEFAULT,
            filter: Filter::default(),
        };
        let mut rest = args.from(2).iter();
        while let Some(option) = rest.next() {
            let value = rest.next().ok_or(SYNTAX)?;
            if option.eq_ignore_ascii_case(b"type") {
                options.filter.type_name = Some(Cow::Borrowed(value));
            } else {
                options.take(option, value)?;
            }
        }
        Ok(options)
    }

    /// The arguments of LOCK.LIST, its name at 0: SCAN's, in any order and all of them optional, over locks alone.
    ///
    /// # Errors
    /// As [`ScanOptions::parse`].
    pub fn parse_locks(args: Args<'a>) -> Result<Self, ErrorText> {
        let mut options = ScanOptions {
            cursor: Cursor::START,
            count: COUNT_DEFAULT,
            filter: Filter {
                is_lock: true,
                ..Filter::default()
            },
        };
        let mut rest = args.from(1).iter();
        while let Some(option) = rest.next() {
            let value = rest.next().ok_or(SYNTAX)?;
            if option.eq_ignore_ascii_case(b"cursor") {
                let cursor = parse_u64(value).ok_or("ERR invalid cursor")?;
                options.cursor = Cursor::decode(cursor);
            } else {
                options.take(option, value)?;
            }
        }
        Ok(options)
    }

    /// Takes an option that all walks have, MATCH or COUNT.
    fn take(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), ErrorText> {
        if option.eq_ignore_ascii_case(b"match") {
            self.filter.pattern = Filter::pattern(Cow::Borrowed(value)).pattern;
        } else if option.eq_ignore_ascii_case(b"count") {
            let count = parse_i64(value).ok_or(NOT_INTEGER)?;
            self.count = usize::try_from(count).map_err(|_| SYNTAX)?;
            if self.count == 0 {
                return Err(SYNTAX);
            }
        } else {
            return Err(SYNTAX);
        }
        Ok(())
    }

    /// The same apart from the request, for a walk that goes on after it.
    pub fn into_owned(self) -> ScanOptions<'static> {
        let Filter {
            pattern,
            type_name,
            is_lock,
        } = self.filter;
        ScanOptions {
            cursor: self.cursor,
            count: self.count,
            filter: Filter {
                pattern: pattern.map(|pattern| Cow::Owned(pattern.into_owned())),
                type_name: type_name.map(|name| Cow::Owned(name.into_owned())),
                is_lock,
            },
        }
    }
}

/// A walk under way. The caller locks the shard that [`Walk::shard`] names, calls [`Walk::step`] with
/// its cache, releases it, and so on until there is no shard to name; between steps others have their turn.
///
/// Invariants:
/// - entries before `cursor` were looked at, from where the walk began;
/// - `count_left` is 0 or `cursor.shard` is `shards_count` once the walk is over.
#[derive(Debug)]
pub struct Walk<'a> {
    db: u8,
    shards_count: u32,
    filter: Filter<'a>,
    cursor: Cursor,
    count_left: usize,
    found: Keys,
}

impl<'a> Walk<'a> {
    /// SCAN: from a cursor on, over about as many entries as it says. Panics if there are more shards
    /// than a cursor can tell apart.
    pub fn scan(options: ScanOptions<'a>, db: u8, shards_count: u32) -> Self {
        assert!(shards_count <= SHARDS_MAX, "a cursor names every shard");
        Walk {
            db,
            shards_count,
            filter: options.filter,
            cursor: options.cursor,
            count_left: options.count,
            found: Keys::default(),
        }
    }

    /// KEYS: over all that there is.
    pub fn keys(pattern: &'a [u8], db: u8, shards_count: u32) -> Self {
        Walk::all(Cow::Borrowed(pattern), db, shards_count)
    }

    /// KEYS, apart from the request: a walk that outlives it, so that others have their turn.
    pub fn keys_of_owned(pattern: Vec<u8>, db: u8, shards_count: u32) -> Walk<'static> {
        Walk::all(Cow::Owned(pattern), db, shards_count)
    }

    fn all(pattern: Cow<'_, [u8]>, db: u8, shards_count: u32) -> Walk<'_> {
        let options = ScanOptions {
            cursor: Cursor::START,
            count: usize::MAX,
            filter: Filter::pattern(pattern),
        };
        Walk::scan(options, db, shards_count)
    }

    /// The shard that the next step is about, or none if the walk is over.
    pub fn shard(&self) -> Option<u32> {
        (self.count_left > 0 && self.cursor.shard < self.shards_count).then_some(self.cursor.shard)
    }

    /// Leaves out what is left of [`Walk::shard`].
    pub fn skip(&mut self) {
        self.cursor = Cursor {
            shard: self.cursor.shard + 1,
            position: 0,
        };
    }

    /// Looks at the next entries of [`Walk::shard`], whose cache is `cache`: at most [`STEPS_MAX`] and
    /// those that share the last one's hash.
    pub fn step(&mut self, cache: &Cache) {
        let steps_max = self.steps_max();
        let (filter, found) = (&self.filter, &mut self.found);
        let visit = visit(
            cache,
            self.db,
            self.cursor.position,
            steps_max,
            filter,
            found,
        );
        self.advance(visit, steps_max);
    }

    fn steps_max(&self) -> usize {
        self.count_left.min(STEPS_MAX)
    }

    fn advance(&mut self, visit: Visit, steps_max: usize) {
        match visit.next {
            Some(position) => {
                // Expired entries were looked at without being seen.
                self.count_left = self.count_left.saturating_sub(visit.seen.max(steps_max));
                self.cursor.position = position;
            }
            None => {
                self.count_left = self.count_left.saturating_sub(visit.seen);
                self.skip();
            }
        }
    }

    /// What was found.
    pub fn found(&self) -> &Keys {
        &self.found
    }

    /// Where to go on, as SCAN answers it: 0 once all was seen.
    pub fn next_cursor(&self) -> u64 {
        if self.cursor.shard < self.shards_count {
            self.cursor.encode()
        } else {
            0
        }
    }

    /// SCAN's reply.
    pub fn reply_scan(&self, reply: &mut Reply<'_>) {
        reply.array(2);
        reply.bulk(itoa::Buffer::new().format(self.next_cursor()).as_bytes());
        self.found.reply(reply);
    }

    /// KEYS' reply.
    pub fn reply_keys(&self, reply: &mut Reply<'_>) {
        self.found.reply(reply);
    }
}

/// What a step saw.
struct Visit {
    /// Where the shard's walk goes on; none at its end.
    next: Option<u32>,
    seen: usize,
}

/// Looks at about `steps_max` entries from `position` on.
fn visit(
    cache: &Cache,
    db: u8,
    position: u32,
    steps_max: usize,
    filter: &Filter<'_>,
    found: &mut Keys,
) -> Visit {
    let mut seen = 0;
    let next = cache.scan(db, position, steps_max, &mut |key, entry| {
        seen += 1;
        if filter.admits(key, &entry) {
            found.push(key);
        }
    });
    Visit { next, seen }
}

/// Keys in a row, in one piece of memory: a walk may find millions.
#[derive(Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<usize>,
}

impl Keys {
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The keys, in the order of the walk.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[*start..*end])
    }

    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Answers them as an array.
    pub(crate) fn reply(&self, reply: &mut Reply<'_>) {
        reply.array(self.len());
        for key in self.iter() {
            reply.bulk(key);
        }
    }
}

/// The order in which RANDOMKEY asks the shards, given how many entries each of them stores: the
/// first by lot in proportion to what it holds, then on in turn, as all of a shard's entries may have
/// expired. Shards that hold nothing are left out.
///
/// The draw within a shard is [`draw_within`] of the same draw.
pub fn shards_by_lot(lens: &[usize], random: u64) -> impl Iterator<Item = usize> {
    let total: usize = lens.iter().sum();
    let mut lot = ((u128::from(random) * total as u128) >> 64) as usize;
    let first = lens.iter().position(|len| {
        let hit = lot < *len;
        lot = lot.saturating_sub(*len);
        hit
    });
    let count = lens.len();
    (0..count)
        .map(move |turn| (first.unwrap_or(0) + turn) % count)
        .filter(|shard| lens[*shard] > 0)
}

/// A draw for the choice within a shard that is independent of the choice of the shard. The steps of
/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub fn draw_within(random: u64) -> u64 {
    let mut mixed = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

mod elsewhere;
#[cfg(test)]
mod tests;

pub use elsewhere::{Question, answer_step};
