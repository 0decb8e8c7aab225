//! Keys of several shards that are held while it is worked out what becomes of them: from its second try on nobody writes to them
//! between what a gathered command reads and its transaction, which so goes through.
//!
//! ```text
//!   holding ──all have them──▶ asking, as whoever has them ──▶ run on copies ──▶ a transaction that takes them over
//!      └──another transaction was there first──▶ backing off ──▶ holding, as old as it was
//! ```
//!
//! A hold is a transaction that only reads (`group/reservations.rs`). Others wait behind it as behind any other, and wait-die
//! says who waits for whom. It is for liveness alone: if it ends too early, as leaders look after what is unfinished for a
//! quarter of a second, the checks of the second transaction find what was changed.

use super::gathered::{HalfGather, What};
use super::over_shards::{Goal, HalfOver};
use super::plan::Plan;
use super::records::asked_of;
use super::{Session, Step, Turn};
use crate::group::reservations::{Participant, TxId};
use crate::group::{Mode, OpFlags, OpHead, OpKind, encode_op};
use crate::questions;
use crate::transactions::Outcome;
use resp::{Output, OwnedArgs};
use std::collections::BTreeMap;

/// Keys that are held.
pub(super) struct Hold {
    id: TxId,
    participants: Vec<Participant>,
}

impl Hold {
    /// What all participants of a transaction said yes to.
    pub fn new(id: TxId, participants: Vec<Participant>) -> Hold {
        Hold { id, participants }
    }
}

impl Session {
    /// Begins to hold the keys of what is gathered.
    pub(super) fn begin_hold(
        &mut self,
        turn: Turn<'_>,
        half: Box<HalfGather>,
        output: &mut Output,
    ) -> Step {
        let mut keys: BTreeMap<(usize, u8), Vec<&[u8]>> = BTreeMap::new();
        for (shard, names) in asked_of(&half.names, &half.watched) {
            for (db, key) in names.into_keys() {
                keys.entry((shard, *db)).or_default().push(key);
            }
        }
        if let What::Move(moved, _) = &half.what {
            for (shard, key) in moved.keys() {
                keys.entry((shard, moved.db)).or_default().push(key);
            }
        }
        let mut plan = Plan::default();
        if let Some((shard, operation)) = &half.condition {
            plan.add_operation(*shard, operation.clone());
        }
        for ((shard, db), keys) in keys {
            let words: Vec<&[u8]> = [b"EXISTS".as_slice()].into_iter().chain(keys).collect();
            let words = OwnedArgs::from_slices(&words);
            plan.add_operation(shard, self.operation(OpKind::Read, db, words.args()));
        }
        let trying = half.trying;
        self.begin_over_since(turn, plan, Goal::Hold(half), trying, output)
    }

    /// All keys are held, by the transaction `over`, from which what was gathered goes on.
    pub(super) fn has_hold(&mut self, turn: Turn<'_>, over: HalfOver, output: &mut Output) -> Step {
        let (trying, hold, goal) = over.into_hold();
        let Goal::Hold(mut half) = goal else {
            unreachable!("the caller saw it")
        };
        half.trying = trying;
        half.hold = Some(hold);
        self.ask_again(turn, half, output)
    }

    /// Asks whoever leads a shard, as the transaction that has its keys if there is one.
    pub(super) fn ask_held(
        &mut self,
        turn: Turn<'_>,
        (shard, db): (usize, u8),
        hold: Option<&Hold>,
        question: &OwnedArgs,
    ) -> Result<u32, String> {
        let kind = OpKind::Internal;
        match self.as_held(turn, (shard, db), hold, (kind, OpFlags::NONE, question)) {
            Some(held) => self.ask(turn, shard, db, &held),
            None => self.ask(turn, shard, db, question),
        }
    }

    /// A question as that of a hold; none if there is no hold, or a shard that knows none.
    pub(super) fn as_held(
        &self,
        turn: Turn<'_>,
        (shard, db): (usize, u8),
        hold: Option<&Hold>,
        (kind, flags, question): (OpKind, OpFlags, &OwnedArgs),
    ) -> Option<OwnedArgs> {
        let hold = hold.filter(|_| turn.node.mode(shard) == Mode::Grouped)?;
        let head = OpHead {
            kind,
            db,
            flags,
            seq: 0,
            after: 0,
        };
        let mut operation = Vec::new();
        encode_op(&mut operation, head, question.args().iter());
        let words = [questions::HELD, &hold.id.bytes(), &operation];
        Some(OwnedArgs::from_slices(&words))
    }

    /// A transaction's part by which it takes over the keys that are held, in each of their shards.
    pub(super) fn add_take_over(&self, hold: &Hold, plan: &mut Plan) {
        let name = OwnedArgs::from_slices(&[&hold.id.bytes()]);
        let operation = self.operation(OpKind::TakeOver, 0, name.args());
        for part in &mut plan.parts {
            part.operations.push(operation.clone());
        }
    }

    /// Lets go of keys that are held. Nobody waits for it.
    pub(super) fn let_go(&self, turn: Turn<'_>, half: &mut HalfGather) {
        let Some(hold) = half.hold.take() else {
            return;
        };
        for participant in hold.participants {
            let nobody = turn.node.lock(participant.shard as usize).blocked.nobody();
            // If there is no room for that, leaders find out.
            let _ = turn
                .node
                .finish_at(hold.id, participant, Outcome::Aborted, nobody, turn.now);
        }
        turn.node.request_flush();
    }
}
