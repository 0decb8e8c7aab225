//! Shard → the members that should hold its replicas, and the one that should lead it.
//!
//! The ring is walked clockwise from a shard's position to as many distinct members as there are to be replicas;
//! those are its *homes*. No member holds more than its due share (by weight, rounded up) and one more: what a full
//! member cannot take walks on to the next that has room, homes of all shards being served first, as in
//! [`Ring::assign`]. Leaders are then spread over the replicas as evenly as these allow.
//!
//! The same members, in whatever order, give the same placement; adding or removing one changes little more than its
//! share (the tests say how much).

use std::collections::VecDeque;

use crate::ring::{Member, Ring, RingError, RingOptions};

/// Where the replicas of all shards should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Per shard the ids of the members that should hold it; the first should lead.
    pub by_shard: Vec<Vec<u64>>,
}

/// The seed of the ring of members: no secret, and the same wherever the cluster runs. Another one than that of the
/// ring of shards, so that the two are independent.
const SEED: u64 = 1;

/// Points of a member of weight 1, as for shards ([`crate::ShardMap`]).
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
/// * With equal weights, members are to lead ⌈mean⌉ or ⌊mean⌋ shards wherever their replicas allow it.
///
/// Cost: O(shards × replicas × points passed); for 64 shards and 5 members well under a millisecond.
///
/// # Errors
///
/// As [`Ring::new`]: no weight above 0, a member named twice, or weights too large.
pub fn wanted_replicas(
    members: &[Member],
    shards_count: u32,
    wanted_count: usize,
) -> Result<Replicas, RingError> {
    let options = RingOptions {
        seed: SEED,
        points_per_weight: POINTS_PER_WEIGHT,
        load_max_permille: 1000,
    };
    let ring = Ring::new(members, options)?;
    let active = ring.members().iter().filter(|member| member.weight > 0);
    let count = wanted_count.max(1).min(active.count());
    let mut placing = Placing::new(&ring, shards_count as usize, count);
    placing.place_homes();
    placing.place_displaced();
    let leaders = lead_evenly(&placing.holders, ring.members(), shards_count as usize);
    let by_shard = placing
        .holders
        .iter()
        .zip(&leaders)
        .map(|(holders, &leader)| {
            let followers = holders.iter().copied().filter(|&holder| holder != leader);
            std::iter::once(leader)
                .chain(followers)
                .map(|member| ring.members()[member].id)
                .collect()
        })
        .collect();
    Ok(Replicas { by_shard })
}

/// A placement that is being made. Members are indexes into the ring's.
struct Placing<'a> {
    ring: &'a Ring,
    /// Replicas that a shard gets.
    count: usize,
    /// How many more replicas each member may take.
    room: Vec<usize>,
    /// Who holds each shard, so far.
    holders: Vec<Vec<usize>>,
}

impl<'a> Placing<'a> {
    fn new(ring: &'a Ring, shards_count: usize, count: usize) -> Self {
        Placing {
            ring,
            count,
            room: loads_max(ring.members(), shards_count, count),
            holders: vec![Vec::with_capacity(count); shards_count],
        }
    }

    /// Gives each shard those of its homes that have room, in the order of the shards' ranks.
    fn place_homes(&mut self) {
        let shards = self.ring.ranked(self.holders.len() as u64);
        for &shard in &shards {
            for home in self.ring.walk_distinct(shard).take(self.count) {
                if self.room[home] > 0 {
                    self.take(shard as usize, home);
                }
            }
        }
    }

    /// Gives each shard what it still lacks: the next members on its way that have room.
    fn place_displaced(&mut self) {
        for shard in self.ring.ranked(self.holders.len() as u64) {
            let way: Vec<usize> = self.ring.walk_distinct(shard).collect();
            let shard = shard as usize;
            while self.holders[shard].len() < self.count {
                let free = way.iter().copied().find(|&member| {
                    self.room[member] > 0 && !self.holders[shard].contains(&member)
                });
                match free {
                    Some(member) => self.take(shard, member),
                    None => self.exchange(shard),
                }
            }
        }
    }

    fn take(&mut self, shard: usize, member: usize) {
        self.room[member] -= 1;
        self.holders[shard].push(member);
    }

    /// Whoever has room holds `shard` already: another shard moves one of its replicas there and leaves its place.
    ///
    /// There is such a shard. If all shards were held by all members that have room, these could take no more than one
    /// replica each of what is missing in each other shard, less than is missing; but all room together is as much.
    fn exchange(&mut self, shard: usize) {
        for member in 0..self.room.len() {
            if self.room[member] == 0 {
                continue;
            }
            for other in 0..self.holders.len() {
                if other == shard || self.holders[other].contains(&member) {
                    continue;
                }
                let place = self.holders[other]
                    .iter()
                    .position(|holder| !self.holders[shard].contains(holder));
                if let Some(place) = place {
                    let leaving = self.holders[other][place];
                    self.holders[other][place] = member;
                    self.room[member] -= 1;
                    self.holders[shard].push(leaving);
                    return;
                }
            }
        }
        unreachable!("the members' loads allow for every replica of every shard");
    }
}

/// The most replicas that each member may hold. Members whose weight asks for more than one replica of every shard get
/// just that, and what they cannot take is shared by the others.
fn loads_max(members: &[Member], shards_count: usize, count: usize) -> Vec<usize> {
    let mut is_full: Vec<bool> = members.iter().map(|_| false).collect();
    loop {
        let full_count = is_full.iter().filter(|&&is_full| is_full).count();
        // No more than `count` members can be full, as the shares of the others are not negative.
        let rest = (shards_count * count).saturating_sub(full_count * shards_count) as u128;
        let weights: u128 = members
            .iter()
            .zip(&is_full)
            .filter(|(_, is_full)| !**is_full)
            .map(|(member, _)| u128::from(member.weight))
            .sum();
        let share = |member: &Member| rest * u128::from(member.weight);
        let overfull = members.iter().zip(&is_full).position(|(member, &is_full)| {
            !is_full && share(member) > shards_count as u128 * weights
        });
        if let Some(member) = overfull {
            is_full[member] = true;
            continue;
        }
        return members
            .iter()
            .zip(&is_full)
            .map(|(member, &is_full)| match (is_full, member.weight) {
                (_, 0) => 0,
                (true, _) => shards_count,
                (false, _) => (share(member).div_ceil(weights) as usize + 1).min(shards_count),
            })
            .collect();
    }
}

/// Picks a leader for each shard among its holders so that no member leads more than its due share where that can be
/// had: starts from the least burdened holder, then moves leaderships along chains (a's shard to b, b's other shard to
/// c) until no chain evens anything (Harvey, Ladner, Lovász, Tamir, "Semi-Matchings for Bipartite Graphs", 2006).
fn lead_evenly(holders: &[Vec<usize>], members: &[Member], shards_count: usize) -> Vec<usize> {
    let quotas = leader_quotas(members, shards_count);
    // Leaderships above the quota, per member.
    let mut excess: Vec<i64> = quotas.iter().map(|&quota| -quota).collect();
    let mut leaders = Vec::with_capacity(holders.len());
    for holders in holders {
        let leader = *holders
            .iter()
            .min_by_key(|&&holder| excess[holder])
            .expect("a shard has at least one replica");
        excess[leader] += 1;
        leaders.push(leader);
    }
    while let Some(chain) = evening_chain(holders, &leaders, &excess) {
        for (shard, to) in chain {
            excess[leaders[shard]] -= 1;
            excess[to] += 1;
            leaders[shard] = to;
        }
    }
    leaders
}

/// How many shards each member should lead: its share by weight, rounded so that the sum is right, the largest
/// remainders up.
fn leader_quotas(members: &[Member], shards_count: usize) -> Vec<i64> {
    let weights: u128 = members.iter().map(|member| u128::from(member.weight)).sum();
    let share = |member: &Member| shards_count as u128 * u128::from(member.weight);
    let mut quotas: Vec<i64> = members
        .iter()
        .map(|member| (share(member) / weights) as i64)
        .collect();
    let missing = shards_count as i64 - quotas.iter().sum::<i64>();
    let mut by_remainder: Vec<usize> = (0..members.len()).collect();
    by_remainder.sort_by_key(|&member| std::cmp::Reverse(share(&members[member]) % weights));
    for &member in by_remainder.iter().take(missing as usize) {
        quotas[member] += 1;
    }
    quotas
}

/// The moves of one chain from a member that leads too much to one that leads at least two less by its quota.
fn evening_chain(
    holders: &[Vec<usize>],
    leaders: &[usize],
    excess: &[i64],
) -> Option<Vec<(usize, usize)>> {
    let mut sources: Vec<usize> = (0..excess.len()).collect();
    sources.sort_by_key(|&member| std::cmp::Reverse(excess[member]));
    for source in sources {
        // By which shard, from whom, a member is reached.
        let mut reached: Vec<Option<(usize, usize)>> = vec![None; excess.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(from) = queue.pop_front() {
            for (shard, _) in leaders.iter().enumerate().filter(|(_, led)| **led == from) {
                for &to in &holders[shard] {
                    if to == source || reached[to].is_some() {
                        continue;
                    }
                    reached[to] = Some((shard, from));
                    if excess[to] + 1 < excess[source] {
                        return Some(chain_to(to, source, &reached));
                    }
                    queue.push_back(to);
                }
            }
        }
    }
    None
}

/// The moves that lead from `source` to `end`.
fn chain_to(end: usize, source: usize, reached: &[Option<(usize, usize)>]) -> Vec<(usize, usize)> {
    let mut chain = Vec::new();
    let mut to = end;
    while to != source {
        let (shard, from) = reached[to].expect("the search came this way");
        chain.push((shard, to));
        to = from;
    }
    chain
}

#[cfg(test)]
mod tests;
