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

/// Where a request names channels of shards: they have slots as keys do, and their messages come from who leads those.
fn shard_channels_of(row: &Row, args: Args<'_>) -> std::ops::Range<usize> {
    use commands::Session as C;
    match row.run {
        Run::Session(C::Ssubscribe | C::Sunsubscribe) => 1..args.len(),
        Run::Session(C::Spublish) => 1..2,
        Run::Session(_) | Run::Data(_) | Run::Later => 0..0,
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
        positions.extend(shard_channels_of(row, args));
        let mut slots = positions
            .iter()
            .map(|&position| slot_of(args.get(position)));
        let slot = slots.next()?;
        if slots.any(|other| other != slot) {
            return Some(CROSSSLOT.into());
        }
        if self.reads == Reads::Anywhere && row.flags.has(Flags::READONLY) {
            return None;
        }
        let shard = turn.node.map.shard_of_slot(slot).index();
        let leader = turn.node.cluster.leader(GroupId(shard as u32 + 1))?;
        if leader == turn.node.cluster.me.node {
            return None;
        }
        let view = turn.node.view();
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
