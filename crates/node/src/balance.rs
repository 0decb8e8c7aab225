//! A node that is asked far more than the others hands leaders over.
//!
//! Each node looks at its own part: if it has had more requests, or taken more CPU time, than half again the mean of all
//! for several looks in a row, it asks the cluster to have one of its shards led by the least busy of its voters. The one
//! that evens most is chosen, and none if the heir would then have as much as it gives away. Then it rests.

use crate::host::Now;
use crate::meta::MetaCommand;
use crate::node::Node;
use crate::report::NodeReport;
use parking_lot::Mutex;
use paxos::NodeId;
use std::collections::BTreeMap;

/// Between two looks, us.
const LOOK_US: u64 = 5_000_000;
/// A node must have had too much at so many looks in a row.
const LOOKS: u32 = 3;
/// After a hand-over, looks without one: what became of it must show first.
const REST_LOOKS: u32 = 4;
/// Too much: this, in percent of the mean …
const TOO_MUCH_PERCENT: u64 = 150;
/// … and at least so many requests a second more than that of the mean, or thousandths of a core: small numbers tell nothing.
const REQUESTS_MIN: u64 = 1000;
const CPU_PERMILLE_MIN: u64 = 200;

/// When a node looked last and what it saw.
#[derive(Debug, Default)]
pub(crate) struct Balance(Mutex<Looks>);

#[derive(Debug, Default)]
struct Looks {
    next_us: u64,
    too_much: u32,
    rests: u32,
}

impl Node {
    /// Looks, if it is time to.
    pub(crate) fn tick_balance(&self, now: Now) {
        let mut looks = self.balance.0.lock();
        if now.monotonic_us < looks.next_us {
            return;
        }
        looks.next_us = now.monotonic_us + LOOK_US;
        let me = self.cluster.me.node;
        let reports = self.reports.all(now);
        let is_active = |node: NodeId| self.view().may_vote(node);
        if looks.rests > 0 {
            looks.rests -= 1;
        } else if has_too_much(&reports, me, is_active) {
            looks.too_much += 1;
        } else {
            looks.too_much = 0;
        }
        if looks.too_much < LOOKS {
            return;
        }
        if let Some((shard, heir)) = choose(&reports, me, is_active) {
            looks.too_much = 0;
            looks.rests = REST_LOOKS;
            tracing::info!(
                shard,
                heir = heir.0,
                "this node is busier than others, hands a shard over"
            );
            let command = MetaCommand::Lead {
                shards: vec![shard],
                node: Some(heir.0),
            };
            self.change_cluster(command, Box::new(drop));
        }
    }
}

/// Commands a second on the shards that a node leads.
fn led_per_s(report: &NodeReport) -> u64 {
    report.led.iter().map(|led| led.requests_per_s).sum()
}

fn has_too_much(
    reports: &BTreeMap<NodeId, NodeReport>,
    me: NodeId,
    is_active: impl Fn(NodeId) -> bool,
) -> bool {
    let active = || reports.iter().filter(|(node, _)| is_active(**node));
    let count = active().count() as u64;
    let Some(own) = reports.get(&me).filter(|_| count > 1) else {
        return false;
    };
    let exceeds = |own: u64, sum: u64, least: u64| {
        let mean = sum / count;
        own * 100 > mean * TOO_MUCH_PERCENT && own > mean + least
    };
    let requests = active().map(|(_, report)| led_per_s(report)).sum();
    let cpu = active().map(|(_, report)| report.cpu_permille).sum();
    exceeds(led_per_s(own), requests, REQUESTS_MIN)
        || exceeds(own.cpu_permille, cpu, CPU_PERMILLE_MIN)
}

/// The shard to hand over, and to whom.
fn choose(
    reports: &BTreeMap<NodeId, NodeReport>,
    me: NodeId,
    is_active: impl Fn(NodeId) -> bool,
) -> Option<(u32, NodeId)> {
    let own = reports.get(&me)?;
    let own_per_s = led_per_s(own);
    let candidates = own.led.iter().flat_map(|led| {
        let voters = led.voters.iter().map(|&id| NodeId(id));
        voters.map(move |heir| (led, heir))
    });
    candidates
        .filter(|(_, heir)| *heir != me && is_active(*heir))
        .filter_map(|(led, heir)| {
            let others_per_s = led_per_s(reports.get(&heir)?) + led.requests_per_s;
            let left_per_s = own_per_s - led.requests_per_s;
            let most = others_per_s.max(left_per_s);
            (led.requests_per_s > 0 && others_per_s < own_per_s).then_some((most, led.shard, heir))
        })
        .min()
        .map(|(_, shard, heir)| (shard, heir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::LedShard;

    fn report(cpu_permille: u64, led: &[(u32, u64, &[u32])]) -> NodeReport {
        let shard = |&(shard, requests_per_s, voters): &(u32, u64, &[u32])| LedShard {
            shard,
            requests_per_s,
            voters: voters.to_vec(),
            ..LedShard::default()
        };
        NodeReport {
            led: led.iter().map(shard).collect(),
            cpu_permille,
            ..NodeReport::default()
        }
    }

    fn judged(reports: [NodeReport; 3]) -> (bool, Option<(u32, NodeId)>) {
        let reports: BTreeMap<NodeId, NodeReport> = (1..).map(NodeId).zip(reports).collect();
        let me = NodeId(1);
        (
            has_too_much(&reports, me, |_| true),
            choose(&reports, me, |_| true),
        )
    }

    #[test]
    fn who_is_asked_most_gives_what_evens_most() {
        // Breaks if a hot shard is thrown from node to node, or leaders stay where the load is.
        let all: &[u32] = &[1, 2, 3];
        let even = [
            report(100, &[(0, 5000, all), (1, 5000, all)]),
            report(100, &[(2, 9000, all)]),
            report(100, &[(3, 9500, all)]),
        ];
        assert!(!judged(even).0);
        let uneven = [
            report(100, &[(0, 9000, all), (1, 4000, &[1, 2]), (4, 0, all)]),
            report(100, &[(2, 3000, all)]),
            report(100, &[(3, 1000, all)]),
        ];
        assert_eq!(judged(uneven), (true, Some((1, NodeId(2)))));
        // One hot shard alone: wherever it goes it is as hot.
        let lone = [
            report(100, &[(0, 20_000, all)]),
            report(100, &[(2, 100, all)]),
            report(100, &[]),
        ];
        assert_eq!(judged(lone), (true, None));
        // CPU without requests to give away, and too little of anything to matter.
        assert_eq!(
            judged([report(900, &[]), report(90, &[]), report(90, &[])]),
            (true, None)
        );
        let idle = [report(20, &[(0, 900, all)]), report(5, &[]), report(5, &[])];
        assert!(!judged(idle).0);
    }

    #[test]
    fn a_node_alone_has_nobody_to_give_to() {
        // Breaks if a lone node, or one whose others are silent, asks for changes that nobody can make.
        let busy = report(900, &[(0, 90_000, &[1])]);
        let reports = BTreeMap::from([(NodeId(1), busy)]);
        assert!(!has_too_much(&reports, NodeId(1), |_| true));
    }
}
