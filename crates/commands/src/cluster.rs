//! Rows of the commands about the cluster.

use crate::help::help_row;
use crate::{Category, Flags, Group, Row, Session};

/// Served while data is loaded, and while it may be out of date.
const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE);
/// Concerns how a cluster of Redis is put together.
const REFUSED: Flags = Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING);

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row::container("cluster", Group::Cluster, Session::Cluster, CLUSTER)
        .summary("3.0.0", "Tells about the cluster."),
    Row::container("torc", Group::Server, Session::Torc, TORC)
        .summary("7.0.0", "Tells about Torc itself."),
    Row::session("asking", 1, Group::Cluster, Session::Asking)
        .flags(Flags::FAST)
        .categories(Category::CONNECTION)
        .docs(
            "3.0.0",
            "Lets the next command run on a slot that is moving here.",
            "O(1)",
        ),
    Row::session("readonly", 1, Group::Cluster, Session::Readonly)
        .flags(ANY_TIME.and(Flags::FAST))
        .categories(Category::CONNECTION)
        .docs("3.0.0", "Lets the connection read from followers.", "O(1)"),
    Row::session("readwrite", 1, Group::Cluster, Session::Readwrite)
        .flags(ANY_TIME.and(Flags::FAST))
        .categories(Category::CONNECTION)
        .docs("3.0.0", "Ends what READONLY began.", "O(1)"),
];

/// Subcommands of TORC, which is no command of Redis.
const TORC: &[Row] = &[
    help_row(Group::Server, "7.0.0"),
    Row::session("status", 2, Group::Server, Session::Torc)
        .flags(Flags::ADMIN.and(ANY_TIME).and(Flags::NO_MULTI))
        .docs(
            "7.0.0",
            "Answers what this node knows of its cluster, as JSON.",
            "O(N) in the shards",
        ),
    Row::session("hot", 2, Group::Server, Session::TorcHot)
        .flags(Flags::ADMIN.and(ANY_TIME).and(Flags::NO_MULTI))
        .docs(
            "7.0.0",
            "Answers which shards of the cluster, and keys at this node, are asked for most, as JSON.",
            "O(N) in the shards",
        ),
    Row::session("node", -4, Group::Server, Session::Operate)
        .flags(OPERATES)
        .docs(
            "7.0.0",
            "Drains, removes or weighs a node, or says where it stands.",
            "O(N) in the shards",
        ),
    Row::session("shard", -4, Group::Server, Session::Operate)
        .flags(OPERATES)
        .docs(
            "7.0.0",
            "Places a shard on nodes, or says which of them leads it.",
            "O(N) in the shards",
        ),
    Row::session("plan", -2, Group::Server, Session::TorcPlan)
        .flags(Flags::ADMIN.and(ANY_TIME).and(Flags::NO_MULTI))
        .docs(
            "7.0.0",
            "Answers what is still to move, or would with other weights, as JSON.",
            "O(N) in the shards",
        ),
    Row::session("rebalance", -2, Group::Server, Session::Operate)
        .flags(OPERATES)
        .docs(
            "7.0.0",
            "Has the ring alone say who holds what, with other weights if they are given.",
            "O(N) in the shards",
        ),
];

/// Of what changes the cluster: it waits until the cluster has agreed, which a transaction does not.
const OPERATES: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_MULTI);

/// Subcommands of CLUSTER.
const CLUSTER: &[Row] = &[
    Row::session("addslots", -3, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Gives slots to this node.", "O(N) in the slots"),
    Row::session("addslotsrange", -4, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs(
            "7.0.0",
            "Gives ranges of slots to this node.",
            "O(N) in the slots",
        ),
    Row::session("bumpepoch", 2, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Raises the configuration's epoch.", "O(1)"),
    Row::session("count-failure-reports", 3, Group::Cluster, Session::Cluster)
        .flags(Flags::ADMIN.and(Flags::STALE))
        .docs(
            "3.0.0",
            "Counts the reports that a node has failed.",
            "O(N) in the reports",
        ),
    Row::session("countkeysinslot", 3, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs("3.0.0", "Counts the keys of a slot.", "O(1)"),
    Row::session("delslots", -3, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Takes slots from this node.", "O(N) in the slots"),
    Row::session("delslotsrange", -4, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs(
            "7.0.0",
            "Takes ranges of slots from this node.",
            "O(N) in the slots",
        ),
    Row::session("failover", -2, Group::Cluster, Session::Operate)
        .flags(REFUSED)
        .docs("3.0.0", "Makes this node lead.", "O(1)"),
    Row::session("flushslots", 2, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Takes all slots from this node.", "O(1)"),
    Row::session("forget", 3, Group::Cluster, Session::Operate)
        .flags(REFUSED)
        .docs("3.0.0", "Removes a node from the list of nodes.", "O(1)"),
    Row::session("getkeysinslot", 4, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs(
            "3.0.0",
            "Lists keys of a slot.",
            "O(log N) in the keys asked for",
        ),
    help_row(Group::Cluster, "5.0.0"),
    Row::session("info", 2, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs("3.0.0", "Answers figures about the cluster.", "O(1)"),
    Row::session("keyslot", 3, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs(
            "3.0.0",
            "Answers the slot of a key.",
            "O(N) in the key's bytes",
        ),
    Row::session("links", 2, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs(
            "7.0.0",
            "Lists the links to other nodes.",
            "O(N) in the nodes",
        ),
    Row::session("meet", -4, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Introduces a node.", "O(1)"),
    Row::session("myid", 2, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs("3.0.0", "Answers this node's name.", "O(1)"),
    Row::session("myshardid", 2, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs("7.2.0", "Answers the name of this node's shard.", "O(1)"),
    Row::session("nodes", 2, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs("3.0.0", "Lists the nodes, one a line.", "O(N) in the nodes"),
    Row::session("replicas", 3, Group::Cluster, Session::Cluster)
        .flags(Flags::ADMIN.and(Flags::STALE))
        .docs(
            "5.0.0",
            "Lists the followers of a node.",
            "O(N) in the nodes",
        ),
    Row::session("replicate", 3, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Makes this node follow another.", "O(1)"),
    Row::session("reset", -2, Group::Cluster, Session::Cluster)
        .flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE))
        .docs(
            "3.0.0",
            "Makes this node forget its cluster.",
            "O(N) in the nodes",
        ),
    Row::session("saveconfig", 2, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Saves the cluster's state.", "O(1)"),
    Row::session("set-config-epoch", 3, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Sets the epoch of a new node.", "O(1)"),
    Row::session("setslot", -4, Group::Cluster, Session::Cluster)
        .flags(REFUSED)
        .docs("3.0.0", "Changes who owns a slot.", "O(1)"),
    Row::session("shards", 2, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs(
            "7.0.0",
            "Lists the shards with their slots and nodes.",
            "O(N) in the nodes",
        ),
    Row::session("slaves", 3, Group::Cluster, Session::Cluster)
        .flags(Flags::ADMIN.and(Flags::STALE))
        .docs(
            "3.0.0",
            "Older name of CLUSTER REPLICAS.",
            "O(N) in the nodes",
        ),
    Row::session("slots", 2, Group::Cluster, Session::Cluster)
        .flags(Flags::STALE)
        .docs(
            "3.0.0",
            "Lists ranges of slots with their nodes.",
            "O(N) in the nodes",
        ),
];
