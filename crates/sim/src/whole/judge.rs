//! What clients saw, and what must hold of it: the registers' history for the checker, keys that expire, locks, and
//! copies of shards that must be equal.

use super::locks::LockJudge;
use super::queues::QueueJudge;
use crate::history::{Action, Answer, Operation, Outcome};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Error of log time against true time, parts per million: twice the clocks'.
const DRIFT_PPM: u64 = 20_000;
/// The same, beside it, us: rounding to milliseconds, and what an election puts on top for the clocks' error over a lease.
const SLACK_US: u64 = 10_000;

/// What the answer to a script begins with that took too long, as when its process stood still: nothing of it is left.
pub const SCRIPT_STOPPED: &[u8] = b"-ERR Error running script: it ran for too long";

/// Number of an operation.
pub type OperationId = usize;

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    /// What is wrong, if anything: the first that was found.
    pub violation: Option<String>,
    /// None: it surely had no effect.
    operations: Vec<Option<Operation>>,
    fleeting: BTreeMap<u64, Fleeting>,
    grants: BTreeMap<u64, Vec<Grant>>,
    /// By lock.
    fences: BTreeMap<u64, Vec<SeenFence>>,
    /// What was told of locks by LOCK.*.
    pub(super) locks: LockJudge,
    /// What was told of queues.
    pub(super) queues: QueueJudge,
    /// By shard, generation, index and log time.
    copies: BTreeMap<(usize, u32, u64, u64), Seen>,
    /// When memory was last lost for which shards may have fallen back, us; 0: it never was.
    cut_us: u64,
    /// How often. Keys of each time have names of their own.
    pub era: u64,
}

/// What was seen of a shard at one index and log time.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Checksum of the keys, once an exact copy was seen.
    keys: Option<u64>,
    /// Checksum of the origins.
    origins: u64,
    /// Where.
    by: usize,
}

/// A key that is set once, and expires.
#[derive(Debug)]
struct Fleeting {
    set_us: u64,
    ttl_us: u64,
    /// From when on it was known to be there, us.
    there_us: Option<u64>,
    /// From when on it was known to be gone, us.
    gone_us: Option<u64>,
}

/// A lock's fence, as somebody was told at `return_us`.
#[derive(Clone, Copy, Debug)]
struct SeenFence {
    return_us: u64,
    fence: i64,
}

/// A lock that was given.
#[derive(Clone, Copy, Debug)]
struct Grant {
    call_us: u64,
    return_us: u64,
    ttl_us: u64,
}

impl Judge {
    /// Takes note of what is wrong.
    pub fn accuse(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Shards may fall back: whatever clients were not told before counts for nothing, and from now on they use other keys,
    /// which are judged as if nothing had been lost. But locks and fences must be right all the same.
    pub fn cut(&mut self, now_us: u64) {
        self.cut_us = now_us;
        self.era += 1;
        self.locks.cut(now_us);
    }

    /// Whether shards may have fallen back since that time, us.
    pub fn is_cut_since(&self, call_us: u64) -> bool {
        call_us < self.cut_us
    }

    /// A client asks something of a key.
    pub fn ask(&mut self, process: u64, key: &str, action: Action, call_us: u64) -> OperationId {
        self.operations.push(Some(Operation {
            process,
            key: Bytes::copy_from_slice(key.as_bytes()),
            action,
            call_us,
            outcome: Outcome::Unknown,
        }));
        self.operations.len() - 1
    }

    /// It is answered.
    pub fn answer(&mut self, id: OperationId, reply: &[u8], at_us: u64) {
        let cut_us = self.cut_us;
        let Some(operation) = &mut self.operations[id] else {
            return;
        };
        if operation.call_us < cut_us {
            return;
        }
        match answer_of(&operation.action, reply) {
            Some(answer) => operation.outcome = Outcome::Answered { at_us, answer },
            None => {
                let said = String::from_utf8_lossy(reply);
                let what = format!("{:?} was answered by {said:?}", operation.action);
                self.accuse(what);
            }
        }
    }

    /// It surely has no effect.
    pub fn forget(&mut self, id: OperationId) {
        self.operations[id] = None;
    }

    /// A request was refused: whether it may still have an effect, the words of the refusal say.
    pub fn refuse(&mut self, id: OperationId, reply: &[u8]) {
        let is_read = self.operations[id]
            .as_ref()
            .is_none_or(|operation| operation.action.is_read());
        if is_read || reply.starts_with(b"-TRYAGAIN") || reply.starts_with(SCRIPT_STOPPED) {
            self.forget(id);
        }
    }

    /// What clients saw of the registers.
    pub fn history(&self) -> Vec<Operation> {
        self.operations.iter().flatten().cloned().collect()
    }

    /// How many operations were asked.
    pub fn operations_count(&self) -> u64 {
        self.operations.len() as u64
    }

    /// A fleeting key is being set.
    pub fn set_fleeting(&mut self, key: u64, ttl_us: u64, set_us: u64) {
        let fleeting = Fleeting {
            set_us,
            ttl_us,
            there_us: None,
            gone_us: None,
        };
        self.fleeting.insert(key, fleeting);
    }

    /// It is there, as somebody learned who asked at `call_us`.
    pub fn see_fleeting(&mut self, key: u64, call_us: u64, at_us: u64) {
        let cut_us = self.cut_us;
        let known = self.fleeting.get_mut(&key);
        let Some(fleeting) = known.filter(|one| one.set_us >= cut_us) else {
            return;
        };
        fleeting.there_us = Some(fleeting.there_us.map_or(at_us, |there| there.min(at_us)));
        if let Some(gone_us) = fleeting.gone_us.filter(|gone| *gone < call_us) {
            self.accuse(format!(
                "key f{key} was gone at {gone_us} us and is there again at {call_us} .. {at_us} us"
            ));
        }
    }

    /// It is not there, as somebody learned who asked at `call_us`.
    pub fn miss_fleeting(&mut self, key: u64, call_us: u64, at_us: u64) {
        let cut_us = self.cut_us;
        let known = self.fleeting.get_mut(&key);
        let Some(fleeting) = known.filter(|one| one.set_us >= cut_us) else {
            return;
        };
        let Some(there_us) = fleeting.there_us.filter(|there| *there < call_us) else {
            return;
        };
        fleeting.gone_us = Some(fleeting.gone_us.map_or(at_us, |gone| gone.min(at_us)));
        let least_us = least_us(fleeting.ttl_us);
        if at_us < fleeting.set_us + least_us {
            let what = format!(
                "key f{key}, set at {} us for {} us and there at {there_us} us, was gone at {call_us} .. {at_us} us",
                fleeting.set_us, fleeting.ttl_us
            );
            self.accuse(what);
        }
    }

    /// A lock was given to somebody who asked at `call_us`.
    pub fn grant(&mut self, lock: u64, ttl_us: u64, call_us: u64, return_us: u64) {
        let one = Grant {
            call_us,
            return_us,
            ttl_us,
        };
        let grants = self.grants.entry(lock).or_default();
        // Given as late as it can be, it must not be before the other's end, given as early as that can be.
        let after = |first: &Grant, second: &Grant| {
            second.return_us >= first.call_us + least_us(first.ttl_us)
        };
        let clash = grants
            .iter()
            .find(|other| !after(other, &one) && !after(&one, other))
            .copied();
        grants.push(one);
        if let Some(other) = clash {
            self.accuse(format!("lock l{lock} was given twice: {other:?}, {one:?}"));
        }
    }

    /// A lock's fence was asked for at `call_us`, behind the lock itself, which was given if `is_granted`. Whatever was
    /// told before `call_us` is at most this, and less if there was a grant since.
    pub fn see_fence(
        &mut self,
        lock: u64,
        reply: &[u8],
        is_granted: bool,
        call_us: u64,
        return_us: u64,
    ) {
        let number = || resp::parse_i64(reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?);
        let Some(fence) = number() else {
            if reply != b"$-1\r\n" {
                let said = String::from_utf8_lossy(reply);
                self.accuse(format!("the fence of l{lock} was answered by {said:?}"));
            }
            return;
        };
        let seen = self.fences.entry(lock).or_default();
        let last = seen
            .iter()
            .filter(|other| other.return_us < call_us)
            .max_by_key(|other| other.fence)
            .copied();
        seen.push(SeenFence { return_us, fence });
        if let Some(last) = last.filter(|last| last.fence + i64::from(is_granted) > fence) {
            self.accuse(format!(
                "lock l{lock} has fence {fence}, asked for at {call_us} us (granted: {is_granted}), after {last:?}"
            ));
        }
    }

    /// A fence of a lock that somebody was told: the last one, or the one that many before; none if there are fewer.
    pub fn fence_seen(&self, lock: u64, before: usize) -> Option<i64> {
        let seen = self.fences.get(&lock)?;
        let at = seen.len().checked_sub(before + 1)?;
        Some(seen[at].fence)
    }

    /// What was written under guards of a lock: who held it later wrote later.
    pub fn see_guarded(&mut self, lock: u64, reply: &[u8]) {
        let Some(Some(log)) = bulk(reply) else {
            return;
        };
        let log = String::from_utf8_lossy(&log).into_owned();
        let fences = log.split_terminator(',').map(|one| {
            let fence = one.split_once(':').map(|(fence, _)| fence.parse::<i64>());
            fence.and_then(Result::ok).unwrap_or(i64::MIN)
        });
        if !fences.is_sorted() {
            self.accuse(format!(
                "writes under l{lock} came in the order {log:?}: a former holder's is among them"
            ));
        }
    }

    /// Looks at a node's copy of a shard: at one index and one log time all are equal.
    pub fn compare(&mut self, number: usize, shard: usize, copy: &node::ShardCopy) {
        if copy.hollow {
            return;
        }
        let place = (shard, copy.generation, copy.applied, copy.log_ms);
        let keys = copy.exact.then_some(copy.keys);
        let seen = self.copies.entry(place).or_insert(Seen {
            keys,
            origins: copy.origins,
            by: number,
        });
        let by = seen.by;
        let part = match (seen.keys, keys) {
            (Some(one), Some(other)) if one != other => "keys",
            _ if seen.origins != copy.origins => "origins",
            _ => {
                seen.keys = seen.keys.or(keys);
                return;
            }
        };
        self.accuse(format!(
            "shard {shard} at index {} and log time {}: n{number} and n{by} differ in their {part}",
            copy.applied, copy.log_ms
        ));
    }
}

/// How long something lasts at least that is to last `ttl_us`, by true time, us.
pub(super) fn least_us(ttl_us: u64) -> u64 {
    (ttl_us - ttl_us * DRIFT_PPM / 1_000_000).saturating_sub(SLACK_US)
}

/// What a reply means; none if it is no answer to that.
fn answer_of(action: &Action, reply: &[u8]) -> Option<Answer> {
    let number = || {
        let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
        resp::parse_i64(digits)
    };
    Some(match action {
        Action::Read => Answer::Value(bulk(reply)?),
        Action::Write(_) => (reply == b"+OK\r\n").then_some(Answer::Done)?,
        Action::CompareAndSet { .. } => match reply {
            b"+OK\r\n" => Answer::Swapped(true),
            b"$-1\r\n" => Answer::Swapped(false),
            _ => return None,
        },
        Action::Increment(_) | Action::Append(_) => Answer::Number(number()?),
        Action::Delete => Answer::Removed(number()? != 0),
    })
}

/// The value of a bulk reply; inside: none for null. None if it is no bulk reply.
pub fn bulk(reply: &[u8]) -> Option<Option<Bytes>> {
    if reply == b"$-1\r\n" {
        return Some(None);
    }
    let rest = reply.strip_prefix(b"$")?.strip_suffix(b"\r\n")?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some(Some(Bytes::copy_from_slice(&rest[end + 2..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expired_stays_so_and_lasts_as_long_as_promised() {
        // Fails when the judge overlooks a key that comes back or goes too early: both are what log time is for.
        let set = |judge: &mut Judge| {
            judge.set_fleeting(1, 100_000, 1_000);
            judge.see_fleeting(1, 2_000, 3_000);
        };
        let mut judge = Judge::default();
        set(&mut judge);
        judge.miss_fleeting(1, 110_000, 111_000);
        judge.see_fleeting(1, 110_500, 112_000);
        assert_eq!(judge.violation, None);
        judge.see_fleeting(1, 111_001, 112_000);
        assert!(judge.violation.is_some());
        let mut judge = Judge::default();
        set(&mut judge);
        judge.miss_fleeting(1, 50_000, 51_000);
        assert!(judge.violation.is_some());
    }

    #[test]
    fn a_lock_is_not_given_while_somebody_may_rely_on_it() {
        // Fails when two holders at once go unnoticed, or when two in a row count as such.
        let mut judge = Judge::default();
        judge.grant(1, 100_000, 1_000, 5_000);
        judge.grant(1, 100_000, 90_000, 98_000);
        judge.grant(2, 100_000, 6_000, 7_000);
        assert_eq!(judge.violation, None);
        judge.grant(2, 100_000, 90_000, 91_000);
        assert!(judge.violation.is_some());
    }

    #[test]
    fn fences_rise_from_grant_to_grant() {
        // Fails when a fence that was given before goes unnoticed, or when who looks on is taken for a holder.
        let told = |granted: [bool; 2], fences: [i64; 2], second_call_us: u64| {
            let mut judge = Judge::default();
            for ((is_granted, fence), call_us) in
                granted.into_iter().zip(fences).zip([10, second_call_us])
            {
                let reply = format!(":{fence}\r\n");
                judge.see_fence(1, reply.as_bytes(), is_granted, call_us, call_us + 5);
            }
            judge.violation.is_none()
        };
        assert!(told([true, true], [7, 8], 20));
        assert!(told([true, false], [7, 7], 20));
        assert!(told([true, true], [7, 7], 12), "they overlap");
        assert!(!told([true, true], [7, 7], 20));
        assert!(!told([true, true], [7, 6], 20));
        assert!(!told([false, false], [7, 6], 20));
    }

    #[test]
    fn replies_mean_what_was_asked() {
        // Fails when a wrong reply is taken for an answer, or a right one is refused.
        let value = Bytes::from_static(b"a\r\nb");
        assert_eq!(bulk(b"$4\r\na\r\nb\r\n"), Some(Some(value)));
        assert_eq!(bulk(b":1\r\n"), None);
        assert_eq!(
            answer_of(&Action::Delete, b":0\r\n"),
            Some(Answer::Removed(false))
        );
        assert_eq!(answer_of(&Action::Delete, b"+OK\r\n"), None);
        let mut judge = Judge::default();
        let id = judge.ask(1, "k", Action::Write(Bytes::new()), 1);
        judge.answer(id, b"-ERR no\r\n", 2);
        assert!(judge.violation.is_some());
    }
}
