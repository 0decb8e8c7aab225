//! The placement of members without zones, in its plainest form: what it means, for the tests to hold the faster one
//! against. It goes round the whole circle for each shard, and looks through all shards for each step of a chain.

use std::collections::VecDeque;

use super::leaders::leader_quotas;
use super::placing::loads_max;
use super::{POINTS_PER_WEIGHT, SEED};
use crate::ring::{Member, Ring, RingOptions};

/// As [`super::wanted_replicas`] for members without zones, some of a weight above 0.
pub fn wanted_replicas(
    members: &[Member],
    shards_count: u32,
    wanted_count: usize,
) -> Vec<Vec<u64>> {
    let options = RingOptions {
        seed: SEED,
        points_per_weight: POINTS_PER_WEIGHT,
        load_max_permille: 1000,
    };
    let ring = Ring::new(members, options).unwrap();
    let active = ring.members().iter().filter(|member| member.weight > 0);
    let count = wanted_count.max(1).min(active.count());
    let mut placing = Placing::new(&ring, shards_count as usize, count);
    placing.place_homes();
    placing.place_displaced();
    let leaders = lead_evenly(&placing.holders, ring.members(), shards_count as usize);
    placing
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
        .collect()
}

/// The members clockwise from a shard, each once.
fn walk_distinct(ring: &Ring, shard: u64) -> Vec<usize> {
    let mut met = vec![false; ring.members().len()];
    ring.walk(shard)
        .map(|member| member as usize)
        .filter(|&member| !std::mem::replace(&mut met[member], true))
        .collect()
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
            for home in walk_distinct(self.ring, shard).into_iter().take(self.count) {
                if self.room[home] > 0 {
                    self.take(shard as usize, home);
                }
            }
        }
    }

    /// Gives each shard what it still lacks: the next members on its way that have room.
    fn place_displaced(&mut self) {
        for shard in self.ring.ranked(self.holders.len() as u64) {
            let way = walk_distinct(self.ring, shard);
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
