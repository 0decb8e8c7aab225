//! Who leads each shard.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::ring::Member;

/// Picks a leader for each shard among its holders so that no member leads more than its due share where that can be
/// had: starts from the least burdened holder, then moves leaderships along chains (a's shard to b, b's other shard to
/// c) until no chain evens anything (Harvey, Ladner, Lovász, Tamir, "Semi-Matchings for Bipartite Graphs", 2006).
///
/// Cost: O(shards × replicas) and, for each chain, the members and what its search passes; a search in vain is made at
/// most once from each member.
pub(super) fn lead_evenly(holders: &[Vec<u32>], members: &[Member]) -> Vec<u32> {
    let mut leading = Leading::new(holders, members);
    while leading.even_once() {}
    leading.leaders
}

/// Leaderships that are being spread.
///
/// * `led[m]` are the shards whose leader is m, in ascending order.
/// * No chain from a spent member ends at one that leads two less by its quota than the most burdened that is not spent:
///   what a search in vain reached, it reaches for ever, as chains then pass elsewhere.
struct Leading<'a> {
    holders: &'a [Vec<u32>],
    leaders: Vec<u32>,
    led: Vec<Vec<u32>>,
    /// Leaderships above the quota, per member.
    excess: Vec<i64>,
    is_spent: Vec<bool>,
}

/// A step of a chain: `from` gives up a shard's leadership.
#[derive(Clone, Copy)]
struct Step {
    shard: u32,
    from: u32,
}

impl<'a> Leading<'a> {
    fn new(holders: &'a [Vec<u32>], members: &[Member]) -> Self {
        let quotas = leader_quotas(members, holders.len());
        let mut excess: Vec<i64> = quotas.iter().map(|&quota| -quota).collect();
        let mut led = vec![Vec::new(); members.len()];
        let mut leaders = Vec::with_capacity(holders.len());
        for (shard, holders) in (0..).zip(holders) {
            let leader = *holders
                .iter()
                .min_by_key(|&&holder| excess[holder as usize])
                .expect("a shard has at least one replica");
            excess[leader as usize] += 1;
            led[leader as usize].push(shard);
            leaders.push(leader);
        }
        Leading {
            holders,
            leaders,
            led,
            excess,
            is_spent: vec![false; members.len()],
        }
    }

    /// Moves leaderships along one chain. False if there is none.
    fn even_once(&mut self) -> bool {
        let least = self.excess.iter().min().copied().unwrap_or(0);
        loop {
            let sources = (0..self.excess.len()).filter(|&member| !self.is_spent[member]);
            // The first of the most burdened.
            let source = sources.min_by_key(|&member| (Reverse(self.excess[member]), member));
            match source {
                Some(source) if least + 1 < self.excess[source] => {
                    if self.even_from(source as u32) {
                        return true;
                    }
                }
                _ => return false,
            }
        }
    }

    /// Moves leaderships along the shortest chain from `source` to a member that leads at least two less by its quota. False
    /// if there is none, and whoever was met is spent.
    fn even_from(&mut self, source: u32) -> bool {
        let mut reached: Vec<Option<Step>> = vec![None; self.excess.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(from) = queue.pop_front() {
            for &shard in &self.led[from as usize] {
                for &to in &self.holders[shard as usize] {
                    let is_known = to == source || reached[to as usize].is_some();
                    if is_known || self.is_spent[to as usize] {
                        continue;
                    }
                    reached[to as usize] = Some(Step { shard, from });
                    if self.excess[to as usize] + 1 < self.excess[source as usize] {
                        self.follow(to, source, &reached);
                        return true;
                    }
                    queue.push_back(to);
                }
            }
        }
        self.is_spent[source as usize] = true;
        for (spent, reached) in self.is_spent.iter_mut().zip(&reached) {
            *spent |= reached.is_some();
        }
        false
    }

    /// Makes the moves of the chain from `source` to `end`.
    fn follow(&mut self, end: u32, source: u32, reached: &[Option<Step>]) {
        let mut to = end;
        while to != source {
            let Step { shard, from } = reached[to as usize].expect("the search came this way");
            let place = self.led[from as usize].binary_search(&shard);
            self.led[from as usize].remove(place.expect("who gives a shard up leads it"));
            let place = self.led[to as usize].partition_point(|&led| led < shard);
            self.led[to as usize].insert(place, shard);
            self.leaders[shard as usize] = to;
            to = from;
        }
        self.excess[source as usize] -= 1;
        self.excess[end as usize] += 1;
    }
}

/// How many shards each member should lead: its share by weight, rounded so that the sum is right, the largest
/// remainders up.
pub(super) fn leader_quotas(members: &[Member], shards_count: usize) -> Vec<i64> {
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
