//! Rows of the commands that concern a connection.

use crate::help::help_row;
use crate::{Flags, Group, Row, Session};

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
    Row::session("auth", -2, Group::Connection, Session::Auth)
        .flags(
            CONTROL
                .and(Flags::FAST)
                .and(Flags::NO_AUTH)
                .and(Flags::ALLOW_BUSY),
        )
        .docs(
            "1.0.0",
            "Proves who the client is.",
            "O(N) in the user's passwords",
        ),
    Row::container("client", Group::Connection, Session::Client, CLIENT)
        .summary("2.4.0", "Tells about connections and steers them."),
    Row::session("echo", 2, Group::Connection, Session::Echo)
        .flags(ANY_TIME.and(Flags::FAST))
        .docs("1.0.0", "Answers its argument.", "O(1)"),
    Row::session("hello", -1, Group::Connection, Session::Hello)
        .flags(
            CONTROL
                .and(Flags::FAST)
                .and(Flags::NO_AUTH)
                .and(Flags::ALLOW_BUSY),
        )
        .docs("6.0.0", "Chooses the protocol and greets.", "O(1)"),
    Row::session("ping", -1, Group::Connection, Session::Ping)
        .flags(Flags::FAST)
        .docs("1.0.0", "Answers PONG, or the given message.", "O(1)"),
    Row::session("quit", -1, Group::Connection, Session::Quit)
        .flags(
            CONTROL
                .and(Flags::FAST)
                .and(Flags::NO_AUTH)
                .and(Flags::ALLOW_BUSY),
        )
        .docs("1.0.0", "Ends the connection.", "O(1)"),
    Row::session("reset", 1, Group::Connection, Session::Reset)
        .flags(
            CONTROL
                .and(Flags::FAST)
                .and(Flags::NO_AUTH)
                .and(Flags::ALLOW_BUSY),
        )
        .docs("6.2.0", "Makes the connection as if it were new.", "O(1)"),
    Row::session("select", 2, Group::Connection, Session::Select)
        .flags(ANY_TIME.and(Flags::FAST))
        .docs("1.0.0", "Chooses the numbered database.", "O(1)"),
];

/// Subcommands of CLIENT.
const CLIENT: &[Row] = &[
    Row::session("caching", 3, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs(
            "6.0.0",
            "Says whether the next command's keys are tracked.",
            "O(1)",
        ),
    Row::session("getname", 2, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs("2.6.9", "Answers the connection's name.", "O(1)"),
    Row::session("getredir", 2, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs(
            "6.0.0",
            "Answers the connection that gets the tracking messages.",
            "O(1)",
        ),
    help_row(Group::Connection, "5.0.0"),
    Row::session("id", 2, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs("5.0.0", "Answers the connection's number.", "O(1)"),
    Row::session("info", 2, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs("6.2.0", "Describes this connection.", "O(1)"),
    Row::session("kill", -3, Group::Connection, Session::Client)
        .flags(ADMIN_CONTROL)
        .docs("2.4.0", "Ends connections.", "O(N) in the connections"),
    Row::session("list", -2, Group::Connection, Session::Client)
        .flags(ADMIN_CONTROL)
        .docs(
            "2.4.0",
            "Describes the connections.",
            "O(N) in the connections",
        ),
    Row::session("no-evict", 3, Group::Connection, Session::Client)
        .flags(ADMIN_CONTROL)
        .docs(
            "7.0.0",
            "Spares the connection when clients take too much memory.",
            "O(1)",
        ),
    Row::session("no-touch", 3, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs(
            "7.2.0",
            "Lets reads leave the order of eviction alone.",
            "O(1)",
        ),
    Row::session("pause", -3, Group::Connection, Session::Client)
        .flags(ADMIN_CONTROL)
        .docs(
            "2.9.50",
            "Holds all clients' commands back for a time.",
            "O(1)",
        ),
    Row::session("reply", 3, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs("3.2.0", "Says whether commands are answered.", "O(1)"),
    Row::session("setinfo", 4, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs(
            "7.2.0",
            "Names the client's library and its version.",
            "O(1)",
        ),
    Row::session("setname", 3, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs("2.6.9", "Names the connection.", "O(1)"),
    Row::session("tracking", -3, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs(
            "6.0.0",
            "Begins or ends messages about keys that were read and have changed.",
            "O(1)",
        ),
    Row::session("trackinginfo", 2, Group::Connection, Session::Client)
        .flags(CONTROL)
        .docs("6.2.0", "Tells how the connection tracks keys.", "O(1)"),
    Row::session("unblock", -3, Group::Connection, Session::Client)
        .flags(ADMIN_CONTROL)
        .docs("5.0.0", "Wakes a connection that is blocked.", "O(1)"),
    Row::session("unpause", 2, Group::Connection, Session::Client)
        .flags(ADMIN_CONTROL)
        .docs(
            "6.2.0",
            "Lets paused clients go on.",
            "O(N) in the paused connections",
        ),
];
