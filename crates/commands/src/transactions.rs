//! Rows of the commands of transactions.

use crate::keyspec::keys_at;
use crate::{Flags, Group, KeyAccess, Row, Session};

/// The same, and not for scripts.
const CONTROL: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row::session("multi", 1, Group::Transactions, Session::Multi)
        .flags(CONTROL.and(Flags::FAST).and(Flags::ALLOW_BUSY))
        .docs(
            "1.2.0",
            "Begins a transaction: what follows is queued.",
            "O(1)",
        ),
    Row::session("exec", 1, Group::Transactions, Session::Exec)
        .flags(CONTROL.and(Flags::SKIP_SLOWLOG))
        .docs(
            "1.2.0",
            "Runs the queued commands as one.",
            "That of the queued commands",
        ),
    Row::session("discard", 1, Group::Transactions, Session::Discard)
        .flags(CONTROL.and(Flags::FAST).and(Flags::ALLOW_BUSY))
        .docs(
            "2.0.0",
            "Gives up a transaction.",
            "O(N) in the queued commands",
        ),
    Row::session("watch", -2, Group::Transactions, Session::Watch)
        .flags(CONTROL.and(Flags::FAST).and(Flags::ALLOW_BUSY))
        .keys(&[keys_at(1, -1, KeyAccess::RO)])
        .docs(
            "2.2.0",
            "Makes the next EXEC depend on keys staying as they are.",
            "O(1) a key",
        ),
    Row::session("unwatch", 1, Group::Transactions, Session::Unwatch)
        .flags(CONTROL.and(Flags::FAST).and(Flags::ALLOW_BUSY))
        .docs("2.2.0", "Forgets the watched keys.", "O(1)"),
];
