//! Whoever makes trouble.

use super::world::{Event, Phase, World};
use crate::faults::Fault;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nemesis {
    /// One direction between two nodes is cut.
    OneWayCut,
    /// The nodes are parted in two.
    Partition,
    /// Two nodes do not reach each other.
    PartialPartition,
    /// A link goes up and down.
    Flap,
    /// All connections between two nodes break, and come up again.
    BreakLinks,
    /// A node stands still between two turns.
    Pause,
    /// A node stands still in the middle of a turn.
    Stall,
    /// A leader is to hand over.
    Transfer,
    /// The same, and old and new leader are cut apart.
    CutAtTransfer,
    /// A leader is cut off.
    IsolateLeader,
    /// A leader that is cut off, and its clients stay with it.
    IsolateAndAsk,
    /// A node's wall clock is set.
    StepWall,
    /// A process dies.
    Crash,
    /// Several die at once, whatever they have, but for the cluster's own state. Of runs with such losses alone.
    LoseMajority,
}

/// All kinds.
pub const NEMESES: [Nemesis; 13] = [
    Nemesis::OneWayCut,
    Nemesis::Partition,
    Nemesis::PartialPartition,
    Nemesis::Flap,
    Nemesis::BreakLinks,
    Nemesis::Pause,
    Nemesis::Stall,
    Nemesis::Transfer,
    Nemesis::CutAtTransfer,
    Nemesis::IsolateLeader,
    Nemesis::IsolateAndAsk,
    Nemesis::StepWall,
    Nemesis::Crash,
];

/// A trouble that has a second act.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The link flaps on: so many times more.
    Flap(usize, usize, u32),
    /// These two are cut apart, for so long, us.
    CutApart(usize, usize, u64),
}

impl World {
    pub(super) fn make_trouble(&mut self) {
        if self.phase != Phase::Trouble {
            return;
        }
        let gap_us = self.random.between(1_000, self.plan.trouble_gap_us_max);
        self.after(gap_us, Event::Trouble);
        let nemesis = *self.random.pick(&self.plan.nemeses);
        self.note(|| format!("TROUBLE {nemesis:?}"));
        match nemesis {
            Nemesis::OneWayCut => self.one_way_cut(),
            Nemesis::Partition => self.partition(),
            Nemesis::PartialPartition => self.partial_partition(),
            Nemesis::Flap => {
                if let Some((one, other)) = self.draw_pair() {
                    self.tally.count(Fault::Flap);
                    self.go_on(Trouble::Flap(one, other, 6));
                }
            }
            Nemesis::BreakLinks => self.break_links(),
            Nemesis::Pause => self.draw_pause(),
            Nemesis::Stall => self.stall(),
            Nemesis::Transfer => {
                self.transfer();
            }
            Nemesis::CutAtTransfer => self.cut_at_transfer(),
            Nemesis::IsolateLeader => {
                self.isolate_leader();
            }
            Nemesis::IsolateAndAsk => {
                if let Some(leader) = self.isolate_leader() {
                    let until_us = self.now_us + self.plan.settings.lease_us * 3;
                    self.focus = Some((leader, until_us));
                }
            }
            Nemesis::StepWall => self.step_wall(),
            Nemesis::Crash => {
                let number = self.draw_victim();
                if self.may_lose(number) {
                    self.crash(number);
                    let away_us = self.draw_while();
                    self.after(away_us, Event::Join(number));
                }
            }
            Nemesis::LoseMajority => self.lose_majority(),
        }
    }

    /// Two or three nodes lose their memory at the same time. What clients knew is cut there.
    fn lose_majority(&mut self) {
        let count = self.plan.nodes as u64;
        let first = self.draw_victim();
        let step = self.random.between(1, count - 1) as usize;
        let mut victims = vec![first, (first + step) % self.plan.nodes];
        let third = self.random.below(count) as usize;
        if self.random.chance(300_000) && !victims.contains(&third) {
            victims.push(third);
        }
        if !self.may_lose_together(&victims) {
            return;
        }
        self.note(|| format!("LOSE {victims:?}"));
        self.tally.count(Fault::MajorityLoss);
        self.judge.cut(self.now_us);
        for number in victims {
            self.crash(number);
            let away_us = self.draw_while();
            self.after(away_us, Event::Join(number));
        }
    }

    pub(super) fn go_on(&mut self, trouble: Trouble) {
        if self.phase != Phase::Trouble {
            return;
        }
        match trouble {
            Trouble::Flap(one, other, times) => {
                let down_us = self.draw_while() / 8;
                self.cut_for(vec![(one, other), (other, one)], down_us);
                if times > 0 {
                    let next_us = down_us + self.draw_while() / 8;
                    let next = Trouble::Flap(one, other, times - 1);
                    self.after(next_us, Event::TroubleGoesOn(next));
                }
            }
            Trouble::CutApart(one, other, for_us) => {
                self.cut_for(vec![(one, other), (other, one)], for_us);
            }
        }
    }

    /// A time of a drawn length, us, mostly around an election's.
    fn draw_while(&mut self) -> u64 {
        let silence_us = self.plan.settings.election_max_us;
        match self.random.below(3) {
            0 => self.random.between(silence_us / 20, silence_us / 2),
            1 => self.random.between(silence_us / 4, silence_us * 2),
            _ => self.random.between(silence_us, silence_us * 4),
        }
    }

    /// The leader of some shard.
    fn draw_leader(&mut self) -> Option<usize> {
        let shard = self.random.below(self.plan.shards as u64) as usize;
        self.leader(shard)
    }

    /// A node to suffer: a leader more often than others.
    fn draw_victim(&mut self) -> usize {
        match self.draw_leader() {
            Some(leader) if self.random.chance(400_000) => leader,
            _ => self.random.below(self.plan.nodes as u64) as usize,
        }
    }

    fn draw_pair(&mut self) -> Option<(usize, usize)> {
        let count = self.plan.nodes as u64;
        if count < 2 {
            return None;
        }
        let one = self.draw_victim();
        let other = (one + self.random.between(1, count - 1) as usize) % self.plan.nodes;
        Some((one, other))
    }

    fn cut_for(&mut self, links: Vec<(usize, usize)>, for_us: u64) {
        self.note(|| format!("CUT {links:?} for {for_us} us"));
        for &(from, to) in &links {
            self.network.cut(from, to);
        }
        self.after(for_us, Event::Mend(links));
    }

    fn one_way_cut(&mut self) {
        let Some((one, other)) = self.draw_pair() else {
            return;
        };
        let link = match self.random.chance(500_000) {
            true => (one, other),
            false => (other, one),
        };
        let for_us = self.draw_while();
        self.tally.count(Fault::OneWayCut);
        self.cut_for(vec![link], for_us);
    }

    fn partition(&mut self) {
        let side: Vec<bool> = (0..self.plan.nodes)
            .map(|_| self.random.chance(500_000))
            .collect();
        let links = self.links_where(|from, to| side[from] != side[to]);
        let for_us = self.draw_while();
        self.tally.count(Fault::Partition);
        self.cut_for(links, for_us);
    }

    fn partial_partition(&mut self) {
        if let Some((one, other)) = self.draw_pair() {
            let for_us = self.draw_while();
            self.tally.count(Fault::PartialPartition);
            self.cut_for(vec![(one, other), (other, one)], for_us);
        }
    }

    fn links_where(&self, is_cut: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
        let count = self.plan.nodes;
        (0..count)
            .flat_map(|from| (0..count).map(move |to| (from, to)))
            .filter(|&(from, to)| from != to && is_cut(from, to))
            .collect()
    }

    fn break_links(&mut self) {
        if let Some((one, other)) = self.draw_pair() {
            self.tally.count(Fault::LinkBreak);
            for link in super::links::Links::between(one, other) {
                self.break_link(link);
            }
        }
    }

    fn draw_pause(&mut self) {
        let number = self.draw_victim();
        if self.machines[number].is_awake() {
            let for_us = self.draw_while();
            self.tally.count(Fault::Pause);
            self.pause(number, for_us);
        }
    }

    fn stall(&mut self) {
        let number = self.draw_victim();
        let (looks, for_us) = (self.random.between(1, 40), self.draw_while());
        if let Some(process) = &self.machines[number].process {
            process.host.stall(looks, for_us);
        }
    }

    fn step_wall(&mut self) {
        let number = self.draw_victim();
        let by_us = self.random.below(20_000_000) as i64 - 10_000_000;
        if let Some(process) = &self.machines[number].process {
            self.tally.count(Fault::WallStep);
            process.host.step_wall(by_us);
        }
    }

    /// Asks the leader of some shard to hand over to another node; who they are.
    fn transfer(&mut self) -> Option<(usize, usize)> {
        let shard = self.random.below(self.plan.shards as u64) as usize;
        let leader = self.leader(shard)?;
        let to = self.random.below(self.plan.nodes as u64) as usize;
        let target = self.machines[to].id.node;
        let node = self.begin_turn(leader)?;
        let asked = to != leader && node.hand_over(shard, target, node.now());
        if asked {
            self.note(|| format!("HANDS OVER n{leader} shard {shard} to n{to}"));
            self.tally.count(Fault::Transfer);
        }
        self.end_turn(leader);
        asked.then_some((leader, to))
    }

    fn cut_at_transfer(&mut self) {
        let Some((leader, to)) = self.transfer() else {
            return;
        };
        self.tally.count(Fault::CutAtTransfer);
        let soon_us = self.random.between(0, self.plan.network.delay_us.1 * 4);
        let for_us = self.draw_while();
        let next = Trouble::CutApart(leader, to, for_us);
        self.after(soon_us, Event::TroubleGoesOn(next));
    }

    /// Cuts a leader off, in one direction or both, maybe but for one other.
    fn isolate_leader(&mut self) -> Option<usize> {
        let holder = self.draw_leader()?;
        self.tally.count(Fault::IsolateLeaseHolder);
        let way = self.random.below(4);
        let spares = self.random.chance(200_000);
        let spared = self.random.below(self.plan.nodes as u64) as usize;
        let links = self.links_where(|from, to| {
            let out = from == holder && way != 1;
            let back = to == holder && way != 2;
            (out || back) && !(spares && (from == spared || to == spared))
        });
        let lease_us = self.plan.settings.lease_us;
        let for_us = self.random.between(lease_us, lease_us * 8);
        self.cut_for(links, for_us);
        Some(holder)
    }
}
