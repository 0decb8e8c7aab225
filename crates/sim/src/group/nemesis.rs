//! Makes trouble: cuts, pauses, deaths, and the targeted attacks that find faults in leases and configurations a
//! hundred times sooner than chance does.

use super::node::Trap;
use super::plan::Nemesis;
use super::world::{Event, Phase, World};
use crate::faults::Fault;
use paxos::{Config, Input, NodeId};

/// A trouble that has a second act.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Somebody else than this node campaigns.
    CampaignAgainst(usize),
    /// This one campaigns, and that one is cut off from all.
    CampaignOf(usize, usize),
    /// The link flaps on: so many times more.
    Flap(usize, usize, u32),
    /// These two are cut apart, for so long, us.
    CutApart(usize, usize, u64),
    /// These links are cut for so long, us; soon after this node campaigns, and clients turn to it.
    CutAndCampaign(Vec<(usize, usize)>, u64, usize),
}

impl World {
    pub(super) fn make_trouble(&mut self) {
        if self.phase != Phase::Trouble {
            return;
        }
        let gap_us = self
            .random
            .between(100, self.plan.trouble_gap_us_max.max(200));
        self.after(gap_us, Event::Trouble);
        let nemesis = *self.random.pick(&self.plan.nemeses);
        self.note(|| format!("TROUBLE {nemesis:?}"));
        match nemesis {
            Nemesis::OneWayCut => self.one_way_cut(),
            Nemesis::Partition => self.partition(),
            Nemesis::PartialPartition => self.partial_partition(),
            Nemesis::Flap => {
                let (one, other) = self.draw_pair();
                self.tally.count(Fault::Flap);
                self.go_on(Trouble::Flap(one, other, 6));
            }
            Nemesis::Pause => self.pause(),
            Nemesis::Crash => {
                let number = self.draw_victim();
                if self.nodes[number].process.is_some() && self.may_lose(number) {
                    self.crash_and_return(number);
                }
            }
            Nemesis::Bounce => {
                let number = self.draw_victim();
                self.bounce(number);
            }
            Nemesis::Amnesia => {
                let number = self.draw_victim();
                if self.nodes[number].process.is_some() && self.may_forget(number) {
                    self.forget(number);
                }
            }
            Nemesis::CrashBeforeSend => {
                let number = self.draw_victim();
                self.nodes[number].trap = Some(Trap::BeforeSend);
            }
            Nemesis::AmnesiaAfterAck => {
                let number = self.draw_victim();
                self.nodes[number].trap = Some(Trap::AfterAck);
            }
            Nemesis::Transfer => {
                self.transfer();
            }
            Nemesis::CutAtTransfer => self.cut_at_transfer(),
            Nemesis::Reconfigure => self.want_other_voters(),
            Nemesis::ReplaceTwo => self.want_two_others(),
            Nemesis::CutAtReconfigure => {
                if self.random.chance(500_000) {
                    self.want_two_others();
                } else {
                    self.want_other_voters();
                }
                self.cut_at_reconfigure = true;
            }
            Nemesis::ForcedCampaign => {
                let number = self.random.below(self.nodes.len() as u64) as usize;
                self.tally.count(Fault::ForcedCampaign);
                self.tell(number, Input::Campaign);
            }
            Nemesis::PeerDown => {
                if let Some(leader) = self.leader() {
                    self.tally.count(Fault::ForcedCampaign);
                    self.all_count_as_silent(leader);
                }
            }
            Nemesis::IsolateLeaseHolder => self.isolate_lease_holder(false),
            Nemesis::BounceFollowers => self.isolate_lease_holder(true),
            Nemesis::StaleCandidate => self.stale_candidate(),
        }
    }

    pub(super) fn go_on(&mut self, trouble: Trouble) {
        if self.phase != Phase::Trouble {
            return;
        }
        match trouble {
            Trouble::CampaignAgainst(holder) => {
                if self.random.chance(400_000) {
                    self.all_count_as_silent(holder);
                }
                let others: Vec<usize> = (0..self.nodes.len())
                    .filter(|&other| other != holder && self.nodes[other].is_awake())
                    .filter(|&other| self.votes(other))
                    .collect();
                if !others.is_empty() {
                    let other = *self.random.pick(&others);
                    self.tell(other, Input::Campaign);
                }
            }
            Trouble::CampaignOf(candidate, holder) => {
                let links = self.links(|from, to| from == holder || to == holder);
                let for_us = self.plan.settings.lease_us;
                self.cut_for(links, for_us);
                self.tell(candidate, Input::Campaign);
            }
            Trouble::Flap(one, other, times) => {
                let down_us = self.draw_while() / 8;
                self.cut_for(vec![(one, other), (other, one)], down_us);
                if times > 0 {
                    let next_us = down_us + self.draw_while() / 8;
                    let next = Trouble::Flap(one, other, times - 1);
                    self.after(next_us, Event::TroubleGoesOn(next));
                }
            }
            Trouble::CutAndCampaign(links, for_us, rival) => {
                self.cut_for(links, for_us);
                let life = self.nodes[rival].life;
                let soon_us = self.random.below(for_us);
                self.after(soon_us, Event::Tell(rival, life, Input::Campaign));
                self.focus = Some((rival, self.now_us + for_us * 2));
            }
            Trouble::CutApart(one, other, for_us) => {
                self.cut_for(vec![(one, other), (other, one)], for_us);
            }
        }
    }

    /// The leader of the highest ballot that is up, if any.
    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.nodes.len())
            .filter_map(|number| {
                let process = self.nodes[number].process.as_ref()?;
                Some((process.leads?, number))
            })
            .max()
            .map(|(_, number)| number)
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

    /// A node to suffer: the leader more often than others.
    fn draw_victim(&mut self) -> usize {
        match self.leader() {
            Some(leader) if self.random.chance(400_000) => leader,
            _ => self.random.below(self.nodes.len() as u64) as usize,
        }
    }

    fn draw_pair(&mut self) -> (usize, usize) {
        let count = self.nodes.len() as u64;
        let one = self.draw_victim();
        let other = (one + self.random.between(1, count - 1) as usize) % self.nodes.len();
        (one, other)
    }

    /// Whether a node is a voter of the configuration that it knows.
    fn votes(&self, number: usize) -> bool {
        let id = self.nodes[number].id();
        let process = &self.nodes[number].process;
        process
            .as_ref()
            .is_some_and(|process| process.replica.config().voters.contains(&id))
    }

    fn tell(&mut self, number: usize, input: Input) {
        let life = self.nodes[number].life;
        self.after(0, Event::Tell(number, life, input));
    }

    fn all_count_as_silent(&mut self, silent: usize) {
        for number in 0..self.nodes.len() {
            if number != silent {
                self.tell(number, Input::PeerDown(NodeId(silent as u32)));
            }
        }
    }

    fn cut_for(&mut self, links: Vec<(usize, usize)>, for_us: u64) {
        for &(from, to) in &links {
            self.network.cut(from, to);
        }
        self.after(for_us, Event::Mend(links));
    }

    fn one_way_cut(&mut self) {
        let (one, other) = self.draw_pair();
        let link = if self.random.chance(500_000) {
            (one, other)
        } else {
            (other, one)
        };
        let for_us = self.draw_while();
        self.tally.count(Fault::OneWayCut);
        self.cut_for(vec![link], for_us);
    }

    fn partition(&mut self) {
        let side: Vec<bool> = self
            .nodes
            .iter()
            .map(|_| self.random.chance(500_000))
            .collect();
        let links = self.links(|from, to| side[from] != side[to]);
        let for_us = self.draw_while();
        self.tally.count(Fault::Partition);
        self.cut_for(links, for_us);
    }

    fn partial_partition(&mut self) {
        let (one, other) = self.draw_pair();
        let for_us = self.draw_while();
        self.tally.count(Fault::PartialPartition);
        self.cut_for(vec![(one, other), (other, one)], for_us);
    }

    fn links(&self, is_cut: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
        let count = self.nodes.len();
        (0..count)
            .flat_map(|from| (0..count).map(move |to| (from, to)))
            .filter(|&(from, to)| from != to && is_cut(from, to))
            .collect()
    }

    fn pause(&mut self) {
        let number = self.draw_victim();
        if !self.nodes[number].is_awake() {
            return;
        }
        self.tally.count(Fault::Pause);
        self.note(|| format!("PAUSE n{number}"));
        self.nodes[number].is_paused = true;
        let for_us = self.draw_while();
        self.after(for_us, Event::Resume(number));
    }

    /// Ends a process. What a disk has is kept; without one the memory is gone.
    fn kill(&mut self, number: usize) {
        self.note(|| format!("DIES n{number}"));
        let node = &mut self.nodes[number];
        node.process = None;
        node.life += 1;
        node.is_paused = false;
        if node.durable {
            self.tally.count(Fault::CrashDurable);
            let lost = self.nodes[number].disk.crash(&mut self.random);
            if lost > 0 {
                self.tally.count(Fault::RecordsLost);
            }
        } else {
            self.nodes[number].remembers = false;
            self.tally.count(Fault::CrashAmnesia);
        }
        self.drop_inbox(number);
    }

    /// A node dies and comes back after a while.
    pub(super) fn crash_and_return(&mut self, number: usize) {
        self.kill(number);
        let away_us = if self.random.chance(300_000) {
            self.random.between(10, 2_000)
        } else {
            self.draw_while()
        };
        let life = self.nodes[number].life;
        self.after(away_us, Event::Restart(number, life));
    }

    /// A durable node dies and is back at once.
    fn bounce(&mut self, number: usize) {
        if !self.nodes[number].durable || self.nodes[number].process.is_none() {
            return;
        }
        self.kill(number);
        let life = self.nodes[number].life;
        let away_us = self.random.between(10, 1_000);
        self.after(away_us, Event::Restart(number, life));
    }

    /// A node dies and its memory with it.
    pub(super) fn forget(&mut self, number: usize) {
        self.kill(number);
        if self.nodes[number].durable {
            self.tally.count(Fault::CrashAmnesia);
        }
        let node = &mut self.nodes[number];
        node.disk.lose_all();
        node.remembers = false;
        let life = node.life;
        let away_us = if self.random.chance(500_000) {
            self.random.between(10, 2_000)
        } else {
            self.draw_while()
        };
        self.after(away_us, Event::Restart(number, life));
    }

    /// Asks the leader to hand over to some other voter; who they are.
    fn transfer(&mut self) -> Option<(usize, usize)> {
        let leader = self.leader()?;
        let config = self.process(leader).replica.config().clone();
        let target = *self.random.pick(&config.voters);
        let to = target.node.0 as usize;
        if to == leader {
            return None;
        }
        self.tally.count(Fault::Transfer);
        self.tell(leader, Input::TransferTo(target));
        Some((leader, to))
    }

    fn cut_at_transfer(&mut self) {
        let Some((leader, to)) = self.transfer() else {
            return;
        };
        self.tally.count(Fault::CutAtTransfer);
        self.focus_on(leader);
        let soon_us = self.random.between(0, self.plan.network.delay_us.1 * 4);
        let for_us = self.draw_while();
        self.after(
            soon_us,
            Event::TroubleGoesOn(Trouble::CutApart(leader, to, for_us)),
        );
    }

    fn focus_on(&mut self, number: usize) {
        self.focus = Some((number, self.now_us + self.plan.settings.lease_us * 3));
    }

    fn isolate_lease_holder(&mut self, bounces: bool) {
        let Some(holder) = self.leader() else {
            return;
        };
        self.tally.count(if bounces {
            Fault::BounceFollowers
        } else {
            Fault::IsolateLeaseHolder
        });
        self.isolate(holder);
        if bounces {
            for other in 0..self.nodes.len() {
                if other != holder && self.random.chance(800_000) {
                    self.bounce(other);
                }
            }
        }
    }

    fn stale_candidate(&mut self) {
        let Some(holder) = self.leader() else {
            return;
        };
        let voters = self.process(holder).replica.config().voters.clone();
        let candidate = self.random.pick(&voters).node.0 as usize;
        if candidate == holder {
            return;
        }
        self.tally.count(Fault::StaleCandidate);
        let lease_us = self.plan.settings.lease_us;
        let stale_us = lease_us + self.random.below(lease_us / 2);
        self.cut_for(
            vec![(candidate, holder), (holder, candidate)],
            stale_us + lease_us,
        );
        self.focus_on(holder);
        let next = Trouble::CampaignOf(candidate, holder);
        self.after(stale_us, Event::TroubleGoesOn(next));
    }

    /// Cuts a node off in one way or another, and others campaign before its lease is over.
    pub(super) fn isolate(&mut self, holder: usize) {
        let way = self.random.below(4);
        let spares = self.random.chance(200_000);
        let spared = self.random.below(self.nodes.len() as u64) as usize;
        let links = self.links(|from, to| {
            let out = from == holder && way != 1;
            let back = to == holder && way != 2;
            (out || back) && !(spares && (from == spared || to == spared))
        });
        let lease_us = self.plan.settings.lease_us;
        let for_us = self.random.between(lease_us / 2, lease_us * 4);
        self.cut_for(links, for_us);
        self.focus_on(holder);
        for _ in 0..3 {
            let soon_us = self.random.below(lease_us);
            self.after(
                soon_us,
                Event::TroubleGoesOn(Trouble::CampaignAgainst(holder)),
            );
        }
    }

    /// The leader has proposed a configuration. Soon, when it has heard that this is accepted and nobody else has heard that
    /// it is chosen, the leader and the newcomers go on alone, and one of the voters that stay leads the others, who know of
    /// no other configuration than the former, until it crosses into the new one behind the leader's back (R6, R9, R10).
    pub(super) fn part_at_reconfigure(
        &mut self,
        leader: usize,
        former: &Config,
        mut stay: Vec<usize>,
    ) {
        stay.retain(|&number| number != leader);
        if stay.is_empty() {
            return;
        }
        self.tally.count(Fault::PartAtReconfigure);
        let rival = *self.random.pick(&stay);
        let is_old = |number: usize| {
            let mut voters = former.voters.iter().map(|id| id.node.0 as usize);
            number != leader && voters.any(|voter| voter == number)
        };
        let links = self.links(|from, to| is_old(from) != is_old(to));
        let soon_us = self.random.between(0, self.plan.network.delay_us.1 * 4);
        let lease_us = self.plan.settings.lease_us;
        let for_us = self.random.between(lease_us, lease_us * 4);
        let next = Trouble::CutAndCampaign(links, for_us, rival);
        self.after(soon_us, Event::TroubleGoesOn(next));
    }

    /// One node more, one less, or one in place of another is to vote.
    fn want_other_voters(&mut self) {
        let wanted = self.wanted.iter().filter(|wanted| **wanted).count();
        let one = self.random.below(self.nodes.len() as u64) as usize;
        let other = self.random.below(self.nodes.len() as u64) as usize;
        match self.random.below(3) {
            0 => self.wanted.swap(one, other),
            1 if wanted > 2 => self.wanted[one] = false,
            _ => self.wanted[other] = true,
        }
    }

    /// Two nodes are to vote in place of two others, as far as there are others.
    fn want_two_others(&mut self) {
        let mut inside: Vec<usize> = (0..self.nodes.len()).filter(|&n| self.wanted[n]).collect();
        let mut outside: Vec<usize> = (0..self.nodes.len()).filter(|&n| !self.wanted[n]).collect();
        self.random.shuffle(&mut inside);
        self.random.shuffle(&mut outside);
        if inside.len() > 3 && outside.len() < 2 {
            // All vote already: first there must be somebody to take in later.
            for &number in &inside[..2] {
                self.wanted[number] = false;
            }
            return;
        }
        for (&one, &other) in inside.iter().zip(&outside).take(2) {
            self.wanted[one] = false;
            self.wanted[other] = true;
        }
    }
}
