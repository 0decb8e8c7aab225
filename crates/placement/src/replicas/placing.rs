//! Who holds each shard: homes first, then what full members turned away.

use super::Host;
use crate::ring::{Member, Ring};

/// A placement that is being made. Members are indexes into the ring's, zones are numbered densely.
///
/// * A shard's holders are distinct, and no more than `count`.
/// * `room` is what is left of each member's bound; `zone_room` its sum over the members of a zone.
pub(super) struct Placing<'a> {
    ring: &'a Ring,
    /// Replicas that a shard gets.
    count: usize,
    /// The zone of each member. Who has none is one of its own.
    zones: Vec<u32>,
    /// How many replicas of a shard at least one zone must hold; as many are allowed in any, as long as there is room.
    level_max: usize,
    /// How many members of a shard can be had with at most 1, 2, … `level_max` of a zone, while all have room.
    homes_max: Vec<usize>,
    /// How many more replicas each member may take.
    room: Vec<usize>,
    /// How many more replicas the members of each zone may take together.
    zone_room: Vec<usize>,
    /// Who holds each shard, so far.
    holders: Vec<Vec<u32>>,
}

/// What to do about a shard that no member with room can take without crowding a zone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stuck {
    /// Look for an exchange.
    Exchange,
    /// An exchange was looked for in vain: zones have no more to give, and looking again costs a pass over all shards.
    Leave,
}

impl<'a> Placing<'a> {
    /// Nothing placed yet. `count` is at least 1 and no more than there are hosts of a weight above 0; `hosts` are the
    /// ring's members in any order.
    pub(super) fn new(ring: &'a Ring, hosts: &[Host], shards_count: usize, count: usize) -> Self {
        let zones = number_zones(hosts);
        let zones_count = zones.iter().max().map_or(0, |&last| last as usize + 1);
        let room = loads_max(ring.members(), shards_count, count);
        let mut zone_room = vec![0; zones_count];
        let mut zone_members = vec![0; zones_count];
        for (member, &zone) in ring.members().iter().zip(&zones) {
            zone_members[zone as usize] += usize::from(member.weight > 0);
        }
        for (room, &zone) in room.iter().zip(&zones) {
            zone_room[zone as usize] += room;
        }
        let mut homes_max = Vec::new();
        while homes_max.last().is_none_or(|&most| most < count) {
            let level = homes_max.len() + 1;
            let most = zone_members.iter().map(|&members| level.min(members)).sum();
            homes_max.push(count.min(most));
        }
        Placing {
            ring,
            count,
            zones,
            level_max: homes_max.len(),
            homes_max,
            room,
            zone_room,
            holders: vec![Vec::with_capacity(count); shards_count],
        }
    }

    /// The holders of each shard, `count` of each.
    pub(super) fn place(mut self) -> Vec<Vec<u32>> {
        let shards = self.ring.ranked(self.holders.len() as u64);
        self.place_homes(&shards);
        self.place_displaced(&shards);
        self.place_crowded(&shards);
        self.holders
    }

    /// Gives each shard those of its homes that have room.
    fn place_homes(&mut self, shards: &[u64]) {
        let mut homes = Vec::with_capacity(self.count);
        for &shard in shards {
            self.find_homes(shard, &mut homes);
            for &home in &homes {
                if self.room[home as usize] > 0 {
                    self.take(shard as usize, home);
                }
            }
        }
    }

    /// The homes of a shard: the first members on its way of which no two share a zone, then, if there are too few zones,
    /// the first others of which no three do, and so on.
    pub(super) fn find_homes(&self, shard: u64, homes: &mut Vec<u32>) {
        homes.clear();
        for (level, &most) in (1..).zip(&self.homes_max) {
            for member in self.ring.walk(shard) {
                if homes.len() == most {
                    break;
                }
                if self.crowd(homes, member) < level && !homes.contains(&member) {
                    homes.push(member);
                }
            }
        }
    }

    /// Gives each shard what it still lacks, with no more than `level_max` in a zone: the next members on its way that
    /// have room. What neither they nor an exchange can take is left.
    fn place_displaced(&mut self, shards: &[u64]) {
        let mut stuck = Stuck::Exchange;
        for &shard in shards {
            while self.holders[shard as usize].len() < self.count {
                let free = (1..=self.level_max).find_map(|level| self.find_free(shard, level));
                match (free, stuck) {
                    (Some(member), _) => self.take(shard as usize, member),
                    (None, Stuck::Leave) => break,
                    (None, Stuck::Exchange) => {
                        if !self.exchange(shard as usize, self.level_max) {
                            stuck = Stuck::Leave;
                        }
                    }
                }
            }
        }
    }

    /// Gives each shard what it lacks even then, with as few in a zone as there is room for.
    fn place_crowded(&mut self, shards: &[u64]) {
        for &shard in shards {
            while self.holders[shard as usize].len() < self.count {
                let levels = self.level_max + 1..=self.count;
                let mut free = levels.filter_map(|level| self.find_free(shard, level));
                match free.next() {
                    Some(member) => self.take(shard as usize, member),
                    None => assert!(
                        self.exchange(shard as usize, self.count),
                        "the members' loads allow for every replica of every shard"
                    ),
                }
            }
        }
    }

    /// The first member on the shard's way that has room, does not hold it, and whose zone then holds at most `level`.
    fn find_free(&self, shard: u64, level: usize) -> Option<u32> {
        let holders = &self.holders[shard as usize];
        // Going round the whole circle in vain is dear.
        let is_hopeless = (0..)
            .zip(&self.zone_room)
            .all(|(zone, &room)| room == 0 || self.crowd_in(holders, zone) >= level);
        if is_hopeless {
            return None;
        }
        self.ring.walk(shard).find(|&member| {
            self.room[member as usize] > 0
                && !holders.contains(&member)
                && self.crowd(holders, member) < level
        })
    }

    fn zone(&self, member: u32) -> u32 {
        self.zones[member as usize]
    }

    /// How many of `holders` share the zone of `member`, itself included if it is one of them.
    fn crowd(&self, holders: &[u32], member: u32) -> usize {
        self.crowd_in(holders, self.zone(member))
    }

    /// How many of `holders` are in `zone`.
    fn crowd_in(&self, holders: &[u32], zone: u32) -> usize {
        let is_there = |holder: &&u32| self.zone(**holder) == zone;
        holders.iter().filter(is_there).count()
    }

    fn take(&mut self, shard: usize, member: u32) {
        self.fill(member);
        self.holders[shard].push(member);
    }

    fn fill(&mut self, member: u32) {
        self.room[member as usize] -= 1;
        self.zone_room[self.zones[member as usize] as usize] -= 1;
    }

    /// Whoever has room holds `shard` already, or its zone holds `level` of it: another shard moves one of its replicas
    /// there and leaves its place. False if no other shard can, so that no zone holds more than `level` of either.
    ///
    /// With `level` 1, as many zones as replicas and room in them for all, another shard can. Let R be the zones that have
    /// room and are not on every shard; `shard` is in all of R. If no shard outside a zone of R had a replica to leave,
    /// each would be only where `shard` is, so have fewer replicas outside R than `shard` has, which are too few
    /// already; whoever is in all of R has at most as many outside R as must be. So zones outside R would hold less than
    /// all shards need of them, and are full: room would not suffice. With `level` as the count of replicas the same holds
    /// for members in place of zones, and room always suffices.
    fn exchange(&mut self, shard: usize, level: usize) -> bool {
        for member in 0..self.room.len() as u32 {
            if self.room[member as usize] == 0 {
                continue;
            }
            for other in 0..self.holders.len() {
                if other == shard || self.holders[other].contains(&member) {
                    continue;
                }
                let Some(place) = self.place_to_leave(shard, other, member, level) else {
                    continue;
                };
                let leaving = self.holders[other][place];
                self.holders[other][place] = member;
                self.fill(member);
                self.holders[shard].push(leaving);
                return true;
            }
        }
        false
    }

    /// Which of the holders of `other` can hold `shard` instead if `member` comes in its place.
    fn place_to_leave(
        &self,
        shard: usize,
        other: usize,
        member: u32,
        level: usize,
    ) -> Option<usize> {
        let (lacking, others) = (&self.holders[shard], &self.holders[other]);
        let crowd_there = self.crowd(others, member);
        others.iter().position(|&leaving| {
            let shares = self.zone(leaving) == self.zone(member);
            crowd_there - usize::from(shares) < level
                && !lacking.contains(&leaving)
                && self.crowd(lacking, leaving) < level
        })
    }
}

/// The zone of each host, in the order of the ring's members: those of one zone share a number.
fn number_zones(hosts: &[Host]) -> Vec<u32> {
    let mut hosts = hosts.to_vec();
    hosts.sort_unstable_by_key(|host| host.member.id);
    let mut named: Vec<u64> = hosts.iter().map(|host| host.zone.0).collect();
    named.retain(|&zone| zone != super::Zone::NONE.0);
    named.sort_unstable();
    named.dedup();
    let mut next = named.len() as u32;
    let number = |host: &Host| match named.binary_search(&host.zone.0) {
        Ok(zone) => zone as u32,
        Err(_) => {
            next += 1;
            next - 1
        }
    };
    hosts.iter().map(number).collect()
}

/// The most replicas that each member may hold. Members whose weight asks for more than one replica of every shard get
/// just that, and what they cannot take is shared by the others.
pub(super) fn loads_max(members: &[Member], shards_count: usize, count: usize) -> Vec<usize> {
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
