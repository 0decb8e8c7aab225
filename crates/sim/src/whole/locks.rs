//! Locks by LOCK.*: what clients ask of them, and what must hold of what they are told.
//!
//! Each request is in the name of an owner of its own. A client relies on a lock from the answer on until it lets go, for
//! as long as the time that it asked for lasts from when it asked, or from when it last had it extended. A lock that hangs
//! on a connection may end when nothing was heard of the connection's node for the delay; so it relies on no more.

use super::judge::{Judge, bulk, least_us};
use crate::random::Random;
use resp::{split_array, split_reply};
use std::collections::BTreeMap;

/// A request that a lock be acquired.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The lock.
    pub lock: u64,
    /// In whose name.
    pub owner: u64,
    /// How long it is to be held, us.
    pub ttl_us: u64,
    /// How long to wait, ms; 0 = as long as it takes, none = not at all.
    pub wait_ms: Option<u64>,
    /// With others.
    pub is_shared: bool,
    /// Hanging on the connection.
    pub is_session: bool,
}

/// What a reply about a lock is the answer to.
#[derive(Clone, Debug)]
pub enum LockExpected {
    /// LOCK.ACQUIRE.
    Acquire(Wanted),
    /// LOCK.EXTEND of a lock that the client relies on, for so long, us.
    Extend(Wanted, u64),
    /// LOCK.RELEASE of one.
    Release(Wanted),
    /// LOCK.INFO.
    Queue(u64),
}

/// What clients were told of locks.
#[derive(Debug, Default)]
pub struct LockJudge {
    /// By lock.
    told: BTreeMap<u64, Vec<Held>>,
    /// By lock: two owners that stood in its queue in this order.
    queued: BTreeMap<u64, Vec<(u64, u64)>>,
    /// How many were granted after a wait or not.
    pub granted_count: u64,
    /// When queues may have been lost, us.
    cut_us: u64,
}

impl LockJudge {
    /// Queues are lost.
    pub fn cut(&mut self, now_us: u64) {
        self.queued.clear();
        self.cut_us = now_us;
    }
}

/// A lock that somebody was granted.
#[derive(Clone, Copy, Debug)]
struct Held {
    owner: u64,
    fence: i64,
    is_shared: bool,
    call_us: u64,
    return_us: u64,
    /// Its holder may rely on it until then.
    until_us: u64,
}

/// A client's locks.
pub type Holding = Vec<Wanted>;

/// Makes a batch about locks.
pub fn batch(
    random: &mut Random,
    holding: &Holding,
    locks: u64,
    ttl_ms_max: u64,
    owner: u64,
) -> (Vec<Vec<String>>, Vec<LockExpected>) {
    let word = |wanted: &Wanted| (format!("q{}", wanted.lock), format!("o{}", wanted.owner));
    if !holding.is_empty() && random.chance(750_000) {
        let wanted = random.pick(holding).clone();
        let (lock, owner) = word(&wanted);
        if random.chance(400_000) {
            let ttl_ms = random.between(50, ttl_ms_max.max(51));
            let words = ["LOCK.EXTEND".to_owned(), lock, owner, ttl_ms.to_string()];
            return (
                vec![words.into()],
                vec![LockExpected::Extend(wanted, ttl_ms * 1000)],
            );
        }
        let words = ["LOCK.RELEASE".to_owned(), lock, owner];
        return (vec![words.into()], vec![LockExpected::Release(wanted)]);
    }
    let wanted = Wanted {
        lock: random.below(locks),
        owner,
        ttl_us: random.between(50, ttl_ms_max.max(51)) * 1000,
        wait_ms: match random.below(8) {
            0 => None,
            1 | 2 => Some(0),
            _ => Some(random.between(1, 2_000)),
        },
        is_shared: random.chance(350_000),
        is_session: random.chance(200_000),
    };
    let (lock, owner) = word(&wanted);
    let mut words = vec!["LOCK.ACQUIRE".to_owned(), lock.clone(), owner];
    words.push((wanted.ttl_us / 1000).to_string());
    if let Some(ms) = wanted.wait_ms {
        words.extend(["WAIT".to_owned(), ms.to_string()]);
    }
    if wanted.is_shared {
        words.push("SHARED".to_owned());
    }
    if wanted.is_session {
        words.push("SESSION".to_owned());
    }
    let number = wanted.lock;
    let mut lines = vec![words];
    let mut expected = vec![LockExpected::Acquire(wanted)];
    if random.chance(300_000) {
        lines.insert(0, vec!["LOCK.INFO".to_owned(), lock]);
        expected.insert(0, LockExpected::Queue(number));
    }
    (lines, expected)
}

impl Judge {
    /// A reply about a lock, asked for at `call_us`.
    pub fn hear_lock(
        &mut self,
        expected: &LockExpected,
        reply: &[u8],
        holding: &mut Holding,
        (call_us, now_us): (u64, u64),
        lock_delay_us: u64,
    ) {
        let said = String::from_utf8_lossy(reply).into_owned();
        let number = || {
            let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
            resp::parse_i64(digits)
        };
        // How long a holder of so much time may rely on it, from when he asked.
        let sure_us = |wanted: &Wanted, ttl_us: u64| {
            least_us(match wanted.is_session && lock_delay_us > 0 {
                true => ttl_us.min(lock_delay_us),
                false => ttl_us,
            })
        };
        match (expected, number()) {
            (LockExpected::Acquire(wanted), Some(fence)) => {
                let until_us = call_us + sure_us(wanted, wanted.ttl_us);
                let held = Held {
                    owner: wanted.owner,
                    fence,
                    is_shared: wanted.is_shared,
                    call_us,
                    return_us: now_us,
                    until_us,
                };
                self.locks.granted_count += 1;
                holding.push(wanted.clone());
                self.locks.told.entry(wanted.lock).or_default().push(held);
                self.look_at_lock(wanted.lock, wanted.owner);
            }
            (LockExpected::Acquire(wanted), None) if reply == b"$-1\r\n" => {
                let waited_us = now_us - call_us;
                match wanted.wait_ms {
                    _ if call_us < self.locks.cut_us => {}
                    Some(0) => self.accuse(format!("{wanted:?} was given up after {waited_us} us")),
                    Some(ms) if waited_us < least_us(ms * 1000) => {
                        self.accuse(format!(
                            "{wanted:?} was given up after {waited_us} us already"
                        ));
                    }
                    Some(_) | None => {}
                }
            }
            (LockExpected::Extend(wanted, ttl_us), Some(1)) => {
                let until_us = call_us + sure_us(wanted, *ttl_us);
                // A shorter time is meant as well.
                self.rely(wanted, |_| until_us);
                self.look_at_lock(wanted.lock, wanted.owner);
            }
            (LockExpected::Extend(wanted, _), Some(0)) => self.let_go(wanted, holding, call_us),
            (LockExpected::Release(wanted), Some(0 | 1)) => self.let_go(wanted, holding, call_us),
            (LockExpected::Queue(lock), None) => self.see_queue(*lock, reply),
            _ => self.accuse(format!("{expected:?} was answered by {said:?}")),
        }
    }

    /// A client is about to do without a lock, or does not know any more what became of it.
    pub fn let_go(&mut self, wanted: &Wanted, holding: &mut Holding, now_us: u64) {
        holding.retain(|one| one.owner != wanted.owner);
        self.rely(wanted, |until_us| until_us.min(now_us));
    }

    /// The client's connection is gone, or it asks for a shorter time: it relies on nothing from now on.
    pub fn let_go_of_all(&mut self, holding: &mut Holding, now_us: u64) {
        for wanted in std::mem::take(holding) {
            self.rely(&wanted, |until_us| until_us.min(now_us));
        }
    }

    /// It relies on a lock until at most then.
    pub fn rely_until(&mut self, wanted: &Wanted, until_us: u64) {
        self.rely(wanted, |before_us| before_us.min(until_us));
    }

    fn rely(&mut self, wanted: &Wanted, until_us: impl Fn(u64) -> u64) {
        let held = self.locks.told.entry(wanted.lock).or_default();
        if let Some(held) = held.iter_mut().find(|held| held.owner == wanted.owner) {
            held.until_us = until_us(held.until_us);
        }
    }

    /// Looks at what was told of one holder beside what was told of the others.
    fn look_at_lock(&mut self, lock: u64, owner: u64) {
        let told = &self.locks.told[&lock];
        let one = *told.iter().find(|held| held.owner == owner).expect("told");
        let queued = self.locks.queued.get(&lock).map_or(&[][..], Vec::as_slice);
        let mut wrong = None;
        for other in told.iter().filter(|held| held.owner != owner) {
            let (first, second) = match one.fence < other.fence {
                true => (&one, other),
                false => (other, &one),
            };
            let excludes = !(first.is_shared && second.is_shared);
            if first.fence == second.fence {
                wrong = Some("the same fence");
            } else if second.return_us < first.call_us {
                wrong = Some("fences against the order of time");
            } else if excludes && second.return_us < first.until_us {
                wrong = Some("two holders at once");
            } else if queued.contains(&(second.owner, first.owner)) {
                wrong = Some("against the order of the queue");
            }
            if let Some(wrong) = wrong {
                let what = format!("lock q{lock}: {wrong}: {first:?}, {second:?}");
                return self.accuse(what);
            }
        }
    }

    /// Who stands in a lock's queue, in order.
    fn see_queue(&mut self, lock: u64, reply: &[u8]) {
        // What was asked before the queues were lost may be answered late.
        if reply == b"$-1\r\n" || self.locks.cut_us > 0 {
            return;
        }
        let owners = queue_of(reply);
        let Some(owners) = owners else {
            let said = String::from_utf8_lossy(reply).into_owned();
            return self.accuse(format!("LOCK.INFO q{lock} was answered by {said:?}"));
        };
        let pairs = self.locks.queued.entry(lock).or_default();
        pairs.extend(owners.windows(2).map(|pair| (pair[0], pair[1])));
    }
}

/// The owners in the queue of a LOCK.INFO's reply.
fn queue_of(reply: &[u8]) -> Option<Vec<u64>> {
    let mut rest = split_array(reply)?;
    let mut last = None;
    while let Some((element, others)) = split_reply(rest) {
        last = Some(element);
        rest = others;
    }
    let mut rest = split_array(last?)?;
    let mut owners = Vec::new();
    while let Some((owner, others)) = split_reply(rest) {
        let name = bulk(owner)??;
        owners.push(
            std::str::from_utf8(&name)
                .ok()?
                .strip_prefix('o')?
                .parse()
                .ok()?,
        );
        rest = others;
    }
    Some(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(owner: u64) -> Wanted {
        Wanted {
            lock: 1,
            owner,
            ttl_us: 100_000,
            wait_ms: None,
            is_shared: false,
            is_session: false,
        }
    }

    fn acquire(judge: &mut Judge, wanted: Wanted, fence: u64, call_us: u64, now_us: u64) {
        let reply = format!(":{fence}\r\n");
        let expected = LockExpected::Acquire(wanted);
        let mut holding = Holding::new();
        let times = (call_us, now_us);
        judge.hear_lock(&expected, reply.as_bytes(), &mut holding, times, 0);
    }

    #[test]
    fn two_holders_are_seen_and_readers_are_not_two() {
        // Fails when the judge overlooks that a lock was given while somebody relied on it, or takes readers for rivals.
        let mut judge = Judge::default();
        let sure_us = least_us(100_000);
        acquire(&mut judge, wanted(1), 5, 1_000, 2_000);
        let over_us = 1_000 + sure_us;
        acquire(&mut judge, wanted(2), 6, over_us - 10, over_us);
        assert_eq!(judge.violation, None);
        let early_us = over_us - 10 + sure_us - 1;
        acquire(&mut judge, wanted(3), 7, early_us - 10, early_us);
        assert!(judge.violation.unwrap().contains("two holders"));
        let mut judge = Judge::default();
        for (owner, fence) in [(1, 5), (2, 6)] {
            let wanted = Wanted {
                is_shared: true,
                ..wanted(owner)
            };
            acquire(&mut judge, wanted, fence, 1_000, 2_000);
        }
        assert_eq!(judge.violation, None);
    }

    #[test]
    fn orders_are_seen() {
        // Fails when fences that go back in time, or a queue that was jumped, go unnoticed.
        let mut judge = Judge::default();
        acquire(&mut judge, wanted(1), 5, 1_000, 2_000);
        judge.let_go(&wanted(1), &mut Holding::new(), 2_000);
        acquire(&mut judge, wanted(2), 4, 3_000, 4_000);
        assert!(judge.violation.unwrap().contains("order of time"));
        let mut judge = Judge::default();
        let info = b"*4\r\n$7\r\nwaiting\r\n:2\r\n$5\r\nqueue\r\n*2\r\n$2\r\no8\r\n$2\r\no9\r\n";
        assert_eq!(queue_of(info), Some(vec![8, 9]));
        judge.see_queue(1, info);
        acquire(&mut judge, wanted(9), 5, 1_000, 500_000);
        judge.let_go(&wanted(9), &mut Holding::new(), 500_000);
        acquire(&mut judge, wanted(8), 6, 1_000, 600_000);
        assert!(judge.violation.unwrap().contains("order of the queue"));
    }
}
