//! Rows of the commands on lists, which come with a later version.

use crate::keyspec::{counted_keys, first_key, key_at, keys_at};
use crate::{Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::List;
const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_BLOCKS_MOVABLE: Flags = Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_GROWS_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const WRITE_GROWS_NOSCRIPT_BLOCKS: Flags = Flags::WRITE
    .and(Flags::DENYOOM)
    .and(Flags::NOSCRIPT)
    .and(Flags::BLOCKING);
const WRITE_MOVABLE: Flags = Flags::WRITE.and(Flags::MOVABLE_KEYS);
const WRITE_NOSCRIPT_BLOCKS: Flags = Flags::WRITE.and(Flags::NOSCRIPT).and(Flags::BLOCKING);
const RO: KeyAccess = KeyAccess::RO;
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE);
const RW_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::DELETE);
const RW_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::INSERT);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("blmove", 6, GROUP, "6.2.0").flags(WRITE_GROWS_NOSCRIPT_BLOCKS).keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)]),
    Row::later("blmpop", -5, GROUP, "7.0.0").flags(WRITE_BLOCKS_MOVABLE).keys(&[counted_keys(2, RW_ACCESS_DELETE)]),
    Row::later("blpop", -3, GROUP, "2.0.0").flags(WRITE_NOSCRIPT_BLOCKS).keys(&[keys_at(1, -2, RW_ACCESS_DELETE)]),
    Row::later("brpop", -3, GROUP, "2.0.0").flags(WRITE_NOSCRIPT_BLOCKS).keys(&[keys_at(1, -2, RW_ACCESS_DELETE)]),
    Row::later("brpoplpush", 4, GROUP, "2.2.0").flags(WRITE_GROWS_NOSCRIPT_BLOCKS).keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)]),
    Row::later("lindex", 3, GROUP, "1.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("linsert", 5, GROUP, "2.2.0").flags(WRITE_GROWS).keys(&[first_key(RW_INSERT)]),
    Row::later("llen", 2, GROUP, "1.0.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("lmove", 5, GROUP, "6.2.0").flags(WRITE_GROWS).keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)]),
    Row::later("lmpop", -4, GROUP, "7.0.0").flags(WRITE_MOVABLE).keys(&[counted_keys(1, RW_ACCESS_DELETE)]),
    Row::later("lpop", -2, GROUP, "1.0.0").flags(WRITE_FAST).keys(&[first_key(RW_ACCESS_DELETE)]),
    Row::later("lpos", -3, GROUP, "6.0.6").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("lpush", -3, GROUP, "1.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_INSERT)]),
    Row::later("lpushx", -3, GROUP, "2.2.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_INSERT)]),
    Row::later("lrange", 4, GROUP, "1.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("lrem", 4, GROUP, "1.0.0").flags(WRITE).keys(&[first_key(RW_DELETE)]),
    Row::later("lset", 4, GROUP, "1.0.0").flags(WRITE_GROWS).keys(&[first_key(RW_UPDATE)]),
    Row::later("ltrim", 4, GROUP, "1.0.0").flags(WRITE).keys(&[first_key(RW_DELETE)]),
    Row::later("rpop", -2, GROUP, "1.0.0").flags(WRITE_FAST).keys(&[first_key(RW_ACCESS_DELETE)]),
    Row::later("rpoplpush", 3, GROUP, "1.2.0").flags(WRITE_GROWS).keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)]),
    Row::later("rpush", -3, GROUP, "1.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_INSERT)]),
    Row::later("rpushx", -3, GROUP, "2.2.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_INSERT)]),
];
