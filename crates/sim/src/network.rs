//! Links between nodes: loss, duplication, delay with a heavy tail (which reorders), and cuts by direction.

use crate::faults::{Fault, Tally};
use crate::random::Random;

/// What a network does by itself.
#[derive(Clone, Copy, Debug)]
pub struct NetworkPlan {
    /// Messages lost, parts per million.
    pub loss_ppm: u64,
    /// Messages that come twice, parts per million.
    pub duplicate_ppm: u64,
    /// Shortest and longest usual delay, us.
    pub delay_us: (u64, u64),
    /// Messages that take far longer, parts per million.
    pub slow_ppm: u64,
    /// Longest delay of those, us.
    pub slow_us_max: u64,
}

impl NetworkPlan {
    /// One that loses nothing, is quick, and keeps the order, as a connection does.
    pub const GOOD: NetworkPlan = NetworkPlan {
        loss_ppm: 0,
        duplicate_ppm: 0,
        delay_us: (200, 200),
        slow_ppm: 0,
        slow_us_max: 1,
    };
}

/// The links between `nodes` nodes.
#[derive(Debug)]
pub struct Network {
    plan: NetworkPlan,
    nodes: usize,
    /// How many cuts lie on the link from one node to another.
    cuts: Vec<u32>,
    random: Random,
}

impl Network {
    /// Nothing is cut.
    pub fn new(plan: NetworkPlan, nodes: usize, random: Random) -> Network {
        Network {
            plan,
            nodes,
            cuts: vec![0; nodes * nodes],
            random,
        }
    }

    /// Cuts one direction. Cuts count: it is open again after as many calls of `mend`.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from * self.nodes + to] += 1;
    }

    /// Takes one cut away, if there is one.
    pub fn mend(&mut self, from: usize, to: usize) {
        let cuts = &mut self.cuts[from * self.nodes + to];
        *cuts = cuts.saturating_sub(1);
    }

    /// From now on nothing is cut and nothing goes wrong.
    pub fn heal(&mut self) {
        self.cuts.fill(0);
        self.plan = NetworkPlan::GOOD;
    }

    /// Whether a message of this direction is dropped.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.nodes + to] > 0
    }

    /// The delays, us, after which a message arrives: none, one or two.
    pub fn send(&mut self, from: usize, to: usize, tally: &mut Tally) -> [Option<u64>; 2] {
        if self.is_cut(from, to) {
            tally.count(Fault::CutMessage);
            return [None, None];
        }
        if self.random.chance(self.plan.loss_ppm) {
            tally.count(Fault::Loss);
            return [None, None];
        }
        let first = self.delay_us(tally);
        if !self.random.chance(self.plan.duplicate_ppm) {
            return [Some(first), None];
        }
        tally.count(Fault::Duplicate);
        [Some(first), Some(self.delay_us(tally))]
    }

    fn delay_us(&mut self, tally: &mut Tally) -> u64 {
        let (low, high) = self.plan.delay_us;
        let usual = self.random.between(low, high);
        if !self.random.chance(self.plan.slow_ppm) {
            return usual;
        }
        tally.count(Fault::SlowMessage);
        // Each halving as likely as the one before: few are very slow.
        let halvings = self.random.below(8);
        usual
            + self
                .random
                .below((self.plan.slow_us_max >> halvings).max(1))
    }
}
