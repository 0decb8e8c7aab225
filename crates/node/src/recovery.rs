//! A node that begins with what its journal held.
//!
//! Three cases, by [`Recovered::verdict`]: *keep*, and the node goes on as who it was ([`Node::recovered`]); a new
//! incarnation that has been in a cluster before, which knows whom to ask for its new life ([`Remembered::state`]); no
//! memory at all.
//!
//! Log time stands still in a log that nobody writes to, but keys expire all the same. So a shard's group goes on at the
//! log time that the wall clock says it is, by the difference that the last batch was stamped with.

use crate::cluster::{FOUNDER, Membership};
use crate::entry::Batch;
use crate::group::{GroupStart, Staged, Staging};
use crate::host::Host;
use crate::journal::{JournalError, Recovered, RecoveredGroup};
use crate::meta::{META_GROUP, MetaGroup, MetaRequest, MetaState};
use crate::node::Node;
use crate::settings::Settings;
use paxos::{AcceptedEntry, Config, Entry, Generation, GroupId, ReplicaId, SnapshotBase, Start};
use placement::ShardCountError;
use std::collections::BTreeMap;

/// Why a node does not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A count of shards that the slots cannot be divided over.
    #[error(transparent)]
    Shards(#[from] ShardCountError),
    /// What the journal gave back is not what this node wrote.
    #[error("the journal cannot be used: {0}")]
    Memory(String),
}

impl From<JournalError> for StartError {
    fn from(error: JournalError) -> Self {
        StartError::Memory(error.0)
    }
}

/// What groups remember, until each has begun.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    groups: BTreeMap<GroupId, RecoveredGroup>,
}

impl Memory {
    /// How a shard's group begins, and its state, if there is one; wall time minus log time when it was last written to, ms.
    pub fn shard_start(
        &mut self,
        id: GroupId,
        membership: &Membership,
    ) -> Result<(GroupStart, Option<Staged>, Option<i64>), StartError> {
        let Some(mut group) = self.groups.remove(&id) else {
            return Ok((membership.group_start(), None, None));
        };
        check_dense(&group)?;
        let mut state = None;
        if let Some(mut reader) = group.checkpoint.take() {
            let broken = |error: &dyn std::fmt::Display| {
                StartError::Memory(format!("the checkpoint of group {}: {error}", id.0))
            };
            let mut staging = Staging::new(0, membership.seed);
            while let Some(chunk) = reader.next_chunk()? {
                staging.add(&chunk).map_err(|error| broken(&error))?;
            }
            let staged = staging.finish().map_err(|error| broken(&error))?;
            if staged.applied != group.base.index.0 {
                return Err(broken(&"it is of another index"));
            }
            state = Some(staged);
        }
        let at_base = state.as_ref().map(|staged| staged.wall_offset_ms);
        let wall_offset_ms = last_wall_offset_ms(&group.log).or(at_base);
        let is_hollow = state.as_ref().is_some_and(|staged| staged.is_hollow);
        let start = start_of(group, membership, is_hollow);
        Ok((start, state, wall_offset_ms))
    }

    /// How the meta group begins. Its state at the base is the membership's.
    pub fn meta_start(&mut self, membership: &Membership) -> GroupStart {
        match self.groups.remove(&META_GROUP) {
            Some(group) => start_of(group, membership, false),
            None => membership.group_start(),
        }
    }
}

/// What the last batch of a shard's log says.
fn last_wall_offset_ms(log: &[AcceptedEntry]) -> Option<i64> {
    log.iter().rev().find_map(|accepted| match &accepted.entry {
        Entry::Batch { payload, .. } => Some(Batch::parse(payload).ok()?.wall_offset_ms),
        Entry::Noop | Entry::Config(_) => None,
    })
}

/// Entries are accepted without gaps, so a gap is one that the journal does not know of.
fn check_dense(group: &RecoveredGroup) -> Result<(), StartError> {
    let mut index = group.base.index;
    for entry in &group.log {
        index = index.next();
        if entry.index != index {
            let text = format!("group {} lacks entry {}", group.group.0, index.0);
            return Err(StartError::Memory(text));
        }
    }
    Ok(())
}

fn start_of(group: RecoveredGroup, membership: &Membership, is_hollow: bool) -> GroupStart {
    let base = match group.base.index.0 {
        // The configuration that a cluster is founded with is in no log.
        0 if membership.me == FOUNDER && group.generation == Generation(0) => SnapshotBase {
            config: Config {
                number: 0,
                voters: vec![FOUNDER],
                learners: Vec::new(),
            },
            ..group.base
        },
        _ => group.base,
    };
    GroupStart {
        generation: group.generation,
        start: Start::Recovered {
            promised: group.promised,
            base,
            log: group.log,
            chosen: group.chosen,
            log_ms_ceiling: group.log_ms_ceiling,
            is_hollow,
        },
        ..membership.group_start()
    }
}

/// The cluster's state as a journal last had it: that of its checkpoint, and that after all of its log. None if the
/// journal never heard of a cluster.
fn meta_states(group: &mut RecoveredGroup) -> Result<(MetaState, MetaState), StartError> {
    let mut at_base = MetaState::default();
    if let Some(mut reader) = group.checkpoint.take() {
        let mut image = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            image.extend_from_slice(&chunk);
        }
        let (_, state) = MetaGroup::read_image(&image)
            .ok_or_else(|| StartError::Memory("the checkpoint of group 0 is none".into()))?;
        at_base = state;
    }
    check_dense(group)?;
    let mut latest = at_base.clone();
    for AcceptedEntry { entry, .. } in &group.log {
        if let Entry::Batch { payload, .. } = entry {
            let request = MetaRequest::decode(payload)
                .map_err(|error| StartError::Memory(error.to_string()))?;
            latest.apply(&request);
        }
    }
    Ok((at_base, latest))
}

/// What a journal's node remembers of itself and its cluster.
#[derive(Debug)]
pub struct Remembered {
    me: ReplicaId,
    at_base: MetaState,
    latest: MetaState,
    memory: Memory,
}

impl Remembered {
    /// Reads it; none if the journal never heard of a cluster.
    ///
    /// # Errors
    /// What the journal gave back is not what a node wrote.
    pub fn read(recovered: Recovered) -> Result<Option<Remembered>, StartError> {
        let Some(identity) = recovered.identity else {
            return Ok(None);
        };
        let groups = recovered.groups.into_iter();
        let mut memory = Memory {
            groups: groups.map(|group| (group.group, group)).collect(),
        };
        let Some(meta) = memory.groups.get_mut(&META_GROUP) else {
            return Ok(None);
        };
        let (at_base, latest) = meta_states(meta)?;
        Ok(latest.is_founded().then_some(Remembered {
            me: identity.replica,
            at_base,
            latest,
            memory,
        }))
    }

    /// Who the node was.
    pub fn me(&self) -> ReplicaId {
        self.me
    }

    /// The cluster, as last heard of.
    pub fn state(&self) -> &MetaState {
        &self.latest
    }

    /// Whether no other node ever was in the cluster: nobody else has its data, nor ever relied on its promises.
    pub fn is_alone(&self) -> bool {
        self.latest.nodes_ever == 1 && self.me.node == FOUNDER.node
    }
}

impl Node {
    /// A node that goes on as who it was: its memory is whole. `membership` says what no journal does: times and bounds,
    /// the journal, which start this is, and addresses as they are now.
    ///
    /// # Errors
    /// A line each of [`StartError`].
    pub fn recovered(
        settings: Settings,
        host: Box<dyn Host>,
        membership: Membership,
        remembered: Remembered,
    ) -> Result<Node, StartError> {
        let Remembered {
            me,
            at_base,
            latest,
            memory,
        } = remembered;
        let name = latest.nodes.get(&me.node.0).map(|node| node.name.clone());
        let settings = Settings {
            shards: latest.shards_count,
            replicas: latest.replicas_wanted,
            ..settings
        };
        let membership = Membership {
            me,
            seed: latest.hash_seed,
            founders: None,
            name: name.unwrap_or(membership.name),
            state: at_base,
            ..membership
        };
        Node::build(settings, host, membership, memory)
    }
}
