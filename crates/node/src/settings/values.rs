//! The values that settings take, each with its parser and its text, in Redis's syntax and words.

use std::fmt;
use std::ops::RangeInclusive;

use crate::lock_memory::{LockMemoryLimit, LockOverflow};
use cache::Policy;
use commands::EventClass;

/// Why a text is not a value: the words that follow `CONFIG SET failed (…) - `.
pub type Refusal = String;

/// Reads an amount of memory: digits and one of Redis's units, in either case. `1k` is 1000 and
/// `1kb` is 1024 bytes, likewise `m`, `mb`, `g`, `gb`; no unit or `b` means bytes.
///
/// # Errors
///
/// For anything else, and for more than a `u64` holds (which Redis would silently cap).
pub fn parse_memory(text: &str) -> Result<u64, Refusal> {
    let refusal = || Refusal::from("argument must be a memory value");
    let digits_length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_length);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(refusal()),
    };
    let amount: u64 = digits.parse().map_err(|_| refusal())?;
    amount.checked_mul(factor).ok_or_else(refusal)
}

/// Reads an amount of memory within `range`, in bytes.
pub(super) fn memory_within(text: &str, range: RangeInclusive<u64>) -> Result<u64, Refusal> {
    let bytes = parse_memory(text)?;
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    Err(out_of_range(range.start(), range.end()))
}

/// Reads an integer within `range` as strictly as Redis: no sign but `-`, no leading zero.
///
/// # Panics
///
/// When the range is beyond what a `T` holds: that is a bug of the caller.
pub(super) fn integer_within<T: TryFrom<i64>>(
    text: &str,
    range: RangeInclusive<i64>,
) -> Result<T, Refusal> {
    let number = text
        .parse()
        .ok()
        // Rust also reads "+5", "05" and "-0"; what prints otherwise was not written strictly.
        .filter(|number: &i64| number.to_string() == text)
        .ok_or("argument couldn't be parsed into an integer")?;
    if !range.contains(&number) {
        return Err(out_of_range(range.start(), range.end()));
    }
    let value = T::try_from(number).ok();
    Ok(value.expect("the range is within the type's"))
}

fn out_of_range(least: impl fmt::Display, most: impl fmt::Display) -> Refusal {
    format!("argument must be between {least} and {most} inclusive")
}

/// Reads `yes` or `no`, in either case.
pub(super) fn parse_yes_no(text: &str) -> Result<bool, Refusal> {
    if text.eq_ignore_ascii_case("yes") {
        return Ok(true);
    }
    if text.eq_ignore_ascii_case("no") {
        return Ok(false);
    }
    Err("argument must be 'yes' or 'no'".into())
}

pub(super) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.into()
}

/// Policies by name. The order is that of the refusal, which is Redis's.
const POLICIES: [(&str, Option<Policy>); 8] = [
    ("volatile-lru", Some(Policy::VolatileLru)),
    ("volatile-lfu", None),
    ("volatile-random", Some(Policy::VolatileRandom)),
    ("volatile-ttl", Some(Policy::VolatileTtl)),
    ("allkeys-lru", Some(Policy::AllKeysLru)),
    ("allkeys-lfu", None),
    ("allkeys-random", Some(Policy::AllKeysRandom)),
    ("noeviction", Some(Policy::NoEviction)),
];

/// Redis's name of `policy`.
pub fn policy_name(policy: Policy) -> &'static str {
    POLICIES
        .into_iter()
        .find(|&(_, named)| named == Some(policy))
        .expect("every policy has a row")
        .0
}

/// Reads the name of a policy, in either case.
///
/// # Errors
///
/// For an unknown name, in Redis's words; and for the LFU policies, which Redis has and Torc has not.
pub fn parse_policy(text: &str) -> Result<Policy, Refusal> {
    let row = POLICIES
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    match row {
        Some((_, Some(policy))) => Ok(policy),
        Some((name, None)) => Err(format!(
            "Torc keeps no access frequencies, so {name} is not available: use {}",
            name.replace("lfu", "lru")
        )),
        None => Err(one_of(POLICIES.iter().map(|(name, _)| *name))),
    }
}

/// Reads how much memory locks may take: a share of `maxmemory`, as `25%`, or an amount.
///
/// # Errors
///
/// For anything else; a share is 1 to 100 %.
pub(super) fn parse_lock_memory(text: &str) -> Result<LockMemoryLimit, Refusal> {
    match text.strip_suffix('%') {
        Some(percent) => integer_within(percent, 1..=100)
            .map(LockMemoryLimit::Percent)
            .map_err(|_| "argument must be a memory value, or 1% to 100% of maxmemory".into()),
        None => parse_memory(text).map(LockMemoryLimit::Bytes),
    }
}

/// As [`parse_lock_memory`] reads it.
pub(super) fn lock_memory_text(limit: LockMemoryLimit) -> String {
    match limit {
        LockMemoryLimit::Percent(percent) => format!("{percent}%"),
        LockMemoryLimit::Bytes(bytes) => bytes.to_string(),
    }
}

/// What becomes of locks beyond their memory, by name.
const LOCK_OVERFLOWS: [(&str, LockOverflow); 2] = [
    ("refuse", LockOverflow::Refuse),
    ("evict", LockOverflow::Evict),
];

/// The name of what becomes of locks beyond their memory.
pub(super) fn lock_overflow_name(overflow: LockOverflow) -> &'static str {
    match overflow {
        LockOverflow::Refuse => LOCK_OVERFLOWS[0].0,
        LockOverflow::Evict => LOCK_OVERFLOWS[1].0,
    }
}

/// Reads it, in either case.
///
/// # Errors
///
/// For an unknown name, in Redis's words.
pub(super) fn parse_lock_overflow(text: &str) -> Result<LockOverflow, Refusal> {
    let row = LOCK_OVERFLOWS
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    row.map(|(_, overflow)| overflow)
        .ok_or_else(|| one_of(LOCK_OVERFLOWS.iter().map(|(name, _)| *name)))
}

/// How a shard's leader knows that it still leads when it answers a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// By its lease: by the clock, on the spot.
    Lease,
    /// A majority says so, after the read came.
    Quorum,
}

impl ReadMode {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ReadMode::Lease => "lease",
            ReadMode::Quorum => "quorum",
        }
    }
}

/// Reads the name of a read mode, in either case.
///
/// # Errors
///
/// For an unknown name.
pub fn parse_read_mode(text: &str) -> Result<ReadMode, Refusal> {
    named(text, [ReadMode::Lease, ReadMode::Quorum], ReadMode::name)
}

/// What becomes of a shard of which a majority of replicas lost their memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnQuorumLoss {
    /// It goes on, in a new generation, with what is left of it.
    Reset,
    /// It stays as it is, and is neither read nor written.
    Wait,
}

impl OnQuorumLoss {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            OnQuorumLoss::Reset => "reset",
            OnQuorumLoss::Wait => "wait",
        }
    }
}

/// Reads the name of such a policy, in either case.
///
/// # Errors
///
/// For an unknown name.
pub fn parse_on_quorum_loss(text: &str) -> Result<OnQuorumLoss, Refusal> {
    let policies = [OnQuorumLoss::Reset, OnQuorumLoss::Wait];
    named(text, policies, OnQuorumLoss::name)
}

/// The one of `all` with this name, in either case.
fn named<T: Copy, const N: usize>(
    text: &str,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, Refusal> {
    let is_named = |one: &T| name(*one).eq_ignore_ascii_case(text);
    let found = all.into_iter().find(is_named);
    found.ok_or_else(|| one_of(all.into_iter().map(name)))
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> Refusal {
    let names: Vec<&str> = names.collect();
    format!(
        "argument(s) must be one of the following: {}",
        names.join(", ")
    )
}

/// How much is logged, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// More than what runs a node need.
    Verbose,
    /// A few lines an hour.
    Notice,
    /// Only what is unexpected.
    Warning,
    /// Nothing at all (Redis 7.2).
    Nothing,
}

const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("debug", LogLevel::Debug),
    ("verbose", LogLevel::Verbose),
    ("notice", LogLevel::Notice),
    ("warning", LogLevel::Warning),
    ("nothing", LogLevel::Nothing),
];

impl LogLevel {
    /// Redis's name of the level.
    pub fn name(self) -> &'static str {
        LOG_LEVELS
            .into_iter()
            .find(|&(_, level)| level == self)
            .expect("every level has a row")
            .0
    }

    /// Reads the name of a level, in either case.
    ///
    /// # Errors
    ///
    /// For an unknown name.
    pub fn parse(text: &str) -> Result<LogLevel, Refusal> {
        LOG_LEVELS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, level)| level)
            .ok_or_else(|| one_of(LOG_LEVELS.iter().map(|(name, _)| *name)))
    }
}

/// When a client that does not read its replies is closed. 0 switches a limit off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// Unread bytes at which the client is closed at once.
    pub hard_bytes: u64,
    /// Unread bytes at which it is closed once they stayed above that for `soft_seconds`.
    pub soft_bytes: u64,
    /// Seconds for which `soft_bytes` may be exceeded.
    pub soft_seconds: u64,
}

/// The limits of each class of clients: `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Clients that are none of the others. Default: no limit, as one reply may be as large as its
    /// request allows.
    pub normal: OutputBufferLimit,
    /// Those that take a stream of changes (`MONITOR`, `SYNC`). Default 256 MiB, or 64 MiB for 60 s.
    pub replica: OutputBufferLimit,
    /// Those with a subscription. Default 32 MiB, or 8 MiB for 60 s: messages that nobody reads
    /// would otherwise pile up without end.
    pub pubsub: OutputBufferLimit,
}

impl Default for OutputBufferLimits {
    fn default() -> Self {
        let limit = |hard_mib: u64, soft_mib: u64, soft_seconds| OutputBufferLimit {
            hard_bytes: hard_mib << 20,
            soft_bytes: soft_mib << 20,
            soft_seconds,
        };
        OutputBufferLimits {
            normal: limit(0, 0, 0),
            replica: limit(256, 64, 60),
            pubsub: limit(32, 8, 60),
        }
    }
}

impl OutputBufferLimits {
    /// These limits with those classes replaced that `text` names, by groups of four words: class,
    /// hard limit, soft limit, seconds. `pubsub 32mb 8mb 60` leaves the other classes as they are.
    ///
    /// # Errors
    ///
    /// For an unknown class, an incomplete group, or a limit that is not an amount.
    pub fn with(mut self, text: &str) -> Result<OutputBufferLimits, Refusal> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (groups, rest) = words.as_chunks::<4>();
        if !rest.is_empty() {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for [class, hard, soft, seconds] in groups {
            let limit = match class.to_ascii_lowercase().as_str() {
                "normal" => &mut self.normal,
                "slave" | "replica" => &mut self.replica,
                "pubsub" => &mut self.pubsub,
                _ => {
                    return Err(
                        "Invalid client class specified in buffer limit configuration.".into(),
                    );
                }
            };
            let amount =
                |_| "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
            *limit = OutputBufferLimit {
                hard_bytes: parse_memory(hard).map_err(amount)?,
                soft_bytes: parse_memory(soft).map_err(amount)?,
                soft_seconds: integer_within(seconds, 0..=i64::MAX).map_err(amount)?,
            };
        }
        Ok(self)
    }
}

impl fmt::Display for OutputBufferLimits {
    /// Redis still calls replicas slaves here, and tools match on it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = [
            ("normal", self.normal),
            (" slave", self.replica),
            (" pubsub", self.pubsub),
        ];
        for (class, limit) in classes {
            let OutputBufferLimit {
                hard_bytes,
                soft_bytes,
                soft_seconds,
            } = limit;
            write!(out, "{class} {hard_bytes} {soft_bytes} {soft_seconds}")?;
        }
        Ok(())
    }
}

/// Which keyspace events are published, and where: `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(u16);

const KEYSPACE: u16 = 1 << 14;
const KEYEVENT: u16 = 1 << 15;

/// Letters and bits, in the order in which they are printed. Bits of classes that exist are those of
/// [`EventClass`]; the others are kept so that what a tool sets it also reads back.
const EVENT_LETTERS: [(char, u16); 14] = [
    ('g', EventClass::Generic as u16),
    ('$', EventClass::String as u16),
    ('l', EventClass::List as u16),
    ('s', EventClass::Set as u16),
    ('h', EventClass::Hash as u16),
    ('z', EventClass::SortedSet as u16),
    ('x', EventClass::Expired as u16),
    ('e', EventClass::Evicted as u16),
    ('t', EventClass::Stream as u16),
    ('d', 1 << 13),
    ('n', EventClass::New as u16),
    ('K', KEYSPACE),
    ('E', KEYEVENT),
    ('m', EventClass::KeyMiss as u16),
];

/// How many letters, from the first, `A` stands for: all classes but `n` and `m`.
const ALL_LETTERS_COUNT: usize = 10;

impl KeyspaceEvents {
    /// Reads a set of letters; none means that nothing is published.
    ///
    /// # Errors
    ///
    /// For a letter that is none of Redis's.
    pub fn parse(text: &str) -> Result<KeyspaceEvents, Refusal> {
        let mut bits = 0;
        for letter in text.chars() {
            bits |= match EVENT_LETTERS.iter().find(|(known, _)| *known == letter) {
                Some((_, bit)) => *bit,
                None if letter == 'A' => KeyspaceEvents::all_bits(),
                None => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            };
        }
        Ok(KeyspaceEvents(bits))
    }

    /// The classes that somebody may hear of, or-ed [`EventClass`] values: 0 while neither kind of
    /// channel is on.
    pub fn classes(self) -> u16 {
        if self.0 & (KEYSPACE | KEYEVENT) == 0 {
            return 0;
        }
        self.0 & !(KEYSPACE | KEYEVENT)
    }

    /// Whether events go to `__keyspace@<db>__:<key>` (`K`).
    pub fn keyspace(self) -> bool {
        self.0 & KEYSPACE != 0
    }

    /// Whether events go to `__keyevent@<db>__:<event>` (`E`).
    pub fn keyevent(self) -> bool {
        self.0 & KEYEVENT != 0
    }

    fn all_bits() -> u16 {
        EVENT_LETTERS[..ALL_LETTERS_COUNT]
            .iter()
            .fold(0, |bits, (_, bit)| bits | bit)
    }
}

impl fmt::Display for KeyspaceEvents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = KeyspaceEvents::all_bits();
        let skip = if self.0 & all == all {
            out.write_str("A")?;
            ALL_LETTERS_COUNT
        } else {
            0
        };
        for (letter, bit) in &EVENT_LETTERS[skip..] {
            if self.0 & bit != 0 {
                write!(out, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Most percentiles that may be asked for; each is computed for every command that was ever called.
const PERCENTILES_MAX: usize = 32;

/// Reads percentiles separated by spaces, each 0 to 100.
pub(super) fn parse_percentiles(text: &str) -> Result<Vec<f64>, Refusal> {
    let words = text.split_ascii_whitespace();
    if words.clone().count() > PERCENTILES_MAX {
        return Err(format!(
            "latency-tracking-info-percentiles takes at most {PERCENTILES_MAX} parameters"
        ));
    }
    words
        .map(|word| match word.parse::<f64>() {
            Ok(percentile) if (0.0..=100.0).contains(&percentile) => Ok(percentile),
            Ok(number) if !number.is_nan() => Err(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                    .into(),
            ),
            _ => Err("Invalid latency-tracking-info-percentiles parameters".into()),
        })
        .collect()
}

pub(super) fn join<T: ToString>(values: &[T]) -> String {
    let words: Vec<String> = values.iter().map(T::to_string).collect();
    words.join(" ")
}
