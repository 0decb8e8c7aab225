//! How a process begins where its groups' memory is kept on disk, and how the disk is looked after while it runs.
//!
//! ```text
//!   the log says            this process
//!   nothing                 founds a cluster, or joins one
//!   all is there            goes on as who it was, whatever --join says
//!   a part may be missing   alone in its cluster: goes on with what is there
//!                           else: joins the nodes that it remembers, or those of --join, in a new life
//! ```
//!
//! What this does not know: what stands in the log, and what a node does with it.

use crate::journal::{self, Company, FileJournal, FoundLog, Options};
use crate::serve::TURN;
use anyhow::{Context, bail};
use node::journal::{Doubt, Identity, JournalError, Recovered, Verdict};
use node::meta::MetaState;
use node::settings::JoinAddress;
use node::{CheckpointWork, Membership, Node, Remembered, Settings};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The log's directory in `dir`. Redis's `appenddirname`.
const DIRECTORY: &str = "appendonlydir";
/// Time between two looks at whether a checkpoint is wanted.
const CHECKPOINTS: Duration = Duration::from_secs(1);

/// What is known of former starts.
pub enum Past {
    /// Nothing is kept.
    None,
    /// The log, and what the node is to go on with.
    Kept(FoundLog, Box<Remembered>),
    /// The log, none of whose votes count, and the cluster as far as it is remembered.
    Lost(FoundLog, Option<Box<MetaState>>),
}

/// Locks and reads the log's directory, if the settings say that there is one.
///
/// # Errors
/// A directory that cannot be used, or whose data nobody can replace.
pub fn open(settings: &Settings) -> anyhow::Result<Past> {
    if !settings.appendonly {
        return Ok(Past::None);
    }
    let path = Path::new(&settings.dir).join(DIRECTORY);
    let mut options = Options::at(&path, settings.appendfsync);
    let mut found = journal::open(&options)?;
    let doubt = match found.recovered().verdict.clone() {
        Verdict::Keep => {
            return Ok(match remember(&mut found)? {
                Some(remembered) => Past::Kept(found, Box::new(remembered)),
                None => Past::Lost(found, None),
            });
        }
        Verdict::NewIncarnation(doubt) => doubt,
    };
    if doubt == Doubt::FirstStart {
        return Ok(Past::Lost(found, None));
    }
    // One process has the directory, so one of the two looks at it.
    drop(found);
    options.company = Company::Nobody;
    let mut whole = journal::open(&options)?;
    let remembered = remember(&mut whole)?;
    let alone = remembered.as_ref().is_some_and(Remembered::is_alone);
    match (&whole.recovered().verdict, remembered) {
        (Verdict::Keep, Some(remembered)) if alone => {
            tracing::warn!(%doubt, "going on with what is on disk");
            Ok(Past::Kept(whole, Box::new(remembered)))
        }
        (Verdict::NewIncarnation(_), _) if alone => bail!(
            "the data directory {} cannot be relied on: {doubt}; no other node has its data: bring the directory back from a copy, or remove it to begin anew",
            path.display()
        ),
        (_, remembered) => {
            let state = remembered.map(|remembered| remembered.state().clone());
            if state.is_none() && settings.join.is_empty() {
                bail!(
                    "the data directory {} cannot be relied on: {doubt}; name a node of the cluster with --join, or remove the directory to begin anew",
                    path.display()
                );
            }
            tracing::warn!(%doubt, "this node begins a new life in its cluster, without its memory");
            drop(whole);
            options.company = Company::Others;
            Ok(Past::Lost(journal::open(&options)?, state.map(Box::new)))
        }
    }
}

fn remember(found: &mut FoundLog) -> anyhow::Result<Option<Remembered>> {
    let recovered = Recovered {
        identity: found.recovered().identity,
        verdict: found.recovered().verdict.clone(),
        groups: found.take_groups(),
    };
    Ok(Remembered::read(recovered)?)
}

/// Nodes to ask for a new life: those that are named, or else those that are remembered.
pub fn whom_to_join(settings: &Settings, state: &MetaState) -> Vec<JoinAddress> {
    if !settings.join.is_empty() {
        return settings.join.clone();
    }
    let nodes = state.nodes.values().map(|node| JoinAddress {
        host: node.addresses.host.clone(),
        port: node.addresses.ports[0],
        peer_port: node.addresses.ports[2],
    });
    nodes.collect()
}

/// The name that the directory's node has in the cluster.
pub fn former_name(past: &Past, state: &MetaState) -> Option<String> {
    let found = match past {
        Past::Lost(found, _) => found,
        Past::None | Past::Kept(..) => return None,
    };
    let me = found.recovered().identity?.replica;
    state.nodes.get(&me.node.0).map(|own| own.name.clone())
}

/// Begins to write the log of a node that is now who `membership` says; gives the membership with the log.
///
/// # Errors
/// The directory belongs to another node or cluster, or cannot be written to.
pub fn begin(
    found: FoundLog,
    membership: Membership,
) -> anyhow::Result<(Membership, Arc<FileJournal>)> {
    let cluster = match membership.state.cluster() {
        Some(cluster) => cluster,
        None => membership.cluster,
    };
    let identity = Identity {
        cluster,
        replica: membership.me,
    };
    let journal = Arc::new(found.begin(identity)?);
    let membership = Membership {
        start: journal.start_number(),
        journal: Some(journal.clone()),
        ..membership
    };
    Ok((membership, journal))
}

/// The id of the cluster that is founded: that of the directory, if it was to be founded before and the process ended too
/// early.
///
/// # Errors
/// The directory belongs to a node that did not found its cluster.
pub fn cluster_to_found(past: &Past) -> anyhow::Result<u128> {
    let identity = match past {
        Past::Lost(found, _) => found.recovered().identity,
        Past::None | Past::Kept(..) => None,
    };
    match identity {
        None => Ok(rand::random()),
        Some(identity) if identity.replica == Membership::founder().me => Ok(identity.cluster),
        Some(identity) => bail!(
            "the data directory belongs to node {} of a cluster, and says no more of it: name a node of the cluster with --join",
            identity.replica.node.0
        ),
    }
}

/// Writes checkpoints when the log asks for them, on a thread of its own: it waits for the disk.
///
/// # Errors
/// The system gives no thread.
pub fn keep_checkpoints(node: Arc<Node>) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("checkpoints".into())
        .spawn(move || {
            loop {
                match node.checkpoint_step() {
                    CheckpointWork::More => {}
                    CheckpointWork::Rest => std::thread::sleep(CHECKPOINTS),
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// Waits until the disk fails; the reason.
pub async fn failed(node: &Node, journal: Option<&FileJournal>) -> JournalError {
    let mut turns = tokio::time::interval(TURN);
    loop {
        turns.tick().await;
        let failure = node.cluster.failure().cloned();
        if let Some(error) = failure.or_else(|| journal.and_then(FileJournal::failure)) {
            return error;
        }
    }
}
