//! A node that begins with what its journal held.
//!
//! Three cases, by [`Recovered::verdict`]: *keep*, and the node goes on as who it was ([`Node::recovered`]); a new
//! incarnation that has been in a cluster before, which is told whom to ask for its new life ([`remembered`]); no
//! memory at all.

use crate::cluster::{FOUNDER, Membership};
use crate::group::{GroupStart, Staged, Staging};
use crate::host::Host;
use crate::journal::{Journal, JournalError, Recovered, RecoveredGroup};
use crate::meta::{META_GROUP, MetaGroup, MetaRequest, MetaState};
use crate::node::Node;
use crate::settings::Settings;
use paxos::{AcceptedEntry, Config, Entry, GroupId, SnapshotBase, Start};
use placement::ShardCountError;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// How a shard's group begins, and its state, if there is one.
    pub fn shard_start(
        &mut self,
        id: GroupId,
        membership: &Membership,
    ) -> Result<(GroupStart, Option<Staged>), StartError> {
        let Some(mut group) = self.groups.remove(&id) else {
            return Ok((membership.group_start(), None));
        };
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
        Ok((start_of(group, membership), state))
    }

    /// How the meta group begins. Its state at the base is the membership's.
    pub fn meta_start(&mut self, membership: &Membership) -> GroupStart {
        match self.groups.remove(&META_GROUP) {
            Some(group) => start_of(group, membership),
            None => membership.group_start(),
        }
    }
}

fn start_of(group: RecoveredGroup, membership: &Membership) -> GroupStart {
    let base = match group.base.index.0 {
        // The configuration that a cluster is founded with is in no log.
        0 if membership.me == FOUNDER => SnapshotBase {
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

/// The cluster that a journal's node was in, for one that begins a new life: whom to ask. None if it was in none.
///
/// # Errors
/// What the journal gave back is not what a node wrote.
pub fn remembered(recovered: Recovered) -> Result<Option<MetaState>, StartError> {
    for mut group in recovered.groups {
        if group.group == META_GROUP {
            let (_, latest) = meta_states(&mut group)?;
            return Ok(latest.is_founded().then_some(latest));
        }
    }
    Ok(None)
}

impl Node {
    /// A node that goes on as who it was: [`Recovered::verdict`] is to keep. `membership` says what no journal does: times
    /// and bounds, and addresses as they are now. None if the journal held no cluster: the node is to begin anew.
    ///
    /// # Errors
    /// A line each of [`StartError`].
    pub fn recovered(
        settings: Settings,
        host: Box<dyn Host>,
        membership: Membership,
        journal: Arc<dyn Journal>,
        recovered: Recovered,
    ) -> Result<Option<Node>, StartError> {
        let Some(identity) = recovered.identity else {
            return Ok(None);
        };
        let mut memory = Memory {
            groups: recovered
                .groups
                .into_iter()
                .map(|group| (group.group, group))
                .collect(),
        };
        let Some(meta) = memory.groups.get_mut(&META_GROUP) else {
            return Ok(None);
        };
        let (at_base, latest) = meta_states(meta)?;
        if !latest.is_founded() {
            return Ok(None);
        }
        let me = identity.replica;
        let name = latest.nodes.get(&me.node.0).map(|node| node.name.clone());
        let settings = Settings {
            shards: latest.shards_count,
            ..settings
        };
        let membership = Membership {
            me,
            seed: latest.hash_seed,
            founders: None,
            journal: Some(journal),
            name: name.unwrap_or(membership.name),
            state: at_base,
            ..membership
        };
        Node::build(settings, host, membership, memory).map(Some)
    }
}
