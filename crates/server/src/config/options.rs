//! The options: one row each, from which the flags, the variables, the keys of the file, the help
//! page and `--print-config` are made.

/// One option. Its values are those of the setting of the same name.
pub(crate) struct Opt {
    /// Redis's name, where Redis has it: flag, key of the file and, in capitals, variable.
    pub(crate) name: &'static str,
    /// The heading that it stands under.
    pub(crate) group: Group,
    pub(crate) shape: Shape,
    /// The default, as somebody would write it.
    pub(crate) default: &'static str,
    /// One or two sentences for the help page.
    pub(crate) help: &'static str,
}

/// Headings, in the order of the help page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Network,
    Access,
    Memory,
    Clients,
    Cluster,
    Node,
    Durability,
    Diagnosis,
}

impl Group {
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Group::Network => "Network",
            Group::Access => "Access",
            Group::Memory => "Memory",
            Group::Clients => "Limits of a client",
            Group::Cluster => "The cluster",
            Group::Node => "The node",
            Group::Durability => "Durability",
            Group::Diagnosis => "Logs and diagnosis",
        }
    }
}

/// How a value looks, with its name on the help page where that says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One word.
    Word(&'static str),
    /// Several words, each its own argument or all in one.
    Words(&'static str),
    YesNo,
    /// An amount with one of Redis's units.
    Memory,
    /// A word that is not quoted back.
    Secret,
}

impl Shape {
    pub(crate) fn value_name(self) -> &'static str {
        match self {
            Shape::Word(name) | Shape::Words(name) => name,
            Shape::YesNo => "yes|no",
            Shape::Memory => "BYTES",
            Shape::Secret => "PASSWORD",
        }
    }
}

impl Opt {
    /// The variable of the environment that sets it: `maxmemory-policy` is `TORC_MAXMEMORY_POLICY`.
    pub(crate) fn variable(&self) -> String {
        format!("TORC_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// The option of this name, which must be written as it is.
pub(crate) fn find(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.name == name)
}

const fn row(
    name: &'static str,
    group: Group,
    shape: Shape,
    default: &'static str,
    help: &'static str,
) -> Opt {
    Opt {
        name,
        group,
        shape,
        default,
        help,
    }
}

/// All options, by heading.
pub(crate) static OPTIONS: &[Opt] = &[
    row(
        "port",
        Group::Network,
        Shape::Word("PORT"),
        "6379",
        "TCP port for clients; 0 lets the system choose one",
    ),
    row(
        "bind",
        Group::Network,
        Shape::Words("ADDRESS"),
        "127.0.0.1",
        "IP addresses to listen on; * is every IPv4 address, ::* every IPv6 address",
    ),
    row(
        "tcp-backlog",
        Group::Network,
        Shape::Word("COUNT"),
        "511",
        "Connections that may wait to be accepted",
    ),
    row(
        "tcp-keepalive",
        Group::Network,
        Shape::Word("SECONDS"),
        "300",
        "Probe silent connections this often; 0 never",
    ),
    row(
        "requirepass",
        Group::Access,
        Shape::Secret,
        "",
        "Password that clients must give with AUTH; better in TORC_REQUIREPASS or the file, as others \
         on the machine can see flags",
    ),
    row(
        "protected-mode",
        Group::Access,
        Shape::YesNo,
        "yes",
        "Refuse to be reachable from other machines without a password",
    ),
    row(
        "maxmemory",
        Group::Memory,
        Shape::Memory,
        "0",
        "Memory for keys and values, as 512mb or 2gb; 0 is 60 % of what the machine or container has",
    ),
    row(
        "maxmemory-policy",
        Group::Memory,
        Shape::Word("POLICY"),
        "allkeys-lru",
        "What makes room: allkeys-lru, volatile-lru, volatile-ttl, allkeys-random, volatile-random, or \
         noeviction to refuse writes instead",
    ),
    row(
        "lock-memory",
        Group::Memory,
        Shape::Word("SHARE"),
        "25%",
        "What locks may take of it, as they are not evicted: a share of maxmemory, or an amount",
    ),
    row(
        "lock-overflow",
        Group::Memory,
        Shape::Word("WHAT"),
        "refuse",
        "What becomes of locks for which that is not enough: refuse, or evict others, held or not, for them",
    ),
    row(
        "maxclients",
        Group::Clients,
        Shape::Word("COUNT"),
        "10000",
        "Clients at once",
    ),
    row(
        "timeout",
        Group::Clients,
        Shape::Word("SECONDS"),
        "0",
        "Close clients that are idle for so long; 0 never",
    ),
    row(
        "proto-max-bulk-len",
        Group::Clients,
        Shape::Memory,
        "512mb",
        "Largest single argument, so also the largest value",
    ),
    row(
        "client-query-buffer-limit",
        Group::Clients,
        Shape::Memory,
        "1gb",
        "Close a client whose unfinished request is larger",
    ),
    row(
        "client-output-buffer-limit",
        Group::Clients,
        Shape::Words("LIMIT"),
        "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
        "Close clients that leave replies unread: class, hard limit, soft limit, and seconds for which \
         the soft limit may be exceeded; 0 is no limit",
    ),
    row(
        "tracking-table-max-keys",
        Group::Clients,
        Shape::Word("COUNT"),
        "1000000",
        "Keys remembered for CLIENT TRACKING; 0 is no limit",
    ),
    row(
        "join",
        Group::Cluster,
        Shape::Word("HOST:PORT,..."),
        "",
        "Join the cluster of these nodes, tried in turn; @PEERPORT behind one whose peer port is not 10000 above. \
         Without it the node is a cluster of one, which others may join",
    ),
    row(
        "replicas",
        Group::Cluster,
        Shape::Word("COUNT"),
        "3",
        "Replicas of each shard once there are as many nodes; the largest odd number up to this. Fixed by the node that \
         founds the cluster",
    ),
    row(
        "read-mode",
        Group::Cluster,
        Shape::Word("MODE"),
        "lease",
        "How a shard's leader makes sure that it still leads when it answers a read: lease (by the clock), or quorum (by \
         asking a majority, once for all reads that wait; as right as no clock can be, for a round trip)",
    ),
    row(
        "weight",
        Group::Cluster,
        Shape::Word("COUNT"),
        "1",
        "Share of replicas that this node gets when it joins, relative to others', up to 16; 0 is none before \
         'torc node weight' says so",
    ),
    row(
        "zone",
        Group::Cluster,
        Shape::Word("NAME"),
        "",
        "Where this node stands: replicas of a shard are kept in distinct zones where there are enough",
    ),
    row(
        "replace-after",
        Group::Cluster,
        Shape::Word("SECONDS"),
        "600",
        "How long a node may be silent before others take its place",
    ),
    row(
        "on-quorum-loss",
        Group::Cluster,
        Shape::Word("POLICY"),
        "wait",
        "What becomes of a shard when a majority of its replicas lost their memory: wait leaves it to the operator, \
         reset goes on at once with what is left of it",
    ),
    row(
        "move-bandwidth",
        Group::Cluster,
        Shape::Memory,
        "100m",
        "Bytes of moving shards that a node sends in a second",
    ),
    row(
        "lock-delay",
        Group::Cluster,
        Shape::Word("MS"),
        "15000",
        "How long a lock that was acquired with SESSION outlives its connection, and how long a node may be cut off \
         before others end its sessions; 0 is not at all, and never",
    ),
    row(
        "cluster-secret",
        Group::Cluster,
        Shape::Secret,
        "",
        "Word that nodes prove to each other that they know; empty is the password of requirepass",
    ),
    row(
        "advertise",
        Group::Cluster,
        Shape::Word("HOST"),
        "",
        "Name or address by which other nodes and cluster-aware clients reach this node; empty is what it is bound to",
    ),
    row(
        "cluster-port",
        Group::Cluster,
        Shape::Word("PORT"),
        "auto",
        "TCP port for cluster-aware clients, which get MOVED there; auto is 1000 above port, no is none",
    ),
    row(
        "peer-port",
        Group::Cluster,
        Shape::Word("PORT"),
        "auto",
        "TCP port for other nodes; auto is 10000 above port",
    ),
    row(
        "shards",
        Group::Node,
        Shape::Word("COUNT"),
        "64",
        "Shards that the 16384 slots are spread over",
    ),
    row(
        "databases",
        Group::Node,
        Shape::Word("COUNT"),
        "16",
        "Numbered databases for SELECT, at most 16",
    ),
    row(
        "worker-threads",
        Group::Node,
        Shape::Word("COUNT"),
        "0",
        "Threads that serve clients; 0 is one for each core",
    ),
    row(
        "notify-keyspace-events",
        Group::Node,
        Shape::Word("LETTERS"),
        "",
        "Keyspace events to publish, in Redis's letters (KEA for nearly all)",
    ),
    row(
        "appendonly",
        Group::Durability,
        Shape::YesNo,
        "no",
        "Keep what the shards agree on in a log on disk, and start from it",
    ),
    row(
        "appendfsync",
        Group::Durability,
        Shape::Word("POLICY"),
        "everysec",
        "When a write on disk counts: always (synced before the reply), everysec, or no (left to the system)",
    ),
    row(
        "dir",
        Group::Durability,
        Shape::Word("PATH"),
        ".",
        "Directory in which the log's own, appendonlydir, is made",
    ),
    row(
        "loglevel",
        Group::Diagnosis,
        Shape::Word("LEVEL"),
        "notice",
        "debug, verbose, notice, warning or nothing",
    ),
    row(
        "logfile",
        Group::Diagnosis,
        Shape::Word("PATH"),
        "",
        "File to log to; empty is standard error",
    ),
    row(
        "lua-time-limit",
        Group::Diagnosis,
        Shape::Word("MILLISECONDS"),
        "5000",
        "Stop scripts that run longer; 0 never",
    ),
    row(
        "busy-reply-threshold",
        Group::Diagnosis,
        Shape::Word("MILLISECONDS"),
        "5000",
        "Another name of lua-time-limit",
    ),
    row(
        "slowlog-log-slower-than",
        Group::Diagnosis,
        Shape::Word("MICROSECONDS"),
        "10000",
        "Note commands that took longer in SLOWLOG; -1 none",
    ),
    row(
        "slowlog-max-len",
        Group::Diagnosis,
        Shape::Word("COUNT"),
        "128",
        "Slow commands kept",
    ),
    row(
        "latency-monitor-threshold",
        Group::Diagnosis,
        Shape::Word("MILLISECONDS"),
        "0",
        "Note events that took longer in LATENCY; 0 none",
    ),
    row(
        "latency-tracking",
        Group::Diagnosis,
        Shape::YesNo,
        "yes",
        "Count latencies for LATENCY HISTOGRAM and INFO latencystats",
    ),
    row(
        "latency-tracking-info-percentiles",
        Group::Diagnosis,
        Shape::Words("PERCENTILE"),
        "50 99 99.9",
        "Percentiles that INFO latencystats shows",
    ),
];
