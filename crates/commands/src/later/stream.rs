//! Rows of the commands on streams, which come with a later version.

use crate::keyspec::{first_key, half_of_rest, key_at};
use crate::{Category, Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::Stream;
const LOADING_STALE: Flags = Flags::LOADING.and(Flags::STALE);
const READ: Flags = Flags::READONLY;
const READ_BLOCKS_MOVABLE: Flags = Flags::READONLY
    .and(Flags::BLOCKING)
    .and(Flags::MOVABLE_KEYS);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_BLOCKS_MOVABLE: Flags = Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_GROWS_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const RO: KeyAccess = KeyAccess::RO;
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::DELETE);
const RW_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::INSERT);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("xack", -4, GROUP, "5.0.0").flags(WRITE_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("xadd", -5, GROUP, "5.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("xautoclaim", -6, GROUP, "6.2.0").flags(WRITE_FAST).keys(&[first_key(RW_DELETE)]),
    Row::later("xclaim", -6, GROUP, "5.0.0").flags(WRITE_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("xdel", -3, GROUP, "5.0.0").flags(WRITE_FAST).keys(&[first_key(RW_DELETE)]),
    Row::later("xgroup", -2, GROUP, "5.0.0").categories(Category::NONE).subcommands(XGROUP),
    Row::later("xinfo", -2, GROUP, "5.0.0").categories(Category::NONE).subcommands(XINFO),
    Row::later("xlen", 2, GROUP, "5.0.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("xpending", -3, GROUP, "5.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("xrange", -4, GROUP, "5.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("xread", -4, GROUP, "5.0.0").flags(READ_BLOCKS_MOVABLE).keys(&[half_of_rest("STREAMS", 1, RO_ACCESS)]),
    Row::later("xreadgroup", -7, GROUP, "5.0.0").flags(WRITE_BLOCKS_MOVABLE).keys(&[half_of_rest("STREAMS", 4, RO_ACCESS)]),
    Row::later("xrevrange", -4, GROUP, "5.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("xsetid", -3, GROUP, "5.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("xtrim", -4, GROUP, "5.0.0").flags(WRITE).keys(&[first_key(RW_DELETE)]),
];

#[rustfmt::skip] // One row a line.
const XGROUP: &[Row] = &[
    Row::later("create", -5, GROUP, "5.0.0").flags(WRITE_GROWS).keys(&[key_at(2, RW_INSERT)]),
    Row::later("createconsumer", 5, GROUP, "6.2.0").flags(WRITE_GROWS).keys(&[key_at(2, RW_INSERT)]),
    Row::later("delconsumer", 5, GROUP, "5.0.0").flags(WRITE).keys(&[key_at(2, RW_DELETE)]),
    Row::later("destroy", 4, GROUP, "5.0.0").flags(WRITE).keys(&[key_at(2, RW_DELETE)]),
    Row::later("help", 2, GROUP, "5.0.0").flags(LOADING_STALE),
    Row::later("setid", -5, GROUP, "5.0.0").flags(WRITE).keys(&[key_at(2, RW_UPDATE)]),
];

#[rustfmt::skip] // One row a line.
const XINFO: &[Row] = &[
    Row::later("consumers", 4, GROUP, "5.0.0").flags(READ).keys(&[key_at(2, RO_ACCESS)]),
    Row::later("groups", 3, GROUP, "5.0.0").flags(READ).keys(&[key_at(2, RO_ACCESS)]),
    Row::later("help", 2, GROUP, "5.0.0").flags(LOADING_STALE),
    Row::later("stream", -3, GROUP, "5.0.0").flags(READ).keys(&[key_at(2, RO_ACCESS)]),
];
