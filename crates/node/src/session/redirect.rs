//! The manner of Redis Cluster, on the port for cluster-aware clients: a key that another node leads is answered by
//! `MOVED`, keys of different slots in one command by `CROSSSLOT`, so that such clients ask the right node themselves. On
//! the port for any client neither is ever said.

use super::grouped::CROSSSLOT;
use super::{Manner, Session, Turn};
use commands::{Flags, Row, Run};
use paxos::GroupId;
use placement::slot_of;
use resp::{Args, Reply};
use smallvec::SmallVec;

/// Which reads a connection in cluster manner may send to a node that does not lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reads {
    /// None: they are sent on their way by `MOVED`.
    #[default]
    AtLeader,
    /// All (READONLY): the node answers them, asking the leader itself. So they are as fresh as any.
    Anywhere,
}

/// Who answers a request in cluster manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// The leader of its slot's shard.
    Leader,
    /// Whoever holds a copy of the shard, as replicas of Redis 7.0 do, READONLY or not: every node hears all messages of
    /// shard channels.
    Replicas,
    /// Whoever is asked. Redis says `sunsubscribe` by itself when a slot leaves a node; here a subscription lives on where
    /// it was made, so there it can be left.
    All,
}

/// Where a request names channels of shards, which have slots as keys do, and who answers it.
fn shard_channels_of(row: &Row, args: Args<'_>) -> (std::ops::Range<usize>, Answers) {
    use commands::Session as C;
    match row.run {
        Run::Session(C::Ssubscribe) => (1..args.len(), Answers::Replicas),
        Run::Session(C::Sunsubscribe) => (1..args.len(), Answers::All),
        Run::Session(C::Spublish) => (1..2, Answers::Replicas),
        Run::Session(_) | Run::Data(_) | Run::Later => (0..0, Answers::Leader),
    }
}

impl Session {
    /// What a connection in cluster manner is told in place of its request's reply, if this node is not the one to ask.
    pub(super) fn redirect(
        &self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
    ) -> Option<String> {
        if row.keys.is_empty() {
            return None;
        }
        let mut positions = SmallVec::new();
        commands::keys_of(row, args, &mut positions).ok()?;
        let (channels, answers) = shard_channels_of(row, args);
        positions.extend(channels);
        let mut slots = positions
            .iter()
            .map(|&position| slot_of(args.get(position)));
        let slot = slots.next()?;
        if slots.any(|other| other != slot) {
            return Some(CROSSSLOT.into());
        }
        let anywhere = self.reads == Reads::Anywhere && row.flags.has(Flags::READONLY);
        if anywhere || answers == Answers::All {
            return None;
        }
        let shard = turn.node.map.shard_of_slot(slot).index();
        let leader = turn.node.cluster.leader(GroupId(shard as u32 + 1))?;
        let me = turn.node.cluster.me.node;
        if leader == me {
            return None;
        }
        let view = turn.node.view();
        let held = || {
            view.wanted
                .get(shard)
                .is_some_and(|held| held.contains(&me))
        };
        if answers == Answers::Replicas && held() {
            return None;
        }
        if turn.node.is_just_lost(leader, turn.now) {
            // Its successor is about to be known here, and has the request then.
            return None;
        }
        let addresses = &view.node(leader)?.addresses;
        if addresses.cluster_port == 0 {
            return None; // nobody could ask it in this manner
        }
        let reached = self
            .client
            .laddr
            .rsplit_once(':')
            .map_or("", |(host, _)| host);
        let host = match addresses.is_wildcard() {
            true => reached,
            false => &addresses.host,
        };
        Some(format!("MOVED {} {host}:{}", slot, addresses.cluster_port))
    }

    /// Whether what is asked of all keys at once is asked of a shard here: a cluster-aware client asks every node, as nodes
    /// of Redis Cluster know no keys but their own.
    pub(super) fn walks_over(&self, turn: Turn<'_>, shard: usize) -> bool {
        let me = turn.node.cluster.me.node;
        let leader = || turn.node.cluster.leader(GroupId(shard as u32 + 1));
        match self.manner {
            Manner::Plain => true,
            Manner::Cluster => leader().is_none_or(|leader| leader == me),
        }
    }

    /// READONLY and READWRITE.
    pub(super) fn set_reads(&mut self, reads: Reads, reply: &mut Reply<'_>) {
        match self.manner {
            Manner::Plain => reply.error("ERR This instance has cluster support disabled"),
            Manner::Cluster => {
                self.reads = reads;
                reply.ok();
            }
        }
    }

    /// ASKING: slots do not move between nodes by themselves, so there is nothing to ask for.
    pub(super) fn asking(&self, reply: &mut Reply<'_>) {
        match self.manner {
            Manner::Plain => reply.error("ERR This instance has cluster support disabled"),
            Manner::Cluster => reply.ok(),
        }
    }
}
