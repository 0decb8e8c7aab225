//! Recency that was seen elsewhere: reads happen where a shard is led, and whoever may lead it next is told of some.
//!
//! What is told came about at the leader's time, which may be ahead of the log time that has come here. So uses have a clock
//! of their own, which runs ahead of log time where it was told to; expiry never looks at it.

use crate::recency::Which;
use crate::record::{self, NOWHERE};
use crate::{Cache, Key};
use std::ops::ControlFlow;

impl Cache {
    /// The clock by which uses are stamped, ms: log time, or what [`Cache::set_used`] said.
    pub fn used_ms(&self) -> u64 {
        self.used_ms
    }

    /// Uses happen at `used_ms` from now on, or later; never decreases. A caller that says a time far ahead makes all uses
    /// until then look alike.
    pub fn set_used(&mut self, used_ms: u64) {
        self.used_ms = self.used_ms.max(used_ms);
    }

    /// Shows unpinned keys in the order of their last use, latest first, with its time in ms (to 16 ms), until `visit`
    /// breaks. Costs some memory accesses for each.
    pub fn visit_hottest(&mut self, mut visit: impl FnMut(u8, &[u8], u64) -> ControlFlow<()>) {
        self.recency.settle(&mut self.pages);
        let mut ends = [Which::Volatile, Which::Persistent].map(|which| self.recency.first(which));
        let idle = |at| match at {
            NOWHERE => u64::MAX,
            at => self.idle_ms(record::stamp(self.pages.slot(at))),
        };
        while ends != [NOWHERE; 2] {
            let newer = usize::from(idle(ends[1]) < idle(ends[0]));
            let location = ends[newer];
            let key = self.key_at(location);
            let used_ms = self.used_ms.saturating_sub(idle(location));
            if visit(key.db, key.bytes, used_ms).is_break() {
                return;
            }
            ends[newer] = record::next(self.pages.slot(location));
        }
    }

    /// Counts a use of `key`, if it is here.
    pub fn note_use(&mut self, key: Key<'_>) {
        if let Some(found) = self.find_live(key) {
            self.count_access(found.location);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cache, Expiry, Key, Pin, Policy};
    use std::ops::ControlFlow;

    fn put(cache: &mut Cache, name: &str, expiry: Expiry) {
        let key = Key::new(cache.seed(), 0, name.as_bytes());
        cache.put(key, b"value", expiry, Pin::Unpinned);
    }

    fn hottest(cache: &mut Cache, count: usize) -> Vec<(String, u64)> {
        let mut seen = Vec::new();
        cache.visit_hottest(|_, key, used_ms| {
            seen.push((String::from_utf8_lossy(key).into_owned(), used_ms));
            match seen.len() < count {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        seen
    }

    #[test]
    fn keys_are_shown_by_their_last_use_whatever_their_expiry() {
        // Breaks if a failover kept what was used long ago for what is used now.
        let mut cache = Cache::new(3);
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            cache.set_now(1600 * (n as u64 + 1));
            let expiry = if n % 2 == 0 {
                Expiry::Never
            } else {
                Expiry::At(1 << 40)
            };
            put(&mut cache, name, expiry);
        }
        cache.set_now(16_000);
        cache.get(Key::new(3, 0, b"b"));
        let wanted = [("b", 16_000), ("d", 6400), ("c", 4800)];
        let wanted = wanted.map(|(name, at)| (name.to_owned(), at));
        assert_eq!(hottest(&mut cache, 3), wanted);
        assert_eq!(hottest(&mut cache, 9).len(), 4);
    }

    #[test]
    fn what_was_used_elsewhere_is_evicted_last_and_expires_no_sooner() {
        // Breaks if a follower that begins to lead evicts what its former leader's clients read all the time.
        let mut cache = Cache::new(3);
        cache.set_now(1000);
        put(&mut cache, "hot", Expiry::At(5000));
        put(&mut cache, "cold", Expiry::Never);
        cache.set_used(90_000);
        cache.note_use(Key::new(3, 0, b"hot"));
        cache.note_use(Key::new(3, 0, b"nothing"));
        assert_eq!(cache.now_ms(), 1000);
        assert!(
            cache.peek(Key::new(3, 0, b"hot")).is_some(),
            "log time stands"
        );
        let victims = cache.victims(Policy::AllKeysLru, 1, 1, 0);
        assert_eq!(&*victims[0].key, b"cold");
        let age = |at: u64| at.abs_diff(cache.coldest_ms(Policy::AllKeysLru).expect("two keys"));
        assert!(age(1000) < 32);
        assert_eq!(hottest(&mut cache, 1)[0].0, "hot");
    }
}
