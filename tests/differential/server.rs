//! The connection, the server, and commands about commands.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{key, pattern, value};

/// What the stream may change by CONFIG SET, with what every epoch starts from: both servers'
/// defaults.
pub const CONFIG_DEFAULTS: &[(&str, &str)] = &[
    ("timeout", "0"),
    ("slowlog-max-len", "128"),
    ("slowlog-log-slower-than", "10000"),
    ("latency-monitor-threshold", "0"),
    ("notify-keyspace-events", ""),
    ("maxmemory-policy", "allkeys-lru"),
];

/// Settings whose defaults are Redis's.
const CONFIG_NAMES: &[&str] = &[
    "timeout",
    "tcp-keepalive",
    "databases",
    "appendonly",
    "save",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "latency-monitor-threshold",
    "notify-keyspace-events",
    "proto-max-bulk-len",
    "client-query-buffer-limit",
    "requirepass",
    "maxmemory-policy",
    "TIMEOUT",
    "nosuchsetting",
    "client-output-buffer-limit",
    "maxmemory-samples",
];

/// Commands that are never bent into a wrong shape: bent, they could block or stop a server, or become
/// a command whose replies need a looser comparison. Their wrong shapes are written out instead.
const UNBENT: &[&str] = &[
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "COMMAND",
    "CONFIG",
    "DEBUG",
    "HELLO",
    "HGETALL",
    "HRANDFIELD",
    "HSCAN",
    "INFO",
    "LATENCY",
    "LOLWUT",
    "MEMORY",
    "MONITOR",
    "QUIT",
    "RANDOMKEY",
    "SCAN",
    "SHUTDOWN",
    "SLOWLOG",
    "SORT",
    "SORT_RO",
    "SPOP",
    "SRANDMEMBER",
    "SSCAN",
    "TIME",
    "WAIT",
    "XADD",
    "XAUTOCLAIM",
    "XCLAIM",
    "XINFO",
    "XPENDING",
    "ZRANDMEMBER",
    "ZRANK",
    "ZREVRANK",
    "ZSCAN",
];

/// Whether the command `name` may be bent into a wrong shape.
pub fn is_bendable(name: &[u8]) -> bool {
    !UNBENT
        .iter()
        .any(|unbent| name.eq_ignore_ascii_case(unbent.as_bytes()))
}

/// One command of the connection or the server.
pub fn case(random: &mut Random) -> Case {
    match random.below(20) {
        0..=3 => connection(random),
        4..=8 => client(random),
        9..=12 => command(random),
        13..=15 => config(random),
        16 => publish(random),
        17 => unknown(random),
        _ => introspection(random),
    }
}

fn connection(random: &mut Random) -> Case {
    match random.below(20) {
        0..=1 => Words::of("PING").exact(),
        2 => Words::of("PING").with(value(random)).exact(),
        3..=4 => Words::of("ECHO").with(value(random)).exact(),
        5..=8 => {
            let line = *random.pick(&[
                "HELLO",
                "HELLO 2",
                "HELLO 3",
                "HELLO 3 SETNAME me",
                "HELLO 2 SETNAME you",
                "HELLO 3 AUTH default any",
                "HELLO 3 AUTH default any SETNAME us",
            ]);
            Words::of(line).compared(Compare::Fields)
        }
        9..=11 => {
            let line = *random.pick(&[
                "HELLO 4",
                "HELLO 1",
                "HELLO x",
                "HELLO 3 AUTH",
                "HELLO 3 AUTH default",
                "HELLO 3 AUTH nosuch x",
                "HELLO 3 bad",
                "HELLO 3 SETNAME",
                "HELLO -1",
                "HELLO 3.0",
            ]);
            Words::of(line).exact()
        }
        12..=13 => {
            let line = *random.pick(&[
                "AUTH x",
                "AUTH default x",
                "AUTH nosuch x",
                "AUTH",
                "AUTH a b c",
            ]);
            Words::of(line).exact()
        }
        14 => Words::of("RESET").exact(),
        15 => Words::of("HELLO 3 SETNAME").with("a b").exact(),
        16 => Words::of(random.line(&[
            "WAIT 0 0",
            "WAIT 0 1",
            "WAIT x 0",
            "WAIT 0 x",
            "WAIT 0 -1",
            "WAIT 0",
        ]))
        .exact(),
        17 => Words::of("TIME").compared(Compare::Kind),
        _ => Words::of(random.line(&[
            "PING a b",
            "ECHO",
            "ECHO a b",
            "SELECT",
            "HELLO 3 SETNAME a SETNAME b",
        ]))
        .compared(Compare::Fields),
    }
}

fn client(random: &mut Random) -> Case {
    match random.below(24) {
        0..=2 => Words::of("CLIENT SETNAME")
            .with(random.word(&["me", "other", "", "two words", "a\nb", "\u{e9}", "~!"]))
            .exact(),
        3..=5 => Words::of("CLIENT GETNAME").exact(),
        6 => Words::of("CLIENT ID").compared(Compare::Kind),
        7 => Words::of("CLIENT INFO").compared(Compare::Kind),
        8 => Words::of(random.line(&[
            "CLIENT LIST",
            "CLIENT LIST TYPE normal",
            "client list type NORMAL",
        ]))
        .compared(Compare::Kind),
        9 => {
            let line = *random.pick(&[
                "CLIENT LIST TYPE",
                "CLIENT LIST TYPE bad",
                "CLIENT LIST bad x",
                "CLIENT LIST ID",
                "CLIENT LIST ID x",
                "CLIENT LIST ID 999999999",
                "CLIENT LIST TYPE pubsub",
                "CLIENT LIST TYPE replica",
                "CLIENT LIST ID 0",
            ]);
            Words::of(line).exact()
        }
        10..=12 => {
            let line = *random.pick(&[
                "CLIENT KILL",
                "CLIENT KILL x",
                "CLIENT KILL 1.2.3.4:5",
                "CLIENT KILL ID x",
                "CLIENT KILL ID 0",
                "CLIENT KILL ID -1",
                "CLIENT KILL ID 999999999",
                "CLIENT KILL TYPE bad",
                "CLIENT KILL TYPE replica",
                "CLIENT KILL TYPE pubsub",
                "CLIENT KILL USER nosuch",
                "CLIENT KILL ADDR 1.2.3.4:5",
                "CLIENT KILL LADDR 1.2.3.4:5",
                "CLIENT KILL SKIPME x",
                "CLIENT KILL ID",
                "CLIENT KILL bad x",
                "CLIENT KILL ADDR 1.2.3.4:5 SKIPME no",
                "CLIENT KILL USER",
            ]);
            Words::of(line).exact()
        }
        13 => {
            let line = *random.pick(&[
                "CLIENT PAUSE x",
                "CLIENT PAUSE -1",
                "CLIENT PAUSE",
                "CLIENT PAUSE 10 bad",
                "CLIENT UNPAUSE",
                "CLIENT UNPAUSE x",
            ]);
            Words::of(line).exact()
        }
        14..=15 => Words::of("CLIENT NO-EVICT")
            .with(random.word(&["on", "off", "ON", "x", ""]))
            .exact(),
        16 => {
            Words::of(random.line(&["CLIENT REPLY ON", "CLIENT REPLY bad", "CLIENT REPLY"])).exact()
        }
        17..=18 => {
            let line = *random.pick(&[
                "CLIENT TRACKING",
                "CLIENT TRACKING bad",
                "CLIENT TRACKING off",
                "CLIENT TRACKING on PREFIX a",
                "CLIENT TRACKING on OPTIN OPTOUT",
                "CLIENT TRACKING on OPTIN BCAST",
                "CLIENT TRACKING on REDIRECT x",
                "CLIENT TRACKING on REDIRECT 999999999",
                "CLIENT TRACKING on bad",
                "CLIENT CACHING yes",
                "CLIENT CACHING bad",
                "CLIENT GETREDIR",
                "CLIENT GETREDIR x",
                "CLIENT TRACKING on PREFIX",
                "CLIENT TRACKING on BCAST PREFIX ab PREFIX a",
            ]);
            Words::of(line).exact()
        }
        19 => Words::of("CLIENT TRACKINGINFO").exact(),
        20 => Words::of("CLIENT UNBLOCK")
            .with(random.word(&["999999999", "x", "0", "-1"]))
            .exact(),
        21 => Words::of("CLIENT UNBLOCK 1")
            .with(random.word(&["x", ""]))
            .exact(),
        22 => Words::of("CLIENT HELP").compared(Compare::Kind),
        _ => Words::of(random.line(&[
            "CLIENT",
            "CLIENT bad",
            "CLIENT SETNAME",
            "CLIENT GETNAME x",
            "CLIENT ID 1",
            "CLIENT bad a b",
            "client",
        ]))
        .exact(),
    }
}

/// Commands whose rows both servers have.
const NAMES: &[&str] = &[
    "get",
    "set",
    "mget",
    "mset",
    "msetnx",
    "del",
    "unlink",
    "exists",
    "touch",
    "expire",
    "pexpireat",
    "ttl",
    "incr",
    "incrby",
    "incrbyfloat",
    "append",
    "getrange",
    "setrange",
    "substr",
    "strlen",
    "getex",
    "getdel",
    "getset",
    "setnx",
    "setex",
    "psetex",
    "lcs",
    "setbit",
    "getbit",
    "bitcount",
    "bitpos",
    "bitop",
    "bitfield",
    "bitfield_ro",
    "rename",
    "renamenx",
    "copy",
    "keys",
    "scan",
    "randomkey",
    "dbsize",
    "flushdb",
    "flushall",
    "sort",
    "sort_ro",
    "dump",
    "restore",
    "persist",
    "type",
    "ping",
    "echo",
    "select",
    "hello",
    "auth",
    "reset",
    "quit",
    "multi",
    "exec",
    "discard",
    "watch",
    "unwatch",
    "subscribe",
    "unsubscribe",
    "psubscribe",
    "punsubscribe",
    "ssubscribe",
    "sunsubscribe",
    "publish",
    "spublish",
    "time",
    "lolwut",
    "info",
    "monitor",
    "debug",
    "wait",
    "role",
    "shutdown",
    "pttl",
    "expiretime",
    "pexpiretime",
    "decr",
    "decrby",
    "object|encoding",
    "client|setname",
    "config|get",
    "memory|usage",
    "pubsub|numsub",
];

fn command(random: &mut Random) -> Case {
    match random.below(16) {
        0 => Words::of("COMMAND COUNT").compared(Compare::Kind),
        1..=4 => {
            let names: Vec<Vec<u8>> = (0..=random.below(3)).map(|_| random.word(NAMES)).collect();
            Words::of("COMMAND INFO")
                .all(names)
                .compared(Compare::CommandInfo)
        }
        5 => Words::of("COMMAND INFO nosuch").exact(),
        6..=10 => {
            let line = *random.pick(&[
                "get a",
                "set a b",
                "set a b EX 10",
                "mget a b c",
                "mset a 1 b 2",
                "mset a 1 b",
                "msetnx a 1",
                "del x y z",
                "bitop AND d a b",
                "bitop NOT d a",
                "copy a b",
                "copy a b DB 1",
                "rename a b",
                "sort a",
                "sort a STORE b",
                "sort a BY x_* GET y_* STORE b",
                "lcs a b LEN",
                "object encoding k",
                "memory usage k",
                "getrange a 0 1",
                "bitfield k GET u8 0",
                "restore k 0 x",
                "touch a b",
                "watch a b",
                "ssubscribe c d",
                "spublish c m",
                "ping",
                "time",
                "dbsize",
                "get",
                "nosuch a",
                "mget",
                "expire a 1 NX",
                "dump k",
                "exists a a",
                "unlink a b",
                "lcs a",
                "getex k PERSIST",
                "append k v",
                "incrbyfloat k 1",
                "sort_ro k",
                "bitpos k 1",
                "randomkey",
                "multi",
                "publish c m",
                "flushall",
            ]);
            let name = *random.pick(&[
                "COMMAND GETKEYS",
                "COMMAND GETKEYS",
                "COMMAND GETKEYSANDFLAGS",
            ]);
            Words::of(name).and(line).exact()
        }
        11 => Words::of("COMMAND DOCS get set").compared(Compare::Fields),
        12 => Words::of("COMMAND DOCS nosuch").exact(),
        13 => {
            let line = *random.pick(&[
                "COMMAND LIST",
                "COMMAND LIST FILTERBY ACLCAT string",
                "COMMAND LIST FILTERBY PATTERN *get*",
                "COMMAND HELP",
            ]);
            Words::of(line).compared(Compare::Kind)
        }
        _ => {
            let line = *random.pick(&[
                "COMMAND bad",
                "COMMAND COUNT x",
                "COMMAND GETKEYS",
                "COMMAND LIST bad",
                "COMMAND LIST FILTERBY",
                "COMMAND LIST FILTERBY bad x",
                "COMMAND LIST FILTERBY MODULE nosuch",
                "COMMAND LIST FILTERBY PATTERN nosuch*",
                "COMMAND LIST FILTERBY ACLCAT nosuch",
            ]);
            Words::of(line).exact()
        }
    }
}

fn config(random: &mut Random) -> Case {
    match random.below(12) {
        0..=3 => Words::of("CONFIG GET")
            .with(random.word(CONFIG_NAMES))
            .compared(Compare::Unordered),
        4 => Words::of("CONFIG GET")
            .with(random.word(CONFIG_NAMES))
            .with(random.word(CONFIG_NAMES))
            .compared(Compare::Unordered),
        5 => {
            let line = *random.pick(&[
                "CONFIG GET slowlog-*",
                "CONFIG GET timeout*",
                "CONFIG GET nosuch*",
                "CONFIG GET slowlog-max-le?",
            ]);
            Words::of(line).compared(Compare::Unordered)
        }
        6..=8 => {
            let (name, values): (&str, &[&str]) = *random.pick(&[
                ("timeout", &["0", "1000", "x", "-1", "", "1.5"][..]),
                ("slowlog-max-len", &["0", "10", "128", "x", "-1"][..]),
                ("slowlog-log-slower-than", &["-1", "100000", "x", "-2"][..]),
                ("latency-monitor-threshold", &["0", "1000", "x", "-1"][..]),
                (
                    "notify-keyspace-events",
                    &["", "KEA", "Kx", "Ex$", "bad", "K", "AKE", "gK"][..],
                ),
                (
                    "maxmemory-policy",
                    &[
                        "allkeys-lru",
                        "volatile-lru",
                        "noeviction",
                        "volatile-ttl",
                        "allkeys-random",
                        "volatile-random",
                    ][..],
                ),
                ("maxmemory", &["x", "-1", "1q", "1.5gb", ""][..]),
                ("proto-max-bulk-len", &["x", "1"][..]),
                ("nosuchsetting", &["1"][..]),
                ("databases", &["8"][..]),
            ]);
            Words::of("CONFIG SET")
                .with(name)
                .with(*random.pick(values))
                .exact()
        }
        9 => {
            let line = *random.pick(&[
                "CONFIG SET timeout 0 slowlog-max-len 64",
                "CONFIG SET timeout 0 nosuch 1",
                "CONFIG SET timeout 0 timeout 1",
                "CONFIG SET timeout 0 slowlog-max-len x",
                "CONFIG SET timeout",
            ]);
            Words::of(line).exact()
        }
        10 => Words::of(random.line(&["CONFIG RESETSTAT", "CONFIG RESETSTAT x", "CONFIG REWRITE"]))
            .exact(),
        _ => Words::of(random.line(&[
            "CONFIG",
            "CONFIG bad",
            "CONFIG GET",
            "CONFIG SET",
            "CONFIG SET a",
            "CONFIG SET a b c",
        ]))
        .exact(),
    }
}

fn publish(random: &mut Random) -> Case {
    match random.below(8) {
        0 => Words::of("PUBLISH")
            .with(key(random))
            .with(value(random))
            .exact(),
        1 => Words::of("SPUBLISH")
            .with(key(random))
            .with(value(random))
            .exact(),
        2 => Words::of("PUBSUB CHANNELS")
            .with(pattern(random))
            .compared(Compare::Unordered),
        3 => Words::of("PUBSUB NUMSUB")
            .with(key(random))
            .with(key(random))
            .exact(),
        4 => Words::of("PUBSUB SHARDNUMSUB").with(key(random)).exact(),
        _ => {
            let line = *random.pick(&[
                "PUBSUB CHANNELS",
                "PUBSUB NUMSUB",
                "PUBSUB NUMPAT",
                "PUBSUB SHARDCHANNELS",
                "PUBSUB SHARDNUMSUB",
                "PUBSUB",
                "PUBSUB bad",
                "PUBSUB NUMPAT x",
                "PUBSUB CHANNELS a b",
                "PUBLISH a",
                "SPUBLISH a",
            ]);
            Words::of(line).exact()
        }
    }
}

fn unknown(random: &mut Random) -> Case {
    match random.below(6) {
        0 => Words::named(random.bytes(6)).exact(),
        1 => Words::named("").exact(),
        2 => Words::named(vec![b'n'; 200])
            .with(vec![b'a'; 100])
            .with("b")
            .with(vec![b'c'; 100])
            .exact(),
        3 => Words::of("nosuch")
            .with(value(random))
            .with(key(random))
            .exact(),
        4 => Words::of("nosuch")
            .all((0..30).map(|n| n.to_string().into_bytes()))
            .exact(),
        _ => Words::of(random.line(&["GETT a", "nosuch", "nosuch a b c", "set|get a", "get|x a"]))
            .exact(),
    }
}

fn introspection(random: &mut Random) -> Case {
    let exact = *random.pick(&[
        "ROLE",
        "ROLE x",
        "SLOWLOG RESET",
        "SLOWLOG GET x",
        "SLOWLOG GET -2",
        "SLOWLOG",
        "SLOWLOG bad",
        "SLOWLOG LEN x",
        "SLOWLOG GET 0",
        "LATENCY LATEST",
        "LATENCY HISTORY nosuch",
        "LATENCY RESET",
        "LATENCY RESET nosuch",
        "LATENCY",
        "LATENCY bad",
        "LATENCY HISTORY",
        "LATENCY GRAPH nosuch",
        "LATENCY HISTOGRAM nosuch",
        "DEBUG SLEEP 0",
        "DBSIZE x",
        "RANDOMKEY x",
        "TIME x",
        "FLUSHALL bad",
        "FLUSHDB a b",
        "INFO nosuch",
        "OBJECT HELP x",
        "SHUTDOWN bad",
        "MONITOR x",
    ]);
    let loose = *random.pick(&[
        "INFO",
        "INFO server",
        "INFO everything",
        "INFO all",
        "INFO clients memory",
        "INFO commandstats",
        "LOLWUT",
        "LOLWUT VERSION 5",
        "SLOWLOG GET",
        "SLOWLOG LEN",
        "SLOWLOG GET -1",
        "SLOWLOG HELP",
        "LATENCY DOCTOR",
        "LATENCY HELP",
        "LATENCY HISTOGRAM",
        "OBJECT HELP",
        "MEMORY HELP",
        "CONFIG HELP",
        "PUBSUB HELP",
        "INFO KEYSPACE",
        "LATENCY HISTOGRAM get",
    ]);
    if random.percent(70) {
        Words::of(exact).exact()
    } else {
        Words::of(loose).compared(Compare::Kind)
    }
}
