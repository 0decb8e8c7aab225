//! A disk as a log of records, of which those written last may be lost in a crash.

use crate::random::Random;

/// Records with the tokens under which they become durable.
#[derive(Clone, Debug)]
pub struct Disk<R> {
    records: Vec<(u64, R)>,
    durable: u64,
}

impl<R> Default for Disk<R> {
    fn default() -> Self {
        Disk {
            records: Vec::new(),
            durable: 0,
        }
    }
}

impl<R> Disk<R> {
    /// Writes a record; it is durable once `sync` was called with its token or a later one.
    pub fn write(&mut self, token: u64, record: R) {
        let last = self.records.last().map_or(0, |(last, _)| *last);
        assert!(
            token >= last,
            "records are written in the order of their tokens"
        );
        self.records.push((token, record));
    }

    /// Everything up to this token is durable.
    pub fn sync(&mut self, token: u64) {
        self.durable = self.durable.max(token);
    }

    /// The token up to which all is durable.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// What is written, in order.
    pub fn records(&self) -> impl Iterator<Item = &R> {
        self.records.iter().map(|(_, record)| record)
    }

    /// Loses what is not durable, but for a drawn part of its beginning, which had reached the medium by chance. What is
    /// left is durable. Tokens start anew. Returns how many records are lost.
    pub fn crash(&mut self, random: &mut Random) -> usize {
        let kept = self
            .records
            .partition_point(|(token, _)| *token <= self.durable);
        let at_risk = self.records.len() - kept;
        let by_chance = if random.chance(500_000) {
            0
        } else {
            random.below(at_risk as u64 + 1) as usize
        };
        self.records.truncate(kept + by_chance);
        for (token, _) in &mut self.records {
            *token = 0;
        }
        self.durable = 0;
        at_risk - by_chance
    }

    /// Loses everything.
    pub fn lose_all(&mut self) {
        *self = Disk::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loses_only_what_was_not_durable() {
        // Fails when the disk keeps too much (no lost write is ever tried) or too little (a false alarm).
        let mut random = Random::new(3);
        let mut kept = Vec::new();
        for _ in 0..100 {
            let mut disk = Disk::default();
            for number in 1..=9 {
                disk.write(number, number);
            }
            disk.sync(4);
            let lost = disk.crash(&mut random);
            let left: Vec<u64> = disk.records().copied().collect();
            assert_eq!(left, (1..=9 - lost as u64).collect::<Vec<_>>());
            kept.push(left.len());
            disk.write(1, 99);
        }
        assert_eq!(kept.iter().min(), Some(&4));
        assert_eq!(kept.iter().max(), Some(&9));
    }
}
