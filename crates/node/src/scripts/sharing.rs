//! What this node wants of the scripts that all nodes know: loads, flushes, and to be told when it has applied what was
//! loaded elsewhere.
//!
//! One request is under way at a time ([`MetaCommand::Scripts`]); what is wanted meanwhile gathers and goes with the next.
//! So a thousand clients that ask for a script at once cost the meta group a few entries, and a script that was run is
//! shared without anybody waiting for it.

use super::{Known, Scripts};
use crate::meta::{MetaAnswer, MetaCommand, NoAnswer, ScriptChange};
use crate::node::Node;
use crate::slots::Ticket;
use parking_lot::MutexGuard;
use script::{Script, Sha};
use std::collections::{BTreeSet, VecDeque};

/// Bytes of what is wanted and not asked for yet; beyond it nothing more is taken.
const WISHES_BYTES_MAX: usize = 8 << 20;
/// Bytes of one request, but for its first wish.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// What a wish costs beside a source, about.
const WISH_BYTES: usize = 64;

/// Nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TRYAGAIN too many scripts are being loaded at this moment")]
pub(crate) struct WishError;

/// What this node wants, in order, and what of it is under way.
#[derive(Default)]
pub(super) struct Wishes {
    waiting: VecDeque<Wish>,
    waiting_bytes: usize,
    /// What is loaded by a wish that waits, none of which is a flush since.
    loads: BTreeSet<Sha>,
    under_way: Option<Vec<Wish>>,
}

/// One of them.
struct Wish {
    what: What,
    /// Whom to tell.
    ticket: Option<Ticket>,
}

/// What is wanted.
enum What {
    /// A script; its source is not there if an earlier wish has it.
    Load(Sha, Option<Vec<u8>>),
    Flush,
    /// To have applied what was asked for before.
    Look,
}

impl What {
    fn bytes(&self) -> usize {
        match self {
            What::Load(_, Some(source)) => source.len() + WISH_BYTES,
            What::Load(_, None) | What::Flush | What::Look => WISH_BYTES,
        }
    }

    /// What whoever waits is told.
    fn reply(&self, outcome: &Result<(), String>) -> Vec<u8> {
        let (done, before) = match self {
            What::Load(sha, _) => {
                let sha = String::from_utf8_lossy(sha);
                (
                    format!("$40\r\n{sha}\r\n"),
                    "ERR only this node has the script: ",
                )
            }
            What::Flush => ("+OK\r\n".to_owned(), "ERR no script was forgotten: "),
            What::Look => (
                "+OK\r\n".to_owned(),
                "CLUSTERDOWN it is not known whether another node has the script: ",
            ),
        };
        match outcome {
            Ok(()) => done.into_bytes(),
            Err(why) => format!("-{before}{why}\r\n").into_bytes(),
        }
    }
}

impl Wishes {
    fn push(&mut self, what: What, ticket: Option<Ticket>) -> Result<(), WishError> {
        if self.waiting_bytes + what.bytes() > WISHES_BYTES_MAX {
            return Err(WishError);
        }
        self.waiting_bytes += what.bytes();
        self.waiting.push_back(Wish { what, ticket });
        Ok(())
    }

    fn load(&mut self, script: &Script, ticket: Option<Ticket>) -> Result<(), WishError> {
        let sha = *script.sha();
        let source = (!self.loads.contains(&sha)).then(|| script.source().to_vec());
        self.push(What::Load(sha, source), ticket)?;
        self.loads.insert(sha);
        Ok(())
    }

    /// The next request, unless one is under way or nothing is wanted.
    fn begin(&mut self) -> Option<Vec<ScriptChange>> {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        let (mut wishes, mut changes, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(mut wish) = self.waiting.pop_front() {
            let more = wish.what.bytes();
            if bytes > 0 && bytes + more > REQUEST_BYTES_MAX {
                self.waiting.push_front(wish);
                break;
            }
            bytes += more;
            match &mut wish.what {
                What::Load(_, source) => changes.extend(source.take().map(ScriptChange::Load)),
                What::Flush => changes.push(ScriptChange::Flush),
                What::Look => {}
            }
            wishes.push(wish);
        }
        self.waiting_bytes -= bytes;
        self.loads.clear();
        self.under_way = Some(wishes);
        Some(changes)
    }
}

impl Scripts {
    /// A script was used: it is shared if it is due.
    pub(super) fn used(&self, mut known: MutexGuard<'_, Known>, sha: &Sha) -> Script {
        let found = known.scripts.peek(sha).expect("looked up just now");
        let script = found.script.clone();
        if known.is_due(found) && known.may_share(self.host.monotonic_us()) {
            let wished = self.wishes.lock().load(&script, None);
            let found = known.scripts.peek_mut(sha).expect("looked up just now");
            // What finds no room now is due when it is used again.
            found.is_being_shared = wished.is_ok();
        }
        script
    }

    /// SCRIPT LOAD: `ticket` is told when all nodes know the script or soon will, and whoever asks for it waits that long.
    ///
    /// # Errors
    /// [`WishError`].
    pub fn load(&self, script: &Script, ticket: Option<Ticket>) -> Result<(), WishError> {
        self.wishes.lock().load(script, ticket)
    }

    /// SCRIPT FLUSH.
    ///
    /// # Errors
    /// [`WishError`].
    pub fn flush(&self, ticket: Option<Ticket>) -> Result<(), WishError> {
        let mut wishes = self.wishes.lock();
        wishes.push(What::Flush, ticket)?;
        wishes.loads.clear();
        Ok(())
    }

    /// `ticket` is told when this node has applied all that was loaded before.
    ///
    /// # Errors
    /// [`WishError`].
    pub fn look(&self, ticket: Ticket) -> Result<(), WishError> {
        self.wishes.lock().push(What::Look, Some(ticket))
    }

    /// Whether something is wanted and nothing under way.
    pub fn has_wishes(&self) -> bool {
        let wishes = self.wishes.lock();
        wishes.under_way.is_none() && !wishes.waiting.is_empty()
    }

    /// What is under way is done, or never will be.
    fn end_sharing(&self, answer: Result<MetaAnswer, NoAnswer>) {
        let outcome = match answer {
            Ok(MetaAnswer::Done { .. } | MetaAnswer::Joined { .. }) => Ok(()),
            Ok(MetaAnswer::Refused { reason }) => Err(reason),
            Err(no_answer) => Err(no_answer.to_string()),
        };
        let under_way = self.wishes.lock().under_way.take();
        let wishes = under_way.expect("one is under way until it ends");
        let mut known = self.known.lock();
        let added = known.facts.added;
        for wish in &wishes {
            if let What::Load(sha, _) = &wish.what
                && let Some(known) = known.scripts.peek_mut(sha)
            {
                known.is_being_shared = false;
                if outcome.is_ok() {
                    known.loaded_at = Some(added);
                }
            }
        }
        drop(known);
        for Wish { what, ticket } in wishes {
            if let Some(ticket) = ticket {
                ticket.fill(&what.reply(&outcome));
            }
        }
    }
}

impl Node {
    /// A script by its name, whatever the case of its digits: at hand, or in the store as far as this node has applied it.
    pub(crate) fn script_named(&self, name: &[u8]) -> Option<Script> {
        if let Some(script) = self.script_at_hand(name) {
            return Some(script);
        }
        let mut sha: Sha = name.try_into().ok()?;
        sha.make_ascii_lowercase();
        let scripts = &self.cluster.scripts;
        let (stored, flushes) = self.with_meta(|group| {
            let store = &group.state().scripts;
            Some((store.get(&sha)?.clone(), store.facts().flushes))
        })?;
        let script = scripts.check(&stored.source).ok()?;
        scripts.found(&script, stored.loaded_at, flushes);
        Some(script)
    }

    /// The same if it is at hand.
    pub(crate) fn script_at_hand(&self, name: &[u8]) -> Option<Script> {
        let mut sha: Sha = name.try_into().ok()?;
        sha.make_ascii_lowercase();
        self.cluster.scripts.named(&sha)
    }

    /// Whether another node may know scripts that this one does not know yet.
    pub(crate) fn may_lack_scripts(&self) -> bool {
        self.view().nodes.len() > 1
    }

    /// Asks for what is wanted of the scripts that all nodes know, unless that is under way. No shard is locked.
    pub(crate) fn share_scripts(&self) {
        let changes = self.cluster.scripts.wishes.lock().begin();
        if let Some(changes) = changes {
            let scripts = self.cluster.scripts.clone();
            let done = Box::new(move |answer| scripts.end_sharing(answer));
            self.change_cluster(MetaCommand::Scripts { changes }, done);
        }
    }
}
