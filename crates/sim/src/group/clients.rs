//! Clients: each asks one thing at a time, of any node. A node that does not lead passes a request on.

use super::judge::Shown;
use super::node::HeldAnswer;
use super::operations::{Asked, OperationId, Progress};
use super::world::{Event, Phase, World};
use crate::faults::Fault;
use crate::history::{Action, Answer};
use bytes::Bytes;
use paxos::Input;

/// How often a request is passed on from node to node.
const PASSED_ON_MAX: u32 = 3;
/// Requests that wait at a node until it may propose.
const QUEUE_MAX: usize = 64;

impl World {
    pub(super) fn on_client_wakes(&mut self, client: usize) {
        if matches!(self.phase, Phase::Settling | Phase::Done) {
            return;
        }
        let key = self.random.below(self.plan.keys as u64) as usize;
        let action = self.draw_action(key);
        let (floor_index, floor_log_ms) = self.judge.floors();
        let id = self.operations.add(Asked {
            client,
            key,
            action,
            call_us: self.now_us,
            floor_index,
            floor_log_ms,
            progress: Progress::Waiting,
        });
        self.waits_for[client] = Some(id);
        let node = self.draw_node();
        if self.trace.is_some() {
            let action = self.operations.get(id).action.clone();
            self.note(|| {
                format!("client {client} asks n{node}: operation {id} on key {key}: {action:?}")
            });
        }
        self.after(self.plan.patience_us, Event::ClientGivesUp(id));
        if self.random.chance(self.plan.client_loss_ppm) && self.phase == Phase::Trouble {
            self.tally.count(Fault::ClientLoss);
            return;
        }
        let delay_us = self.random.between(10, 200);
        self.after(delay_us, Event::Request(node, id, 0));
    }

    /// The kind of a key is given by its number, so that sums meet numbers.
    fn draw_action(&mut self, key: usize) -> Action {
        if self.random.chance(450_000) {
            return Action::Read;
        }
        let value = Bytes::from(self.operations.len().to_string());
        match (key % 3, self.random.below(10)) {
            (1, _) => Action::Increment(1),
            (2, 0) => Action::Delete,
            (2, 1..=4) => Action::Append(Bytes::from_static(b"x")),
            (_, 5..=6) => Action::Delete,
            (_, 7..=8) => Action::CompareAndSet {
                expected: None,
                value,
            },
            _ => Action::Write(value),
        }
    }

    /// Where a client turns to: anywhere, but more often where there is something to see.
    fn draw_node(&mut self) -> usize {
        if let Some((node, until_us)) = self.focus
            && self.now_us < until_us
            && self.random.chance(450_000)
        {
            return node;
        }
        let leaders: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| {
                let process = &self.nodes[node].process;
                process
                    .as_ref()
                    .is_some_and(|process| process.leads.is_some())
            })
            .collect();
        if !leaders.is_empty() && self.random.chance(600_000) {
            return *self.random.pick(&leaders);
        }
        self.random.below(self.nodes.len() as u64) as usize
    }

    pub(super) fn on_request(&mut self, number: usize, id: OperationId, passed_on: u32) {
        let clock_us = self.nodes[number].clock.at(self.now_us);
        if self.nodes[number].process.is_none() {
            self.reply(id, None);
            return;
        }
        let is_read = self.operations.get(id).action.is_read();
        let key = self.operations.get(id).key;
        let by_quorum = self.random.chance(self.plan.quorum_reads_ppm);
        let process = self.process(number);
        if !process.replica.is_leader() {
            self.pass_on(number, id, passed_on);
            return;
        }
        if !is_read {
            if process.queue.len() == QUEUE_MAX {
                self.reply(id, None);
                return;
            }
            process.queue.push_back(id);
            self.step(number, Input::Tick);
            return;
        }
        let log_ms = process.replica.log_ms(clock_us).max(process.machine.log_ms);
        let ballot = process.leads.expect("a leader was told that it leads");
        if !by_quorum && clock_us < process.replica.lease_until() {
            let held = HeldAnswer {
                token: 0,
                id,
                answer: process.machine.read(key),
                shown: Shown::LeaseRead,
                ballot,
                index: process.machine.applied,
                log_ms,
            };
            self.show(number, held);
            return;
        }
        process.ticket_last += 1;
        let ticket = process.ticket_last;
        process.reads.insert(ticket, id);
        self.step(number, Input::Read(ticket));
    }

    fn pass_on(&mut self, number: usize, id: OperationId, passed_on: u32) {
        let leader = self.process(number).replica.leader();
        let to = leader
            .map(|id| id.node.0 as usize)
            .filter(|&to| to != number);
        let Some(to) = to.filter(|_| passed_on < PASSED_ON_MAX) else {
            self.reply(id, None);
            return;
        };
        // A request passed on is sent once, so a second delivery is left out.
        if let [Some(delay_us), _] = self.network.send(number, to, &mut self.tally) {
            self.after(delay_us, Event::Request(to, id, passed_on + 1));
        }
    }

    /// Sends an answer, or none for a request that took no effect and will take none.
    pub(super) fn reply(&mut self, id: OperationId, answer: Option<Answer>) {
        if answer.is_none() && self.operations.get(id).progress == Progress::Waiting {
            // Known at once to the judge, whatever the client learns.
            self.operations.get_mut(id).progress = Progress::Refused;
        }
        if self.random.chance(self.plan.client_loss_ppm) && self.phase == Phase::Trouble {
            self.tally.count(Fault::ClientLoss);
            return;
        }
        let delay_us = self.random.between(10, 200);
        self.after(delay_us, Event::Reply(id, answer));
    }

    pub(super) fn on_reply(&mut self, id: OperationId, answer: Option<Answer>) {
        let now_us = self.now_us;
        let asked = self.operations.get_mut(id);
        if let (Progress::Waiting, Some(answer)) = (&asked.progress, answer) {
            asked.progress = Progress::Answered(now_us, answer);
            if self.phase == Phase::Healing && asked.call_us > self.healed_us {
                self.wrote_since_healing |= !asked.action.is_read();
            }
        }
        self.client_goes_on(id);
    }

    pub(super) fn on_client_gives_up(&mut self, id: OperationId) {
        let asked = self.operations.get_mut(id);
        if asked.progress == Progress::Waiting {
            asked.progress = Progress::Unknown;
        }
        self.client_goes_on(id);
    }

    /// If the client still waits for this one, it rests and then asks something else.
    fn client_goes_on(&mut self, id: OperationId) {
        let client = self.operations.get(id).client;
        if self.waits_for[client] == Some(id) {
            self.waits_for[client] = None;
            let rest_us = self.random.below(self.plan.rest_us_max + 1);
            self.after(rest_us, Event::ClientWakes(client));
        }
    }
}
