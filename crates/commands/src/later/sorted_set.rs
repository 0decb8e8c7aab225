//! Rows of the commands on sorted sets, which come with a later version.

use crate::keyspec::{counted_keys, first_key, key_at, keys_at};
use crate::{Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::SortedSet;
const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const READ_MOVABLE: Flags = Flags::READONLY.and(Flags::MOVABLE_KEYS);
const WRITE: Flags = Flags::WRITE;
const WRITE_BLOCKS_MOVABLE: Flags = Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_GROWS_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const WRITE_GROWS_MOVABLE: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS);
const WRITE_MOVABLE: Flags = Flags::WRITE.and(Flags::MOVABLE_KEYS);
const WRITE_NOSCRIPT_BLOCKS_FAST: Flags = Flags::WRITE
    .and(Flags::NOSCRIPT)
    .and(Flags::BLOCKING)
    .and(Flags::FAST);
const OW_UPDATE: KeyAccess = KeyAccess::OW.and(KeyAccess::UPDATE);
const RO: KeyAccess = KeyAccess::RO;
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE);
const RW_ACCESS_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::UPDATE);
const RW_DELETE: KeyAccess = KeyAccess::RW.and(KeyAccess::DELETE);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("bzmpop", -5, GROUP, "7.0.0").flags(WRITE_BLOCKS_MOVABLE).keys(&[counted_keys(2, RW_ACCESS_DELETE)]),
    Row::later("bzpopmax", -3, GROUP, "5.0.0").flags(WRITE_NOSCRIPT_BLOCKS_FAST).keys(&[keys_at(1, -2, RW_ACCESS_DELETE)]),
    Row::later("bzpopmin", -3, GROUP, "5.0.0").flags(WRITE_NOSCRIPT_BLOCKS_FAST).keys(&[keys_at(1, -2, RW_ACCESS_DELETE)]),
    Row::later("zadd", -4, GROUP, "1.2.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("zcard", 2, GROUP, "1.2.0").flags(READ_FAST).keys(&[first_key(RO)]),
    Row::later("zcount", 4, GROUP, "2.0.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("zdiff", -3, GROUP, "6.2.0").flags(READ_MOVABLE).keys(&[counted_keys(1, RO_ACCESS)]),
    Row::later("zdiffstore", -4, GROUP, "6.2.0").flags(WRITE_GROWS_MOVABLE).keys(&[first_key(OW_UPDATE), counted_keys(2, RO_ACCESS)]),
    Row::later("zincrby", 4, GROUP, "1.2.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_ACCESS_UPDATE)]),
    Row::later("zinter", -3, GROUP, "6.2.0").flags(READ_MOVABLE).keys(&[counted_keys(1, RO_ACCESS)]),
    Row::later("zintercard", -3, GROUP, "7.0.0").flags(READ_MOVABLE).keys(&[counted_keys(1, RO_ACCESS)]),
    Row::later("zinterstore", -4, GROUP, "2.0.0").flags(WRITE_GROWS_MOVABLE).keys(&[first_key(OW_UPDATE), counted_keys(2, RO_ACCESS)]),
    Row::later("zlexcount", 4, GROUP, "2.8.9").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("zmpop", -4, GROUP, "7.0.0").flags(WRITE_MOVABLE).keys(&[counted_keys(1, RW_ACCESS_DELETE)]),
    Row::later("zmscore", -3, GROUP, "6.2.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("zpopmax", -2, GROUP, "5.0.0").flags(WRITE_FAST).keys(&[first_key(RW_ACCESS_DELETE)]),
    Row::later("zpopmin", -2, GROUP, "5.0.0").flags(WRITE_FAST).keys(&[first_key(RW_ACCESS_DELETE)]),
    Row::later("zrandmember", -2, GROUP, "6.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrange", -4, GROUP, "1.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrangebylex", -4, GROUP, "2.8.9").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrangebyscore", -4, GROUP, "1.0.5").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrangestore", -5, GROUP, "6.2.0").flags(WRITE_GROWS).keys(&[first_key(OW_UPDATE), key_at(2, RO_ACCESS)]),
    Row::later("zrank", 3, GROUP, "2.0.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrem", -3, GROUP, "1.2.0").flags(WRITE_FAST).keys(&[first_key(RW_DELETE)]),
    Row::later("zremrangebylex", 4, GROUP, "2.8.9").flags(WRITE).keys(&[first_key(RW_DELETE)]),
    Row::later("zremrangebyrank", 4, GROUP, "2.0.0").flags(WRITE).keys(&[first_key(RW_DELETE)]),
    Row::later("zremrangebyscore", 4, GROUP, "1.2.0").flags(WRITE).keys(&[first_key(RW_DELETE)]),
    Row::later("zrevrange", -4, GROUP, "1.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrevrangebylex", -4, GROUP, "2.8.9").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrevrangebyscore", -4, GROUP, "2.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zrevrank", 3, GROUP, "2.0.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("zscan", -3, GROUP, "2.8.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("zscore", 3, GROUP, "1.2.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("zunion", -3, GROUP, "6.2.0").flags(READ_MOVABLE).keys(&[counted_keys(1, RO_ACCESS)]),
    Row::later("zunionstore", -4, GROUP, "2.0.0").flags(WRITE_GROWS_MOVABLE).keys(&[first_key(OW_UPDATE), counted_keys(2, RO_ACCESS)]),
];
