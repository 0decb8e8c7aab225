//! CLUSTER: the cluster as Redis Cluster would describe it, so that its clients find their way.
//!
//! A node that leads shards is a master of their slots; the others that hold a shard are its replicas there. Whatever a
//! client would do to a cluster of Redis by hand (give slots away, make a node follow another) Torc does by itself, and
//! says so.

use super::access::Access;
use super::{Session, Turn};
use crate::overview::{Overview, SlotRange};
use crate::peers::LinkStatus;
use crate::view::NodeView;
use placement::{SLOTS_COUNT, slot_of};
use resp::{Args, Reply, parse_i64};

/// Keys that one step of a walk looks at while a shard is locked.
const WALK_STEP: usize = 1024;

/// Slots, first and last.
type Slots = (u16, u16);

/// Where an answer's facts come from.
struct Facts<'a> {
    overview: &'a Overview,
    ranges: &'a [SlotRange],
    /// The address by which the client reached this node.
    reached_at: &'a str,
}

impl Session {
    pub(super) fn cluster(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let sub = args.get(1).to_ascii_lowercase();
        match sub.as_slice() {
            b"keyslot" => return reply.integer(i64::from(slot_of(args.get(2)))),
            b"countkeysinslot" => return self.count_keys_in_slot(turn, args, access, reply),
            b"getkeysinslot" => return self.keys_in_slot(turn, args, access, reply),
            b"links" => return links(turn, reply),
            _ => {}
        }
        let overview = turn.node.overview(turn.now);
        let ranges = overview.ranges(&turn.node.map);
        let laddr = &self.client.laddr;
        let reached_at = laddr.rsplit_once(':').map_or("", |(host, _)| host);
        let facts = Facts {
            overview: &overview,
            ranges: &ranges,
            reached_at: reached_at.trim_matches(['[', ']']),
        };
        match sub.as_slice() {
            b"slots" => facts.slots(reply),
            b"shards" => facts.shards(reply),
            b"nodes" => reply.verbatim("txt", facts.nodes().as_bytes()),
            b"info" => reply.verbatim("txt", info(turn, &facts).as_bytes()),
            b"myid" | b"myshardid" => match overview.view.node(overview.me) {
                Some(me) => reply.bulk(me.name.as_bytes()),
                None => reply.bulk(turn.node.id.as_bytes()),
            },
            b"replicas" | b"slaves" => match overview.view.node_named(args.get(2)) {
                Some(node) => facts.replicas_of(node, reply),
                None => unknown_node(args.get(2), reply),
            },
            b"count-failure-reports" => match overview.view.node_named(args.get(2)) {
                Some(node) => reply.integer(i64::from(!overview.is_alive(node.id))),
                None => unknown_node(args.get(2), reply),
            },
            _ => reply.error(&refusal(&sub)),
        }
    }

    fn count_keys_in_slot(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let Some(slot) = parse_i64(args.get(2)) else {
            return reply.error("ERR value is not an integer or out of range");
        };
        let Some(slot) = u16::try_from(slot).ok().filter(|slot| *slot < SLOTS_COUNT) else {
            return reply.error("ERR Invalid slot");
        };
        let mut count = 0;
        walk_slot(turn, slot, access, |_| {
            count += 1;
            true
        });
        reply.integer(count);
    }

    fn keys_in_slot(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let (Some(slot), Some(count)) = (parse_i64(args.get(2)), parse_i64(args.get(3))) else {
            return reply.error("ERR value is not an integer or out of range");
        };
        let slot = u16::try_from(slot).ok().filter(|slot| *slot < SLOTS_COUNT);
        let (Some(slot), Ok(count)) = (slot, usize::try_from(count)) else {
            return reply.error("ERR Invalid slot or number of keys");
        };
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        walk_slot(turn, slot, access, |key| {
            if keys.len() < count {
                keys.push(key.into());
            }
            keys.len() < count
        });
        reply.array(keys.len());
        keys.iter().for_each(|key| reply.bulk(key));
    }
}

/// Shows `visit` this node's keys of a slot in database 0, which is all that Redis Cluster has, until it has seen enough.
/// O(keys of the slot's shard); the shard is locked for a step at a time.
fn walk_slot(
    turn: Turn<'_>,
    slot: u16,
    access: &mut Access<'_>,
    mut visit: impl FnMut(&[u8]) -> bool,
) {
    let shard = turn.node.map.shard_of_slot(slot).index();
    let mut wants_more = true;
    let mut from = Some(0);
    while let Some(at) = from.filter(|_| wants_more) {
        from = access.with(turn.node, shard, |shard| {
            shard.cache.scan(0, at, WALK_STEP, &mut |key, _| {
                if wants_more && slot_of(key) == slot {
                    wants_more = visit(key);
                }
            })
        });
    }
}

impl Facts<'_> {
    fn node(&self, id: paxos::NodeId) -> &NodeView {
        let node = self.overview.view.node(id);
        node.expect("ranges name nodes of the view")
    }

    /// `[[first, last, [host, port, id, []], …], …]`, the leader first.
    ///
    /// A node leads some slots and follows for others, which no node of Redis does, and redis-py takes a node for whatever
    /// the answer first calls it. So what comes first is a range of each leader without those who follow.
    fn slots(&self, reply: &mut Reply<'_>) {
        let mut leaders: Vec<paxos::NodeId> = Vec::new();
        let (introductions, others): (Vec<&SlotRange>, Vec<&SlotRange>) =
            self.ranges.iter().partition(|range| {
                let is_new = !leaders.contains(&range.nodes[0]);
                if is_new {
                    leaders.push(range.nodes[0]);
                }
                is_new
            });
        let introductions = introductions.into_iter().map(|range| (range, 1));
        let others = others.into_iter().map(|range| (range, range.nodes.len()));
        reply.array(self.ranges.len());
        for (range, nodes_count) in introductions.chain(others) {
            reply.array(2 + nodes_count);
            reply.integer(i64::from(range.first));
            reply.integer(i64::from(range.last));
            for &id in &range.nodes[..nodes_count] {
                let node = self.node(id);
                reply.array(4);
                reply.bulk(node.host_for(self.reached_at).as_bytes());
                reply.integer(i64::from(node.port_for_clusters()));
                reply.bulk(node.name.as_bytes());
                reply.array(0);
            }
        }
    }

    /// One entry for all slots that the same nodes serve, then one for each node that serves none.
    fn shards(&self, reply: &mut Reply<'_>) {
        let mut served: Vec<(&[paxos::NodeId], Vec<Slots>)> = Vec::new();
        for range in self.ranges {
            let slots = (range.first, range.last);
            match served.iter_mut().find(|(nodes, _)| *nodes == range.nodes) {
                Some((_, ranges)) => ranges.push(slots),
                None => served.push((&range.nodes, vec![slots])),
            }
        }
        let is_served = |node: &&NodeView| {
            let mut ranges = self.ranges.iter();
            ranges.any(|range| range.nodes.contains(&node.id))
        };
        let nodes = &self.overview.view.nodes;
        let (_, idle): (Vec<&NodeView>, Vec<&NodeView>) = nodes.iter().partition(is_served);
        reply.array(served.len() + idle.len());
        for (nodes, slots) in &served {
            self.shard(slots, nodes, reply);
        }
        for node in idle {
            self.shard(&[], &[node.id], reply);
        }
    }

    fn shard(&self, slots: &[Slots], nodes: &[paxos::NodeId], reply: &mut Reply<'_>) {
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2 * slots.len());
        for (first, last) in slots {
            reply.integer(i64::from(*first));
            reply.integer(i64::from(*last));
        }
        reply.bulk(b"nodes");
        reply.array(nodes.len());
        for (place, &id) in nodes.iter().enumerate() {
            let node = self.node(id);
            let host = node.host_for(self.reached_at).as_bytes();
            let role: &[u8] = if place == 0 { b"master" } else { b"replica" };
            let health: &[u8] = match self.overview.is_alive(id) {
                true => b"online",
                false => b"fail",
            };
            reply.map(7);
            reply.bulk(b"id");
            reply.bulk(node.name.as_bytes());
            reply.bulk(b"port");
            reply.integer(i64::from(node.port_for_clusters()));
            reply.bulk(b"ip");
            reply.bulk(host);
            reply.bulk(b"endpoint");
            reply.bulk(host);
            reply.bulk(b"role");
            reply.bulk(role);
            reply.bulk(b"replication-offset");
            reply.integer(0);
            reply.bulk(b"health");
            reply.bulk(health);
        }
    }

    /// A line for each node.
    fn nodes(&self) -> String {
        let nodes = self.overview.view.nodes.iter();
        nodes.map(|node| self.line(node, None) + "\n").collect()
    }

    /// `id host:port@peer flags master ping-sent pong-received epoch link slots…`; a replica's if `follows` is given.
    fn line(&self, node: &NodeView, follows: Option<&NodeView>) -> String {
        let is_me = node.id == self.overview.me;
        let is_alive = self.overview.is_alive(node.id);
        let mut flags = Vec::new();
        if is_me {
            flags.push("myself");
        }
        flags.push(if follows.is_some() { "slave" } else { "master" });
        let slots = Overview::led_by(self.ranges, node.id);
        match (is_alive, slots.is_empty()) {
            (true, _) => {}
            (false, true) => flags.push("fail"),
            // Until the last of its slots has a new leader: clients give all that a failed node has to one heir.
            (false, false) => flags.push("fail?"),
        }
        let mut line = format!(
            "{} {}:{}@{} {} {} 0 0 {} {}",
            node.name,
            node.host_for(self.reached_at),
            node.port_for_clusters(),
            node.addresses.peer_port,
            flags.join(","),
            follows.map_or("-", |leader| &leader.name),
            self.overview.view.epoch,
            if is_alive {
                "connected"
            } else {
                "disconnected"
            },
        );
        if follows.is_none() {
            for (first, last) in slots {
                line += &match first == last {
                    true => format!(" {first}"),
                    false => format!(" {first}-{last}"),
                };
            }
        }
        line
    }

    /// The lines of those that follow where a node leads.
    fn replicas_of(&self, leader: &NodeView, reply: &mut Reply<'_>) {
        let follows = |node: &&NodeView| {
            let mut ranges = self.ranges.iter();
            node.id != leader.id
                && ranges.any(|range| range.nodes[0] == leader.id && range.nodes.contains(&node.id))
        };
        let nodes = self.overview.view.nodes.iter();
        let lines: Vec<String> = nodes
            .filter(follows)
            .map(|node| self.line(node, Some(leader)))
            .collect();
        reply.array(lines.len());
        lines.iter().for_each(|line| reply.bulk(line.as_bytes()));
    }
}

/// CLUSTER INFO.
fn info(turn: Turn<'_>, facts: &Facts<'_>) -> String {
    let overview = facts.overview;
    let shards_count = overview.leaders.len();
    let led: Vec<usize> = overview.led_shards().collect();
    let slots = (0..SLOTS_COUNT).map(|slot| turn.node.map.shard_of_slot(slot).index());
    let slots_ok = slots
        .filter(|shard| led.binary_search(shard).is_ok())
        .count();
    let failed = usize::from(SLOTS_COUNT) - slots_ok;
    let state = if led.len() == shards_count {
        "ok"
    } else {
        "fail"
    };
    let nodes = overview.view.nodes.iter();
    let leaders = nodes.filter(|node| !Overview::led_by(facts.ranges, node.id).is_empty());
    let links = turn.node.cluster.peers.links();
    let sum = |of: fn(&LinkStatus) -> u64| links.iter().map(of).sum::<u64>();
    let fields: [(&str, String); 11] = [
        ("cluster_state", state.into()),
        ("cluster_slots_assigned", SLOTS_COUNT.to_string()),
        ("cluster_slots_ok", slots_ok.to_string()),
        ("cluster_slots_pfail", "0".into()),
        ("cluster_slots_fail", failed.to_string()),
        ("cluster_known_nodes", overview.view.nodes.len().to_string()),
        ("cluster_size", leaders.count().to_string()),
        ("cluster_current_epoch", overview.view.epoch.to_string()),
        ("cluster_my_epoch", overview.view.epoch.to_string()),
        (
            "cluster_stats_messages_sent",
            sum(|link| link.messages_count).to_string(),
        ),
        (
            "total_cluster_links_buffer_limit_exceeded",
            sum(|link| link.dropped_count).to_string(),
        ),
    ];
    fields
        .iter()
        .map(|(name, value)| format!("{name}:{value}\r\n"))
        .collect()
}

/// CLUSTER LINKS: the links by which this node speaks to others.
fn links(turn: Turn<'_>, reply: &mut Reply<'_>) {
    let view = turn.node.view();
    let links = turn.node.cluster.peers.links();
    let up: Vec<(&LinkStatus, &NodeView)> = links
        .iter()
        .filter(|link| link.up)
        .filter_map(|link| Some((link, view.node(link.node)?)))
        .collect();
    reply.array(up.len());
    let wall_us = turn.node.host.wall_us();
    for (link, node) in up {
        let age_us = turn.now.monotonic_us.saturating_sub(link.since_us);
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(b"to");
        reply.bulk(b"node");
        reply.bulk(node.name.as_bytes());
        reply.bulk(b"create-time");
        reply.integer((wall_us.saturating_sub(age_us) / 1000) as i64);
        reply.bulk(b"events");
        reply.bulk(if link.pending_bytes > 0 { b"rw" } else { b"r" });
        reply.bulk(b"send-buffer-allocated");
        reply.integer(link.pending_bytes as i64);
        reply.bulk(b"send-buffer-used");
        reply.integer(link.pending_bytes as i64);
    }
}

fn unknown_node(name: &[u8], reply: &mut Reply<'_>) {
    reply.error_bytes(&[b"ERR Unknown node ", name].concat());
}

/// What to do instead of what Redis Cluster is told by hand.
fn refusal(sub: &[u8]) -> String {
    let instead = match sub {
        b"meet" => "start the other node with 'torc serve --join HOST:PORT'",
        b"addslots" | b"addslotsrange" | b"delslots" | b"delslotsrange" | b"flushslots"
        | b"setslot" => {
            "slots belong to shards, which the cluster spreads over its nodes by itself; add a node with 'torc serve --join HOST:PORT'"
        }
        b"replicate" => {
            "the cluster places the replicas of its shards by itself, as many as 'torc serve --replicas N' says"
        }
        b"reset" => "a node leaves a cluster by 'torc node drain' and 'torc node remove'",
        b"bumpepoch" | b"set-config-epoch" | b"saveconfig" => {
            "the cluster agrees on its state by itself; 'torc status' shows it"
        }
        _ => "'torc status' shows the cluster",
    };
    let name = String::from_utf8_lossy(sub).to_uppercase();
    format!("ERR CLUSTER {name} is not supported by Torc: {instead}")
}

#[cfg(test)]
mod tests;
