//! What is known of the keys whose records are gathered: what each shard told last. A shard is asked again only for what has
//! changed since, and for much only once its length is known.

use super::copies::bulk_of;
use super::gathered::Name;
use super::holes::integer_of;
use crate::effects;
use crate::questions::{FINGERPRINT_ALONE, RECORDS, RECORDS_BYTES_MAX};
use resp::{OwnedArgs, split_array, split_reply};
use std::collections::{BTreeMap, BTreeSet};

/// Values that a shard tells unasked, bytes: more have to be fetched, once it is known that all together are not too many.
const UNASKED_BYTES_MAX: usize = 1 << 20;

/// A key's record, as its shard told it last.
pub(super) struct Record {
    pub head: effects::Head,
    pub value: Box<[u8]>,
    pub fingerprint: u64,
}

/// The keys of a shard, each with whether its value is wanted, and not its fingerprint alone.
pub(super) type Asked<'a> = BTreeMap<usize, BTreeMap<&'a Name, bool>>;

/// The keys that are asked for: `names` whole, `watched` only for a look whether they changed.
pub(super) fn asked_of<'a>(
    names: &'a BTreeMap<usize, BTreeSet<Name>>,
    watched: &'a BTreeMap<usize, BTreeSet<Name>>,
) -> Asked<'a> {
    let mut asked = Asked::new();
    for (all, is_wanted) in [(watched, false), (names, true)] {
        for (shard, names) in all {
            let of_shard = asked.entry(*shard).or_default();
            of_shard.extend(names.iter().map(|name| (name, is_wanted)));
        }
    }
    asked
}

/// Records of several shards.
#[derive(Default)]
pub(super) struct Records {
    /// Those whose values were told.
    whole: BTreeMap<Name, Record>,
    /// The fingerprints of all that were asked for, as of the last answer.
    pub fingerprints: BTreeMap<Name, u64>,
    /// The shards' log times as of the last answers, ms.
    pub log_ms: BTreeMap<usize, u64>,
    /// Whether the lengths are known, and not too much.
    are_lengths_known: bool,
}

/// What answers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// All is known.
    All,
    /// Values are longer than what is told unasked: they are to be asked for.
    Lengths,
    /// All together are too long.
    TooMuch,
}

impl Records {
    /// A key's record, if it was asked for whole.
    pub fn get(&self, name: &Name) -> Option<&Record> {
        self.whole.get(name)
    }

    /// The question about a shard's keys.
    pub fn question(&self, keys: &BTreeMap<&Name, bool>) -> OwnedArgs {
        let bytes_max = match self.are_lengths_known {
            true => RECORDS_BYTES_MAX,
            false => UNASKED_BYTES_MAX,
        };
        let bytes_max = (bytes_max as u64).to_le_bytes();
        let known = keys.iter().map(|(name, is_wanted)| {
            let record = self.whole.get(*name).filter(|_| *is_wanted);
            record.map(|record| record.fingerprint.to_le_bytes())
        });
        let known: Vec<Option<[u8; 8]>> = known.collect();
        let databases: Vec<[u8; 1]> = keys.keys().map(|(db, _)| [*db]).collect();
        let mut words: Vec<&[u8]> = vec![RECORDS, &bytes_max];
        for (at, ((_, key), is_wanted)) in keys.iter().enumerate() {
            let known = match (&known[at], is_wanted) {
                (Some(fingerprint), _) => &fingerprint[..],
                (None, true) => b"",
                (None, false) => FINGERPRINT_ALONE,
            };
            words.extend([&databases[at][..], key, known]);
        }
        OwnedArgs::from_slices(&words)
    }

    /// Takes the shards' answers, in the order of `asked`; none if one cannot be read.
    pub fn take(&mut self, asked: &Asked<'_>, answers: &[Vec<u8>]) -> Option<Told> {
        let (mut lacking_bytes, mut known_bytes) = (0, 0);
        for (answer, (shard, keys)) in answers.iter().zip(asked) {
            if let Some(bytes) = integer_of(answer) {
                // Of those of its keys that changed. What is known of them is too old to count.
                lacking_bytes += usize::try_from(bytes).ok()?;
                continue;
            }
            self.take_one(*shard, keys, answer)?;
            let known = keys.keys().filter_map(|name| self.whole.get(*name));
            known_bytes += known.map(|record| record.value.len()).sum::<usize>();
        }
        let bytes = known_bytes + lacking_bytes;
        Some(match (bytes > RECORDS_BYTES_MAX, lacking_bytes > 0) {
            (true, _) => Told::TooMuch,
            (false, true) => {
                self.are_lengths_known = true;
                Told::Lengths
            }
            (false, false) => Told::All,
        })
    }

    fn take_one(
        &mut self,
        shard: usize,
        keys: &BTreeMap<&Name, bool>,
        answer: &[u8],
    ) -> Option<()> {
        let (first, mut rest) = split_reply(split_array(answer)?)?;
        self.log_ms.insert(shard, integer_of(first)?.max(0) as u64);
        for (name, is_wanted) in keys {
            let mut next = || {
                let (element, after) = split_reply(rest)?;
                rest = after;
                Some(element)
            };
            let (head, value, fingerprint) = (next()?, next()?, next()?);
            let fingerprint = u64::from_le_bytes(*bulk_of(fingerprint)?.first_chunk()?);
            self.fingerprints.insert((*name).clone(), fingerprint);
            if !is_wanted {
                continue;
            }
            let Some(value) = bulk_of(value) else {
                // It is what it was.
                let known = self.whole.get(*name)?;
                (known.fingerprint == fingerprint).then_some(())?;
                continue;
            };
            let head = bulk_of(head)?;
            if !effects::is_head(head) || effects::is_further(head) {
                return None;
            }
            let record = Record {
                head: effects::Head::from_slice(head),
                value: value.into(),
                fingerprint,
            };
            self.whole.insert((*name).clone(), record);
        }
        Some(())
    }
}
