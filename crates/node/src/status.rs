//! What a node knows of its cluster, for people and tools: `TORC STATUS`.
//!
//! Of a shard's replicas only its leader knows how far they are; of shards that are led elsewhere it tells what that node
//! reported last (`report.rs`).

use crate::host::Now;
use crate::node::Node;
use crate::overview::Overview;
use crate::progress::Progress;
use crate::report::{LedShard, NodeReport};
use paxos::{GroupId, NodeId};
use placement::ShardId;
use serde::Serialize;
use std::collections::BTreeMap;

/// A cluster as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Torc's version on this node.
    pub version: String,
    /// 32 hex digits.
    pub cluster_id: String,
    /// Rises with every change of the cluster's state.
    pub epoch: u64,
    /// The node that says this.
    pub node: u32,
    /// Who leads the meta group.
    pub meta_leader: Option<u32>,
    /// Who votes in the meta group.
    pub meta_voters: Vec<u32>,
    /// Replicas wanted of each shard.
    pub replicas_wanted: u32,
    /// Shards without a leader that is alive.
    pub shards_without_leader: usize,
    /// Shards in which this node votes and that nobody can lead any more: a majority of their voters have lost their memory.
    pub shards_lost: usize,
    /// Shards that lost the memory of a majority once and went on with what was left: locks and acknowledged writes may be gone.
    pub shards_reset: usize,
    /// Groups, the meta group among them, of whose wanted voters one is dead, has not taken its place in its present life, or is
    /// more than 1,000 indexes behind, as their leaders report; and those of which no leader reports. While it is 0, any minority
    /// may go.
    pub groups_short: usize,
    /// Shards that another node leads than should.
    pub shards_misled: usize,
    /// Replicas that are still to move, of shards whose leaders report.
    pub replicas_to_move: usize,
    /// Memory of locks on this node, bytes …
    pub lock_memory_bytes: u64,
    /// … and what they may take (`lock-memory`).
    pub lock_memory_limit: u64,
    /// All nodes.
    pub nodes: Vec<NodeStatus>,
    /// All shards.
    pub shards: Vec<ShardStatus>,
}

/// A node of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its number.
    pub node: u32,
    /// HOST:PORT for any client.
    pub address: String,
    /// Port for cluster-aware clients; 0: none.
    pub cluster_port: u16,
    /// Port for other nodes.
    pub peer_port: u16,
    /// 40 hex digits.
    pub name: String,
    /// The life of its memory, from 1.
    pub life: u64,
    /// Share of replicas relative to others'; 0: it is being drained.
    pub weight: u32,
    /// Where it stands; empty: nowhere in particular.
    pub zone: String,
    /// Whether this node hears it.
    pub alive: bool,
    /// Whether it has been silent for so long that others take its place.
    pub lost: bool,
    /// Shards that it leads.
    pub leads: usize,
    /// Shards that it should hold.
    pub holds: usize,
    /// Shards in which it votes, as their leaders report.
    pub votes: usize,
    /// Bytes of the shards that it holds, as it reports.
    pub bytes: u64,
    /// Requests in the last second, as it reports.
    pub requests_per_s: u64,
    /// CPU time in the last second, thousandths of a core, as it reports.
    pub cpu_permille: u64,
}

/// A shard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardStatus {
    /// Its number.
    pub shard: u32,
    /// Its slots, first and last.
    pub slots: String,
    /// Who leads it, as far as this node knows.
    pub leader: Option<u32>,
    /// Its generation: how often it lost the memory of a majority and began anew.
    pub generation: u32,
    /// Who votes, as its leader reports; else as this node knows, if it holds it.
    pub voters: Vec<u32>,
    /// Who learns.
    pub learners: Vec<u32>,
    /// Bytes of it, as its leader reports.
    pub bytes: u64,
    /// Commands that ran on it in the last second, as its leader reports.
    pub requests_per_s: u64,
    /// What is chosen up to, as its leader reports; else as far as this node knows.
    pub index: u64,
    /// As its leader reports: how many indexes each other member is behind, `node:lag`.
    pub lag_indexes: Vec<String>,
    /// As its leader reports: how long its lease lasts, ms; `alone` while it needs none.
    pub lease: Option<String>,
}

impl Node {
    /// What this node knows of its cluster. Locks each shard for a moment.
    pub fn status(&self, now: Now) -> Status {
        let overview = self.overview(now);
        let numbers = |members: &[paxos::ReplicaId]| members.iter().map(|id| id.node.0).collect();
        let meta = GroupId(0);
        let (meta_leader, meta_voters, meta_progress) = self.with_meta(|group| {
            let replica = group.replica();
            let progress = Progress::of(meta, replica, &overview, now);
            (
                replica.leader(),
                numbers(&replica.config().voters),
                progress,
            )
        });
        let reports = self.reports.all(now);
        let reported = self.led_shards(&reports);
        let meta_report = || reports.get(&meta_leader?.node)?.meta.clone();
        let is_short = |progress: Option<Progress>| progress.is_none_or(|known| known.is_short);
        let mut groups_short = usize::from(is_short(meta_progress.or_else(meta_report)));
        let lost = |shard: &usize| self.lock(*shard).is_lost();
        let shards_lost = (0..self.shards_count()).filter(lost).count();
        let led_and_wanted = overview.leaders.iter().zip(&overview.view.wanted);
        let misled = led_and_wanted.filter(|(leader, wanted)| {
            let should_lead = wanted.first();
            leader.is_some_and(|leader| should_lead.is_some_and(|id| *id != leader))
        });
        let shards_misled = misled.count();
        let shards: Vec<ShardStatus> = (0..self.shards_count())
            .map(|shard| {
                let led = reported.get(&(shard as u32));
                let (status, progress) = self.shard_status(shard, led, &overview, now);
                groups_short += usize::from(is_short(progress));
                status
            })
            .collect();
        let plan = self.plan_of(&overview.view.wanted, &reported);
        let led = overview.led_shards().count();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            cluster_id: overview.view.cluster_id.clone(),
            epoch: overview.view.epoch,
            node: overview.me.0,
            meta_leader: meta_leader.map(|id| id.node.0),
            meta_voters,
            replicas_wanted: overview.view.replicas_wanted,
            shards_without_leader: shards.len() - led,
            shards_lost,
            shards_reset: overview
                .view
                .lives
                .values()
                .filter(|life| life.generation > 0)
                .count(),
            groups_short,
            shards_misled,
            replicas_to_move: plan.replicas,
            lock_memory_bytes: self.budget.locks.used(),
            lock_memory_limit: self.budget.locks.limit(),
            nodes: node_statuses(&overview, &reported, &reports),
            shards,
        }
    }

    /// A shard, and how its group stands, if that is known.
    fn shard_status(
        &self,
        shard: usize,
        reported: Option<&LedShard>,
        overview: &Overview,
        now: Now,
    ) -> (ShardStatus, Option<Progress>) {
        let guard = self.lock(shard);
        let replica = &guard.group.replica;
        let config = replica.config();
        let numbers = |members: &[paxos::ReplicaId]| members.iter().map(|id| id.node.0).collect();
        let group = GroupId(shard as u32 + 1);
        let slots = self.map.slots_of(ShardId(shard as u16));
        let progress = Progress::of(group, replica, overview, now)
            .or_else(|| reported.map(|led| led.progress.clone()));
        let lags = progress.iter().flat_map(|known| &known.lags);
        let status = ShardStatus {
            shard: shard as u32,
            slots: slots.map_or_else(String::new, |slots| {
                format!("{}-{}", slots.start(), slots.end())
            }),
            leader: self.cluster.leader(group).map(|id| id.0),
            generation: guard.generation().0,
            voters: reported.map_or_else(|| numbers(&config.voters), |led| led.voters.clone()),
            learners: reported
                .map_or_else(|| numbers(&config.learners), |led| led.learners.clone()),
            bytes: reported.map_or(0, |led| led.bytes),
            requests_per_s: reported.map_or(0, |led| led.requests_per_s),
            index: progress.as_ref().map_or(guard.applied, |known| known.index),
            lag_indexes: lags.map(|(node, lag)| format!("{node}:{lag}")).collect(),
            lease: progress.as_ref().map(|known| known.lease.to_string()),
        };
        (status, progress)
    }
}

/// The nodes with what they lead and hold.
fn node_statuses(
    overview: &Overview,
    reported: &BTreeMap<u32, LedShard>,
    reports: &BTreeMap<NodeId, NodeReport>,
) -> Vec<NodeStatus> {
    let counts = |id: NodeId| {
        let leads = overview.leaders.iter().filter(|led| **led == Some(id));
        let holds = overview.view.wanted.iter();
        (
            leads.count(),
            holds.filter(|holders| holders.contains(&id)).count(),
        )
    };
    let status = |node: &crate::NodeView| {
        let (leads, holds) = counts(node.id);
        let votes = reported
            .values()
            .filter(|led| led.voters.contains(&node.id.0));
        let report = reports.get(&node.id);
        NodeStatus {
            node: node.id.0,
            address: crate::settings::host_and_port(
                &node.addresses.host,
                node.addresses.client_port,
            ),
            cluster_port: node.addresses.cluster_port,
            peer_port: node.addresses.peer_port,
            name: node.name.clone(),
            life: node.incarnation.0,
            weight: node.weight,
            zone: node.zone.clone(),
            alive: overview.is_alive(node.id),
            lost: node.is_lost,
            leads,
            holds,
            votes: votes.count(),
            bytes: report.map_or(0, |report| report.used_bytes),
            requests_per_s: report.map_or(0, |report| report.requests_per_s),
            cpu_permille: report.map_or(0, |report| report.cpu_permille),
        }
    };
    overview.view.nodes.iter().map(status).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Client;
    use crate::testing::network::Network;

    #[test]
    fn status_tells_of_every_node_and_shard() {
        // Breaks if an operator cannot see who leads, who lags, who is gone.
        let mut network = Network::new(1, 1, |_| {});
        network.run_ms(50);
        network.join(1);
        network.join(1);
        network.run_ms(6000);
        let whole = network.node(1).status(network.node(1).now());
        assert_eq!((whole.groups_short, whole.shards_misled), (0, 0));
        network.stop(3);
        network.run_ms(2500);
        let node = network.node(1);
        let status = node.status(node.now());
        let alive: Vec<bool> = status.nodes.iter().map(|node| node.alive).collect();
        assert_eq!(alive, [true, true, false]);
        assert_eq!(status.shards_without_leader, 0);
        // The third voter of each is dead, and of the cluster's own group.
        assert_eq!(status.groups_short, 8 + 1);
        assert_eq!(status.nodes.iter().map(|node| node.leads).sum::<usize>(), 8);
        assert_eq!(status.meta_voters, [1, 2, 3]);
        for shard in &status.shards {
            assert_eq!(shard.voters, [1, 2, 3]);
            // Whoever leads it.
            assert_eq!(shard.lag_indexes.len(), 2);
            assert!(shard.lease.is_some());
        }
        let json = Client::new(node).run("TORC STATUS");
        assert!(json.contains("\"meta_leader\":"), "{json}");
        assert!(json.contains("\"slots\":\"0-2047\""), "{json}");
    }

    #[test]
    fn a_lone_node_needs_no_lease() {
        // Breaks if a single node's status looks like one in trouble.
        let (node, _) = crate::testing::node();
        let status = node.status(node.now());
        assert_eq!(status.shards_without_leader, 0);
        assert_eq!((status.groups_short, status.shards_misled), (0, 0));
        assert_eq!(status.shards[0].lease.as_deref(), Some("alone"));
        assert_eq!(status.nodes[0].leads, 8);
        let refused = Client::new(&node).run("TORC NONSENSE");
        assert!(refused.starts_with("-ERR unknown subcommand"), "{refused}");
    }
}
