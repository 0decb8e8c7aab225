//! Rows of the commands on HyperLogLogs, which come with a later version.

use crate::keyspec::{first_key, key_at, keys_at};
use crate::{Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::Hyperloglog;
const ADMIN: Flags = Flags::ADMIN;
const READ: Flags = Flags::READONLY;
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_GROWS_ADMIN: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::ADMIN);
const WRITE_GROWS_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_ACCESS: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS);
const RW_ACCESS_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::INSERT);
const RW_INSERT: KeyAccess = KeyAccess::RW.and(KeyAccess::INSERT);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("pfadd", -2, GROUP, "2.8.9").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_INSERT)]),
    Row::later("pfcount", -2, GROUP, "2.8.9").flags(READ).keys(&[keys_at(1, -1, RW_ACCESS)]),
    Row::later("pfdebug", 3, GROUP, "2.8.9").flags(WRITE_GROWS_ADMIN).keys(&[key_at(2, RW_ACCESS)]),
    Row::later("pfmerge", -2, GROUP, "2.8.9").flags(WRITE_GROWS).keys(&[first_key(RW_ACCESS_INSERT), keys_at(2, -1, RO_ACCESS)]),
    Row::later("pfselftest", 1, GROUP, "2.8.9").flags(ADMIN),
];
