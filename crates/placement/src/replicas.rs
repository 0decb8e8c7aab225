//! Shard → the members that should hold its replicas, and the one that should lead it.
//!
//! The ring is walked clockwise from a shard's position to as many distinct members as there are to be replicas, each in
//! a zone of its own where there are enough zones; those are its *homes*. No member holds more than its due share (by
//! weight, rounded up) and one more: what a full member cannot take walks on to the next that has room, homes of all
//! shards being served first, as in [`Ring::assign`]. Leaders are then spread over the replicas as evenly as these allow.
//!
//! **Which bound yields.** Every shard gets all its replicas; then the bound on loads holds; then zones are kept apart. A
//! member above its share would evict what others still keep, every day, while a doubled zone costs something on the day
//! that the zone is lost. Where zones have room for it (no zone's weight asks for more than one replica of each shard, or
//! less than is needed of it) all shards are in distinct zones: an exchange finds what the walk does not. Where they have
//! not, as with five nodes in one zone and one in each of two others, as many shards lie apart as the small zones have
//! room for; more weight for the nodes there makes more room.
//!
//! The same members, in whatever order, give the same placement. Adding or removing one moves its share and what the
//! bound forces, as for the ring: a replica that is copied to a member that was there before and stays is *displaced*
//! (held by another than a home) before or after. With few shards a member, as ten nodes have of 64, what the bound
//! forces is 15 % of the share, with 32 nodes more than the share itself: chance strews homes more widely then.

mod leaders;

mod placing;

#[cfg(test)]
mod naive;

use crate::ring::{Member, Ring, RingError, RingOptions};
use leaders::lead_evenly;
use placing::Placing;

/// Where the replicas of all shards should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Per shard the ids of the members that should hold it; the first should lead.
    pub by_shard: Vec<Vec<u64>>,
}

/// What fails together: a rack, a room, a data centre. A number or the hash of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub u64);

impl Zone {
    /// No zone was given: the member fails alone, as if it were a zone of its own.
    pub const NONE: Zone = Zone(0);
}

/// A member that can hold replicas, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id and weight.
    pub member: Member,
    /// What it fails with.
    pub zone: Zone,
}

/// The seed of the ring of members: no secret, and the same wherever the cluster runs. Another one than that of the
/// ring of shards, so that the two are independent.
const SEED: u64 = 1;

/// Points of a member of weight 1.
const POINTS_PER_WEIGHT: u32 = 256;

/// How many of a group's replicas vote where `wanted_count` are wanted and `members_count` members can hold them: the
/// largest odd number that both allow, as an even number survives no more losses than the odd one below it.
/// 0 without members.
pub fn voters_count(wanted_count: usize, members_count: usize) -> usize {
    let most = wanted_count.max(1).min(members_count);
    if most == 0 { 0 } else { (most - 1) / 2 * 2 + 1 }
}

/// Places `wanted_count` replicas of each of `shards_count` shards, or as many as there are members of a weight above 0.
///
/// * The members of a shard are distinct, and have a weight above 0.
/// * No member holds over ⌈its due share⌉ + 1 replicas, where a share is in proportion to the weight but never above
///   one replica of each shard.
/// * The members of a shard are in distinct zones if there are as many zones and these have room within the members'
///   bounds; with fewer zones no zone holds more of a shard than it must, as far as there is room for that.
/// * With equal weights, members are to lead ⌈mean⌉ or ⌊mean⌋ shards wherever their replicas allow it.
///
/// Cost: O(p log p + shards × replicas) for p points, and for each displaced replica the points of full members that it
/// passes. 65,536 shards on 1,000 members: see `scripts/bench ring`.
///
/// # Errors
///
/// As [`Ring::new`]: no weight above 0, a member named twice, or weights too large.
pub fn wanted_replicas(
    hosts: &[Host],
    shards_count: u32,
    wanted_count: usize,
) -> Result<Replicas, RingError> {
    let options = RingOptions {
        seed: SEED,
        points_per_weight: POINTS_PER_WEIGHT,
        load_max_permille: 1000,
    };
    let members: Vec<Member> = hosts.iter().map(|host| host.member).collect();
    let ring = Ring::new(&members, options)?;
    let active = members.iter().filter(|member| member.weight > 0);
    let count = wanted_count.max(1).min(active.count());
    let holders = Placing::new(&ring, hosts, shards_count as usize, count).place();
    let leaders = lead_evenly(&holders, ring.members());
    let by_shard = holders
        .iter()
        .zip(&leaders)
        .map(|(holders, &leader)| {
            let followers = holders.iter().copied().filter(|&holder| holder != leader);
            std::iter::once(leader)
                .chain(followers)
                .map(|member| ring.members()[member as usize].id)
                .collect()
        })
        .collect();
    Ok(Replicas { by_shard })
}

#[cfg(test)]
mod tests;
