//! The whole interface under random operations, held against the naive store after each.

use crate::naive::Naive;
use crate::{Cache, Entry, Expiry, Key, OwnedValue, Pin, Policy, Value};
use proptest::prelude::*;

const NAMES: u8 = 24;
const POLICIES: [Policy; 6] = [
    Policy::NoEviction,
    Policy::AllKeysLru,
    Policy::VolatileLru,
    Policy::AllKeysRandom,
    Policy::VolatileRandom,
    Policy::VolatileTtl,
];

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Put(u8, u32, Option<Option<u16>>, bool),
    Renew(u8, u16),
    Update(u8, Option<u32>),
    Edit(u8, u32),
    Append(u8, u32),
    Remove(u8),
    Take(u8),
    Rename(u8, u8),
    Regrant(u8, u8),
    Copy(u8, u8),
    Expire(u8, Option<u16>),
    Wait(u16),
    Reclaim(u8),
    Evict(usize, u8, u64),
    EvictLocks(u8),
    Scan(u8),
    Random(u64),
    Clear(u8),
}

fn value_bytes() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 0u32..120,
        4 => 60u32..68,
        2 => 100u32..900,
        3 => 3900u32..4110,
        1 => 4096u32..9000,
        1 => 60_000u32..140_000,
    ]
}

fn expiry() -> impl Strategy<Value = Option<Option<u16>>> {
    prop_oneof![
        Just(None),
        Just(Some(None)),
        (0u16..600).prop_map(|ms| Some(Some(ms))),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..NAMES;
    prop_oneof![
        6 => name().prop_map(Op::Get),
        12 => (name(), value_bytes(), expiry(), prop::bool::weighted(0.15))
            .prop_map(|(name, bytes, expiry, pinned)| Op::Put(name, bytes, expiry, pinned)),
        3 => (name(), 0u16..600).prop_map(|(name, at)| Op::Renew(name, at)),
        6 => (name(), prop::option::weighted(0.8, value_bytes()))
            .prop_map(|(name, bytes)| Op::Update(name, bytes)),
        3 => (name(), value_bytes()).prop_map(|(name, bytes)| Op::Edit(name, bytes)),
        3 => (name(), 1u32..3000).prop_map(|(name, bytes)| Op::Append(name, bytes)),
        3 => name().prop_map(Op::Remove),
        1 => name().prop_map(Op::Take),
        2 => (name(), name()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Op::Regrant(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Op::Copy(from, to)),
        4 => (name(), prop::option::of(0u16..600)).prop_map(|(name, at)| Op::Expire(name, at)),
        4 => (0u16..120).prop_map(Op::Wait),
        3 => any::<u8>().prop_map(Op::Reclaim),
        3 => (0..POLICIES.len(), 1u8..5, any::<u64>()).prop_map(|(p, n, r)| Op::Evict(p, n, r)),
        2 => (1u8..4).prop_map(Op::EvictLocks),
        2 => (1u8..9).prop_map(Op::Scan),
        1 => any::<u64>().prop_map(Op::Random),
        1 => (0u8..3).prop_map(Op::Clear),
    ]
}

/// The bytes of a name's key: all lengths that differ in layout. Names are spread over three databases.
fn bytes_of(name: u8) -> Vec<u8> {
    let len = match name % 8 {
        0 => 1,
        1..=4 => 16,
        5 => 200,
        6 => 2048,
        _ => 2049 + usize::from(name),
    };
    let mut bytes = vec![b'k'; len];
    bytes[0] = name / 3;
    bytes
}

fn db_of(name: u8) -> u8 {
    name % 3
}

fn filling(bytes: u32, step: usize) -> Vec<u8> {
    (0..bytes as usize)
        .map(|at| (at * 7 + step) as u8)
        .collect()
}

/// What an update makes of `old`.
fn told<'n>(new: &'n mut Option<Vec<u8>>, old: Option<Value<'_>>) -> Result<&'n [u8], usize> {
    let old_len = old.map_or(usize::MAX, |old| old.string().unwrap().len());
    let new = new.as_mut().ok_or(old_len)?;
    if let Some(first) = new.first_mut() {
        *first = old_len as u8;
    }
    Ok(new)
}

struct Both {
    real: Cache,
    model: Naive,
    seed: u64,
    mask: u32,
}

type Parts<'a> = (&'a [u8], Option<u64>, Pin, u64, crate::StringForm, u64);

fn parts(entry: Entry<'_>) -> Parts<'_> {
    let value = entry.value.string().unwrap();
    (
        value,
        entry.expires_at,
        entry.pin,
        entry.fence,
        entry.form,
        entry.idle_ms / 16,
    )
}

impl Both {
    fn new(seed: u64, mask: u32) -> Self {
        let mut both = Both {
            real: Cache::with_hash_mask(seed, mask),
            model: Naive::new(),
            seed,
            mask,
        };
        both.real.observe(true);
        both.model.observe(true);
        // After the epoch of fences (2020), by little: they come from the time and from one another.
        both.wait(1_577_836_800_000);
        both
    }

    fn key<'a>(&self, name: u8, bytes: &'a [u8]) -> Key<'a> {
        let mut key = Key::new(self.seed, db_of(name), bytes);
        key.hash &= self.mask;
        key
    }

    /// Time goes in the stamp's unit, so that both tell the same order.
    fn wait(&mut self, ms: u64) {
        let now = self.real.now_ms() + ms / 16 * 16;
        self.real.set_now(now);
        self.model.set_now(now);
    }

    fn reclaim_all(&mut self) {
        self.real.reclaim_expired(usize::MAX);
        self.model.reclaim_expired(usize::MAX);
    }

    fn run(&mut self, op: &Op, step: usize) {
        let now = self.real.now_ms();
        match *op {
            Op::Get(name) => {
                let bytes = bytes_of(name);
                let key = self.key(name, &bytes);
                let real = self.real.get(key).map(parts);
                assert_eq!(real, self.model.get(key).map(parts));
            }
            Op::Put(name, len, expiry, pinned) => {
                let (bytes, value) = (bytes_of(name), filling(len, step));
                let key = self.key(name, &bytes);
                let expiry = match expiry {
                    None => Expiry::Keep,
                    Some(None) => Expiry::Never,
                    Some(Some(ms)) => Expiry::At(now + u64::from(ms)),
                };
                let pin = if pinned { Pin::Pinned } else { Pin::Unpinned };
                self.real.put(key, &value, expiry, pin);
                self.model.put(key, &value, expiry, pin);
            }
            Op::Renew(name, ms) => {
                let bytes = bytes_of(name);
                let key = self.key(name, &bytes);
                let old = self.model.copy(key);
                let value = old.map_or(Vec::new(), |entry| match entry.value {
                    OwnedValue::String(bytes) => bytes.to_vec(),
                    OwnedValue::Collection(_) => unreachable!("the model's values are strings"),
                });
                let expiry = Expiry::At(now + u64::from(ms));
                self.real.put(key, &value, expiry, Pin::Pinned);
                self.model.put(key, &value, expiry, Pin::Pinned);
            }
            Op::Update(name, len) => self.update(name, len, step),
            Op::Edit(name, len) => self.edit(name, len as usize, step),
            Op::Append(name, more) => {
                let bytes = bytes_of(name);
                let old = self.model.peek(self.key(name, &bytes));
                let len = old.map_or(0, |entry| entry.value.string().unwrap().len());
                self.edit(name, len + more as usize, step);
            }
            Op::Remove(name) => {
                let bytes = bytes_of(name);
                let key = self.key(name, &bytes);
                assert_eq!(self.real.remove(key), self.model.remove(key));
            }
            Op::Take(name) => {
                let bytes = bytes_of(name);
                let key = self.key(name, &bytes);
                assert_eq!(self.real.take(key), self.model.take(key));
            }
            Op::Rename(from, to) => {
                let (from_bytes, to_bytes) = (bytes_of(from), bytes_of(to));
                let (from, to) = (self.key(from, &from_bytes), self.key(to, &to_bytes));
                if let Some(entry) = self.real.take(from) {
                    self.real.put_entry(to, entry);
                }
                if let Some(entry) = self.model.take(from) {
                    self.model.put_entry(to, entry);
                }
            }
            Op::Regrant(from, to) => {
                let (from_bytes, to_bytes) = (bytes_of(from), bytes_of(to));
                let (from, to) = (self.key(from, &from_bytes), self.key(to, &to_bytes));
                if let Some(mut entry) = self.real.take(from) {
                    entry.fence = 0;
                    self.real.put_entry(to, entry);
                }
                if let Some(mut entry) = self.model.take(from) {
                    entry.fence = 0;
                    self.model.put_entry(to, entry);
                }
            }
            Op::Copy(from, to) => {
                let (from_bytes, to_bytes) = (bytes_of(from), bytes_of(to));
                let (from, to) = (self.key(from, &from_bytes), self.key(to, &to_bytes));
                let copy = self.real.copy(from);
                assert_eq!(copy, self.model.copy(from));
                if let Some(entry) = copy {
                    self.real.put_entry(to, entry.clone());
                    self.model.put_entry(to, entry);
                }
            }
            Op::Expire(name, ms) => {
                let bytes = bytes_of(name);
                let key = self.key(name, &bytes);
                let at = ms.map(|ms| now + u64::from(ms));
                assert_eq!(
                    self.real.set_expiry(key, at),
                    self.model.set_expiry(key, at)
                );
            }
            Op::Wait(ms) => self.wait(u64::from(ms)),
            Op::Reclaim(work) => {
                self.real.reclaim_expired(usize::from(work));
            }
            Op::Evict(policy, count, random) => self.evict(policy, usize::from(count), random),
            Op::EvictLocks(count) => self.evict_locks(usize::from(count)),
            Op::Scan(steps) => self.scan(usize::from(steps)),
            Op::Random(draw) => self.random(draw),
            Op::Clear(db) => {
                self.reclaim_all();
                assert_eq!(self.real.clear(db), self.model.clear(db));
            }
        }
    }

    /// Sets a value of `len` bytes whose first one tells the length of what was there; fails without `len`.
    fn update(&mut self, name: u8, len: Option<u32>, step: usize) {
        let bytes = bytes_of(name);
        let key = self.key(name, &bytes);
        let mut values = [0, 1].map(|_| len.map(|len| filling(len, step)));
        let [real, model] = &mut values;
        let real = self.real.update(key, |old| told(real, old));
        let model = self.model.update(key, |old| told(model, old));
        assert_eq!(real, model);
        assert_eq!(values[0], values[1], "shown another value");
    }

    fn edit(&mut self, name: u8, len: usize, step: usize) {
        let bytes = bytes_of(name);
        let key = self.key(name, &bytes);
        let (real, model) = (self.real.edit(key, len), self.model.edit(key, len));
        assert_eq!(real, model);
        if let Some(last) = real.last_mut() {
            *last = step as u8;
            model[len - 1] = step as u8;
        }
    }

    fn evict(&mut self, policy: usize, count: usize, random: u64) {
        self.reclaim_all();
        let policy = POLICIES[policy];
        if matches!(policy, Policy::AllKeysLru | Policy::VolatileLru) {
            assert_eq!(self.real.coldest_ms(policy), self.model.coldest_ms(policy));
        }
        let real = self.real.victims(policy, usize::MAX, count, random);
        let model = self.model.victims(policy, usize::MAX, count, random);
        assert_eq!(real.len(), model.len(), "{policy:?}");
        if matches!(policy, Policy::AllKeysLru | Policy::VolatileLru) {
            assert_eq!(real, model);
            assert_eq!(self.real.coldest_ms(policy), self.model.coldest_ms(policy));
        }
        let all = self.model.victims(policy, usize::MAX, usize::MAX, 0);
        for victim in real {
            assert!(all.contains(&victim), "{policy:?} chose {victim:?}");
            let mut key = Key::new(self.seed, victim.db, &victim.key);
            key.hash &= self.mask;
            assert!(
                self.real.evict(key) && self.model.evict(key),
                "evicted twice"
            );
        }
    }

    fn evict_locks(&mut self, count: usize) {
        let victims = self.real.lock_victims(usize::MAX, count);
        let pinned = self.real.pinned_bytes();
        assert_eq!(victims.is_empty(), pinned == 0);
        for victim in victims {
            let mut key = Key::new(self.seed, victim.db, &victim.key);
            key.hash &= self.mask;
            for fence in [victim.fence + 1, victim.fence, victim.fence] {
                let gone = self.real.evict_lock(key, fence);
                assert_eq!(gone, self.model.evict_lock(key, fence));
            }
            assert!(self.real.peek(key).is_none(), "a victim stayed");
        }
    }

    fn scan(&mut self, steps: usize) {
        for db in 0..3 {
            let mut seen = [Vec::new(), Vec::new()];
            let mut from = Some(0);
            while let Some(at) = from {
                from = self.real.scan(db, at, steps, &mut |key, entry| {
                    seen[0].push((key.to_vec(), entry.value.string().unwrap().to_vec()));
                });
            }
            self.model.scan(db, 0, usize::MAX, &mut |key, entry| {
                seen[1].push((key.to_vec(), entry.value.string().unwrap().to_vec()));
            });
            seen.iter_mut().for_each(|seen| seen.sort());
            assert_eq!(seen[0], seen[1]);
        }
    }

    fn random(&mut self, draw: u64) {
        for db in 0..3 {
            let real = self.real.random(db, draw).map(<[u8]>::to_vec);
            assert_eq!(real.is_some(), self.model.random(db, draw).is_some());
            if let Some(bytes) = real {
                let mut key = Key::new(self.seed, db, &bytes);
                key.hash &= self.mask;
                assert!(
                    self.model.peek(key).is_some(),
                    "a random key that is not there"
                );
            }
        }
    }

    fn compare(&self) {
        for name in 0..NAMES {
            let bytes = bytes_of(name);
            let key = self.key(name, &bytes);
            assert_eq!(
                self.real.peek(key).map(parts),
                self.model.peek(key).map(parts)
            );
        }
        assert_eq!(self.real.checksum(), self.model.checksum());
        self.real.check();
    }

    fn finish(mut self) {
        self.reclaim_all();
        for db in 0..16 {
            assert_eq!(self.real.len(db), self.model.len(db));
            assert_eq!(self.real.expiring_len(db), self.model.expiring_len(db));
        }
        let mut changes = [self.real.take_changes(), self.model.take_changes()];
        for changes in &mut changes {
            changes.sort_by(|a, b| (a.db, &a.key, a.kind as u8).cmp(&(b.db, &b.key, b.kind as u8)));
        }
        assert_eq!(changes[0], changes[1]);
        for db in 0..16 {
            self.real.clear(db);
        }
        assert!(self.real.is_empty());
        self.real.check();
    }
}

proptest! {
    // Any difference from the naive store: a lost or changed entry, a wrong victim, a broken link.
    #[test]
    fn agrees_with_the_naive_store(
        ops in prop::collection::vec(op(), 1..160),
        seed in any::<u64>(),
        mask in prop_oneof![Just(u32::MAX), Just(0x8000_0001), Just(0), Just(0xffff_fff8), Just(3)],
    ) {
        let mut both = Both::new(seed, mask);
        for (step, op) in ops.iter().enumerate() {
            both.run(op, step);
            both.compare();
        }
        both.finish();
    }

    // Two replicas with different seeds that reclaim at different paces must agree on their state.
    #[test]
    fn checksums_do_not_see_seed_or_pace(
        ops in prop::collection::vec(op(), 1..120),
        seeds in any::<[u64; 2]>(),
        paces in prop::array::uniform2(0usize..9),
    ) {
        let mut replicas = seeds.map(|seed| Both::new(seed, u32::MAX));
        for (step, op) in ops.iter().enumerate() {
            if matches!(op, Op::Evict(..) | Op::EvictLocks(_)) {
                continue;
            }
            for (replica, pace) in replicas.iter_mut().zip(paces) {
                replica.run(op, step);
                replica.real.reclaim_expired(pace);
            }
            let [one, other] = &replicas;
            prop_assert_eq!(one.real.checksum(), other.real.checksum());
        }
    }
}
