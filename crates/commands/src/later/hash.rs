//! Rows of the commands that give fields of hashes a time, which come with a later version.

use crate::keyspec::first_key;
use crate::{Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::Hash;
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_GROWS_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("hexpire", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hexpireat", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hexpiretime", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hpersist", -5, GROUP, "7.4.0").flags(WRITE_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hpexpire", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hpexpireat", -6, GROUP, "7.4.0").flags(WRITE_GROWS_FAST).keys(&[first_key(RW_UPDATE)]),
    Row::later("hpexpiretime", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("hpttl", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
    Row::later("httl", -5, GROUP, "7.4.0").flags(READ_FAST).keys(&[first_key(RO_ACCESS)]),
];
