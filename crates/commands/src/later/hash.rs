//! Rows of the commands on hashes, which come with a later version.

use crate::keyspec::first_key;
use crate::{Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::Hash;
const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const RO: KeyAccess = KeyAccess::RO;
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE);
const RW_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::DELETE);
const RW_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::INSERT);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("hdel", -3, GROUP, "2.0.0").flags(WRITE_FAST).keys(&[first_key(RW_DELETE)]),
    Row::later("hexists", 3, GROUP, "2.0.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("hexpire", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hexpireat", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hexpiretime", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hget", 3, GROUP, "2.0.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hgetall", 2, GROUP, "2.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("hincrby", 4, GROUP, "2.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_ACCESS_UPDATE)]),
    Row::later("hincrbyfloat", 4, GROUP, "2.6.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_ACCESS_UPDATE)]),
    Row::later("hkeys", 2, GROUP, "2.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("hlen", 2, GROUP, "2.0.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("hmget", -3, GROUP, "2.0.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hmset", -4, GROUP, "2.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hpersist", -5, GROUP, "7.4.0").flags(WRITE_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hpexpire", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hpexpireat", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hpexpiretime", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hpttl", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hrandfield", -2, GROUP, "6.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("hscan", -3, GROUP, "2.8.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("hset", -4, GROUP, "2.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hsetnx", 4, GROUP, "2.0.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_INSERT)]),
    Row::later("hstrlen", 3, GROUP, "3.2.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("httl", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hvals", 2, GROUP, "2.0.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
];
