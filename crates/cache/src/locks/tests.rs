use super::*;
use crate::Expiry;

const OTHER: LockOrigin = LockOrigin { node: 2, life: 9 };

fn key(name: &'static str) -> Key<'static> {
    Key::new(7, 0, name.as_bytes())
}

fn request(number: u64) -> LockRequest {
    LockRequest {
        origin: LockOrigin { node: 1, life: 5 },
        number,
    }
}

/// A wish for 100 ms that does not wait.
fn wish(number: u64, owner: &'static str) -> Wish<'static> {
    Wish {
        request: Some(request(number)),
        owner: owner.as_bytes(),
        ttl_ms: 100,
        mode: LockMode::Exclusive,
        is_session: false,
        wait: LockWait::No,
    }
}

fn waiting(number: u64, owner: &'static str) -> Wish<'static> {
    Wish {
        wait: LockWait::Forever,
        ..wish(number, owner)
    }
}

fn sharing(number: u64, owner: &'static str) -> Wish<'static> {
    Wish {
        mode: LockMode::Shared,
        ..waiting(number, owner)
    }
}

fn cache() -> Cache {
    let mut cache = Cache::new(7);
    cache.set_now(1000);
    cache
}

fn granted(acquired: Acquired) -> u64 {
    match acquired {
        Acquired::Granted(fence) => fence,
        other => panic!("{other:?}"),
    }
}

/// The requests that got the lock since the last call.
fn numbers(cache: &mut Cache) -> Vec<u64> {
    let grants = cache.take_grants();
    let fences: Vec<u64> = grants.iter().map(|grant| grant.fence).collect();
    assert!(fences.is_sorted_by(|one, next| one < next), "fences rise");
    grants.iter().map(|grant| grant.request.number).collect()
}

/// What the table says of itself must follow from what is in it: through bytes and back nothing changes.
fn check(cache: &Cache) {
    let locks = cache.locks();
    let mut bytes = Vec::new();
    locks.encode(&mut bytes);
    bytes.push(b'x');
    let (decoded, rest) = Locks::decode(&bytes).expect("its own bytes");
    assert_eq!(rest, b"x");
    assert_eq!(decoded.checksum(), locks.checksum());
    assert_eq!(decoded.used_bytes(), locks.used_bytes());
    assert_eq!(decoded.first_due_ms(), locks.first_due_ms());
    assert!(decoded.origins().eq(locks.origins()));
    for cut in 0..bytes.len() - 1 {
        assert!(Locks::decode(&bytes[..cut]).is_none(), "{cut}");
    }
}

#[test]
fn a_plain_lock_is_a_record_and_nothing_else() {
    // Breaks if LOCK.ACQUIRE and SET NX PX did not see each other, or each lock cost a place in the table.
    let mut cache = cache();
    let first = granted(cache.acquire_lock(key("l"), wish(1, "a")));
    assert!(cache.locks().is_empty());
    let entry = cache.peek(key("l")).unwrap();
    assert_eq!(
        (
            entry.value.string().unwrap(),
            entry.expires_at,
            entry.pin,
            entry.fence
        ),
        (&b"a"[..], Some(1100), Pin::Pinned, first)
    );
    assert_eq!(
        cache.acquire_lock(key("l"), wish(2, "a")),
        Acquired::Refused
    );
    assert!(!cache.release_lock(key("l"), b"b") && cache.release_lock(key("l"), b"a"));
    assert!(!cache.release_lock(key("l"), b"a"));
    cache.put(key("l"), b"c", Expiry::At(1500), Pin::Pinned);
    assert!(cache.extend_lock(key("l"), b"c", 900));
    cache.set_now(1899);
    assert_eq!(
        cache.acquire_lock(key("l"), wish(3, "a")),
        Acquired::Refused
    );
    cache.set_now(1900);
    assert!(!cache.extend_lock(key("l"), b"c", 900));
    assert!(granted(cache.acquire_lock(key("l"), wish(4, "a"))) > first + 1);
}

#[test]
fn waiters_get_it_in_order_on_release_and_when_the_record_goes() {
    // Breaks if a waiter were overtaken, or a lock that was deleted by another command kept its queue waiting.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(1, "a")));
    for (number, owner) in [(2, "b"), (3, "c"), (4, "d")] {
        assert_eq!(
            cache.acquire_lock(key("l"), waiting(number, owner)),
            Acquired::Queued
        );
        check(&cache);
    }
    assert!(cache.release_lock(key("l"), b"a"));
    assert_eq!(numbers(&mut cache), [2]);
    assert_eq!(cache.peek(key("l")).unwrap().value.string().unwrap(), b"b");
    assert!(cache.remove(key("l")));
    cache.settle_lock(key("l"));
    assert_eq!(numbers(&mut cache), [3]);
    assert_eq!(cache.standing(key("l"), request(2)), Standing::Gone);
    assert_eq!(cache.locks().first_due_ms(), Some(1100));
    cache.set_now(1100);
    assert_eq!(cache.locks().due(1100, 9).len(), 1);
    // Dropped by whoever looked at it: that grants nothing.
    assert!(cache.get(key("l")).is_none());
    assert!(numbers(&mut cache).is_empty());
    cache.settle_lock(key("l"));
    assert_eq!(numbers(&mut cache), [4]);
    check(&cache);
    assert!(cache.release_lock(key("l"), b"d"));
    assert!(cache.locks().is_empty() && cache.locks().used_bytes() == 0);
}

#[test]
fn who_asks_next_does_not_overtake_an_expired_lock_with_a_queue() {
    // Breaks if a newcomer took a lock that expired a moment ago past those who wait for it.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(1, "a")));
    cache.acquire_lock(key("l"), waiting(2, "b"));
    cache.set_now(1200);
    assert_eq!(
        cache.acquire_lock(key("l"), wish(3, "c")),
        Acquired::Refused
    );
    assert_eq!(numbers(&mut cache), [2]);
}

#[test]
fn readers_share_and_a_waiting_writer_keeps_later_readers_behind() {
    // Breaks if readers excluded each other, a writer came in beside them, or they starved it.
    let mut cache = cache();
    let one = granted(cache.acquire_lock(key("l"), sharing(1, "r1")));
    cache.set_now(1050);
    let two = granted(cache.acquire_lock(key("l"), sharing(2, "r2")));
    assert!(two > one);
    let entry = cache.peek(key("l")).unwrap();
    assert_eq!(
        (entry.value.string().unwrap(), entry.expires_at),
        (SHARED, Some(1150))
    );
    assert_eq!(
        cache.acquire_lock(key("l"), wish(3, "w")),
        Acquired::Refused
    );
    assert_eq!(
        cache.acquire_lock(key("l"), waiting(4, "w")),
        Acquired::Queued
    );
    for (number, owner) in [(5, "r3"), (6, "r4")] {
        assert_eq!(
            cache.acquire_lock(key("l"), sharing(number, owner)),
            Acquired::Queued
        );
    }
    assert_eq!(
        cache.acquire_lock(key("l"), waiting(7, "w2")),
        Acquired::Queued
    );
    check(&cache);
    // The first reader's time is over, the second lets go: the writer's turn.
    cache.set_now(1100);
    cache.settle_lock(key("l"));
    assert!(!cache.release_lock(key("l"), b"r1"));
    assert!(numbers(&mut cache).is_empty());
    assert!(cache.release_lock(key("l"), b"r2"));
    assert_eq!(numbers(&mut cache), [4]);
    // Both readers behind it together, not the writer behind them.
    assert!(cache.release_lock(key("l"), b"w"));
    assert_eq!(numbers(&mut cache), [5, 6]);
    let view = cache.lock_view(key("l"), 9).unwrap();
    assert_eq!(
        (view.mode, view.holders_count, view.waiters_count),
        (LockMode::Shared, 2, 1)
    );
    assert!(cache.extend_lock(key("l"), b"r3", 500));
    assert_eq!(cache.peek(key("l")).unwrap().expires_at, Some(1600));
    // The one that was extended goes: the record ends with the other.
    assert!(cache.release_lock(key("l"), b"r3"));
    assert_eq!(cache.peek(key("l")).unwrap().expires_at, Some(1200));
    cache.set_now(1200);
    cache.settle_lock(key("l"));
    assert_eq!(numbers(&mut cache), [7]);
    check(&cache);
}

#[test]
fn a_record_that_others_wrote_ends_what_the_table_says() {
    // Breaks if shared holders outlived the record that says so, or a plain SET over a lock left it to two.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), sharing(1, "r1")));
    cache.acquire_lock(key("l"), waiting(2, "w"));
    cache.put(key("l"), b"mine", Expiry::Never, Pin::Unpinned);
    cache.settle_lock(key("l"));
    assert!(numbers(&mut cache).is_empty());
    assert!(!cache.release_lock(key("l"), b"r1"));
    assert_eq!(cache.standing(key("l"), request(1)), Standing::Gone);
    assert!(!cache.release_lock(key("l"), b"mine"), "it is no lock");
    cache.clear(0);
    cache.settle_locks_of(Some(0));
    assert_eq!(numbers(&mut cache), [2]);
}

#[test]
fn late_waiters_and_those_who_left_are_passed_over() {
    // Breaks if a lock were given to somebody who waits no more: it would be lost for its whole time.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(1, "a")));
    let late = Wish {
        wait: LockWait::Until(1050),
        ..waiting(2, "b")
    };
    assert_eq!(cache.acquire_lock(key("l"), late), Acquired::Queued);
    assert_eq!(cache.locks().first_due_ms(), Some(1050));
    for (number, owner) in [(3, "c"), (4, "d")] {
        cache.acquire_lock(key("l"), waiting(number, owner));
    }
    assert_eq!(cache.withdraw(key("l"), request(3)), Standing::Gone);
    cache.set_now(1060);
    assert!(cache.release_lock(key("l"), b"a"));
    assert_eq!(numbers(&mut cache), [4]);
    // It was granted before it withdrew: its time begins anew.
    cache.set_now(1100);
    assert!(matches!(
        cache.withdraw(key("l"), request(4)),
        Standing::Granted(_)
    ));
    assert_eq!(cache.peek(key("l")).unwrap().expires_at, Some(1200));
    cache.abandon(key("l"), request(4));
    assert!(cache.peek(key("l")).is_none() && cache.locks().is_empty());
}

#[test]
fn when_time_matters_follows_from_who_is_there() {
    // Breaks if a replica that got its table from a snapshot looked at a lock at another time than the others: what is left
    // of those who are gone must not count.
    let mut cache = cache();
    let lasting = |number, owner, until| Wish {
        ttl_ms: 5000,
        wait: LockWait::Until(until),
        ..wish(number, owner)
    };
    granted(cache.acquire_lock(key("l"), lasting(1, "a", 0)));
    for (number, until) in [(2, 1500), (3, 3000)] {
        cache.acquire_lock(key("l"), lasting(number, "b", until));
    }
    assert_eq!(cache.locks().first_due_ms(), Some(1500));
    assert!(cache.release_lock(key("l"), b"a"));
    assert_eq!(numbers(&mut cache), [2]);
    assert_eq!(cache.locks().first_due_ms(), Some(3000));
    let mut bytes = Vec::new();
    cache.locks().encode(&mut bytes);
    cache.put_locks(Locks::decode(&bytes).unwrap().0);
    let before = cache.locks().checksum();
    cache.settle_lock(key("l"));
    assert_eq!(cache.locks().checksum(), before);
}

#[test]
fn sessions_end_with_their_connection_or_their_node() {
    // Breaks if a lock outlived its connection by more than the delay, or ended before it.
    let mut cache = cache();
    let session = Wish {
        is_session: true,
        ttl_ms: 5000,
        ..wish(1, "a")
    };
    granted(cache.acquire_lock(key("l"), session));
    assert!(cache.locks().origins().eq([request(1).origin]));
    cache.acquire_lock(key("l"), waiting(2, "b"));
    cache.end_session(key("l"), request(1), 50);
    assert_eq!(cache.peek(key("l")).unwrap().expires_at, Some(1050));
    cache.end_session(key("l"), request(1), 900);
    assert_eq!(cache.peek(key("l")).unwrap().expires_at, Some(1050));
    cache.set_now(1050);
    cache.settle_lock(key("l"));
    assert_eq!(numbers(&mut cache), [2]);
    // Of a node that is gone the waiters leave, and what hung on its connections ends.
    let elsewhere = |number, owner| Wish {
        request: Some(LockRequest {
            origin: OTHER,
            number,
        }),
        is_session: true,
        ..waiting(number, owner)
    };
    cache.acquire_lock(key("l"), elsewhere(1, "o1"));
    cache.acquire_lock(key("l"), waiting(3, "c"));
    granted(cache.acquire_lock(key("m"), elsewhere(2, "o2")));
    check(&cache);
    granted(cache.acquire_lock(key("n"), elsewhere(3, "o3")));
    let mut kept = Cache::new(7);
    kept.set_now(1050);
    granted(kept.acquire_lock(key("m"), elsewhere(2, "o2")));
    kept.end_origin(OTHER, None);
    assert_eq!(kept.peek(key("m")).unwrap().expires_at, Some(1150));
    assert_eq!(kept.locks().origins().count(), 0);
    cache.end_origin(OTHER, Some(0));
    assert_eq!(cache.lock_view(key("l"), 9).unwrap().waiters.len(), 1);
    assert!(cache.peek(key("m")).is_none());
    assert!(!cache.locks().origins().any(|origin| origin == OTHER));
    assert!(cache.release_lock(key("l"), b"b"));
    assert_eq!(numbers(&mut cache), [3]);
}

#[test]
fn a_shared_session_ends_alone() {
    // Breaks if the end of one reader's connection ended the others' locks.
    let mut cache = cache();
    for (number, owner) in [(1, "r1"), (2, "r2")] {
        let session = Wish {
            is_session: true,
            ..sharing(number, owner)
        };
        granted(cache.acquire_lock(key("l"), session));
    }
    cache.end_session(key("l"), request(1), 0);
    let view = cache.lock_view(key("l"), 9).unwrap();
    assert_eq!(view.holders.len(), 1);
    assert_eq!(view.holders[0].owner, &b"r2"[..]);
    cache.abandon(key("l"), request(2));
    assert!(cache.peek(key("l")).is_none() && cache.locks().is_empty());
}

#[test]
fn a_full_queue_and_a_full_table_refuse() {
    // Breaks if clients could make the table grow without end.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(0, "a")));
    for number in 0..WAITERS_PER_LOCK_MAX as u64 {
        assert_eq!(
            cache.acquire_lock(key("l"), waiting(1 + number, "b")),
            Acquired::Queued
        );
    }
    assert_eq!(
        cache.acquire_lock(key("l"), waiting(99_999, "b")),
        Acquired::QueueFull
    );
    let mut asked = 0u64;
    let mut refused = false;
    while !refused {
        let name = asked.to_string();
        let key = Key::new(7, 1, name.as_bytes());
        refused = cache.acquire_lock(key, sharing(100_000 + asked, "r")) == Acquired::TableFull;
        asked += 1;
    }
    assert!(cache.locks().used_bytes() <= LOCKS_BYTES_MAX);
    // What is about to come counts too: a long name may not lift the table over its limit.
    let long = vec![b'k'; LOCKS_BYTES_MAX];
    let mut empty = Cache::new(7);
    assert_eq!(
        empty.acquire_lock(Key::new(7, 0, &long), sharing(1, "r")),
        Acquired::TableFull
    );
    // What needs no place in it goes on.
    granted(cache.acquire_lock(key("plain"), wish(1, "a")));
}

#[test]
fn a_copy_of_a_lock_that_expired_is_held_by_who_is_next() {
    // Breaks if a script finds a lock free that others wait for, or if a copy lacks those who share a lock.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(1, "one")));
    assert_eq!(
        cache.acquire_lock(key("l"), waiting(2, "two")),
        Acquired::Queued
    );
    let fence = granted(cache.acquire_lock(key("s"), sharing(3, "three")));
    granted(cache.acquire_lock(key("s"), sharing(4, "four")));
    let copy_at = |now_ms: u64| {
        let mut copy = Cache::new(7);
        copy.set_now(now_ms);
        copy.leave_unnumbered();
        for name in ["l", "s"] {
            let entry = cache.copy(key(name)).expect("held");
            copy.put_entry(key(name), entry);
            copy.copy_lock(&cache, key(name));
        }
        let owner = copy
            .peek(key("l"))
            .map(|entry| entry.value.string().unwrap().to_vec());
        (owner, copy.is_lock_held_under(key("s"), fence))
    };
    assert_eq!(copy_at(1050), (Some(b"one".to_vec()), true));
    assert_eq!(copy_at(1100), (Some(b"two".to_vec()), false));
}

#[test]
fn a_crowd_is_let_in_and_out_at_once() {
    // Breaks if what a crowd of readers costs grows with its square, under the shard's lock: this would take minutes.
    const COUNT: u64 = 90_000;
    let began = std::time::Instant::now();
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(0, "writer")));
    for number in 1..=WAITERS_PER_LOCK_MAX as u64 {
        let acquired = cache.acquire_lock(key("l"), sharing(number, "r"));
        assert_eq!(acquired, Acquired::Queued);
    }
    assert!(cache.release_lock(key("l"), b"writer"));
    assert_eq!(numbers(&mut cache).len(), WAITERS_PER_LOCK_MAX);
    let mut lock = cache.locks.take(key("l"));
    for number in lock.holders.len() as u64..COUNT {
        let mut holder = lock.holders.first().expect("many").clone();
        holder.request = Some(request(number + 1));
        holder.is_session = true;
        cache.locks.add_holder(&mut lock, holder);
    }
    cache.locks.put(key("l"), lock);
    cache.settle_lock(key("l"));
    let mut ended = cache.locks().clone();
    cache.end_origin(request(0).origin, Some(0));
    let left = cache.lock_view(key("l"), 9).expect("shared").holders_count;
    assert_eq!(left, WAITERS_PER_LOCK_MAX);
    std::mem::swap(&mut ended, &mut cache.locks);
    assert!(cache.remove(key("l")));
    cache.settle_lock(key("l"));
    assert!(cache.locks().is_empty());
    assert_eq!(cache.locks().used_bytes(), 0);
    let took = began.elapsed();
    assert!(took.as_secs() < 20, "{took:?}");
}

#[test]
fn a_crowd_that_leaves_one_by_one_costs_no_more_for_being_one() {
    // Breaks if who releases a shared lock, or goes away with it, is looked for among all who hold it: this would take minutes.
    const COUNT: u64 = 20_000;
    let began = std::time::Instant::now();
    let mut cache = cache();
    let owner = |number: u64| -> &'static str { Box::leak(format!("r{number}").into()) };
    for number in 1..=COUNT {
        granted(cache.acquire_lock(key("l"), sharing(number, owner(number))));
    }
    for number in 1..=COUNT {
        match number % 3 {
            0 => assert!(cache.release_lock(key("l"), owner(number).as_bytes())),
            1 => cache.abandon(key("l"), request(number)),
            _ => cache.end_session(key("l"), request(number), 0),
        }
    }
    assert!(cache.locks().is_empty());
    assert!(cache.peek(key("l")).is_none());
    assert_eq!(cache.take_ended_locks().len() as u64, COUNT - COUNT / 3);
    let took = began.elapsed();
    assert!(took.as_secs() < 10, "{took:?}");
}

#[test]
fn who_waits_is_told_by_origin() {
    // Breaks if a node were told that its requests left a queue in which they stand, or the other way round.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(1, "a")));
    cache.acquire_lock(key("l"), waiting(2, "b"));
    cache.acquire_lock(key("l"), waiting(5, "c"));
    let of = |cache: &Cache, origin| -> Vec<u64> {
        let numbers = cache.waiting_numbers(key("l"), origin);
        numbers.into_iter().collect()
    };
    assert_eq!(of(&cache, request(0).origin), [2, 5]);
    assert_eq!(of(&cache, OTHER), [0; 0]);
    assert!(cache.release_lock(key("l"), b"a"));
    assert_eq!(of(&cache, request(0).origin), [5]);
    assert_eq!(cache.waiting_numbers(key("m"), OTHER).len(), 0);
}

#[test]
fn what_hangs_on_connections_is_told_by_origin() {
    // Breaks if a node took a lock that hangs on a connection for one that ended, or the other way round.
    let mut cache = cache();
    let session = |number| Wish {
        is_session: true,
        ..sharing(number, "r")
    };
    granted(cache.acquire_lock(key("l"), session(1)));
    granted(cache.acquire_lock(key("l"), session(4)));
    granted(cache.acquire_lock(key("l"), sharing(5, "r")));
    let of = |cache: &Cache, origin| -> Vec<u64> {
        let numbers = cache.session_numbers(key("l"), origin);
        numbers.into_iter().collect()
    };
    assert_eq!(of(&cache, request(0).origin), [1, 4]);
    assert_eq!(of(&cache, OTHER), [0; 0]);
    cache.end_session(key("l"), request(4), 50);
    assert_eq!(of(&cache, request(0).origin), [1]);
    cache.put(key("l"), b"mine", Expiry::Never, Pin::Unpinned);
    cache.settle_lock(key("l"));
    assert_eq!(of(&cache, request(0).origin), [0; 0]);
}

#[test]
fn thousands_leave_a_queue_one_by_one() {
    // Breaks if one that leaves costs what the queue is long, under the shard's lock: this would take minutes.
    let began = std::time::Instant::now();
    let mut cache = cache();
    for round in 0..8 {
        granted(cache.acquire_lock(key("l"), wish(0, "a")));
        let numbers = 1..=WAITERS_PER_LOCK_MAX as u64;
        for number in numbers.clone() {
            let until = Wish {
                wait: LockWait::Until(5000 + number % 7),
                ..waiting(number, "b")
            };
            assert_eq!(cache.acquire_lock(key("l"), until), Acquired::Queued);
        }
        // From the end: whoever looks for them from the front passes all others.
        for number in numbers.rev() {
            match number % 2 {
                0 => cache.abandon(key("l"), request(number)),
                _ => assert_eq!(cache.withdraw(key("l"), request(number)), Standing::Gone),
            }
        }
        assert!(cache.locks().is_empty(), "{round}");
        assert_eq!(cache.locks().used_bytes(), 0);
        assert!(cache.release_lock(key("l"), b"a"));
    }
    let took = began.elapsed();
    assert!(took.as_secs() < 10, "{took:?}");
}

#[test]
fn a_request_stands_in_a_queue_once() {
    // Breaks if one that asks again had two places, the second of which nobody would ever leave.
    let mut cache = cache();
    granted(cache.acquire_lock(key("l"), wish(0, "a")));
    for _ in 0..2 {
        let acquired = cache.acquire_lock(key("l"), waiting(1, "b"));
        assert_eq!(acquired, Acquired::Queued);
    }
    check(&cache);
    assert_eq!(cache.lock_view(key("l"), 9).unwrap().waiters, [b"b"]);
    cache.abandon(key("l"), request(1));
    assert!(cache.locks().is_empty() && cache.locks().used_bytes() == 0);
}

#[test]
fn the_longest_time_is_still_a_time() {
    // Breaks if a time that was in bounds when it was asked for passes them by the grant: the sum would wrap, or come out
    // as a negative number for clients.
    const LONGEST: u64 = i64::MAX as u64;
    let mut cache = cache();
    let long = |number, owner| Wish {
        ttl_ms: LONGEST - 1000,
        ..waiting(number, owner)
    };
    let shared = |number, owner| Wish {
        mode: LockMode::Shared,
        is_session: true,
        ..long(number, owner)
    };
    let ends = |cache: &Cache| cache.peek(key("l")).unwrap().expires_at;
    granted(cache.acquire_lock(key("l"), wish(1, "a")));
    cache.acquire_lock(key("l"), long(2, "b"));
    cache.acquire_lock(key("l"), shared(3, "c"));
    cache.acquire_lock(key("l"), shared(4, "d"));
    cache.set_now(1100);
    cache.settle_lock(key("l"));
    assert_eq!(ends(&cache), Some(LONGEST));
    cache.set_now(2000);
    assert!(cache.extend_lock(key("l"), b"b", u64::MAX));
    assert_eq!(ends(&cache), Some(LONGEST));
    assert!(cache.release_lock(key("l"), b"b"));
    assert!(cache.extend_lock(key("l"), b"c", LONGEST));
    let standing = cache.withdraw(key("l"), request(4));
    assert!(matches!(standing, Standing::Granted(_)));
    assert_eq!(ends(&cache), Some(LONGEST));
    cache.end_session(key("l"), request(3), u64::MAX - 1);
    assert_eq!(ends(&cache), Some(LONGEST));
    check(&cache);
}

#[test]
fn a_lock_that_was_persisted_is_a_key_like_any_other() {
    // Breaks if what has no end any more kept its holders, or its queue did not go on when it is deleted.
    let mut cache = cache();
    let session = Wish {
        is_session: true,
        ..wish(1, "a")
    };
    granted(cache.acquire_lock(key("l"), session));
    cache.acquire_lock(key("l"), waiting(2, "b"));
    assert!(cache.set_expiry(key("l"), None));
    cache.settle_lock(key("l"));
    assert_eq!(cache.peek(key("l")).unwrap().pin, Pin::Unpinned);
    assert_eq!(cache.standing(key("l"), request(1)), Standing::Gone);
    assert!(!cache.release_lock(key("l"), b"a"));
    cache.end_session(key("l"), request(1), 0);
    cache.set_now(1_000_000);
    cache.settle_lock(key("l"));
    assert_eq!(cache.locks().first_due_ms(), None, "time changes nothing");
    assert!(numbers(&mut cache).is_empty());
    let view = cache.lock_view(key("l"), 9).unwrap();
    assert_eq!((view.holders_count, view.waiters_count), (0, 1));
    check(&cache);
    assert!(cache.remove(key("l")));
    cache.settle_lock(key("l"));
    assert_eq!(numbers(&mut cache), [2]);
}

#[test]
fn of_a_crowd_the_first_are_named_and_all_are_counted() {
    // Breaks if what is shown of a lock grows with its crowd, or counts those whose time is over.
    let mut cache = cache();
    for number in 0..20 {
        let lasting = Wish {
            ttl_ms: 100 + number,
            ..sharing(number, "r")
        };
        granted(cache.acquire_lock(key("l"), lasting));
    }
    for number in 20..50 {
        let until = Wish {
            wait: LockWait::Until(1080 + number),
            ..waiting(number, "w")
        };
        assert_eq!(cache.acquire_lock(key("l"), until), Acquired::Queued);
    }
    cache.set_now(1110);
    let view = cache.lock_view(key("l"), 4).unwrap();
    assert_eq!((view.holders_count, view.waiters_count), (9, 19));
    assert_eq!((view.holders.len(), view.waiters.len()), (4, 4));
    assert_eq!(view.holders[0].expires_at, Some(1111));
}

#[test]
fn while_locks_are_withheld_nobody_gets_one() {
    // Breaks if who waits gets a lock, released or expired, that somebody may hold of whom nothing is known; or if he never
    // gets it.
    let mut cache = cache();
    let now_ms = cache.now_ms();
    granted(cache.acquire_lock(key("l"), wish(1, "a")));
    cache.acquire_lock(key("l"), waiting(2, "b"));
    cache.withhold_locks(now_ms + 5000);
    assert_eq!(cache.locks_withheld_ms(), 5000);
    assert!(
        cache.extend_lock(key("l"), b"a", 700),
        "what is known goes on"
    );
    assert!(cache.release_lock(key("l"), b"a"));
    assert!(numbers(&mut cache).is_empty());
    assert_eq!(cache.locks().first_due_ms(), Some(now_ms + 5000));
    cache.set_now(now_ms + 4999);
    cache.settle_lock(key("l"));
    assert!(numbers(&mut cache).is_empty());
    cache.set_now(now_ms + 5000);
    cache.settle_lock(key("l"));
    assert_eq!(numbers(&mut cache), [2]);
    check(&cache);
}

#[test]
fn the_longest_lock_is_known() {
    // Breaks if a lock could last longer, by its grant, by an extension or by PEXPIRE, than others were told it may.
    let mut cache = cache();
    let wish = wish(1, "a");
    granted(cache.acquire_lock(key("l"), wish));
    assert_eq!(cache.lock_span_ms(), wish.ttl_ms);
    cache.set_now(cache.now_ms() + 10);
    assert!(cache.extend_lock(key("l"), b"a", 90_000));
    assert_eq!(cache.lock_span_ms(), 90_000);
    let until_ms = cache.now_ms() + 200_000;
    assert!(cache.set_expiry(key("l"), Some(until_ms)));
    assert_eq!(cache.lock_span_ms(), 200_000);
}
