use crate::testing::Harness;

const NULL: &str = "$-1\r\n";

/// The fence at `key`; 0 if there is none.
fn fence(h: &mut Harness, key: &str) -> u64 {
    let reply = h.run(&format!("LOCK.FENCE {key}"));
    match reply.strip_prefix(':') {
        Some(number) => number.trim_end().parse().expect("an integer"),
        None => {
            assert_eq!(reply, NULL);
            0
        }
    }
}

#[test]
fn every_grant_has_a_higher_fence() {
    // Breaks if two holders one after the other have the same number, within one millisecond too.
    let mut h = Harness::new();
    h.now_ms = 1_700_000_000_000;
    let mut last = 0;
    for round in 0..20 {
        let owner = format!("SET k owner{round} NX PX 100");
        assert_eq!(h.run(&owner), "+OK\r\n");
        let now = fence(&mut h, "k");
        assert!(now > last && now < 1 << 53, "{now} after {last}");
        last = now;
        match round % 4 {
            0 => h.run("DEL k"),
            1 => h.run(&format!("DELIFEQ k owner{round}")),
            2 => h.run("GETDEL k"),
            _ => {
                h.pass_ms(100);
                String::new()
            }
        };
        assert_eq!(fence(&mut h, "k"), 0, "held by nobody");
    }
}

#[test]
fn whoever_renews_a_lock_keeps_its_fence() {
    // Breaks if a holder that extends its lock is taken for the next one by what it guards.
    let mut h = Harness::new();
    h.run("SET k me NX EX 10");
    let held = fence(&mut h, "k");
    for line in [
        "SET k other NX PX 5",
        "PEXPIRE k 20000",
        "EXPIRE k 30",
        "GETEX k PX 40000",
        "SET k me IFEQ me PX 5000",
        "SET k me XX PX 5000 GET",
        "SET k me IFNE other EX 9",
        "SET k other IFEQ other PX 5",
        "DELIFEQ k other",
        "DELEX k IFNE me",
        "SETNX k other",
        "GET k",
    ] {
        h.run(line);
        assert_eq!(fence(&mut h, "k"), held, "{line}");
    }
}

#[test]
fn another_owner_has_another_fence() {
    // Breaks if who hands a lock over writes on unseen, or a key that is no lock has a fence.
    let mut h = Harness::new();
    h.run("SET k me NX EX 10");
    let first = fence(&mut h, "k");
    h.run("SET k you IFEQ me PX 5000");
    let second = fence(&mut h, "k");
    assert!(second > first);
    h.run("RENAME k j");
    assert_eq!(fence(&mut h, "k"), 0);
    let third = fence(&mut h, "j");
    assert!(third > second);
    h.run("COPY j copied");
    h.run("MOVE j 3");
    h.db = 3;
    assert!(fence(&mut h, "j") > third);
    h.db = 0;
    assert_eq!(fence(&mut h, "copied"), 0);
    for line in [
        "SET k v",
        "SET k v EX 10",
        "SETEX k 10 v",
        "PERSIST k",
        "GETSET k v",
        "SET k v XX EX 10",
    ] {
        h.run("DEL k");
        h.run("SET k me NX EX 10");
        h.run(line);
        let is_lock = line.contains("XX");
        assert_eq!(fence(&mut h, "k") > 0, is_lock, "{line}");
    }
}

#[test]
fn a_lock_renamed_to_another_shard_is_numbered_there() {
    // Breaks if a fence of one shard comes into another, where it may be below what was given there.
    let mut h = Harness::with_caches(2);
    for _ in 0..5 {
        h.run("SET b x NX EX 10");
        h.run("DEL b");
    }
    h.run("SET a me NX EX 10");
    h.run("RENAME a b");
    assert_eq!(fence(&mut h, "b"), 6);
}
