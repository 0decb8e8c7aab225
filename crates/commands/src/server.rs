//! Rows of the commands that look at the server and steer it.

use crate::help::help_row;
use crate::{Category, Flags, Group, Row, Session};

/// Served while data is loaded, and while it may be out of date.
const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE);
/// The same, and not for scripts.
const CONTROL: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
/// The same, for administrators.
const ADMIN_CONTROL: Flags = Flags::ADMIN
    .and(Flags::NOSCRIPT)
    .and(Flags::LOADING)
    .and(Flags::STALE);

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row::session("command", -1, Group::Server, Session::Command)
        .flags(ANY_TIME)
        .categories(Category::CONNECTION)
        .subcommands(COMMAND)
        .docs(
            "2.8.13",
            "Tells about the commands.",
            "O(N) in the commands",
        ),
    Row::container("config", Group::Server, Session::Config, CONFIG)
        .summary("2.0.0", "Reads and changes the configuration."),
    Row::session("info", -1, Group::Server, Session::Info)
        .flags(ANY_TIME)
        .categories(Category::DANGEROUS)
        .docs("1.0.0", "Answers figures about the server.", "O(1)"),
    Row::session("time", 1, Group::Server, Session::Time)
        .flags(ANY_TIME.and(Flags::FAST))
        .docs("2.6.0", "Answers the server's time.", "O(1)"),
    Row::session("role", 1, Group::Server, Session::Role)
        .flags(CONTROL.and(Flags::FAST))
        .categories(Category::ADMIN.and(Category::DANGEROUS))
        .docs("2.8.12", "Tells what the server is in replication.", "O(1)"),
    Row::session("lolwut", -1, Group::Server, Session::Lolwut)
        .flags(Flags::READONLY.and(Flags::FAST))
        .docs("5.0.0", "Draws something, and tells the version.", "O(1)"),
    Row::session("debug", -2, Group::Server, Session::Debug)
        .flags(ADMIN_CONTROL)
        .docs("1.0.0", "Helps to debug the server.", "That of the request"),
    Row::container("latency", Group::Server, Session::Latency, LATENCY)
        .summary("2.8.13", "Tells about latencies."),
    Row::container("memory", Group::Server, Session::Memory, MEMORY)
        .summary("4.0.0", "Tells where memory goes."),
    Row::container("slowlog", Group::Server, Session::Slowlog, SLOWLOG)
        .summary("2.2.12", "Tells which commands took long."),
    Row::session("monitor", 1, Group::Server, Session::Monitor)
        .flags(ADMIN_CONTROL)
        .docs(
            "1.0.0",
            "Shows every command as it arrives.",
            "O(1) a command",
        ),
    Row::session("shutdown", -1, Group::Server, Session::Shutdown)
        .flags(ADMIN_CONTROL.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY))
        .docs(
            "1.0.0",
            "Stops the server.",
            "O(N) in the keys if they are saved",
        ),
    Row::container("acl", Group::Server, Session::Acl, ACL)
        .summary("6.0.0", "Tells about users and what they may do."),
    Row::container("module", Group::Server, Session::Module, MODULE)
        .summary("4.0.0", "Tells about modules."),
];

/// Subcommands of COMMAND.
const COMMAND: &[Row] = &[
    Row::session("count", 2, Group::Server, Session::Command)
        .flags(ANY_TIME)
        .categories(Category::CONNECTION)
        .docs("2.8.13", "Counts the commands.", "O(1)"),
    Row::session("docs", -2, Group::Server, Session::Command)
        .flags(ANY_TIME)
        .categories(Category::CONNECTION)
        .docs(
            "7.0.0",
            "Answers the documentation of commands.",
            "O(N) in the commands asked for",
        ),
    Row::session("getkeys", -4, Group::Server, Session::Command)
        .flags(ANY_TIME)
        .categories(Category::CONNECTION)
        .docs(
            "2.8.13",
            "Tells which arguments of a command are keys.",
            "O(N) in the arguments",
        ),
    Row::session("getkeysandflags", -4, Group::Server, Session::Command)
        .flags(ANY_TIME)
        .categories(Category::CONNECTION)
        .docs(
            "7.0.0",
            "Tells which arguments of a command are keys and what it does to them.",
            "O(N) in the arguments",
        ),
    help_row(Group::Server, "5.0.0").categories(Category::CONNECTION),
    Row::session("info", -2, Group::Server, Session::Command)
        .flags(ANY_TIME)
        .categories(Category::CONNECTION)
        .docs(
            "2.8.13",
            "Describes commands.",
            "O(N) in the commands asked for",
        ),
    Row::session("list", -2, Group::Server, Session::Command)
        .flags(ANY_TIME)
        .categories(Category::CONNECTION)
        .docs(
            "7.0.0",
            "Lists the names of commands.",
            "O(N) in the commands",
        ),
];

/// Subcommands of CONFIG.
const CONFIG: &[Row] = &[
    Row::session("get", -3, Group::Server, Session::Config)
        .flags(ADMIN_CONTROL)
        .docs(
            "2.0.0",
            "Answers the settings whose names match.",
            "O(N) in the patterns",
        ),
    help_row(Group::Server, "5.0.0"),
    Row::session("resetstat", 2, Group::Server, Session::Config)
        .flags(ADMIN_CONTROL)
        .docs("2.0.0", "Sets the counters of INFO back.", "O(1)"),
    Row::session("rewrite", 2, Group::Server, Session::Config)
        .flags(ADMIN_CONTROL)
        .docs("2.8.0", "Writes the configuration to its file.", "O(1)"),
    Row::session("set", -4, Group::Server, Session::Config)
        .flags(ADMIN_CONTROL)
        .docs(
            "2.0.0",
            "Changes settings, all or none.",
            "O(N) in the settings given",
        ),
];

/// Subcommands of LATENCY.
const LATENCY: &[Row] = &[
    Row::session("doctor", 2, Group::Server, Session::Latency)
        .flags(ADMIN_CONTROL)
        .docs("2.8.13", "Answers advice on latency.", "O(1)"),
    Row::session("graph", 3, Group::Server, Session::Latency)
        .flags(ADMIN_CONTROL)
        .docs("2.8.13", "Draws an event's latencies.", "O(1)"),
    help_row(Group::Server, "2.8.13"),
    Row::session("histogram", -2, Group::Server, Session::Latency)
        .flags(ADMIN_CONTROL)
        .docs(
            "7.0.0",
            "Answers how long commands took.",
            "O(N) in the commands",
        ),
    Row::session("history", 3, Group::Server, Session::Latency)
        .flags(ADMIN_CONTROL)
        .docs("2.8.13", "Lists an event's latencies.", "O(1)"),
    Row::session("latest", 2, Group::Server, Session::Latency)
        .flags(ADMIN_CONTROL)
        .docs("2.8.13", "Lists the last latency of each event.", "O(1)"),
    Row::session("reset", -2, Group::Server, Session::Latency)
        .flags(ADMIN_CONTROL)
        .docs("2.8.13", "Forgets latencies.", "O(1)"),
];

/// Subcommands of MEMORY.
const MEMORY: &[Row] = &[
    Row::session("doctor", 2, Group::Server, Session::Memory).docs(
        "4.0.0",
        "Answers advice on memory.",
        "O(1)",
    ),
    help_row(Group::Server, "4.0.0"),
    Row::session("malloc-stats", 2, Group::Server, Session::Memory).docs(
        "4.0.0",
        "Answers the allocator's figures.",
        "O(1)",
    ),
    Row::session("purge", 2, Group::Server, Session::Memory).docs(
        "4.0.0",
        "Asks the allocator to give memory back.",
        "O(1)",
    ),
    Row::session("stats", 2, Group::Server, Session::Memory).docs(
        "4.0.0",
        "Answers figures about memory.",
        "O(1)",
    ),
    crate::memory::USAGE,
];

/// Subcommands of SLOWLOG.
const SLOWLOG: &[Row] = &[
    Row::session("get", -2, Group::Server, Session::Slowlog)
        .flags(ANY_TIME.and(Flags::ADMIN))
        .docs(
            "2.2.12",
            "Lists the last commands that took long.",
            "O(N) in the entries shown",
        ),
    help_row(Group::Server, "6.2.0"),
    Row::session("len", 2, Group::Server, Session::Slowlog)
        .flags(ANY_TIME.and(Flags::ADMIN))
        .docs("2.2.12", "Counts the entries.", "O(1)"),
    Row::session("reset", 2, Group::Server, Session::Slowlog)
        .flags(ANY_TIME.and(Flags::ADMIN))
        .docs("2.2.12", "Forgets all entries.", "O(N) in the entries"),
];

/// Subcommands of ACL.
const ACL: &[Row] = &[
    Row::session("cat", -2, Group::Server, Session::Acl)
        .flags(CONTROL)
        .docs(
            "6.0.0",
            "Lists the categories, or the commands of one.",
            "O(1)",
        ),
    Row::session("deluser", -3, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs(
            "6.0.0",
            "Deletes users and ends their connections.",
            "O(1) a user",
        ),
    Row::session("dryrun", -4, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs("7.0.0", "Tells whether a user may run a command.", "O(1)"),
    Row::session("genpass", -2, Group::Server, Session::Acl)
        .flags(CONTROL)
        .docs("6.0.0", "Answers a random password.", "O(1)"),
    Row::session("getuser", 3, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs("6.0.0", "Describes a user.", "O(N) in the user's rules"),
    help_row(Group::Server, "6.0.0"),
    Row::session("list", 2, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs("6.0.0", "Lists all users as rules.", "O(N) in the users"),
    Row::session("load", 2, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs(
            "6.0.0",
            "Reads the users from their file.",
            "O(N) in the users",
        ),
    Row::session("log", -2, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs(
            "6.0.0",
            "Lists what was refused.",
            "O(N) in the entries shown",
        ),
    Row::session("save", 2, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs(
            "6.0.0",
            "Writes the users to their file.",
            "O(N) in the users",
        ),
    Row::session("setuser", -3, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs(
            "6.0.0",
            "Makes or changes a user.",
            "O(N) in the rules given",
        ),
    Row::session("users", 2, Group::Server, Session::Acl)
        .flags(ADMIN_CONTROL)
        .docs(
            "6.0.0",
            "Lists the names of the users.",
            "O(N) in the users",
        ),
    Row::session("whoami", 2, Group::Server, Session::Acl)
        .flags(CONTROL)
        .docs("6.0.0", "Answers the connection's user.", "O(1)"),
];

/// Subcommands of MODULE.
const MODULE: &[Row] = &[
    help_row(Group::Server, "5.0.0"),
    Row::session("list", 2, Group::Server, Session::Module)
        .flags(Flags::ADMIN.and(Flags::NOSCRIPT))
        .docs("4.0.0", "Lists the modules.", "O(1)"),
    Row::session("load", -3, Group::Server, Session::Module)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING),
        )
        .docs("4.0.0", "Loads a module.", "O(1)"),
    Row::session("loadex", -3, Group::Server, Session::Module)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING),
        )
        .docs("7.0.0", "Loads a module with its configuration.", "O(1)"),
    Row::session("unload", 3, Group::Server, Session::Module)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING),
        )
        .docs("4.0.0", "Unloads a module.", "O(1)"),
];
