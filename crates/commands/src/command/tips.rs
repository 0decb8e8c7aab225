//! Tips of COMMAND INFO: what a driver may want to know beyond the flags (redis.io, "Command tips").
//!
//! Redis's tips on which nodes of a cluster to ask, and how to put the answers together, are left out with
//! intent: at the clients' port any node of Torc answers for the whole keyspace, and a driver that added up DBSIZE
//! over the nodes would count every key several times. (At the port for cluster-aware clients a node answers for
//! what it leads, as Redis does; their drivers know by themselves which commands these are.)

use crate::Row;

/// The same request may be answered otherwise on another node, or a moment later.
const OUTPUT: &[&str] = &["nondeterministic_output"];

/// The same elements, but in an order of no meaning.
const ORDER: &[&str] = &["nondeterministic_output_order"];

static TIPS: &[(&[&str], &[&str])] = &[
    (
        OUTPUT,
        &[
            "client|info",
            "client|list",
            "cluster|bumpepoch",
            "cluster|count-failure-reports",
            "cluster|getkeysinslot",
            "cluster|info",
            "cluster|links",
            "cluster|nodes",
            "cluster|replicas",
            "cluster|shards",
            "cluster|slaves",
            "cluster|slots",
            "dump",
            "hrandfield",
            "hscan",
            "info",
            "lastsave",
            "latency|doctor",
            "latency|graph",
            "latency|histogram",
            "latency|history",
            "latency|latest",
            "memory|doctor",
            "memory|malloc-stats",
            "memory|stats",
            "migrate",
            "object|encoding",
            "object|freq",
            "object|idletime",
            "object|refcount",
            "pttl",
            "randomkey",
            "scan",
            "slowlog|get",
            "slowlog|len",
            "spop",
            "srandmember",
            "sscan",
            "time",
            "ttl",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xinfo|consumers",
            "xpending",
            "xtrim",
            "zrandmember",
            "zscan",
        ],
    ),
    (
        ORDER,
        &[
            "command",
            "command|docs",
            "command|info",
            "command|list",
            "hgetall",
            "hkeys",
            "hvals",
            "keys",
            "module|list",
            "sdiff",
            "sinter",
            "smembers",
            "sunion",
        ],
    ),
];

/// The tips of a command; most have none.
pub(super) fn tips(row: &'static Row) -> &'static [&'static str] {
    let name = row.full_name();
    let found = TIPS.iter().find(|(_, names)| names.contains(&&*name));
    found.map_or(&[], |(tips, _)| tips)
}
