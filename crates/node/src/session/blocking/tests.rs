use super::SESSION_LOCKS_MAX;
use crate::client::ClientFlag;
use crate::session::Step;
use crate::testing::{Client, node};

/// The number of a reply `:n`.
fn fence(reply: &str) -> u64 {
    let digits = reply.strip_prefix(':').unwrap_or_else(|| panic!("{reply}"));
    digits.parse().expect("a number")
}

#[test]
fn waiters_are_answered_in_order_and_what_is_behind_them_waits() {
    // Breaks if a waiter were overtaken, not woken by whatever ends the lock, or a pipeline went on past it.
    let (node, _) = node();
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::new(&node));
    let first = fence(&a.run("LOCK.ACQUIRE l a 10000"));
    assert_eq!(
        b.pipeline(&["ECHO x", "LOCK.ACQUIRE l b 10000 WAIT 0", "ECHO y"]),
        "$1 x"
    );
    assert!(matches!(b.step, Step::Blocked { until_us: None }));
    assert!(b.session.client.has(ClientFlag::Blocked));
    assert_eq!(c.run("LOCK.ACQUIRE l c 10000 WAIT 5000"), "");
    assert!(matches!(c.step, Step::Blocked { until_us: Some(_) }));
    assert!(a.run("INFO clients").contains("blocked_clients:2"));
    assert!(
        a.run("LOCK.INFO l")
            .contains("waiting :2 $5 queue *2 $1 b $1 c")
    );
    assert_eq!(a.run("LOCK.RELEASE l a"), ":1");
    let replies = b.poll();
    let (second, rest) = replies.split_once(' ').unwrap();
    assert!(fence(second) > first && rest == "$1 y", "{replies}");
    assert!(!b.session.client.has(ClientFlag::Blocked));
    assert_eq!(c.poll(), "");
    assert_eq!(a.run("DEL l"), ":1");
    assert!(fence(&c.poll()) > fence(second));
    assert_eq!(a.run("GET l"), "$1 c");
}

#[test]
fn a_wait_ends_with_its_time_and_by_hand() {
    // Breaks if a client waited past its time, could not be unblocked, or got the lock after it was told that it had not.
    let (node, clock) = node();
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::new(&node));
    a.run("LOCK.ACQUIRE l a 100000");
    b.run("LOCK.ACQUIRE l b 1000 WAIT 50");
    c.run("LOCK.ACQUIRE l c 1000 WAIT 0");
    let (b_id, c_id) = (b.session.client.id, c.session.client.id);
    assert_eq!(
        a.run(&format!("CLIENT UNBLOCK {}", a.session.client.id)),
        ":0"
    );
    clock.advance_ms(49);
    assert_eq!(b.poll(), "");
    clock.advance_ms(1);
    assert_eq!(b.poll(), "$-1");
    assert_eq!(a.run(&format!("CLIENT UNBLOCK {b_id}")), ":0");
    assert_eq!(a.run(&format!("CLIENT UNBLOCK {c_id} ERROR")), ":1");
    assert_eq!(c.poll(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    c.run("LOCK.ACQUIRE l c 1000 WAIT 0");
    assert_eq!(a.run(&format!("CLIENT UNBLOCK {c_id}")), ":1");
    assert_eq!(c.poll(), "$-1");
    assert!(a.run("LOCK.INFO l").contains("waiting :0"));
    assert_eq!(a.run("LOCK.RELEASE l a"), ":1");
    assert_eq!(a.run("EXISTS l"), ":0");
}

#[test]
fn who_was_unblocked_has_no_lock() {
    // Breaks if CLIENT UNBLOCK says that it ended a wait, and the client gets the lock that was on its way to it, or the lock stays
    // with somebody who was told that he has none.
    let (node, _) = node();
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::new(&node));
    for (how, reply) in [
        ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ("TIMEOUT", "$-1"),
    ] {
        fence(&a.run("LOCK.ACQUIRE l a 10000"));
        b.run("LOCK.ACQUIRE l b 10000 WAIT 0");
        assert_eq!(a.run("LOCK.RELEASE l a"), ":1");
        assert_eq!(
            a.run("GET l"),
            "$1 b",
            "granted, and it has not heard of it"
        );
        let unblock = format!("CLIENT UNBLOCK {} {how}", b.session.client.id);
        assert_eq!(c.run(&unblock), ":1");
        assert_eq!(b.poll(), reply);
        assert_eq!(c.run("EXISTS l"), ":0", "it is nobody's");
        assert_eq!(c.run(&unblock), ":0");
    }
    // One that it has heard of is its own.
    fence(&a.run("LOCK.ACQUIRE l a 10000"));
    b.run("LOCK.ACQUIRE l b 10000 WAIT 0");
    a.run("LOCK.RELEASE l a");
    fence(&b.poll());
    assert_eq!(
        c.run(&format!("CLIENT UNBLOCK {}", b.session.client.id)),
        ":0"
    );
    assert_eq!(c.run("GET l"), "$1 b");
}

#[test]
fn an_expired_lock_is_handed_over_by_time_alone() {
    // Breaks if a waiter had to wait for somebody to touch the key.
    let (node, clock) = node();
    let [mut a, mut b] = [(); 2].map(|()| Client::new(&node));
    a.run("SET l a NX PX 50");
    b.run("LOCK.ACQUIRE l b 1000 WAIT 0");
    node.tick(node.now());
    assert_eq!(b.poll(), "");
    clock.advance_ms(49);
    node.tick(node.now());
    assert_eq!(b.poll(), "");
    clock.advance_ms(1);
    node.tick(node.now());
    fence(&b.poll());
}

#[test]
fn who_leaves_leaves_the_queue_and_gives_back() {
    // Breaks if a lock were given to a connection that is gone, or stayed with it until its time is over.
    let (node, clock) = node();
    let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| Client::new(&node));
    a.run("LOCK.ACQUIRE l a 10000");
    b.run("LOCK.ACQUIRE l b 10000 WAIT 0");
    c.run("LOCK.ACQUIRE l c 10000 WAIT 0");
    d.run("LOCK.ACQUIRE l d 10000 WAIT 0");
    b.session.close(&node);
    a.run("LOCK.RELEASE l a");
    fence(&c.poll());
    // It was granted, and its client has heard of it: it keeps it.
    c.session.close(&node);
    assert_eq!(a.run("GET l"), "$1 c");
    // Granted, and not heard of it.
    a.run("LOCK.RELEASE l c");
    assert_eq!(a.run("GET l"), "$1 d");
    d.session.close(&node);
    assert_eq!(a.run("EXISTS l"), ":0");
    clock.advance_ms(1000);
    node.tick(node.now());
    let idle = |shard| node.lock(shard).blocked.is_idle();
    assert!((0..node.shards_count()).all(idle));
}

#[test]
fn a_session_lock_ends_after_its_connection() {
    // Breaks if it ended with the connection at once (its holder may not know yet), or stayed for all its time.
    let (node, clock) = node();
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::new(&node));
    a.run("CONFIG SET lock-delay 200");
    fence(&a.run("LOCK.ACQUIRE l a 60000 SESSION"));
    fence(&a.run("LOCK.ACQUIRE kept a 60000 SESSION"));
    assert_eq!(a.run("LOCK.RELEASE kept a"), ":1");
    fence(&b.run("LOCK.ACQUIRE kept b 60000"));
    b.run("LOCK.ACQUIRE l b 60000 WAIT 0 SESSION");
    a.session.close(&node);
    assert_eq!(c.run("PTTL l"), ":200");
    assert_eq!(c.run("PTTL kept"), ":60000");
    clock.advance_ms(199);
    node.tick(node.now());
    assert_eq!(b.poll(), "");
    clock.advance_ms(1);
    node.tick(node.now());
    fence(&b.poll());
    c.run("CONFIG SET lock-delay 0");
    b.session.close(&node);
    assert_eq!(c.run("EXISTS l"), ":0");
}

#[test]
fn a_transaction_does_not_wait() {
    // Breaks if EXEC held its shards locked while it waited.
    let (node, _) = node();
    let [mut a, mut b] = [(); 2].map(|()| Client::new(&node));
    a.run("LOCK.ACQUIRE l a 10000");
    b.run("MULTI");
    b.run("LOCK.ACQUIRE l b 10000 WAIT 0");
    b.run("LOCK.ACQUIRE m b 10000 SESSION");
    assert_eq!(
        b.run("EXEC"),
        "*2 $-1 -ERR LOCK.ACQUIRE with SESSION cannot be part of a transaction or run under LOCK.GUARD"
    );
    let refused = b.run("EVAL \"return redis.call('lock.acquire', KEYS[1], 'b', 10)\" 1 m");
    assert!(refused.starts_with("-ERR This Redis command is not allowed from script"));
}

#[test]
fn readers_and_writers_over_several_shards() {
    // Breaks if a command over several shards passed a lock's queue by, or FLUSHALL forgot those who wait.
    let (node, _) = node();
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::new(&node));
    a.run("LOCK.ACQUIRE l a 10000 SHARED");
    fence(&b.run("LOCK.ACQUIRE l b 10000 SHARED WAIT 0"));
    c.run("LOCK.ACQUIRE l c 10000 WAIT 0");
    a.run("SET k v");
    assert_eq!(a.run("RENAME l elsewhere"), "+OK");
    fence(&c.poll());
    b.run("LOCK.ACQUIRE l b 10000 WAIT 0");
    assert_eq!(a.run("FLUSHALL"), "+OK");
    fence(&b.poll());
    c.run("LOCK.ACQUIRE l c 10000 WAIT 0");
    assert_eq!(a.run("DEL k l elsewhere m n o p"), ":1");
    fence(&c.poll());
}

#[test]
fn who_is_next_has_an_expired_lock_before_a_script_changes_it() {
    // Breaks if a script that finds the lock of who is next keeps him from being told that it is his.
    let (node, clock) = node();
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::new(&node));
    a.run("LOCK.ACQUIRE l a 50");
    b.run("LOCK.ACQUIRE l b 1000 WAIT 0");
    c.run("LOCK.ACQUIRE l c 1000 WAIT 0");
    clock.advance_ms(50);
    assert_eq!(
        a.run("EVAL \"return redis.call('pexpire', KEYS[1], 5000)\" 1 l"),
        ":1"
    );
    let told = fence(&b.poll());
    assert_eq!(a.run("LOCK.FENCE l"), format!(":{told}"));
    assert_eq!(a.run("PTTL l"), ":5000");
    assert_eq!(a.run("LOCK.RELEASE l b"), ":1");
    fence(&c.poll());
}

#[test]
fn a_lock_that_is_handed_over_is_a_change_to_who_watches_it() {
    // Breaks if EXEC runs though the lock that its client watched went to somebody else, since nobody sent a command.
    let (node, clock) = node();
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::new(&node));
    a.run("SET l a NX PX 50");
    b.run("LOCK.ACQUIRE l b 1000 WAIT 0");
    c.run("WATCH l");
    clock.advance_ms(50);
    node.tick(node.now());
    fence(&b.poll());
    c.run("MULTI");
    c.run("GET l");
    assert_eq!(c.run("EXEC"), "*-1");
    a.run("LOCK.ACQUIRE m a 5000 SESSION");
    b.run("LOCK.ACQUIRE m b 1000 WAIT 0");
    c.run("CONFIG SET lock-delay 0");
    c.run("WATCH m");
    a.session.close(&node);
    c.run("MULTI");
    c.run("GET m");
    assert_eq!(c.run("EXEC"), "*-1");
}

#[test]
fn locks_that_ended_by_others_make_room_for_new_ones() {
    // Breaks if a connection that took many locks in its life, which ended by their time, by DEL or by another owner, were
    // refused new ones for ever.
    let (node, clock) = node();
    let [mut a, mut b] = [(); 2].map(|()| Client::new(&node));
    let mut refused = 0;
    let mut taken = 0;
    for round in 0..2 {
        for number in 0..SESSION_LOCKS_MAX {
            let reply = a.run(&format!("LOCK.ACQUIRE l{round}:{number} a 1000 SESSION"));
            taken += usize::from(reply.starts_with(':'));
            refused += usize::from(reply.starts_with("-ERR too many locks hang"));
            if number == 0 {
                b.run("DEL l0:0 l1:0");
            }
        }
        clock.advance_ms(1000);
        let is_idle = |shard| node.lock(shard).blocked.is_idle();
        let mut ticks = 0;
        while !(0..node.shards_count()).all(is_idle) {
            clock.advance_ms(100);
            node.tick(node.now());
            ticks += 1;
            assert!(ticks < 1000, "they are forgotten in the end");
        }
    }
    assert_eq!((taken, refused), (2 * SESSION_LOCKS_MAX, 0));
    // Those that are held count.
    let mut refused = false;
    for number in 0..=SESSION_LOCKS_MAX {
        let reply = a.run(&format!("LOCK.ACQUIRE held{number} a 100000 SESSION"));
        refused = reply.starts_with("-ERR too many locks hang");
        assert!(refused || reply.starts_with(':'), "{reply}");
    }
    assert!(refused);
    a.run("CONFIG SET lock-delay 0");
    a.session.close(&node);
    assert_eq!(b.run("EXISTS held0 held1 held16000"), ":0");
}

#[test]
fn pages_of_locks_name_each_of_them_once() {
    // Breaks if a page of LOCK.LIST left out a lock, named one twice, or named keys that are none.
    let (node, _) = node();
    let mut client = Client::new(&node);
    for number in 0..600 {
        client.run(&format!("SET key:{number} v EX 100"));
        fence(&client.run(&format!("LOCK.ACQUIRE lock:{number} me 100000")));
        client.run(&format!("SET other:{number} me NX PX 100000"));
    }
    let mut named = Vec::new();
    let mut cursor = "0".to_owned();
    let mut pages = 0;
    loop {
        let line = format!("LOCK.LIST MATCH lock:* COUNT 50 CURSOR {cursor}");
        let reply = client.run(&line);
        let words: Vec<&str> = reply.split(' ').collect();
        cursor = words[2].to_owned();
        let names = words[4..].iter().skip(1).step_by(2);
        named.extend(names.map(|name| name.to_string()));
        pages += 1;
        if cursor == "0" {
            break;
        }
    }
    assert!(pages > 10, "{pages}");
    named.sort_unstable();
    let mut all: Vec<String> = (0..600).map(|number| format!("lock:{number}")).collect();
    all.sort_unstable();
    assert_eq!(named, all);
}

#[test]
fn a_grant_to_who_waited_is_told_like_any_other() {
    // Breaks if who listens to keys hears of a lock that was free, but not of one that was handed on.
    let (node, clock) = node();
    let [mut a, mut b, mut c, mut listens] = [(); 4].map(|()| Client::new(&node));
    listens.run("CONFIG SET notify-keyspace-events K$gx");
    listens.run("PSUBSCRIBE __keyspace@0__:l");
    let mut heard = |node: &crate::Node| {
        node.tick(node.now());
        let text = listens.poll();
        let words = text.split(' ').collect::<Vec<_>>();
        let names = words.rsplit(|word| *word == "pmessage").rev().skip(1);
        let last = |words: &[&str]| {
            words
                .iter()
                .rev()
                .find(|w| !w.starts_with(['*', '$', '>']))
                .map(|w| w.to_string())
        };
        names.filter_map(last).collect::<Vec<String>>().join(" ")
    };
    a.run("LOCK.ACQUIRE l a 10000");
    assert_eq!(heard(&node), "set expire");
    b.run("LOCK.ACQUIRE l b 50 WAIT 0");
    c.run("LOCK.ACQUIRE l c 10000 WAIT 0");
    assert_eq!(heard(&node), "");
    a.run("LOCK.RELEASE l a");
    fence(&b.poll());
    assert_eq!(heard(&node), "del set expire");
    clock.advance_ms(50);
    node.tick(node.now());
    fence(&c.poll());
    assert_eq!(heard(&node), "expired set expire");
    // So is an end by which somebody's going away ends what he held, or had just been given.
    a.run("CONFIG SET lock-delay 0");
    let mut gone = Client::new(&node);
    gone.run("LOCK.ACQUIRE l gone 10000 WAIT 0");
    c.run("LOCK.RELEASE l c");
    drop(gone);
    assert_eq!(heard(&node), "del set expire del");
    let mut bound = Client::new(&node);
    fence(&bound.run("LOCK.ACQUIRE l bound 10000 SESSION"));
    a.run("LOCK.ACQUIRE l a 10000 WAIT 0");
    assert_eq!(heard(&node), "set expire");
    drop(bound);
    assert_eq!(heard(&node), "del set expire");
    fence(&a.poll());
}
