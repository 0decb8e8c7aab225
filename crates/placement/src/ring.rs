//! The consistent-hash ring: which member each item belongs to.
//!
//! Members stand on a circle of 2^64 positions at as many **points** (virtual nodes) as their weight
//! asks for; an item stands at one position and belongs to the member of the first point at or after
//! it. That is its *home*, and it changes only when a point appears or vanishes just there: a new
//! member takes its share evenly from all others, and nothing moves between the others.
//!
//! Chance alone leaves some members with more than their share, so [`Ring::assign`] bounds the load
//! ("Consistent Hashing with Bounded Loads", Mirrokni, Thorup, Zadimoghaddam, SODA 2018): what a full
//! member cannot take walks on clockwise to the first that has room. The paper places items in order
//! of arrival, where an item that walked may take the place of one that is at home; here all homes
//! are served first. So exactly as many items are away from home as the bound forces, namely the
//! sum of what homes hold above the bound, and no assignment within the bound has fewer. It also
//! makes the result a function of the *sets* of members and items, not of any order.
//!
//! What follows, and what the tests hold, when a member is added (or, read backwards, removed). Call
//! an item displaced while it is away from home:
//!
//! * an item that moves between two old members is displaced before or after;
//! * so at most `load_max(new member) + displaced before + displaced after` items move.

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One member of a [`Ring`]: whatever items are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Names the member; its points on the circle follow from it alone.
    pub id: u64,
    /// Share of the items relative to the other members' weights. A member of weight 0 is known but
    /// gets nothing, as one that is being drained.
    pub weight: u32,
}

/// What a [`Ring`] is made with beside its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Decides where points and items stand. Rings with different seeds are independent.
    pub seed: u64,
    /// Points per unit of weight, at least 1. A member's share of the circle strays from its due by
    /// about `1 / sqrt(points)`: 10 % with 100 points, 5 % with 400.
    pub points_per_weight: u32,
    /// The most that a member holds, in thousandths of its due share, at least 1000: 1050 lets no
    /// member hold over 1.05 × its share, rounded up.
    pub load_max_permille: u32,
}

/// Why a ring cannot be made of what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RingError {
    /// There is nobody to give an item to.
    #[error("a ring needs a member whose weight is above 0")]
    NoWeight,
    /// Two members have this id.
    #[error("member {0} is named twice")]
    DuplicateMember(u64),
    /// `points_per_weight` is 0.
    #[error("a ring needs at least 1 point per unit of weight")]
    NoPoints,
    /// All members together would have this many points.
    #[error("weights ask for {0} points, the most is {POINTS_MAX}")]
    TooManyPoints(u64),
    /// `load_max_permille` is below 1000, so items would be left over.
    #[error("a load bound of {0} permille leaves items without a place")]
    BoundTooLow(u32),
}

/// Most points of one ring (64 MiB of them, made in about a second): a bound on what weights may ask.
const POINTS_MAX: u64 = 1 << 22;

/// A consistent-hash ring with virtual nodes and bounded loads. Immutable; another membership is
/// another ring.
///
/// * `members` is sorted by id, without duplicates, and some weight is above 0.
/// * `points` is sorted and not empty; each point's member has a weight above 0.
/// * `starts[i]` is the first point at or after the i-th of equal arcs, of which there are about as many as points. Their
///   positions are hashes, so what is sought is one or two points further; a binary search over a quarter of a million
///   points, each step a cache miss, took half the time of a whole placement.
#[derive(Clone, Debug)]
pub struct Ring {
    members: Vec<Member>,
    weights_sum: u64,
    points: Vec<Point>,
    starts: Vec<u32>,
    /// Bits of a position below the number of its arc, at most 63.
    arc_bits: u32,
    seed: u64,
    load_max_permille: u32,
}

/// A virtual node. Ordered by position; members that share one (it takes 2^32 points to expect
/// that) stand in the order of their ids, so that the ring is still a function of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    position: u64,
    /// Index into `members`.
    member: u32,
}

/// What a hash is for. Each purpose draws its own independent numbers from the one seed.
#[derive(Clone, Copy)]
enum Purpose {
    Point = 1,
    Item = 2,
    Rank = 3,
}

impl Ring {
    /// Makes the ring of `members`, in whatever order they are given.
    ///
    /// Cost: O(p log p) for p points.
    ///
    /// # Errors
    ///
    /// [`RingError`] when a member is named twice, no weight is above 0, or an option is out of range.
    pub fn new(members: &[Member], options: RingOptions) -> Result<Ring, RingError> {
        if options.points_per_weight == 0 {
            return Err(RingError::NoPoints);
        }
        if options.load_max_permille < 1000 {
            return Err(RingError::BoundTooLow(options.load_max_permille));
        }
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|member| member.id);
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(RingError::DuplicateMember(pair[0].id));
        }
        // 2^32 members of weight 2^32 would fit; memory ends earlier.
        let weights_sum: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        if weights_sum == 0 {
            return Err(RingError::NoWeight);
        }
        let points_count = weights_sum.saturating_mul(u64::from(options.points_per_weight));
        if points_count > POINTS_MAX {
            return Err(RingError::TooManyPoints(points_count));
        }
        let mut points = Vec::with_capacity(points_count as usize);
        for (index, member) in members.iter().enumerate() {
            for number in 0..u64::from(member.weight) * u64::from(options.points_per_weight) {
                points.push(Point {
                    position: hash(options.seed, Purpose::Point, member.id, number),
                    member: index as u32,
                });
            }
        }
        points.sort_unstable();
        let arc_bits = 63 - points.len().ilog2();
        Ok(Ring {
            members,
            weights_sum,
            starts: starts_of(&points, arc_bits),
            points,
            arc_bits,
            seed: options.seed,
            load_max_permille: options.load_max_permille,
        })
    }

    /// The members, ordered by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Id of the member that `item` belongs to while loads are not looked at. O(log points).
    pub fn home(&self, item: u64) -> u64 {
        self.members[self.home_index(item)].id
    }

    /// The most of `items_count` items that [`Ring::assign`] gives to `member`: its due share by
    /// weight, times the load bound, rounded up.
    pub fn load_max(&self, member: Member, items_count: usize) -> usize {
        let share = items_count as u128 * u128::from(member.weight);
        let bounded = share * u128::from(self.load_max_permille);
        let load_max = bounded.div_ceil(1000 * u128::from(self.weights_sum));
        // A generous bound of a heavy member may exceed what there is.
        load_max.min(items_count as u128) as usize
    }

    /// Gives every item a member within the bounds, and returns the members' ids in the order of
    /// `items`. The same items in another order get the same members.
    ///
    /// Cost: O(i log i + i log p) for i items and p points, and for each displaced item the
    /// points of full members that it passes.
    ///
    /// # Panics
    ///
    /// When an item is named twice: that is a bug of the caller.
    pub fn assign(&self, items: &[u64]) -> Vec<u64> {
        // Full members keep the items of lowest rank. The rank is a hash: whose item is displaced
        // then has nothing to do with where it stands, so displaced items set out from all over
        // the circle rather than from one arc before the next member.
        let mut ranked: Vec<(u64, u64, usize)> = items
            .iter()
            .enumerate()
            .map(|(index, &item)| (hash(self.seed, Purpose::Rank, item, 0), item, index))
            .collect();
        ranked.sort_unstable();
        assert!(
            ranked.windows(2).all(|pair| pair[0].1 != pair[1].1),
            "an item is assigned once"
        );

        let mut room: Vec<usize> = self
            .members
            .iter()
            .map(|&member| self.load_max(member, items.len()))
            .collect();
        let mut owners = vec![0; items.len()];
        let mut displaced = Vec::new();
        for &(_, item, index) in &ranked {
            let home = self.home_index(item);
            if room[home] > 0 {
                room[home] -= 1;
                owners[index] = self.members[home].id;
            } else {
                displaced.push((item, index));
            }
        }
        for (item, index) in displaced {
            let member = self
                .walk(item)
                .map(|member| member as usize)
                .find(|&member| room[member] > 0)
                .expect("a bound of at least 1000 permille has room for every item");
            room[member] -= 1;
            owners[index] = self.members[member].id;
        }
        owners
    }

    /// The items `0..items_count` in the order of their ranks (see [`Ring::assign`]).
    pub(crate) fn ranked(&self, items_count: u64) -> Vec<u64> {
        let mut items: Vec<u64> = (0..items_count).collect();
        items.sort_by_cached_key(|&item| (hash(self.seed, Purpose::Rank, item, 0), item));
        items
    }

    fn home_index(&self, item: u64) -> usize {
        self.points[self.first_point(item)].member as usize
    }

    /// Index of the first point at or after the item's position; past the last comes the first.
    fn first_point(&self, item: u64) -> usize {
        let position = hash(self.seed, Purpose::Item, item, 0);
        let start = self.starts[(position >> self.arc_bits) as usize] as usize;
        let is_before = |point: &&Point| point.position < position;
        let after = start + self.points[start..].iter().take_while(is_before).count();
        if after == self.points.len() { 0 } else { after }
    }

    /// The members at the points clockwise from `item`, once around, each as often as it has points, as indexes into
    /// [`Ring::members`]. Those of weight 0 are not met.
    pub(crate) fn walk(&self, item: u64) -> impl Iterator<Item = u32> {
        let (before, from) = self.points.split_at(self.first_point(item));
        from.iter().chain(before).map(|point| point.member)
    }
}

/// For each arc of 2^`arc_bits` positions the index of the first point in it or behind it.
fn starts_of(points: &[Point], arc_bits: u32) -> Vec<u32> {
    let arcs_count = 1 << (64 - arc_bits);
    let mut starts = Vec::with_capacity(arcs_count);
    for (index, point) in (0..).zip(points) {
        let arc = (point.position >> arc_bits) as usize;
        while starts.len() <= arc {
            starts.push(index);
        }
    }
    starts.resize(arcs_count, points.len() as u32);
    starts
}

/// The seeded hash behind every position and rank. Its values are fixed for good: another function,
/// layout or purpose number moves every slot of every cluster.
///
/// ```text
/// | purpose: 1 byte | id: 8 bytes, little endian | number: 8 bytes, little endian |
/// ```
fn hash(seed: u64, purpose: Purpose, id: u64, number: u64) -> u64 {
    let mut bytes = [0; 17];
    bytes[0] = purpose as u8;
    bytes[1..9].copy_from_slice(&id.to_le_bytes());
    bytes[9..].copy_from_slice(&number.to_le_bytes());
    xxh3_64_with_seed(&bytes, seed)
}

#[cfg(test)]
mod tests;
