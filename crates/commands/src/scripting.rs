//! Rows of the commands on scripts.

use crate::help::help_row;
use crate::keyspec::counted_keys;
use crate::{Flags, Group, KeyAccess, Row, Session};

const RUNS: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLE_KEYS);
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE);
const COST: &str = "Depends on the script.";

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row::session("eval", -3, Group::Scripting, Session::Eval)
        .flags(RUNS)
        .keys(&[counted_keys(2, RW_ACCESS_UPDATE)])
        .docs("2.6.0", "Runs a Lua script.", COST),
    Row::session("eval_ro", -3, Group::Scripting, Session::EvalRo)
        .flags(Flags::READONLY.and(RUNS))
        .keys(&[counted_keys(2, RO_ACCESS)])
        .docs("7.0.0", "Runs a Lua script that writes nothing.", COST),
    Row::session("evalsha", -3, Group::Scripting, Session::Evalsha)
        .flags(RUNS)
        .keys(&[counted_keys(2, RW_ACCESS_UPDATE)])
        .docs("2.6.0", "Runs a cached Lua script by its SHA1.", COST),
    Row::session("evalsha_ro", -3, Group::Scripting, Session::EvalshaRo)
        .flags(Flags::READONLY.and(RUNS))
        .keys(&[counted_keys(2, RO_ACCESS)])
        .docs(
            "7.0.0",
            "Runs a cached Lua script that writes nothing, by its SHA1.",
            COST,
        ),
    Row::container("script", Group::Scripting, Session::Script, SCRIPT)
        .summary("2.6.0", "Commands on the cache of Lua scripts."),
];

/// Subcommands of SCRIPT.
const SCRIPT: &[Row] = &[
    Row::later("debug", 3, Group::Scripting, "3.2.0").flags(Flags::NOSCRIPT),
    Row::session("exists", -3, Group::Scripting, Session::Script)
        .flags(Flags::NOSCRIPT)
        .docs(
            "2.6.0",
            "Tells which scripts are in the cache.",
            "O(N) in the scripts asked for",
        ),
    Row::session("flush", -2, Group::Scripting, Session::Script)
        .flags(Flags::NOSCRIPT)
        .docs(
            "2.6.0",
            "Empties the cache of scripts.",
            "O(N) in the scripts",
        ),
    help_row(Group::Scripting, "5.0.0"),
    Row::session("kill", 2, Group::Scripting, Session::Script)
        .flags(Flags::NOSCRIPT.and(Flags::ALLOW_BUSY))
        .docs("2.6.0", "Stops the scripts that run on this node.", "O(1)"),
    Row::session("load", 3, Group::Scripting, Session::Script)
        .flags(Flags::NOSCRIPT.and(Flags::STALE))
        .docs(
            "2.6.0",
            "Puts a script into the cache without running it.",
            "O(N) in the script's length",
        ),
];
