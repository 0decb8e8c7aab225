//! Rows of the commands on sets, which come with a later version.

use crate::keyspec::{counted_keys, first_key, key_at, keys_at};
use crate::{Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::Set;
const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const READ_MOVABLE: Flags = Flags::READONLY.and(Flags::MOVABLE_KEYS);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_GROWS_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const OW_UPDATE: KeyAccess = KeyAccess::OW.and(KeyAccess::UPDATE);
const RO: KeyAccess = KeyAccess::RO;
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE);
const RW_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::DELETE);
const RW_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::INSERT);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("sadd", -3, GROUP, "1.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_INSERT)]),
    Row::later("scard", 2, GROUP, "1.0.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("sdiff", -2, GROUP, "1.0.0").flags(READ).keys(&[keys_at(1, -1, RO_ACCESS)]),
    Row::later("sdiffstore", -3, GROUP, "1.0.0").flags(WRITE_GROWS).keys(&[first_key(OW_UPDATE), keys_at(2, -1, RO_ACCESS)]),
    Row::later("sinter", -2, GROUP, "1.0.0").flags(READ).keys(&[keys_at(1, -1, RO_ACCESS)]),
    Row::later("sintercard", -3, GROUP, "7.0.0").flags(READ_MOVABLE).keys(&[counted_keys(1, RO_ACCESS)]),
    Row::later("sinterstore", -3, GROUP, "1.0.0").flags(WRITE_GROWS).keys(&[first_key(RW_UPDATE), keys_at(2, -1, RO_ACCESS)]),
    Row::later("sismember", 3, GROUP, "1.0.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("smembers", 2, GROUP, "1.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("smismember", -3, GROUP, "6.2.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("smove", 4, GROUP, "1.0.0").flags(WRITE_FAST).keys(&[first_key(RW_ACCESS_DELETE), key_at(2, RW_INSERT)]),
    Row::later("spop", -2, GROUP, "1.0.0").flags(WRITE_FAST).keys(&[first_key(RW_ACCESS_DELETE)]),
    Row::later("srandmember", -2, GROUP, "1.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("srem", -3, GROUP, "1.0.0").flags(WRITE_FAST).keys(&[first_key(RW_DELETE)]),
    Row::later("sscan", -3, GROUP, "2.8.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("sunion", -2, GROUP, "1.0.0").flags(READ).keys(&[keys_at(1, -1, RO_ACCESS)]),
    Row::later("sunionstore", -3, GROUP, "1.0.0").flags(WRITE_GROWS).keys(&[first_key(OW_UPDATE), keys_at(2, -1, RO_ACCESS)]),
];
