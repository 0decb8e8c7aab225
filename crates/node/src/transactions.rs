//! Transactions over several shards, as a node coordinates them and as it clears up after others.
//!
//! A session that has a transaction asks the participants itself (`session/over_shards.rs`). Here is what goes on when its
//! client has its answer, or when nobody is there to go on: what was committed is *released* at all participants, many at a
//! time; and what stays unfinished under a leader of this node is *resolved*: all participants are asked what they said,
//! and told to finish. Any number of nodes may do so at the same time, as the outcome is a fact (`group/reservations.rs`).

use crate::client::Client;
use crate::group::reservations::{Participant, TxId};
use crate::group::transact::{ABORT, ABORTED, COMMIT, COMMITTED, RESERVED};
use crate::group::{OpFlags, OpKind, QueueFull, Request};
use crate::host::Now;
use crate::node::Node;
use crate::questions;
use crate::slots::Ticket;
use parking_lot::Mutex;
use resp::OwnedArgs;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Transactions that are looked into at the same time; others wait until their leader asks again.
const RESOLVING_MAX: usize = 1024;
/// Names in one release.
const RELEASE_MAX: usize = 1024;

/// What a leader has its node find out and bring about.
#[derive(Clone, Debug)]
pub(crate) struct Unresolved {
    pub id: TxId,
    pub participants: Vec<Participant>,
    pub goal: Goal,
}

/// What is not known, or not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// What has become of it.
    Outcome,
    /// It was committed, and its coordinator did not release it.
    Release,
}

/// Transactions of a node.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    last: AtomicU64,
    resolving: Mutex<BTreeMap<TxId, Resolver>>,
    /// By shard, what is to be released.
    released: Mutex<BTreeMap<usize, Vec<TxId>>>,
}

/// A transaction that is looked into.
#[derive(Debug)]
struct Resolver {
    participants: Vec<Participant>,
    goal: Goal,
    stage: Stage,
    /// Where the answers come.
    client: Arc<Client>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// They were asked what they said.
    Asked,
    /// They were told.
    Told(Outcome),
}

/// What has become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Aborted,
}

impl Outcome {
    fn argument(self) -> &'static [u8] {
        match self {
            Outcome::Committed => COMMIT,
            Outcome::Aborted => ABORT,
        }
    }
}

impl Resolver {
    fn ticket(&self, slot: usize) -> Ticket {
        let batch = self.client.slots().batch();
        Ticket::new(self.client.clone(), batch, slot as u32)
    }
}

/// What the participants' answers to an ask come to; none if one of them did not say.
fn outcome_of<'a>(mut answers: impl Iterator<Item = &'a [u8]>) -> Option<Outcome> {
    let mut outcome = Outcome::Committed;
    answers.try_for_each(|answer| match answer {
        RESERVED | COMMITTED => Some(()),
        ABORTED => {
            outcome = Outcome::Aborted;
            Some(())
        }
        _ => None,
    })?;
    Some(outcome)
}

impl Node {
    /// A new transaction's name.
    pub(crate) fn name_transaction(&self) -> TxId {
        TxId {
            origin: self.cluster.origin,
            number: self.transactions.last.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Tells a participant what has become of a transaction; `ticket` gets what its commands came to there.
    ///
    /// # Errors
    /// The shard's queue takes nothing more: nothing was done.
    pub(crate) fn finish_at(
        &self,
        id: TxId,
        participant: Participant,
        outcome: Outcome,
        ticket: Ticket,
        now: Now,
    ) -> Result<(), QueueFull> {
        let args = [
            questions::FINISH,
            &id.bytes(),
            &participant.seq.to_le_bytes(),
            outcome.argument(),
        ];
        self.ask_about(participant, &args, ticket, now)
    }

    fn ask_about(
        &self,
        participant: Participant,
        args: &[&[u8]],
        ticket: Ticket,
        now: Now,
    ) -> Result<(), QueueFull> {
        self.queue_own(
            participant.shard as usize,
            OpKind::Internal,
            args,
            ticket,
            now,
        )
    }

    /// Queues what the node itself wants of a shard.
    fn queue_own(
        &self,
        shard: usize,
        kind: OpKind,
        args: &[&[u8]],
        ticket: Ticket,
        now: Now,
    ) -> Result<(), QueueFull> {
        let args = OwnedArgs::from_slices(args);
        let request = Request {
            kind,
            db: 0,
            flags: OpFlags::NONE,
            args: args.args(),
            after: 0,
        };
        self.lock(shard).enqueue(request, ticket, now)?;
        self.mark_dirty(shard);
        Ok(())
    }

    /// All participants have finished a transaction that was committed: they may forget it.
    pub(crate) fn release(&self, id: TxId, participants: &[Participant]) {
        let mut released = self.transactions.released.lock();
        for participant in participants {
            let of_shard = released.entry(participant.shard as usize).or_default();
            of_shard.push(id);
        }
    }

    /// Looks into transactions that stay unfinished here.
    pub(crate) fn resolve(&self, unresolved: Vec<Unresolved>, now: Now) {
        for Unresolved {
            id,
            participants,
            goal,
        } in unresolved
        {
            let mut resolving = self.transactions.resolving.lock();
            if resolving.contains_key(&id) || resolving.len() >= RESOLVING_MAX {
                continue;
            }
            let client = Client::new(0, String::new(), String::new(), 0);
            let mut resolver = Resolver {
                participants,
                goal,
                stage: Stage::Asked,
                client: Arc::new(client),
            };
            let shards_count = self.shards_count();
            let is_there = |participant: &Participant| (participant.shard as usize) < shards_count;
            if goal == Goal::Release {
                resolver.stage = Stage::Told(Outcome::Committed);
            } else if !resolver.participants.iter().all(is_there) {
                // No sound node asked for it.
                resolver.stage = Stage::Told(Outcome::Aborted);
            }
            resolver.participants.retain(is_there);
            if self.ask_all(id, &resolver, now).is_ok() {
                resolving.insert(id, resolver);
            }
        }
        self.request_flush();
    }

    fn ask_all(&self, id: TxId, resolver: &Resolver, now: Now) -> Result<(), QueueFull> {
        let mut asked = Ok(());
        for (slot, participant) in resolver.participants.iter().enumerate() {
            let ticket = resolver.ticket(slot);
            let one = match resolver.stage {
                Stage::Asked => {
                    let seq = participant.seq.to_le_bytes();
                    let args = [questions::ASK, &id.bytes(), &seq];
                    self.ask_about(*participant, &args, ticket, now)
                }
                Stage::Told(outcome) => self.finish_at(id, *participant, outcome, ticket, now),
            };
            // The others are told all the same.
            asked = asked.and(one);
        }
        asked
    }

    /// Goes on with what is looked into, and says what is to be released.
    pub(crate) fn tick_transactions(&self, now: Now) {
        let mut resolving = std::mem::take(&mut *self.transactions.resolving.lock());
        if !resolving.is_empty() {
            resolving.retain(|id, resolver| self.go_on_resolving(*id, resolver, now));
            self.transactions.resolving.lock().append(&mut resolving);
        }
        let released = std::mem::take(&mut *self.transactions.released.lock());
        for (shard, mut names) in released {
            let behind = names.split_off(names.len().min(RELEASE_MAX));
            let args: Vec<[u8; crate::group::reservations::TX_ID_BYTES]> =
                names.iter().map(|id| id.bytes()).collect();
            let args: Vec<&[u8]> = args.iter().map(|name| &name[..]).collect();
            let nobody = self.lock(shard).blocked.nobody();
            let left = match self.queue_own(shard, OpKind::Release, &args, nobody, now) {
                Ok(()) => behind,
                // There will be room. Or the shard is lost, and all that it knew.
                Err(QueueFull::Lost) => Vec::new(),
                Err(_) => [names, behind].concat(),
            };
            if !left.is_empty() {
                let mut released = self.transactions.released.lock();
                released.entry(shard).or_default().extend(left);
            }
        }
    }

    /// Whether there is more to be done about a transaction.
    fn go_on_resolving(&self, id: TxId, resolver: &mut Resolver, now: Now) -> bool {
        let count = resolver.participants.len();
        let stage = {
            let mut slots = resolver.client.slots();
            if !slots.wait_for(count) {
                return true;
            }
            let answers = (0..count).filter_map(|slot| slots.get(slot as u32));
            let stage = match resolver.stage {
                Stage::Asked => outcome_of(answers).map(Stage::Told),
                Stage::Told(outcome) => {
                    let mut answers = answers;
                    let all_did = answers.all(|answer| !answer.starts_with(b"-"));
                    // Else its coordinator may still ask what it came to.
                    let may_go = resolver.goal == Goal::Release && outcome == Outcome::Committed;
                    if all_did && may_go {
                        self.release(id, &resolver.participants);
                    }
                    None
                }
            };
            slots.next_batch();
            stage
        };
        // Without an answer whoever leads a participant asks again.
        let Some(stage) = stage else {
            return false;
        };
        resolver.stage = stage;
        self.ask_all(id, resolver, now).is_ok()
    }
}
