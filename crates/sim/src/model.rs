//! Model check: *every* order of events of a small group, up to a bound, with the very same `Replica`.
//!
//! Three replicas with disks; a few campaigns and proposals; messages that arrive in any order, twice, or never; a crash
//! with restart; a change of the configuration. What is checked: at no index do two replicas apply different entries, and
//! nobody skips one. Time stands still: leases have length 0 here and nothing is sent again, so this says nothing of
//! reads and of liveness; the simulator does.
//!
//! A message stays where it is when it arrives, so it may come again at any later time (duplication, reordering) or never
//! (loss): none of these needs a step of its own, and what is under way is the set of all that was ever said.

use paxos::{
    AcceptedEntry, Ballot, Config, Entry, Generation, GroupId, Incarnation, Index, Input, Kind,
    Message, Mutation, NodeId, Output, Record, Replica, ReplicaId, Settings, SnapshotBase, Start,
};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The time that it always is, us.
const NOW_US: u64 = 1_000;
/// A time that never comes, us.
const NEVER_US: u64 = 1 << 40;
const GROUP: GroupId = GroupId(1);
const GENERATION: Generation = Generation(1);

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Campaigns, each under a ballot of its own.
    pub campaigns: u8,
    /// Entries proposed by owners.
    pub proposals: u8,
    /// Crashes, each with a restart from disk.
    pub crashes: u8,
    /// Configurations proposed.
    pub changes: u8,
    /// Steps from the beginning; a moment that takes one more is still met, but not judged.
    pub steps: usize,
}

impl Bounds {
    /// All kinds of events, as far as a test run has time.
    pub const BROAD: Bounds = Bounds {
        campaigns: 2,
        proposals: 2,
        crashes: 1,
        changes: 1,
        steps: 10,
    };
    /// Ballots and entries alone, further.
    pub const NARROW: Bounds = Bounds {
        crashes: 0,
        changes: 0,
        steps: 13,
        ..Bounds::BROAD
    };

    /// The same, so many steps further.
    pub const fn further(self, steps: usize) -> Bounds {
        Bounds {
            steps: self.steps + steps,
            ..self
        }
    }
}

/// Something that many moments share, with its hash, so that a moment is copied, told from another and looked up at the
/// cost of what differs.
#[derive(Clone, Debug)]
struct Shared<T> {
    hash: u64,
    value: Arc<T>,
}

impl<T: Hash> Shared<T> {
    fn new(value: T) -> Shared<T> {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Shared {
            hash: hasher.finish(),
            value: Arc::new(value),
        }
    }
}

impl<T: Eq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        self.hash == other.hash && self.value == other.value
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// A replica, what it has on its disk, and how far it has applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Member {
    replica: Replica,
    promised: Ballot,
    log: BTreeMap<u64, (Ballot, Entry)>,
    chosen: Index,
    log_ms_ceiling: u64,
    applied: u64,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    members: Vec<Shared<Member>>,
    /// All that was ever said, by hash: an order that does not hang on how it came about.
    messages: Vec<Shared<Message>>,
    /// What was applied first at each index.
    chosen: Vec<Entry>,
    campaigns: u8,
    proposals: u8,
    crashes: u8,
    changes: u8,
    /// Whether replicas disagreed, or one skipped an index.
    is_broken: bool,
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The message at this place arrives.
    Deliver(usize),
    /// A replica campaigns.
    Campaign(usize),
    /// A leader proposes an entry.
    Propose(usize),
    /// A leader proposes to go on without this replica.
    Remove(usize, usize),
    /// A replica dies and comes back with its disk.
    Crash(usize),
}

/// The group.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// How much may happen.
    pub bounds: Bounds,
    /// A rule that is taken out of every replica, to see whether the check notices.
    pub mutation: Option<Mutation>,
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different moments that were met.
    pub states: usize,
    /// The steps that lead to a disagreement, if there is one.
    pub violation: Option<String>,
    /// Whether some order chooses an entry under a second ballot, and some a configuration: else the bound shows nothing.
    pub reaches: bool,
}

/// Tries every order of events within the bounds, on so many threads.
pub fn check(group: Group, threads: usize) -> Outcome {
    let bounds = group.bounds;
    let checker = group
        .checker()
        .threads(threads)
        // Depth counts moments, the first among them, and judges none at the bound itself.
        .target_max_depth(bounds.steps + 2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let violation = checker
        .discovery(AGREEMENT)
        .map(|path| format!("{:?}", path.into_actions()));
    Outcome {
        states: checker.unique_state_count(),
        violation,
        reaches: checker.discovery(SECOND_BALLOT).is_some()
            && (bounds.changes == 0 || checker.discovery(CONFIGURATION).is_some()),
    }
}

const AGREEMENT: &str = "replicas agree";
const SECOND_BALLOT: &str = "an entry is chosen after a second campaign";
const CONFIGURATION: &str = "a configuration is chosen";

fn id(number: usize) -> ReplicaId {
    ReplicaId {
        node: NodeId(number as u32),
        incarnation: Incarnation(1),
    }
}

fn founding() -> Config {
    Config {
        number: 1,
        voters: (0..3).map(id).collect(),
        learners: Vec::new(),
    }
}

fn settings() -> Settings {
    Settings {
        heartbeat_us: NEVER_US,
        election_min_us: NEVER_US,
        election_max_us: NEVER_US,
        lease_us: 0,
        drift_ppm: 0,
        epsilon_us: 0,
        // Noops ahead of what is proposed would take all the steps; they matter to reads alone.
        fill_entries: 0,
        durable: true,
        ..Settings::default()
    }
}

impl Moment {
    fn beginning(group: &Group) -> Moment {
        let member = |number| Member {
            replica: group.replica(number, Start::Founder(founding())),
            promised: Ballot::default(),
            log: BTreeMap::new(),
            chosen: Index(0),
            log_ms_ceiling: 0,
            applied: 0,
        };
        Moment {
            members: (0..3).map(|number| Shared::new(member(number))).collect(),
            messages: Vec::new(),
            chosen: Vec::new(),
            campaigns: 0,
            proposals: 0,
            crashes: 0,
            changes: 0,
            is_broken: false,
        }
    }

    fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.members.iter().map(|member| &member.value.replica)
    }

    /// Steps a replica; what it writes is on its disk at once.
    fn step(&mut self, number: usize, input: Input) {
        let mut member = Member::clone(&self.members[number].value);
        self.step_member(&mut member, input);
        self.members[number] = Shared::new(member);
    }

    fn step_member(&mut self, member: &mut Member, input: Input) {
        let mut out = Output::default();
        member.replica.step(NOW_US, input, &mut out);
        while !out.persist.is_empty() {
            for record in out.persist.drain(..) {
                member.keep(record);
            }
            let input = Input::Persisted(out.token);
            member.replica.step(NOW_US, input, &mut out);
        }
        for (index, entry) in out.apply {
            self.is_broken |= index.0 != member.applied + 1;
            member.applied = index.0;
            match self.chosen.get(index.0 as usize - 1) {
                None => self.chosen.push(entry),
                Some(chosen) => self.is_broken |= *chosen != entry,
            }
        }
        for message in out.send_first.into_iter().chain(out.send) {
            if says_nothing(&message) {
                continue;
            }
            let message = Shared::new(message);
            let place = self
                .messages
                .binary_search_by_key(&message.hash, |m| m.hash);
            if let Err(at) = place {
                self.messages.insert(at, message);
            }
        }
    }

    fn crash(&mut self, number: usize, group: &Group) {
        let mut member = Member::clone(&self.members[number].value);
        let log = member.log.iter();
        let log = log.map(|(index, (ballot, entry))| AcceptedEntry {
            index: Index(*index),
            ballot: *ballot,
            entry: entry.clone(),
        });
        let start = Start::Recovered {
            promised: member.promised,
            base: SnapshotBase {
                config: founding(),
                ..SnapshotBase::default()
            },
            log: log.collect(),
            chosen: member.chosen,
            log_ms_ceiling: member.log_ms_ceiling,
            is_hollow: false,
        };
        member.replica = group.replica(number, start);
        member.applied = 0;
        self.step_member(&mut member, Input::Tick);
        self.members[number] = Shared::new(member);
    }
}

impl Member {
    fn keep(&mut self, record: Record) {
        match record {
            Record::Promised(ballot) => self.promised = ballot,
            Record::Accepted {
                index,
                ballot,
                entry,
            } => {
                self.log.insert(index.0, (ballot, entry));
            }
            Record::Chosen(index) => self.chosen = index,
            Record::LogTime(ms) => self.log_ms_ceiling = ms,
            Record::Base(base) => {
                unreachable!("no log is trimmed here, so no snapshot is sent: {base:?}")
            }
        }
    }
}

/// Whether a message tells its receiver nothing here: time stands still, so nobody needs to be reminded of a leader.
fn says_nothing(message: &Message) -> bool {
    match message.kind {
        Kind::Beat { commit, .. } => commit == Index(0),
        Kind::Accepted { upto, .. } => upto == Index(0),
        _ => false,
    }
}

impl Group {
    fn replica(&self, number: usize, start: Start) -> Replica {
        let mut replica = Replica::new(settings(), GROUP, GENERATION, id(number), start, 1, NOW_US);
        if let Some(mutation) = self.mutation {
            replica.mutate(mutation);
        }
        replica
    }
}

impl Model for Group {
    type State = Moment;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment> {
        vec![Moment::beginning(self)]
    }

    fn actions(&self, moment: &Moment, steps: &mut Vec<Step>) {
        let bounds = &self.bounds;
        steps.extend((0..moment.messages.len()).map(Step::Deliver));
        for (number, replica) in moment.replicas().enumerate() {
            // Names are all that tells founders apart: let the first to campaign be the first, and the next not the third.
            if moment.campaigns < bounds.campaigns && number <= moment.campaigns.min(1).into() {
                steps.push(Step::Campaign(number));
            }
            if moment.proposals < bounds.proposals && replica.can_propose() {
                steps.push(Step::Propose(number));
            }
            if moment.changes < bounds.changes && replica.can_propose() {
                let voters = &replica.config().voters;
                let others = (0..3).filter(|other| voters.contains(&id(*other)));
                steps.extend(others.map(|other| Step::Remove(number, other)));
            }
            if moment.crashes < bounds.crashes {
                steps.push(Step::Crash(number));
            }
        }
    }

    fn next_state(&self, moment: &Moment, step: Step) -> Option<Moment> {
        let mut next = moment.clone();
        match step {
            Step::Deliver(at) => {
                let message = Message::clone(&next.messages[at].value);
                next.step(message.to.node.0 as usize, Input::Message(message));
            }
            Step::Campaign(number) => {
                next.campaigns += 1;
                next.step(number, Input::Campaign);
            }
            Step::Propose(number) => {
                next.proposals += 1;
                let payload = vec![next.proposals].into();
                next.step(number, Input::Propose { log_ms: 0, payload });
            }
            Step::Remove(number, other) => {
                next.changes += 1;
                let replica = &next.members[number].value.replica;
                let mut voters = replica.config().voters.clone();
                voters.retain(|voter| *voter != id(other));
                let learners = Vec::new();
                next.step(number, Input::Reconfigure { voters, learners });
            }
            Step::Crash(number) => {
                next.crashes += 1;
                next.crash(number, self);
            }
        }
        (next != *moment).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(AGREEMENT, |_, moment: &Moment| !moment.is_broken),
            Property::sometimes(SECOND_BALLOT, |_, moment: &Moment| {
                let mut leads = moment.replicas().filter(|replica| replica.is_leader());
                moment.campaigns == 2 && leads.any(|leader| leader.chosen() > Index(0))
            }),
            Property::sometimes(CONFIGURATION, |_, moment: &Moment| {
                let is_config = |entry: &Entry| matches!(entry, Entry::Config(_));
                moment.chosen.iter().any(is_config)
            }),
        ]
    }
}
