//! The replica: its state, what it is asked, and who handles which input.

use crate::door::{Input, Output, Record, RoleChange, Settings};
use crate::election::{Asking, Phase1};
use crate::leader::Leader;
use crate::lease::{Ceiling, Grants, LogTime};
use crate::log::Log;
use crate::message::{Kind, Message};
use crate::mutation::{Mutation, Mutations};
use crate::retire::Farewell;
use crate::snapshot::{Incoming, Outgoing};
use crate::types::{Ballot, Config, Entry, Generation, GroupId, Index, ReplicaId};

/// Who this is; makes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Names {
    pub(crate) group: GroupId,
    pub(crate) generation: Generation,
    pub(crate) me: ReplicaId,
}

impl Names {
    pub(crate) fn message(&self, to: ReplicaId, kind: Kind) -> Message {
        Message {
            group: self.group,
            generation: self.generation,
            from: self.me,
            to,
            kind,
        }
    }
}

/// What a replica is at the moment. An acceptor it is always.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Follows, or waits to be fed.
    Follower,
    /// Asks whether others would promise (pre-vote).
    Asking(Asking),
    /// Phase 1 under way.
    Candidate(Box<Phase1>),
    /// Phase 1 done.
    Leader(Box<Leader>),
}

/// One member of a group.
///
/// - `promised` never falls, and no accepted ballot is above it.
/// - `trimmed <= chosen <= upto <= last entry of the log`.
/// - `upto` is the highest index such that all above `chosen` up to it was accepted under `promised`.
/// - `chosen` rises only, and its entries leave in `Output::apply` in the same step, in order, each once.
/// - While it leads, its ballot is `promised`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub(crate) settings: Settings,
    pub(crate) names: Names,
    pub(crate) mutations: Mutations,
    pub(crate) random: u64,
    pub(crate) now_us: u64,

    /// Nothing below is promised or accepted.
    pub(crate) promised: Ballot,
    pub(crate) log: Log,
    pub(crate) chosen: Index,
    pub(crate) upto: Index,
    /// The last configuration in the chosen prefix …
    pub(crate) config: Config,
    /// … and where it stands, at the latest.
    pub(crate) config_index: Index,
    /// The first configuration in the chosen prefix since it voted last that gives it no vote, if there is one, at the latest.
    pub(crate) voteless_from: Option<Index>,
    /// What is known chosen from before a restart and not applied yet.
    pub(crate) chosen_hint: Index,

    pub(crate) grants: Grants,
    /// The latest that leaders said, or a disk knows; of a leader, its own, which runs.
    pub(crate) log_time: LogTime,
    /// The last leader's log time, of whatever it said.
    pub(crate) line: LogTime,
    /// The highest that an entry or a snapshot had that may be old: more than what is counted from then has passed since.
    pub(crate) learned: LogTime,
    pub(crate) ceiling: Ceiling,
    /// The leader as heard, or oneself.
    pub(crate) leader: Option<ReplicaId>,
    /// No pre-vote is granted before: a leader or candidate was heard.
    pub(crate) sticky_until_us: u64,
    /// The highest round heard of.
    pub(crate) round_seen: u64,
    /// When to ask for votes, or to give a campaign up.
    pub(crate) deadline_us: u64,
    pub(crate) role: Role,

    /// The last index that was asked for because what came was behind it.
    pub(crate) hole_asked: Index,
    pub(crate) incoming: Option<Incoming>,
    pub(crate) outgoing: Vec<Outgoing>,
    pub(crate) stream_last: u64,
    /// Who is to be offered a snapshot at the end of this step.
    pub(crate) offers: Vec<ReplicaId>,

    /// Names the last record.
    pub(crate) token: u64,
    /// All records up to here are durable.
    pub(crate) persisted: u64,
    /// Up to here the owner has a checkpoint.
    pub(crate) checkpoint: Index,
    /// The last `Record::Chosen` said this.
    pub(crate) chosen_recorded: Index,
    /// What another said of a configuration without this replica.
    pub(crate) farewell: Option<Farewell>,
    /// The owner has no state: nothing is accepted or applied before a snapshot is installed.
    pub(crate) is_hollow: bool,
}

impl Replica {
    /// Takes in what happened and appends to `out` what is to be done about it. `now_us`: the owner's monotonic clock;
    /// an earlier time than in the step before counts as that.
    pub fn step(&mut self, now_us: u64, input: Input, out: &mut Output) {
        self.now_us = self.now_us.max(now_us);
        if self.now_us < self.lease_until() {
            self.log_time.advance(self.now_us);
            self.note_shown(self.log_time.ms);
        }
        out.token = self.token;
        if matches!(input, Input::Tick) && self.now_us < self.next_wake_us() {
            return;
        }
        let promised = self.promised;
        let chosen = self.chosen;
        let records = out.persist.len();
        if self.chosen_hint > self.chosen {
            let hint = self.chosen_hint;
            self.advance_chosen(hint, ConfigNews::Learned, out);
        }
        match input {
            Input::Message(message) => self.on_message(message, out),
            Input::Tick => self.on_tick(out),
            Input::Propose { log_ms, payload } => self.on_propose(log_ms, payload, out),
            Input::Persisted(token) => self.on_persisted(token, out),
            Input::Read(ticket) => self.on_read(ticket, out),
            Input::TransferTo(target) => self.on_transfer_to(target, out),
            Input::Reconfigure { voters, learners } => self.on_reconfigure(voters, learners, out),
            Input::Campaign => self.on_campaign(out),
            Input::PeerDown(node) => self.on_peer_down(node),
            Input::SnapshotChunk {
                stream,
                bytes,
                last,
            } => self.on_chunk_made(stream, bytes, last, out),
            Input::SnapshotFailed { stream } => self.on_snapshot_failed(stream, out),
            Input::SnapshotInstalled { stream, base } => self.on_installed(stream, base, out),
            Input::Checkpointed(index) => {
                self.checkpoint = self.checkpoint.max(index);
                self.trim(out);
            }
            Input::Retire => self.on_retire(out),
            Input::Announce => self.send_beats(out),
        }
        self.lead_on(out);
        self.note_first_lease();
        self.begin_streams(out);
        self.record_log_time(out);
        if self.settings.durable && out.persist.len() > records {
            // A configuration's own is not left to later steps: whoever accepts an index behind it durably knows that it
            // is chosen, and on that a removed replica relies when it retires.
            if self.chosen > self.chosen_recorded {
                out.persist.push(Record::Chosen(self.chosen));
                self.chosen_recorded = self.chosen;
            }
            self.token += 1;
        }
        out.token = self.token;
        self.check(promised, chosen);
    }

    /// Invariants that must hold between any two steps.
    fn check(&self, promised: Ballot, chosen: Index) {
        if self.mutations.any() {
            // A replica with a rule taken out is to be caught by what it does.
            return;
        }
        assert!(self.promised >= promised, "a promise never falls");
        assert!(self.chosen >= chosen, "what is chosen stays chosen");
        assert!(
            self.log.trimmed() <= self.chosen
                && self.chosen <= self.upto
                && self.upto <= self.log.last(),
            "trimmed <= chosen <= accepted <= last"
        );
        if let Role::Leader(leader) = &self.role {
            assert_eq!(
                leader.phase1.ballot, self.promised,
                "leads what it promised"
            );
            assert!(self.chosen <= leader.last && leader.last <= self.upto);
        }
        debug_assert!(
            (self.chosen.0 + 1..=self.log.last().0).all(|index| {
                self.log
                    .get(Index(index))
                    .is_some_and(|(ballot, _)| *ballot <= self.promised)
            }),
            "no accepted ballot is above the promise"
        );
    }

    fn on_message(&mut self, message: Message, out: &mut Output) {
        let Names {
            group,
            generation,
            me,
        } = self.names;
        let for_me = message.to == me
            || (message.to.node == me.node && self.mutations.has(Mutation::IgnoreIncarnation));
        if !for_me
            || message.group != group
            || message.generation != generation
            || message.from == me
        {
            return;
        }
        let from = message.from;
        match message.kind {
            Kind::PreVote { ballot } => self.on_pre_vote(from, ballot, out),
            Kind::PreVoteReply { ballot, granted } => {
                self.on_pre_vote_reply(from, ballot, granted, out);
            }
            Kind::Prepare {
                ballot,
                from: first,
                released,
            } => self.on_prepare(from, ballot, first, released, out),
            Kind::Promise { .. } => self.on_promise(from, message.kind, out),
            Kind::Accept {
                ballot,
                first,
                entries,
                commit,
                sent_us,
            } => self.on_accept(from, ballot, (first, entries), commit, sent_us, out),
            Kind::Beat {
                ballot,
                commit,
                sent_us,
                log_ms,
            } => self.on_beat(from, ballot, commit, sent_us, log_ms, out),
            Kind::Accepted {
                ballot,
                upto,
                sent_us,
            } => self.on_accepted(from, ballot, upto, sent_us, out),
            Kind::Nack { ballot, promised } => self.on_nack(from, ballot, promised, out),
            Kind::CatchUpRequest { from: first } => self.on_catch_up_request(from, first, out),
            Kind::Left {
                config,
                index,
                chosen,
            } => self.on_left(config, index, chosen),
            Kind::CatchUp {
                first,
                entries,
                chosen,
            } => self.on_catch_up(from, first, entries, chosen, out),
            Kind::SnapshotOffer {
                stream,
                base,
                config,
            } => self.on_offer(from, stream, base, config, out),
            Kind::SnapshotChunk {
                stream,
                sequence,
                bytes,
                last,
            } => self.on_chunk(from, stream, sequence, (bytes, last), out),
            Kind::SnapshotAck {
                stream,
                next,
                abort,
            } => self.on_snapshot_ack(from, stream, next, abort, out),
            Kind::Transfer { ballot, log_ms } => self.on_transfer(from, ballot, log_ms, out),
            Kind::ReadProbe {
                ballot,
                round,
                log_ms,
            } => self.on_read_probe(from, ballot, round, log_ms, out),
            Kind::ReadProbeReply { ballot, round } => {
                self.on_read_probe_reply(from, ballot, round);
            }
        }
    }

    fn on_tick(&mut self, out: &mut Output) {
        self.tick_streams(out);
        match &self.role {
            Role::Leader(_) => self.tick_leader(out),
            Role::Candidate(_) => self.tick_candidate(out),
            Role::Follower | Role::Asking(_) => self.tick_follower(out),
        }
    }

    fn on_persisted(&mut self, token: u64, out: &mut Output) {
        // Completions may come out of order; progress does not go back.
        self.persisted = self.persisted.max(token.min(self.token));
        self.ceiling.on_persisted(self.persisted);
        match &mut self.role {
            Role::Candidate(_) => self.count_promises(out),
            Role::Leader(_) => self.count_own_acks(out),
            Role::Follower | Role::Asking(_) => {}
        }
    }

    /// The earliest time, us, at which a tick does anything.
    pub fn next_wake_us(&self) -> u64 {
        let own = match &self.role {
            Role::Leader(leader) => leader.wake_us(self.now_us).min(self.ceiling_wake_us()),
            Role::Candidate(phase1) => self
                .deadline_us
                .min(phase1.asked_us + self.settings.heartbeat_us),
            Role::Follower | Role::Asking(_) if self.chosen_hint > self.chosen => 0,
            Role::Follower | Role::Asking(_) => self.deadline_us,
        };
        self.outgoing
            .iter()
            .map(|stream| stream.wake_us(&self.settings))
            .fold(own, u64::min)
    }
}

/// What is asked of a replica between steps.
impl Replica {
    /// Whether it leads: phase 1 is done in its ballot.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Who leads, as heard; itself if it does.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.leader
    }

    /// All up to here is chosen and was given out to be applied.
    pub fn chosen(&self) -> Index {
        self.chosen
    }

    /// The entries behind `chosen` as far as `upto`, which would be given out next if they were chosen.
    pub fn unchosen(&self, upto: Index) -> impl Iterator<Item = &Entry> {
        let last = upto.min(self.log.last());
        (self.chosen.0 + 1..=last.0).filter_map(|index| {
            let (_, entry) = self.log.get(Index(index))?;
            Some(entry)
        })
    }

    /// The configuration in force after `chosen`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Nothing below was promised or accepted since.
    pub fn ballot(&self) -> Ballot {
        self.promised
    }

    /// Its own name.
    pub fn me(&self) -> ReplicaId {
        self.names.me
    }

    /// Its group.
    pub fn group(&self) -> GroupId {
        self.names.group
    }

    /// Its group's generation.
    pub fn generation(&self) -> Generation {
        self.names.generation
    }

    /// Bytes of the entries that it holds in memory.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    /// The entries that it holds are those above this index.
    pub fn trimmed(&self) -> Index {
        self.log.trimmed()
    }

    /// Takes a rule out (for simulations).
    #[cfg(feature = "mutations")]
    pub fn mutate(&mut self, mutation: Mutation) {
        self.mutations.add(mutation);
        if mutation == Mutation::NoGrantAfterRestart {
            self.grants = Grants::default();
        }
        if mutation == Mutation::ForgetLogTime {
            self.log_time = LogTime::default();
            self.line = LogTime::default();
            self.learned = LogTime::default();
        }
        if mutation == Mutation::ForgetPromise {
            self.promised = Ballot::default();
            self.round_seen = 0;
            self.upto = self.chosen;
            self.count_upto();
        }
    }
}

/// How a configuration became known as chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigNews {
    /// By the own count of acknowledgements.
    Counted,
    /// From the leader, who has waited for leases of former configurations; what is owed is owed to it.
    FromLeader,
    /// By catch-up, by a snapshot, or from disk.
    Learned,
}

/// Pieces that every role uses.
impl Replica {
    /// A number drawn from the seed (splitmix64).
    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `low..=high`. Where there is no choice nothing is drawn, so that a model check meets a state again.
    pub(crate) fn draw_between(&mut self, low: u64, high: u64) -> u64 {
        if low >= high {
            return low;
        }
        low + self.draw() % (high.saturating_sub(low) + 1)
    }

    /// Names the records of the step that is under way.
    pub(crate) fn next_token(&self) -> u64 {
        self.token + 1
    }

    /// Whether it votes in the configuration that it knows, and so may campaign (R8).
    pub(crate) fn may_campaign(&self) -> bool {
        self.is_voter(self.names.me) || self.mutations.has(Mutation::CampaignAsNonVoter)
    }

    /// Whether a replica votes in the configuration in force, by its full name (R5).
    pub(crate) fn is_voter(&self, id: ReplicaId) -> bool {
        self.config.voters.contains(&id)
    }

    pub(crate) fn is_sole_voter(&self) -> bool {
        self.config.voters == [self.names.me]
    }

    /// How many make a quorum.
    pub(crate) fn quorum(&self) -> usize {
        self.config.voters.len() / 2 + 1
    }

    /// Remembers log time that an entry carries which its leader stamped just now.
    pub(crate) fn observe_entry(&mut self, entry: &Entry) {
        if let Entry::Batch { log_ms, .. } = entry {
            self.see_log_ms(*log_ms);
        }
    }

    /// Remembers log time that came from who knows when.
    pub(crate) fn learn_log_ms(&mut self, log_ms: u64) {
        match &self.role {
            Role::Leader(_) => self.log_time.raise(log_ms, self.now_us),
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => {
                self.learned.raise(log_ms, self.now_us);
            }
        }
        self.note_shown(log_ms);
    }

    /// A leader's: what it shows under its first lease, before the next step, rests on its log time.
    fn note_first_lease(&mut self) {
        let is_first = matches!(&self.role, Role::Leader(leader) if !leader.has_own_time);
        if is_first && self.now_us < self.lease_until() {
            self.note_shown(self.log_time.now_ms(self.now_us));
        }
    }

    /// A leader's: this log time was shown, or may be before the next step.
    pub(crate) fn note_shown(&mut self, log_ms: u64) {
        let (clock, now_us) = (self.log_time, self.now_us);
        if let Role::Leader(leader) = &mut self.role {
            leader.has_own_time = true;
            leader.seen.observe(log_ms, clock.at_us(log_ms).min(now_us));
            leader.seen.of = clock.of;
        }
    }

    /// Remembers log time that the leader of the promised ballot said.
    pub(crate) fn see_log_ms(&mut self, log_ms: u64) {
        match &self.role {
            Role::Leader(_) => self.log_time.raise(log_ms, self.now_us),
            Role::Follower | Role::Asking(_) | Role::Candidate(_) => {
                let (settings, of, now_us) = (&self.settings, self.promised, self.now_us);
                self.log_time.observe_word(settings, of, log_ms, now_us);
                self.line.follow_word(settings, of, log_ms, now_us);
            }
        }
    }

    /// Counts anew how far the log was accepted under what is promised.
    pub(crate) fn count_upto(&mut self) {
        self.upto = self.upto.max(self.chosen);
        while self
            .log
            .get(self.upto.next())
            .is_some_and(|(ballot, _)| *ballot == self.promised && ballot.round > 0)
        {
            self.upto = self.upto.next();
        }
    }

    /// All up to `to`, which the log holds, is chosen: gives it out to be applied.
    pub(crate) fn advance_chosen(&mut self, to: Index, news: ConfigNews, out: &mut Output) {
        if self.is_installing() {
            // The state is about to be replaced by one that is further.
            return;
        }
        let mut crossed = false;
        while self.chosen < to {
            let index = self.chosen.next();
            let (_, entry) = self
                .log
                .get(index)
                .expect("what is chosen is in the log until it is applied");
            let entry = entry.clone();
            // Only now: nobody relies on what a leader stamps before that is chosen.
            if let Entry::Batch { log_ms, .. } = &entry {
                self.learn_log_ms(*log_ms);
            }
            self.chosen = index;
            if let Entry::Config(config) = &entry {
                self.config = config.clone();
                self.config_index = index;
                self.note_vote();
                crossed = true;
            }
            out.apply.push((index, entry));
        }
        self.upto = self.upto.max(self.chosen);
        if crossed {
            self.on_config(news, out);
        }
        self.trim(out);
    }

    /// Tells the owner which role this is now.
    pub(crate) fn tell_follower(&self, out: &mut Output) {
        out.role = Some(RoleChange::Follower {
            leader: self.leader,
        });
    }
}
