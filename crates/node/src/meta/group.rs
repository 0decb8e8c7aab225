//! The meta group on one node: its replica, the state, and the requests that wait for an answer.
//!
//! A request goes to whoever leads. Everybody applies the log, so whoever asked learns the answer from its own copy; a
//! request that got lost is asked again, and applied once by its id. Nothing here sends: what is to be done is left in
//! a [`MetaTurn`], which the node performs with the lock free.

use super::command::{MetaAnswer, MetaCommand, MetaRequest, RequestId};
use super::message::MetaMessage;
use super::presence::Presence;
use super::reconcile::Reconciler;
use super::scripts::StoreFacts;
use super::state::MetaState;
use crate::host::Now;
use crate::view::ClusterView;
use bytes::Bytes;
use paxos::{
    Entry, GroupId, Index, Input, NodeId, Output, Replica, ReplicaId, RoleChange, SnapshotBase,
    SnapshotStep,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The meta group among all groups.
pub const META_GROUP: GroupId = GroupId(0);

/// Requests that wait on one node, its own and those that others asked it to propose.
const WAITING_MAX: usize = 256;
/// After so long without an answer a request is asked again, us.
const ASK_AGAIN_US: u64 = 300_000;
/// After so long without an answer whoever asked is told so, us.
const PATIENCE_US: u64 = 10_000_000;
/// Between two looks at whether the members are those wanted, us.
const RECONCILE_US: u64 = 100_000;
/// Between two questions for what is chosen, while a leader is heard that this node does not know, us.
const FETCH_US: u64 = 200_000;
/// Bytes of a snapshot that is received.
const SNAPSHOT_BYTES_MAX: usize = 16 << 20;
/// The request by which a cluster is founded.
const FOUNDING: RequestId = RequestId(0);

/// Nobody answered in time: it may still come to pass, or may have already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster could not agree on it in time, as no majority answers")]
pub struct NoAnswer;

/// Who is told what came of a request.
pub type Completion = Box<dyn FnOnce(Result<MetaAnswer, NoAnswer>) + Send>;

/// What a call leaves to be done.
#[derive(Default)]
pub(crate) struct MetaTurn {
    /// Of the replica: what to send and to make durable. The rest of it is done.
    pub out: Output,
    /// For other nodes.
    pub messages: Vec<(NodeId, MetaMessage)>,
    /// Answers, for those who wait.
    pub done: Vec<(Completion, Result<MetaAnswer, NoAnswer>)>,
    /// The view, if it is another now.
    pub view: Option<Arc<ClusterView>>,
    /// A snapshot that replaced the state, and its base: on the disk before the record of the base is.
    pub installed: Option<(Vec<u8>, SnapshotBase)>,
    /// What the scripts that all nodes know have come to, if they changed.
    pub scripts: Option<StoreFacts>,
    /// Who leads now, if that changed.
    pub leader: Option<Option<NodeId>>,
}

/// The meta group's replica and state. Behind the node's lock for it.
pub(crate) struct MetaGroup {
    replica: Replica,
    state: MetaState,
    applied: Index,
    /// Log time of the last entry, ms.
    log_ms: u64,
    /// What to found the cluster with as soon as this node leads and there is none.
    founding: Option<MetaCommand>,
    waiting: BTreeMap<RequestId, Waiting>,
    /// Snapshots that are sent, each in one chunk.
    streams: BTreeMap<u64, Bytes>,
    /// A snapshot that is received: which, and what has come of it.
    staged: Option<(u64, Vec<u8>)>,
    /// Whether another node waits for what was applied here just now.
    announces: bool,
    reconciler: Reconciler,
    reconciled_us: u64,
    fetched_us: u64,
    view: Arc<ClusterView>,
    pub presence: Presence,
}

/// A request without an answer.
struct Waiting {
    request: MetaRequest,
    done: Option<Completion>,
    /// When it was proposed here or sent to the leader last, us; none: not since the leader changed.
    asked_us: Option<u64>,
    since_us: u64,
}

impl fmt::Debug for MetaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaGroup")
            .field("applied", &self.applied)
            .field("epoch", &self.state.epoch)
            .finish_non_exhaustive()
    }
}

/// For whoever asks.
impl MetaGroup {
    /// `state` is that after all that the replica has applied; for a joining node the state that it was welcomed with,
    /// until its own copy of the log has caught up.
    pub fn new(replica: Replica, state: MetaState, founding: Option<MetaCommand>) -> Self {
        MetaGroup {
            view: Arc::new(ClusterView::of(&state)),
            applied: replica.chosen(),
            replica,
            state,
            log_ms: 0,
            founding,
            waiting: BTreeMap::new(),
            streams: BTreeMap::new(),
            staged: None,
            announces: false,
            reconciler: Reconciler::default(),
            reconciled_us: 0,
            fetched_us: 0,
            presence: Presence::default(),
        }
    }

    /// The cluster as this node knows it.
    pub fn view(&self) -> &Arc<ClusterView> {
        &self.view
    }

    /// The state, as applied here.
    pub fn state(&self) -> &MetaState {
        &self.state
    }

    /// Index of the last entry that was applied.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Has a command agreed on. `done` is told what came of it; a request that is known already is not made twice.
    pub fn submit(
        &mut self,
        request: MetaRequest,
        done: Option<Completion>,
        now: Now,
        turn: &mut MetaTurn,
    ) {
        if let Some(answer) = self.state.answer_of(request.id) {
            turn.done
                .extend(done.map(|done| (done, Ok(answer.clone()))));
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&request.id) {
            waiting.done = done.or(waiting.done.take());
        } else if self.waiting.len() >= WAITING_MAX {
            let reason = "too many changes of the cluster are under way".to_owned();
            let answer = MetaAnswer::Refused { reason };
            turn.done.extend(done.map(|done| (done, Ok(answer))));
            return;
        } else {
            let waiting = Waiting {
                request: request.clone(),
                done,
                asked_us: None,
                since_us: now.monotonic_us,
            };
            self.waiting.insert(request.id, waiting);
        }
        self.pump(now, turn);
    }

    /// Another node says this.
    pub fn on_message(
        &mut self,
        from: NodeId,
        message: MetaMessage,
        now: Now,
        turn: &mut MetaTurn,
    ) {
        match message {
            MetaMessage::Ask(request) => {
                if let Some(reason) = self.refusal(&request, now.monotonic_us) {
                    let id = request.id;
                    turn.messages
                        .push((from, MetaMessage::Refused { id, reason }));
                    return;
                }
                // Not the leader, after all: whoever asked will ask somebody else.
                if self.replica.is_leader() {
                    self.submit(request, None, now, turn);
                }
            }
            MetaMessage::Report(_) | MetaMessage::Stranded(_) | MetaMessage::Here(_) => {
                unreachable!("taken by the node")
            }
            MetaMessage::Refused { id, reason } => {
                if let Some(waiting) = self.waiting.remove(&id) {
                    let answer = MetaAnswer::Refused { reason };
                    turn.done
                        .extend(waiting.done.map(|done| (done, Ok(answer))));
                }
            }
        }
    }

    /// Why the leader does not propose a request: the node that wants to join is there already, alive.
    fn refusal(&self, request: &MetaRequest, now_us: u64) -> Option<String> {
        let MetaCommand::Join {
            name, addresses, ..
        } = &request.command
        else {
            return None;
        };
        if !self.replica.is_leader() || self.state.answer_of(request.id).is_some() {
            return None;
        }
        let id = NodeId(self.state.node_of(name, addresses)?);
        let is_alive =
            id == self.replica.me().node || self.presence.alive_since(id, now_us).is_some();
        let known = &self.state.nodes[&id.0];
        let what = match known.name == *name {
            true => "this id",
            false => "this address",
        };
        is_alive.then(|| {
            format!(
                "a node with {what} is in the cluster and alive: node {} at {}:{}",
                id.0, known.addresses.host, known.addresses.ports[0]
            )
        })
    }
}

/// For the node.
impl MetaGroup {
    /// Lets the replica take something in.
    pub fn step(&mut self, input: Input, now: Now, turn: &mut MetaTurn) {
        self.replica.step(now.monotonic_us, input, &mut turn.out);
        self.settle(now, turn);
        self.pump(now, turn);
    }

    /// Time went by.
    pub fn tick(&mut self, now: Now, turn: &mut MetaTurn) {
        let now_us = now.monotonic_us;
        if now_us >= self.replica.next_wake_us() {
            self.step(Input::Tick, now, turn);
        }
        if self.replica.is_leader() && now_us >= self.reconciled_us + RECONCILE_US {
            self.reconciled_us = now_us;
            let alive_since = |node| self.presence.alive_since(node, now_us);
            let next = self.reconciler.next(
                &self.view,
                &self.replica,
                &alive_since,
                &|_| true,
                &|_| false,
                now_us,
            );
            if let Some(input) = next {
                self.step(input, now, turn);
            }
        }
        self.fetch_from_known(now_us, turn);
        self.pump(now, turn);
        let late = |waiting: &Waiting| now_us >= waiting.since_us + PATIENCE_US;
        for (_, waiting) in self.waiting.extract_if(.., |_, waiting| late(waiting)) {
            turn.done
                .extend(waiting.done.map(|done| (done, Err(NoAnswer))));
        }
    }

    /// A leader that this node does not know gets no answer from it, and so feeds it nothing: one that joined while this
    /// node was away, and leads by now. What is chosen is fetched from others, who have heard of it.
    fn fetch_from_known(&mut self, now_us: u64, turn: &mut MetaTurn) {
        let me = self.replica.me();
        let Some(leader) = self.replica.leader().filter(|leader| *leader != me) else {
            return;
        };
        let is_known = self.view.reachable().any(|node| node.replica() == leader);
        if is_known || now_us < self.fetched_us + FETCH_US {
            return;
        }
        self.fetched_us = now_us;
        // Who began another life meanwhile hears to its name in that one alone.
        let ids = self.view.reachable().map(|node| node.id);
        let others: Vec<ReplicaId> = ids
            .filter(|id| *id != me.node)
            .filter_map(|id| self.presence.life_of(id, now_us))
            .collect();
        // Another one each time, since one may know no more.
        let nth = (now_us / FETCH_US) as usize % others.len().max(1);
        if let Some(&whom) = others.get(nth) {
            turn.out
                .send_first
                .push(self.replica.catch_up_request(whom));
        }
    }

    /// Proposes what waits, or asks the leader to.
    fn pump(&mut self, now: Now, turn: &mut MetaTurn) {
        if !self.replica.is_leader() {
            return self.ask(now.monotonic_us, turn);
        }
        if !self.state.is_founded()
            && self.replica.can_propose()
            && let Some(command) = self.founding.take()
        {
            let id = FOUNDING;
            self.propose(&MetaRequest { id, command }, now, turn);
        }
        while self.replica.can_propose() {
            let next = self
                .waiting
                .values_mut()
                .find(|waiting| waiting.asked_us.is_none());
            let Some(waiting) = next else {
                return;
            };
            waiting.asked_us = Some(now.monotonic_us);
            let request = waiting.request.clone();
            match self.refusal(&request, now.monotonic_us) {
                Some(reason) => {
                    let waiting = self.waiting.remove(&request.id).expect("found just now");
                    let answer = MetaAnswer::Refused { reason };
                    turn.done
                        .extend(waiting.done.map(|done| (done, Ok(answer))));
                }
                None => self.propose(&request, now, turn),
            }
        }
    }

    fn propose(&mut self, request: &MetaRequest, now: Now, turn: &mut MetaTurn) {
        self.log_ms = self.log_ms.max(self.replica.log_ms(now.monotonic_us));
        let proposal = Input::Propose {
            log_ms: self.log_ms,
            payload: request.encode().into(),
        };
        self.replica.step(now.monotonic_us, proposal, &mut turn.out);
        assert!(turn.out.refused.is_none(), "proposed while it could");
        self.settle(now, turn);
    }

    /// Sends what was not sent yet, or long ago, to whoever leads.
    fn ask(&mut self, now_us: u64, turn: &mut MetaTurn) {
        let Some(leader) = self.replica.leader() else {
            return;
        };
        for waiting in self.waiting.values_mut() {
            // What others asked for is theirs to ask again.
            let is_own = waiting.done.is_some();
            let is_due = waiting
                .asked_us
                .is_none_or(|at| now_us >= at + ASK_AGAIN_US);
            if is_own && is_due {
                waiting.asked_us = Some(now_us);
                let ask = MetaMessage::Ask(waiting.request.clone());
                turn.messages.push((leader.node, ask));
            }
        }
    }

    /// Does what came out of the replica, but for what is to be sent and made durable.
    fn settle(&mut self, now: Now, turn: &mut MetaTurn) {
        let epoch = self.state.epoch;
        let scripts = self.state.scripts.facts();
        loop {
            for (index, entry) in std::mem::take(&mut turn.out.apply) {
                self.apply(index, entry, turn);
            }
            turn.out.config = None;
            turn.out.refused = None;
            if let Some(role) = turn.out.role.take() {
                self.on_role(role, turn);
            }
            let steps = std::mem::take(&mut turn.out.snapshot);
            if steps.is_empty() {
                if !std::mem::take(&mut self.announces) || !self.replica.is_leader() {
                    break;
                }
                self.replica
                    .step(now.monotonic_us, Input::Announce, &mut turn.out);
            }
            for step in steps {
                self.on_snapshot(step, now, turn);
            }
        }
        if self.state.epoch != epoch {
            self.view = Arc::new(ClusterView::of(&self.state));
            turn.view = Some(self.view.clone());
        }
        if self.state.scripts.facts() != scripts {
            turn.scripts = Some(self.state.scripts.facts());
        }
    }

    fn apply(&mut self, index: Index, entry: Entry, turn: &mut MetaTurn) {
        assert_eq!(index.0, self.applied.0 + 1, "entries are applied in order");
        if self.applied.0 == 0 {
            // What a joining node was welcomed with is not the state of its own log, which begins here.
            self.state = MetaState::default();
        }
        self.applied = index;
        let Entry::Batch { log_ms, payload } = entry else {
            return;
        };
        self.log_ms = self.log_ms.max(log_ms);
        let request = MetaRequest::decode(&payload)
            .expect("what was chosen is a command that this build knows");
        let answer = self.state.apply(&request);
        if let Some(waiting) = self.waiting.remove(&request.id) {
            self.announces |= waiting.done.is_none();
            turn.done
                .extend(waiting.done.map(|done| (done, Ok(answer))));
        }
    }

    fn on_role(&mut self, role: RoleChange, turn: &mut MetaTurn) {
        let leader = match role {
            RoleChange::Leader { log_ms, .. } => {
                self.log_ms = self.log_ms.max(log_ms);
                Some(self.replica.me().node)
            }
            RoleChange::Follower { leader } => leader.map(|leader| leader.node),
            RoleChange::Candidate => None,
        };
        // What was proposed by a leader that is none any more may be lost.
        for waiting in self.waiting.values_mut() {
            waiting.asked_us = None;
        }
        turn.leader = Some(leader);
    }

    fn on_snapshot(&mut self, step: SnapshotStep, now: Now, turn: &mut MetaTurn) {
        let input = match step {
            SnapshotStep::Begin { stream, to: _ } => {
                self.streams.insert(stream, self.image());
                return;
            }
            SnapshotStep::More { stream } => match self.streams.get(&stream) {
                Some(image) => Input::SnapshotChunk {
                    stream,
                    bytes: image.clone(),
                    last: true,
                },
                None => Input::SnapshotFailed { stream },
            },
            SnapshotStep::Drop { stream } => {
                self.streams.remove(&stream);
                if self
                    .staged
                    .as_ref()
                    .is_some_and(|(staged, _)| *staged == stream)
                {
                    self.staged = None;
                }
                return;
            }
            SnapshotStep::Chunk {
                stream,
                sequence,
                bytes,
            } => {
                if sequence == 0 {
                    self.staged = Some((stream, Vec::new()));
                }
                match &mut self.staged {
                    Some((staged, image))
                        if *staged == stream && image.len() + bytes.len() <= SNAPSHOT_BYTES_MAX =>
                    {
                        image.extend_from_slice(&bytes);
                        return;
                    }
                    Some(_) | None => Input::SnapshotFailed { stream },
                }
            }
            SnapshotStep::Install { stream, base } => match self.install(stream, base) {
                Some((image, base)) => {
                    turn.installed = Some((image, base.clone()));
                    Input::SnapshotInstalled { stream, base }
                }
                None => Input::SnapshotFailed { stream },
            },
        };
        self.replica.step(now.monotonic_us, input, &mut turn.out);
    }

    /// The state as one chunk: log time in 8 bytes, little endian, and the state's own bytes.
    pub fn image(&self) -> Bytes {
        let mut image = self.log_ms.to_le_bytes().to_vec();
        image.extend_from_slice(&self.state.encode());
        image.into()
    }

    /// Reads what [`MetaGroup::image`] wrote: log time and state; none if it is no such thing.
    pub fn read_image(image: &[u8]) -> Option<(u64, MetaState)> {
        let (log_ms, state) = image.split_first_chunk::<8>()?;
        let state = MetaState::decode(state).ok()?;
        Some((u64::from_le_bytes(*log_ms), state))
    }

    /// Replaces the state by what was received, which is returned with what it stands for.
    fn install(&mut self, stream: u64, base: SnapshotBase) -> Option<(Vec<u8>, SnapshotBase)> {
        let (_, image) = self.staged.take().filter(|(staged, _)| *staged == stream)?;
        let (log_ms, state) = Self::read_image(&image)?;
        // Requests that the log held are answered in the state.
        self.state = state;
        self.applied = base.index;
        self.log_ms = log_ms;
        for waiting in self.waiting.values_mut() {
            waiting.asked_us = None;
        }
        Some((image, SnapshotBase { log_ms, ..base }))
    }

    /// What the base of a checkpoint made now stands for.
    pub fn base(&self) -> SnapshotBase {
        SnapshotBase {
            index: self.applied,
            config: self.replica.config().clone(),
            log_ms: self.log_ms,
        }
    }
}

#[cfg(test)]
mod tests;
