//! Rows of the commands on geographic indexes, which come with a later version.

use crate::keyspec::{first_key, key_after, key_at};
use crate::{Flags, Group, KeyAccess, Row};

const GROUP: Group = Group::Geo;
const READ: Flags = Flags::READONLY;
const WRITE_GROWS: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_GROWS_MOVABLE: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS);
const OW_UPDATE: KeyAccess = KeyAccess::OW.and(KeyAccess::UPDATE);
const RO_ACCESS: KeyAccess = KeyAccess::RO.and(KeyAccess::ACCESS);
const RW_UPDATE: KeyAccess = KeyAccess::RW.and(KeyAccess::UPDATE);

/// The family's rows.
#[rustfmt::skip] // One row a line.
pub static ROWS: &[Row] = &[
    Row::later("geoadd", -5, GROUP, "3.2.0").flags(WRITE_GROWS).keys(&[first_key(RW_UPDATE)]),
    Row::later("geodist", -4, GROUP, "3.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("geohash", -2, GROUP, "3.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("geopos", -2, GROUP, "3.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("georadius", -6, GROUP, "3.2.0").flags(WRITE_GROWS_MOVABLE).keys(&[first_key(RO_ACCESS), key_after("STORE", 6, OW_UPDATE), key_after("STOREDIST", 6, OW_UPDATE)]),
    Row::later("georadius_ro", -6, GROUP, "3.2.10").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("georadiusbymember", -5, GROUP, "3.2.0").flags(WRITE_GROWS_MOVABLE).keys(&[first_key(RO_ACCESS), key_after("STORE", 5, OW_UPDATE), key_after("STOREDIST", 5, OW_UPDATE)]),
    Row::later("georadiusbymember_ro", -5, GROUP, "3.2.10").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("geosearch", -7, GROUP, "6.2.0").flags(READ).keys(&[first_key(RO_ACCESS)]),
    Row::later("geosearchstore", -8, GROUP, "6.2.0").flags(WRITE_GROWS).keys(&[first_key(OW_UPDATE), key_at(2, RO_ACCESS)]),
];
