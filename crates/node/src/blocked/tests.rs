use super::*;
use crate::client::ClientFlag;
use crate::group::Verb;

const DELAY_MS: u64 = 1000;

fn client() -> Arc<Client> {
    Arc::new(Client::new(1, String::new(), String::new(), 0))
}

fn word(number: u64) -> LockWord {
    LockWord {
        verb: Verb::Abandon,
        db: 0,
        key: Box::from(&b"l"[..]),
        number,
        delay_ms: 0,
    }
}

fn ended(numbers: &[u64]) -> Told {
    Told {
        settled: Vec::new(),
        ended: numbers.to_vec(),
    }
}

#[test]
fn a_word_that_finds_no_room_is_not_tried_all_the_time() {
    // Breaks if a shard without a leader, whose queue is full, keeps its driver busy, or if the word is lost.
    let mut blocked = Blocked::default();
    blocked.owe(word(1));
    blocked.owe(word(2));
    assert_eq!(blocked.wake_us(), 0);
    let first = blocked.next_owed(5_000_000).expect("owed");
    assert_eq!(first.number, 1);
    blocked.owe_again(first, 5_000_000);
    assert!(blocked.asks(None, 5_000_000, DELAY_MS));
    assert_eq!(blocked.wake_us(), 5_000_000 + OWE_AGAIN_US);
    assert_eq!(blocked.next_owed(5_000_000), None);
    blocked.owe(word(3));
    assert_eq!(blocked.next_owed(5_000_000), None);
    let now_us = blocked.wake_us();
    let mut said = Vec::new();
    while let Some(word) = blocked.next_owed(now_us) {
        said.push(word.number);
    }
    assert_eq!(said, [1, 2, 3]);
    assert_eq!(blocked.wake_us(), u64::MAX);
}

#[test]
fn all_that_hangs_on_connections_is_asked_about_in_turn() {
    // Breaks if a lock that ended by its time stayed here because others are asked about each time.
    let mut blocked = Blocked::default();
    let count = 2 * ASKED_MAX as u64 + 7;
    for number in 0..count {
        blocked.bind(number, 0, Bytes::from_static(b"l"), client(), 0);
    }
    let mut asked = Vec::new();
    for part in 0..3 {
        let part: Vec<u64> = match part {
            0 | 1 => blocked.next_bound().iter().map(|one| one.2).collect(),
            _ => {
                blocked.hear(&ended(&asked), 1, 1, DELAY_MS);
                blocked.next_bound().iter().map(|one| one.2).collect()
            }
        };
        assert!(part.len() <= ASKED_MAX);
        asked.extend(part);
    }
    assert!(asked.iter().copied().eq(0..count), "{}", asked.len());
    assert!(!blocked.is_bound(0) && blocked.is_bound(count - 1));
    blocked.hear(&ended(&asked), 1, 1, DELAY_MS);
    assert!(blocked.is_idle() && blocked.next_bound().is_empty());
}

#[test]
fn who_lost_a_lock_by_silence_is_told() {
    // Breaks if an answer that comes after a long standstill says that a lock ended, and its client is not closed: it
    // would go on as if it held it.
    let mut blocked = Blocked::default();
    let client = client();
    blocked.bind(1, 0, Bytes::from_static(b"l"), client.clone(), 0);
    let late_us = 2 * DELAY_MS * 1000;
    blocked.hear(&ended(&[1]), 10, late_us, DELAY_MS);
    blocked.end_unconfirmed(late_us, DELAY_MS);
    assert!(client.has(ClientFlag::Killed));
    // One whose end was heard in time has nothing to lose.
    let other = self::client();
    let mut blocked = Blocked::default();
    blocked.bind(1, 0, Bytes::from_static(b"l"), other.clone(), 0);
    blocked.hear(&ended(&[1]), 10, 20, DELAY_MS);
    blocked.end_unconfirmed(late_us, DELAY_MS);
    assert!(!other.has(ClientFlag::Killed));
}
