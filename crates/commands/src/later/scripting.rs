//! Rows of the commands on functions, which come with a later version.

use crate::keyspec::counted_keys;
use crate::{Category, Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::Scripting;
const LOADING_STALE: Flags = Flags::LOADING.and(Flags::STALE);
const NOSCRIPT: Flags = Flags::NOSCRIPT;
const NOSCRIPT_BUSY: Flags = Flags::NOSCRIPT.and(Flags::ALLOW_BUSY);
const NOSCRIPT_STALE_SKIP_NOKEYS_MOVABLE: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLE_KEYS);
const READ_NOSCRIPT_STALE_SKIP_NOKEYS_MOVABLE: Flags =
    Flags::READONLY.and(NOSCRIPT_STALE_SKIP_NOKEYS_MOVABLE);
const WRITE_GROWS_NOSCRIPT: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::NOSCRIPT);
const WRITE_NOSCRIPT: Flags = Flags::WRITE.and(Flags::NOSCRIPT);
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("fcall", -3, GROUP, "7.0.0").flags(NOSCRIPT_STALE_SKIP_NOKEYS_MOVABLE).keys(&[counted_keys(2, RW_ACCESS_UPDATE)]),
    Row::later("fcall_ro", -3, GROUP, "7.0.0").flags(READ_NOSCRIPT_STALE_SKIP_NOKEYS_MOVABLE).keys(&[counted_keys(2, RO_ACCESS)]),
    Row::later("function", -2, GROUP, "7.0.0").categories(Category::NONE).subcommands(FUNCTION),
];

#[rustfmt::skip] // One row a line.
const FUNCTION: &[Row] = &[
    Row::later("delete", 3, GROUP, "7.0.0").flags(WRITE_NOSCRIPT),
    Row::later("dump", 2, GROUP, "7.0.0").flags(NOSCRIPT),
    Row::later("flush", -2, GROUP, "7.0.0").flags(WRITE_NOSCRIPT),
    Row::later("help", 2, GROUP, "7.0.0").flags(LOADING_STALE),
    Row::later("kill", 2, GROUP, "7.0.0").flags(NOSCRIPT_BUSY),
    Row::later("list", -2, GROUP, "7.0.0").flags(NOSCRIPT),
    Row::later("load", -3, GROUP, "7.0.0").flags(WRITE_GROWS_NOSCRIPT),
    Row::later("restore", -3, GROUP, "7.0.0").flags(WRITE_GROWS_NOSCRIPT),
    Row::later("stats", 2, GROUP, "7.0.0").flags(NOSCRIPT_BUSY),
];
