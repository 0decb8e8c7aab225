//! Checkpoints: the state of a group on the disk, so that the journal's segments below it may go.
//!
//! The process around takes a step now and then ([`Node::checkpoint_step`]), in a task that may wait for the disk; a
//! shard is locked for one chunk at a time, and never while something is written.

use crate::group::CheckpointStep;
use crate::journal::{Checkpoint, GroupId, JournalError};
use crate::meta::META_GROUP;
use crate::node::Node;
use paxos::{Generation, Input, SnapshotBase};

/// A checkpoint under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    shard: usize,
    generation: Generation,
    base: SnapshotBase,
    file: Box<dyn Checkpoint>,
}

/// Whether there is more to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointWork {
    /// There is.
    More,
    /// Look again in a second.
    Rest,
}

impl Node {
    /// Does a piece of the checkpoints that the journal asks for: about 256 KiB.
    pub fn checkpoint_step(&self) -> CheckpointWork {
        let mut under_way = self.cluster.checkpoint.lock();
        if self.cluster.failure().is_some() {
            return CheckpointWork::Rest;
        }
        let outcome = match under_way.take() {
            Some(one) => self.go_on(one),
            None => self.begin(),
        };
        match outcome {
            Ok((next, work)) => {
                *under_way = next;
                work
            }
            Err(error) => {
                self.cluster.fail(error);
                CheckpointWork::Rest
            }
        }
    }

    fn begin(&self) -> Result<(Option<UnderWay>, CheckpointWork), JournalError> {
        let Some(journal) = self.cluster.journal() else {
            return Ok((None, CheckpointWork::Rest));
        };
        let Some(group) = journal.groups_to_checkpoint().first().copied() else {
            return Ok((None, CheckpointWork::Rest));
        };
        if group == META_GROUP {
            let (image, base) = self.with_meta(|meta| (meta.image(), meta.base()));
            self.write_meta(&**journal, &image, &base)?;
            self.step_meta(Input::Checkpointed(base.index), self.now());
            return Ok((None, CheckpointWork::More));
        }
        let shard = group.0 as usize - 1;
        if shard >= self.shards_count() {
            return Ok((None, CheckpointWork::Rest));
        }
        let (generation, base) = {
            let mut guard = self.lock(shard);
            (guard.group.replica.generation(), guard.begin_checkpoint())
        };
        let file = journal.begin_checkpoint(GroupId(group.0), generation)?;
        let one = UnderWay {
            shard,
            generation,
            base,
            file,
        };
        Ok((Some(one), CheckpointWork::More))
    }

    fn go_on(&self, mut one: UnderWay) -> Result<(Option<UnderWay>, CheckpointWork), JournalError> {
        let step = self.lock(one.shard).checkpoint_step();
        match step {
            CheckpointStep::Chunk(chunk) => {
                one.file.chunk(&chunk)?;
                Ok((Some(one), CheckpointWork::More))
            }
            CheckpointStep::Last(chunk) => {
                one.file.chunk(&chunk)?;
                one.file.finish(&one.base)?;
                let index = one.base.index;
                let mut work = self.work(self.now());
                self.on_shard(one.shard, &mut work, |shard, work| {
                    // The group may have begun another generation meanwhile, whose log this says nothing of.
                    if shard.generation() == one.generation {
                        shard.step(Input::Checkpointed(index), work);
                    }
                });
                self.finish(work);
                Ok((None, CheckpointWork::More))
            }
            CheckpointStep::Outrun => Ok((None, CheckpointWork::Rest)),
        }
    }
}
