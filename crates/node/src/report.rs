//! What a node tells all others of its part in the cluster, a few times a second: the members and sizes of the groups that
//! it leads, and how busy it is. Plans, limits and `TORC STATUS` are made of it on every node alike.
//!
//! Reports are hints: a group's own log says who its members are, and a report is as old as it is.

use crate::host::Now;
use crate::meta::MetaMessage;
use crate::node::Node;
use crate::progress::Progress;
use crate::wire::PeerMessage;
use bytes::Bytes;
use parking_lot::Mutex;
use paxos::{GroupId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Between two reports, us.
const REPORT_US: u64 = 250_000;
/// Between two looks at how busy the node was, us.
const RATES_US: u64 = 1_000_000;
/// A report that is older counts as none, us.
const FRESH_US: u64 = 2_000_000;

/// What a node tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The shards that it leads.
    pub led: Vec<LedShard>,
    /// How the meta group stands, if it leads that.
    pub meta: Option<Progress>,
    /// Shards whose state it is receiving.
    pub receiving: u32,
    /// Shards of which it holds a state, whether it is a member of their groups or not.
    pub held: u32,
    /// Bytes of keys and values in them, with all that belongs to them.
    pub used_bytes: u64,
    /// Requests in the last second.
    pub requests_per_s: u64,
    /// CPU time in the last second, thousandths of a core.
    pub cpu_permille: u64,
}

/// A shard, as its leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedShard {
    /// Its number.
    pub shard: u32,
    /// The epoch of the cluster's state by which its members are those told here; 0 while they change.
    pub epoch: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
    /// Commands that ran on it in the last second.
    pub requests_per_s: u64,
    /// Who votes.
    pub voters: Vec<u32>,
    /// Who learns.
    pub learners: Vec<u32>,
    /// How far they are.
    pub progress: Progress,
}

/// The latest reports, and what the next one counts from.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    latest: Mutex<BTreeMap<NodeId, (u64, NodeReport)>>,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// When the last report was made, us.
    made_us: u64,
    rates: Rates,
}

/// What was counted when rates were looked at last, and what they were.
#[derive(Debug, Default)]
struct Rates {
    looked_us: u64,
    requests: u64,
    cpu_us: u64,
    shards: Vec<u64>,
    requests_per_s: u64,
    cpu_permille: u64,
    shards_per_s: Vec<u64>,
}

impl Reports {
    /// All reports that are not old, by node.
    pub fn all(&self, now: Now) -> BTreeMap<NodeId, NodeReport> {
        let latest = self.latest.lock();
        latest
            .iter()
            .filter(|(_, (at_us, _))| now.monotonic_us < at_us + FRESH_US)
            .map(|(&node, (_, report))| (node, report.clone()))
            .collect()
    }

    /// How many states each node is receiving, by what it told not long ago.
    pub fn receiving(&self, now: Now) -> BTreeMap<NodeId, u32> {
        let latest = self.latest.lock();
        latest
            .iter()
            .filter(|(_, (at_us, _))| now.monotonic_us < at_us + FRESH_US)
            .map(|(&node, (_, report))| (node, report.receiving))
            .collect()
    }

    fn take(&self, node: NodeId, report: NodeReport, now: Now) {
        self.latest.lock().insert(node, (now.monotonic_us, report));
    }

    /// Forgets nodes that are gone.
    pub fn keep(&self, mut is_known: impl FnMut(NodeId) -> bool) {
        self.latest.lock().retain(|&node, _| is_known(node));
    }
}

impl Rates {
    fn is_due(&self, now_us: u64) -> bool {
        now_us >= self.looked_us + RATES_US
    }

    fn look(&mut self, now_us: u64, (requests, cpu_us): (u64, u64), shards: Vec<u64>) {
        let passed_us = (now_us - self.looked_us).max(1);
        let per_s = |count: u64| (u128::from(count) * 1_000_000 / u128::from(passed_us)) as u64;
        self.requests_per_s = per_s(requests.saturating_sub(self.requests));
        self.cpu_permille = per_s(cpu_us.saturating_sub(self.cpu_us)) / 1000;
        let before = std::mem::take(&mut self.shards);
        let before = before.iter().copied().chain(std::iter::repeat(0));
        self.shards_per_s = shards
            .iter()
            .zip(before)
            .map(|(count, before)| per_s(count.saturating_sub(before)))
            .collect();
        (self.requests, self.cpu_us, self.shards) = (requests, cpu_us, shards);
        self.looked_us = now_us;
    }
}

impl Node {
    /// Another node reports.
    pub(crate) fn on_report(&self, from: NodeId, report: NodeReport, now: Now) {
        self.reports.take(from, report, now);
    }

    /// Reports to all others, if the last report is old enough. Locks each shard for a moment.
    pub(crate) fn tick_report(&self, now: Now) {
        let report = {
            let mut own = self.reports.own.lock();
            if now.monotonic_us < own.made_us + REPORT_US {
                return;
            }
            own.made_us = now.monotonic_us;
            self.make_report(&mut own.rates, now)
        };
        let view = self.view();
        self.reports.keep(|id| view.node(id).is_some());
        let message = MetaMessage::Report(report.clone());
        self.reports.take(self.cluster.me.node, report, now);
        if !self.cluster.peers.all().is_empty() {
            let bytes = Bytes::from(message.encode());
            self.cluster.peers.send_to_all(&PeerMessage::Meta(bytes));
            self.tell_where(now);
        }
    }

    fn make_report(&self, rates: &mut Rates, now: Now) -> NodeReport {
        if rates.is_due(now.monotonic_us) {
            let shards = (0..self.shards_count()).map(|shard| self.lock(shard).runs_count);
            let process = self.host.process();
            let totals = (self.stats.commands(), process.user_us + process.system_us);
            rates.look(now.monotonic_us, totals, shards.collect());
        }
        let mut report = NodeReport {
            requests_per_s: rates.requests_per_s,
            cpu_permille: rates.cpu_permille,
            ..NodeReport::default()
        };
        let overview = self.overview(now);
        report.meta =
            self.with_meta(|group| Progress::of(GroupId(0), group.replica(), &overview, now));
        for shard in 0..self.shards_count() {
            let guard = self.lock(shard);
            let replica = &guard.group.replica;
            let bytes = guard.cache.used_bytes() as u64;
            let config = replica.config();
            report.used_bytes += bytes;
            report.held += u32::from(!replica.is_hollow() && !config.voters.is_empty());
            report.receiving += u32::from(guard.group.streams.is_receiving());
            let group = GroupId(shard as u32 + 1);
            if let Some(progress) = Progress::of(group, replica, &overview, now) {
                // Another may have said so meanwhile that was mistaken.
                self.cluster.hear_leader(
                    group,
                    replica.ballot(),
                    self.cluster.me.node,
                    now.monotonic_us,
                );
                let numbers =
                    |ids: &[paxos::ReplicaId]| ids.iter().map(|id| id.node.0).collect::<Vec<u32>>();
                report.led.push(LedShard {
                    shard: shard as u32,
                    // Who is about to vote is not known for sure while that changes.
                    epoch: match replica.is_changing() {
                        true => 0,
                        false => overview.view.epoch,
                    },
                    bytes,
                    requests_per_s: rates.shards_per_s.get(shard).copied().unwrap_or(0),
                    voters: numbers(&config.voters),
                    learners: numbers(&config.learners),
                    progress,
                });
            }
        }
        report
    }
}
