//! A node from its first socket to its end.

use crate::config::Config;
use crate::durability::{self, Past};
use crate::journal::FileJournal;
use crate::listener::{Listeners, accept};
use crate::peer::{self, Dialers, Door, Identity, Links, Member};
use crate::{banner, host, join, logs};
use anyhow::{Context, bail};
use node::meta::{MetaCommand, NodeAddresses};
use node::{Housework, Manner, Membership, Node, Settings};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Time between two turns of the node's housekeeping.
pub const TURN: Duration = Duration::from_millis(100);
/// Time that housekeeping works before others run.
const STEPS_MAX: Duration = Duration::from_micros(500);
/// Turns between two looks at all clients: one a second.
const TURNS_PER_TENDING: u64 = 10;

/// Serves until somebody ends it.
///
/// # Errors
/// Sockets that cannot be opened, a cluster that does not let this node in, or in which another has its place, a data
/// directory that is another's, a disk that fails.
pub async fn serve(config: Config, logs: logs::Logs, past: Past) -> anyhow::Result<()> {
    // Ahead of the sockets: who was answered once may count on a clean end.
    let mut signals = Signals::new()?;
    let listeners = Listeners::open(&config.settings)?;
    let mut settings = config.settings.clone();
    settings.port = crate::listener::port_of(&listeners.clients).unwrap_or(settings.port);
    let addresses = join::addresses(&settings, &listeners)?;
    let nobody = join::nobody(&settings);
    let host = Box::new(host::SystemHost::new(config.config_file.clone()));
    let (node, journal) = tokio::select! {
        begun = begin(settings, addresses.clone(), &nobody, host, past) => begun?,
        () = signals.any() => return Ok(()),
    };
    let node = Arc::new(node);
    // Never dropped: taking a large cache apart key by key would only hold up the end of the process.
    std::mem::forget(node.clone());
    let identity = Identity {
        me: node.cluster.me,
        cluster_id: node.view().cluster_id.clone(),
        ..nobody
    };
    let ports = banner::Ports::of(&listeners)?;
    let (stop, mut stopped) = watch::channel(false);
    open_doors(&node, listeners, identity, &stop);
    tokio::spawn(keep_house(node.clone(), logs));
    if journal.is_some() {
        durability::keep_checkpoints(node.clone())?;
        tokio::spawn(announce(node.clone(), addresses));
    }
    // Whoever started us may have closed our output; that is no reason to stop.
    let mut output = std::io::stdout();
    let _ = output.write_all(banner::banner(&config, &ports, &node).as_bytes());
    let _ = output.flush();
    tracing::info!(addresses = ?ports.clients, "ready to accept connections");

    let ended = tokio::select! {
        () = signals.any() => Ok(()),
        _ = stopped.wait_for(|stopped| *stopped) => {
            tracing::info!("stopping");
            Ok(())
        }
        error = durability::failed(&node, journal.as_deref()) => {
            Err(anyhow::Error::new(error).context("the disk failed, this node ends"))
        }
        () = is_over(&node) => match node.view().node(node.cluster.me.node) {
            None => {
                tracing::info!("this node was removed from the cluster, stopping");
                Ok(())
            }
            Some(_) => Err(anyhow::anyhow!(
                "another process has the place of node {} in the cluster",
                node.cluster.me.node.0
            )),
        },
    };
    stop.send_replace(true);
    if let (Ok(()), Some(journal)) = (&ended, journal) {
        journal.close().context("the log was not closed")?;
    }
    ended
}

/// The node, and its log if there is one: as who it was, or as somebody new.
async fn begin(
    mut settings: Settings,
    addresses: NodeAddresses,
    nobody: &Identity,
    host: Box<host::SystemHost>,
    past: Past,
) -> anyhow::Result<(Node, Option<Arc<FileJournal>>)> {
    let (remembered, past) = match past {
        Past::Kept(found, remembered) => {
            let membership = Membership {
                me: remembered.me(),
                addresses: addresses.into(),
                state: remembered.state().clone(),
                ..Membership::founder()
            };
            let (membership, journal) = durability::begin(found, membership)?;
            let node = Node::recovered(settings, host, membership, *remembered)?;
            let (me, view) = (node.cluster.me, node.view());
            tracing::info!(
                node = me.node.0,
                cluster = view.cluster_id,
                "went on from disk"
            );
            return Ok((node, Some(journal)));
        }
        Past::Lost(_, ref state) => (state.as_deref().cloned(), past),
        Past::None => (None, past),
    };
    let mut own_name = None;
    if let Some(state) = remembered {
        settings.join = durability::whom_to_join(&settings, &state);
        own_name = durability::former_name(&past, &state);
    }
    let cluster = match settings.join.is_empty() {
        true => durability::cluster_to_found(&past)?,
        false => 0,
    };
    let membership = membership(
        &mut settings,
        addresses,
        nobody,
        own_name.unwrap_or_else(name),
    )
    .await?;
    let membership = Membership {
        cluster,
        ..membership
    };
    let (membership, journal) = match past {
        Past::Lost(found, _) => {
            let (membership, journal) = durability::begin(found, membership)?;
            (membership, Some(journal))
        }
        Past::Kept(..) | Past::None => (membership, None),
    };
    let node = Node::member(settings, host, membership).context("cannot divide the slots")?;
    Ok((node, journal))
}

/// Tells the cluster where a node is that came back elsewhere than it was. Until everybody knows.
async fn announce(node: Arc<Node>, addresses: NodeAddresses) {
    let me = node.cluster.me;
    loop {
        let view = node.view();
        let known = view.node(me.node).map(|own| own.addresses.clone());
        if known.is_none_or(|known| NodeAddresses::from(known) == addresses) {
            return;
        }
        let command = MetaCommand::Announce {
            node: me.node.0,
            incarnation: me.incarnation.0,
            addresses: addresses.clone(),
        };
        let (done, answered) = tokio::sync::oneshot::channel();
        let done = Box::new(move |_| {
            // Whatever the answer is, the view tells.
            let _ = done.send(());
        });
        node.change_cluster(command, done);
        let _ = answered.await;
        tokio::time::sleep(TURN).await;
    }
}

/// As what the node begins: the founder of a cluster, or a member of the one that it is told to join.
async fn membership(
    settings: &mut Settings,
    addresses: NodeAddresses,
    nobody: &Identity,
    own_name: String,
) -> anyhow::Result<Membership> {
    if settings.join.is_empty() {
        return Ok(Membership {
            seed: rand::random(),
            addresses: addresses.into(),
            name: own_name,
            ..Membership::founder()
        });
    }
    let welcome = join::join(settings, addresses, nobody, own_name).await?;
    let state = &welcome.state;
    if state.shards_count != settings.shards {
        tracing::info!(
            shards = state.shards_count,
            "the cluster's count of shards holds"
        );
        settings.shards = state.shards_count;
    }
    settings.replicas = state.replicas_wanted;
    if !state.is_founded() {
        bail!("the node that was asked has no cluster");
    }
    tracing::info!(
        node = welcome.node,
        cluster = state.cluster_id,
        nodes = state.nodes.len(),
        "joined a cluster"
    );
    Ok(Membership::joined(welcome))
}

/// 40 hex digits for a node that was none before.
fn name() -> String {
    let digits: [u8; 20] = rand::random();
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lets clients and other nodes in, and gives the node its turns.
fn open_doors(
    node: &Arc<Node>,
    listeners: Listeners,
    identity: Identity,
    stop: &watch::Sender<bool>,
) {
    let links = Arc::new(Links::default());
    let member = Arc::new(Member {
        node: node.clone(),
        links: links.clone(),
    });
    let door = Door::new(identity.clone(), member.clone());
    for listener in listeners.peers {
        tokio::spawn(peer::accept(listener, door.clone()));
    }
    let dialers = Dialers::new(identity, links, member.clone());
    tokio::spawn(peer::tick(member.clone(), dialers));
    tokio::spawn(peer::flush(member));
    let in_manner = |listeners: Vec<TcpListener>, manner| {
        for listener in listeners {
            tokio::spawn(accept(listener, node.clone(), manner, stop.clone()));
        }
    };
    in_manner(listeners.clients, Manner::Plain);
    in_manner(listeners.cluster, Manner::Cluster);
}

/// Waits until the cluster says that this node's life is over, and nobody needs its votes any more if it was removed.
async fn is_over(node: &Node) {
    let me = node.cluster.me.node;
    let is_replaced = || node.is_over() && node.view().node(me).is_some();
    let mut turns = tokio::time::interval(TURN);
    while !is_replaced() && !node.has_left() {
        turns.tick().await;
    }
}

/// What ends a process in good order.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => tracing::info!("interrupted, stopping"),
            _ = self.terminate.recv() => tracing::info!("terminated, stopping"),
        }
    }
}

/// Gives the node its turns, and the logs their level.
async fn keep_house(node: Arc<Node>, logs: logs::Logs) {
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0u64.. {
        turns.tick().await;
        let mut since = Instant::now();
        for () in Housework::new(&node) {
            if since.elapsed() > STEPS_MAX {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
        }
        if turn % TURNS_PER_TENDING == 0 {
            node.tend_clients();
        }
        logs.set_level(node.settings.load().loglevel);
    }
}
