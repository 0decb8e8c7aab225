//! Steps a replica and does what it asks for, in the order that its door demands: send first, persist, send, apply, serve.

use super::judge::Shown;
use super::node::{HeldAnswer, Trap, Written};
use super::operations::{Machine, OperationId, operations_of, payload_of};
use super::plan::Losses;
use super::trace;
use super::world::{Event, World};
use crate::faults::Fault;
use bytes::Bytes;
use paxos::{Entry, Index, Input, Kind, Message, Output, Record, RoleChange, SnapshotStep};
use std::collections::VecDeque;

/// Operations of one proposal.
const BATCH_OPERATIONS_MAX: usize = 8;
/// Steps of a node at one instant; more never end.
const STEPS_AT_ONCE_MAX: u64 = 10_000;
/// Bytes of an entry that go into the rolling hash; whole entries are compared anyway.
const HASHED_BYTES_MAX: usize = 48;

impl World {
    /// Steps a node, which is up, and all that follows from it at once.
    pub(super) fn step(&mut self, number: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut steps = 0;
        while let Some(input) = inputs.pop_front() {
            steps += 1;
            if steps > STEPS_AT_ONCE_MAX {
                self.judge.accuse(format!(
                    "node {number} asks for more and more at one instant"
                ));
                return;
            }
            self.step_once(number, input, &mut inputs);
            if self.nodes[number].process.is_none() || self.judge.violation.is_some() {
                return;
            }
            if inputs.is_empty() {
                inputs.extend(self.next_proposal(number));
            }
        }
        self.show_answers(number);
        self.plan_tick(number);
    }

    fn step_once(&mut self, number: usize, input: Input, inputs: &mut VecDeque<Input>) {
        let now_us = self.nodes[number].clock.at(self.now_us);
        let process = self.process(number);
        let proposes = matches!(input, Input::Propose { .. });
        process.replica.step(now_us, input, &mut process.out);
        let mut out = std::mem::take(&mut process.out);
        if let Some(why) = out.refused.take() {
            self.note(|| format!("  n{number} refuses: {why}"));
            if proposes {
                self.refuse_proposed(number);
            }
        }
        for message in out.send_first.drain(..) {
            self.transmit(message);
        }
        if !self.persist_and_send(number, &mut out) {
            return;
        }
        self.apply(number, &mut out);
        self.answer_reads(number, &mut out);
        if let Some(role) = out.role.take() {
            self.on_role(number, role);
        }
        for step in out.snapshot.drain(..) {
            self.on_snapshot_step(number, step, inputs);
        }
        out.config = None;
        // The emptied output is used again, for its room.
        self.process(number).out = out;
    }

    /// False if the node died of it.
    fn persist_and_send(&mut self, number: usize, out: &mut Output) -> bool {
        let trap = self.nodes[number].trap;
        let wrote = !out.persist.is_empty();
        let token = out.token;
        for record in out.persist.drain(..) {
            if let Record::Base(base) = &record {
                let state = self.process(number).machine.clone();
                let written = Written::State(base.clone(), state);
                self.nodes[number].disk.write(token, written);
            }
            self.nodes[number]
                .disk
                .write(token, Written::Record(record));
        }
        if wrote {
            let (low, high) = self.plan.disk_us;
            let done_us = self.now_us + self.random.between(low, high);
            let process = self.process(number);
            process.disk_due_us = process.disk_due_us.max(done_us);
            let wait_us = process.disk_due_us - self.now_us;
            let life = self.nodes[number].life;
            self.after(wait_us, Event::DiskDone(number, life, token));
        }
        let must_die = trap == Some(Trap::BeforeSend)
            && if self.nodes[number].durable {
                wrote
            } else {
                !out.send.is_empty()
            };
        if must_die && self.may_lose(number) {
            self.nodes[number].trap = None;
            self.tally.count(Fault::CrashBeforeSend);
            if self.random.chance(500_000) {
                self.nodes[number].disk.sync(token);
            }
            self.crash_and_return(number);
            return false;
        }
        let acknowledges = |message: &Message| {
            matches!(message.kind, Kind::Promise { .. } | Kind::Accepted { .. })
        };
        let dies_after = trap == Some(Trap::AfterAck) && out.send.iter().any(acknowledges);
        if !out.send.is_empty() {
            if self.nodes[number].durable && token > self.nodes[number].disk.durable() {
                let messages = std::mem::take(&mut out.send);
                self.process(number).held.push_back((token, messages));
            } else {
                for message in out.send.drain(..) {
                    self.transmit(message);
                }
            }
        }
        if dies_after && self.may_forget(number) {
            self.nodes[number].trap = None;
            self.tally.count(Fault::AmnesiaAfterAck);
            self.forget(number);
            return false;
        }
        true
    }

    pub(super) fn on_disk_done(&mut self, number: usize, token: u64) {
        self.nodes[number].disk.sync(token);
        loop {
            let process = self.process(number);
            match process.held.front() {
                Some((held, _)) if *held <= token => {}
                _ => break,
            }
            let (_, messages) = process.held.pop_front().expect("there is a front");
            for message in messages {
                self.transmit(message);
            }
        }
        self.step(number, Input::Persisted(token));
    }

    fn apply(&mut self, number: usize, out: &mut Output) {
        let token = out.token;
        for (index, entry) in out.apply.drain(..) {
            self.note(|| format!("  n{number} applies {} {}", index.0, trace::entry(&entry)));
            self.apply_one(number, token, index, &entry);
        }
    }

    fn apply_one(&mut self, number: usize, token: u64, index: Index, entry: &Entry) {
        let process = self.nodes[number].process.as_mut().expect("it is up");
        self.judge.on_apply(number, &process.machine, index, entry);
        let leads = process
            .replica
            .is_leader()
            .then_some(process.leads)
            .flatten();
        let machine = &mut process.machine;
        if let Entry::Batch { log_ms, payload } = entry {
            // A value of an old ballot may have been adopted behind one of a newer: the entry's own log time may be the
            // lower. What counts is the highest so far.
            machine.log_ms = machine.log_ms.max(*log_ms);
            machine.mix(index.0, &payload[..payload.len().min(HASHED_BYTES_MAX)]);
            for id in operations_of(payload) {
                self.judge.on_placed(&self.operations, id, index.0);
                let asked = self.operations.get(id);
                let answer = machine.run(asked.key, &asked.action);
                if process.proposed.remove(&id)
                    && let Some(ballot) = leads
                {
                    process.answers.push(HeldAnswer {
                        token,
                        id,
                        answer,
                        shown: Shown::Write,
                        ballot,
                        index: index.0,
                        log_ms: machine.log_ms,
                    });
                }
            }
        } else {
            machine.mix(index.0, b"no operations");
        }
        machine.applied = index.0;
        self.judge.on_applied(number, &process.machine);
    }

    fn answer_reads(&mut self, number: usize, out: &mut Output) {
        let process = self.nodes[number].process.as_mut().expect("it is up");
        for ticket in out.serve.drain(..) {
            let Some(id) = process.reads.remove(&ticket) else {
                self.judge.accuse(format!(
                    "node {number} served a read that nobody asked: {ticket}"
                ));
                return;
            };
            let Some(ballot) = process.leads else {
                self.judge
                    .accuse(format!("node {number} served a read without leading"));
                return;
            };
            let answer = process.machine.read(self.operations.get(id).key);
            process.answers.push(HeldAnswer {
                token: out.token,
                id,
                answer,
                shown: Shown::QuorumRead,
                ballot,
                index: process.machine.applied,
                log_ms: out.serve_log_ms.max(process.machine.log_ms),
            });
        }
        let denied: Vec<OperationId> = out
            .deny
            .drain(..)
            .filter_map(|ticket| process.reads.remove(&ticket))
            .collect();
        for id in denied {
            self.reply(id, None);
        }
    }

    fn on_role(&mut self, number: usize, role: RoleChange) {
        self.note(|| format!("  n{number} becomes {}", trace::role(&role)));
        let life = self.nodes[number].life;
        self.judge.campaigns += u64::from(role == RoleChange::Candidate);
        let process = self.process(number);
        match role {
            RoleChange::Leader { ballot, .. } => {
                if process.leads != Some(ballot) {
                    process.proposed.clear();
                    process.answers.clear();
                    process.leads = Some(ballot);
                    self.judge.on_leader(number, life, ballot);
                }
            }
            RoleChange::Follower { .. } | RoleChange::Candidate => {
                process.leads = None;
                process.proposed.clear();
                process.answers.clear();
                // What was never proposed took no effect and will take none.
                for id in std::mem::take(&mut process.queue) {
                    self.reply(id, None);
                }
            }
        }
    }

    /// The next thing to propose, if that is possible now.
    fn next_proposal(&mut self, number: usize) -> Option<Input> {
        let now_us = self.nodes[number].clock.at(self.now_us);
        let padding_bytes = self.plan.padding_bytes;
        let process = self.process(number);
        if process.queue.is_empty() || !process.replica.can_propose() {
            return None;
        }
        let count = process.queue.len().min(BATCH_OPERATIONS_MAX);
        let ids: Vec<OperationId> = process.queue.drain(..count).collect();
        process.proposed.extend(&ids);
        let log_ms = process
            .replica
            .log_ms(now_us)
            .max(process.machine.log_ms)
            .max(process.proposed_log_ms);
        process.proposed_log_ms = log_ms;
        let payload = payload_of(&ids, padding_bytes);
        self.note(|| format!("  n{number} proposes operations {ids:?} at {log_ms} ms"));
        Some(Input::Propose { log_ms, payload })
    }

    /// The last proposal was refused although it was possible: a fault of the replica's door.
    fn refuse_proposed(&mut self, number: usize) {
        self.judge.accuse(format!(
            "node {number} refused a proposal right after it said that it can propose"
        ));
    }

    /// When the first held answer may be shown, true time, us, if it waits for the clock.
    pub(super) fn earliest_answer_us(&mut self, number: usize) -> Option<u64> {
        let clock = self.nodes[number].clock;
        let process = self.process(number);
        if process.answers.is_empty() {
            return None;
        }
        let at_us = clock.true_us(process.replica.visible_us());
        (at_us > self.now_us).then_some(at_us)
    }

    /// Shows what may be shown now.
    fn show_answers(&mut self, number: usize) {
        let clock_us = self.nodes[number].clock.at(self.now_us);
        let durable = self.nodes[number].durable;
        let synced = self.nodes[number].disk.durable();
        let process = self.process(number);
        if process.answers.is_empty()
            || !process.replica.is_leader()
            || clock_us < process.replica.visible_us()
        {
            return;
        }
        let mut shown = Vec::new();
        process.answers.retain(|held| {
            let is_ready = !durable || held.token <= synced;
            if is_ready {
                shown.push(held.clone());
            }
            !is_ready
        });
        for held in shown {
            self.show(number, held);
        }
    }

    /// An answer leaves for its client.
    pub(super) fn show(&mut self, number: usize, held: HeldAnswer) {
        self.note(|| {
            let HeldAnswer {
                id,
                answer,
                shown,
                index,
                ..
            } = &held;
            format!("  n{number} shows operation {id}: {answer:?} ({shown:?} at {index})")
        });
        self.judge.on_log_time(number, held.log_ms, self.now_us);
        let asked = self.operations.get(held.id);
        let times_us = (asked.call_us, self.now_us);
        // Who restarts with a disk remembers no leader, only how late log time may have been shown.
        let is_grant = held.shown == Shown::Write && !self.nodes.iter().any(|node| node.durable);
        self.judge
            .on_reckoned(number, times_us, held.log_ms, is_grant);
        self.judge.on_shown(
            &self.operations,
            held.id,
            (held.shown, held.ballot),
            (held.index, held.log_ms),
            number,
        );
        self.look_for_other_leases(number, held.ballot);
        self.reply(held.id, Some(held.answer));
    }

    /// Nobody may hold a lease of an earlier ballot when this one shows something.
    fn look_for_other_leases(&mut self, number: usize, ballot: paxos::Ballot) {
        for other in 0..self.nodes.len() {
            let clock_us = self.nodes[other].clock.at(self.now_us);
            let Some(process) = &self.nodes[other].process else {
                continue;
            };
            let holds = other != number
                && process.leads.is_some_and(|leads| leads < ballot)
                && process.replica.is_leader()
                && clock_us < process.replica.lease_until();
            if holds {
                let what = format!(
                    "two leases: node {number} shows something under {ballot:?} while node {other} holds a lease under {:?}",
                    process.leads
                );
                self.judge.accuse(what);
            }
        }
    }

    fn on_snapshot_step(
        &mut self,
        number: usize,
        step: SnapshotStep,
        inputs: &mut VecDeque<Input>,
    ) {
        self.note(|| format!("  n{number} {}", trace::snapshot(&step)));
        match step {
            SnapshotStep::Begin { stream, .. } => {
                self.tally.count(Fault::SnapshotStream);
                let process = self.process(number);
                let bytes = process.machine.encode();
                process.streams.insert(stream, (bytes, 0));
            }
            SnapshotStep::More { stream } => {
                let delay_us = self.random.below(500);
                let life = self.nodes[number].life;
                self.after(delay_us, Event::MakeChunk(number, life, stream));
            }
            SnapshotStep::Drop { stream } => {
                self.process(number).streams.remove(&stream);
            }
            SnapshotStep::Chunk {
                stream,
                sequence,
                bytes,
            } => {
                let staging = &mut self.process(number).staging;
                if sequence == 0 {
                    *staging = Some((stream, Vec::new()));
                }
                match staging {
                    Some((staged, all)) if *staged == stream => all.extend_from_slice(&bytes),
                    _ => self.judge.accuse(format!(
                        "node {number} got part {sequence} of a snapshot that it does not receive"
                    )),
                }
            }
            SnapshotStep::Install { stream, base } => {
                let staged = self.process(number).staging.take();
                let machine = staged
                    .filter(|(staged, _)| *staged == stream)
                    .and_then(|(_, bytes)| Machine::decode(&bytes));
                let Some(machine) = machine.filter(|machine| machine.applied == base.index.0)
                else {
                    self.judge.accuse(format!(
                        "node {number}: the parts of a snapshot at {} make no state of that index",
                        base.index.0
                    ));
                    return;
                };
                self.tally.count(Fault::SnapshotInstalled);
                let before = self.process(number).machine.applied;
                self.judge.on_installed(number, before, &machine);
                let base = paxos::SnapshotBase {
                    log_ms: machine.log_ms,
                    ..base
                };
                self.process(number).machine = machine;
                inputs.push_back(Input::SnapshotInstalled { stream, base });
            }
        }
    }

    pub(super) fn on_make_chunk(&mut self, number: usize, stream: u64) {
        let fails = self.phase == super::world::Phase::Trouble
            && self.random.chance(self.plan.snapshot_fails_ppm);
        let chunk_bytes = self.plan.chunk_bytes;
        let process = self.process(number);
        let Some((bytes, sent)) = process.streams.get_mut(&stream) else {
            return;
        };
        if fails {
            process.streams.remove(&stream);
            self.tally.count(Fault::SnapshotFailed);
            self.step(number, Input::SnapshotFailed { stream });
            return;
        }
        let end = (*sent + chunk_bytes).min(bytes.len());
        let part = Bytes::copy_from_slice(&bytes[*sent..end]);
        *sent = end;
        let last = end == bytes.len();
        let input = Input::SnapshotChunk {
            stream,
            bytes: part,
            last,
        };
        self.step(number, input);
    }

    /// A checkpoint of a durable node: its state goes to disk, then the log below may go.
    pub(super) fn checkpoint(&mut self, number: usize) {
        if !self.nodes[number].durable || !self.nodes[number].is_awake() {
            return;
        }
        let token = self.process(number).out.token;
        let process = self.process(number);
        let state = process.machine.clone();
        let base = paxos::SnapshotBase {
            index: Index(state.applied),
            config: process.replica.config().clone(),
            log_ms: state.log_ms,
        };
        // Only what the log on disk reaches may be dropped from it.
        if self.nodes[number].disk.durable() < token {
            return;
        }
        self.nodes[number]
            .disk
            .write(token, Written::State(base.clone(), state));
        self.step(number, Input::Checkpointed(base.index));
    }

    /// Whether a node may die as it is: with a disk it remembers.
    pub(super) fn may_lose(&self, number: usize) -> bool {
        self.nodes[number].durable || self.may_forget(number)
    }

    /// Whether a node may lose its memory.
    pub(super) fn may_forget(&self, number: usize) -> bool {
        self.plan.losses == Losses::Reckless || self.group_can_live(Some(number))
    }
}
