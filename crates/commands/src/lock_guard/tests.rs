use crate::testing::Harness;
use crate::{KeyPositions, check, keys_of};
use resp::OwnedArgs;

#[test]
fn a_command_runs_under_the_present_fence_alone() {
    // Breaks if a former holder's write is carried out, or the present one's is refused.
    let mut h = Harness::new();
    h.run("SET l me NX PX 1000");
    assert_eq!(h.run("LOCK.FENCE l"), ":1\r\n");
    assert_eq!(h.run("LOCK.GUARD l 1 SET data mine"), "+OK\r\n");
    assert_eq!(h.all_events(), "new data, set data");
    assert_eq!(h.run("LOCK.GUARD l 1 GET data"), "$4\r\nmine\r\n");
    assert_eq!(
        h.run("LOCK.GUARD l 2 SET data wrong"),
        "-ERR unknown token: no grant of this lock has had that fence yet\r\n"
    );
    h.run("DEL l");
    let gone = h.run("LOCK.GUARD l 1 SET data wrong");
    assert!(gone.starts_with("-STALELOCK nobody holds"), "{gone}");
    h.run("SET l you NX PX 1000");
    let stale = h.run("lock.guard l 1 set data wrong");
    assert!(
        stale.starts_with("-STALELOCK the lock was granted anew since: its fence is 2"),
        "{stale}"
    );
    assert_eq!(h.run("LOCK.GUARD l 2 APPEND data +"), ":5\r\n");
    h.pass_ms(1000);
    let over = h.run("LOCK.GUARD l 2 SET data wrong");
    assert!(over.starts_with("-STALELOCK"), "{over}");
    assert_eq!(h.run("GET data"), "$5\r\nmine+\r\n");
}

#[test]
fn the_lock_itself_can_be_guarded() {
    // Breaks if a holder cannot release or extend its lock by the fence that it has.
    let mut h = Harness::new();
    h.run("SET l me NX PX 1000");
    assert_eq!(h.run("LOCK.GUARD l 1 PEXPIRE l 5000"), ":1\r\n");
    assert_eq!(h.run("LOCK.FENCE l"), ":1\r\n");
    assert_eq!(h.run("LOCK.GUARD l 1 DEL l"), ":1\r\n");
    assert_eq!(h.run("LOCK.FENCE l"), "$-1\r\n");
}

#[test]
fn each_of_those_who_share_a_lock_is_guarded_by_its_own_fence() {
    // Breaks if a sharer is taken for stale because others came after, or for a holder though it let go.
    let mut h = Harness::new();
    assert_eq!(h.run("LOCK.ACQUIRE l one 1000 SHARED"), ":1\r\n");
    let second = h.run("LOCK.ACQUIRE l two 500 SHARED");
    let second: u64 = second[1..second.len() - 2].parse().expect("a fence");
    assert!(second > 1);
    assert_eq!(h.run("LOCK.GUARD l 1 SET data one"), "+OK\r\n");
    assert_eq!(
        h.run(&format!("LOCK.GUARD l {second} SET data two")),
        "+OK\r\n"
    );
    h.pass_ms(500);
    let over = h.run(&format!("LOCK.GUARD l {second} SET data wrong"));
    assert!(over.starts_with("-STALELOCK nobody holds"), "{over}");
    assert_eq!(h.run("LOCK.GUARD l 1 APPEND data +"), ":4\r\n");
    assert_eq!(h.run("LOCK.RELEASE l one"), ":1\r\n");
    let over = h.run("LOCK.GUARD l 1 SET data wrong");
    assert!(over.starts_with("-STALELOCK nobody holds"), "{over}");
}

#[test]
fn what_is_guarded_waits_for_nothing() {
    // Breaks if a guarded LOCK.ACQUIRE is queued: its client could not be told later.
    let mut h = Harness::new();
    h.run("SET l me NX PX 1000");
    h.run("SET other you NX PX 1000");
    assert_eq!(
        h.run("LOCK.GUARD l 1 LOCK.ACQUIRE other me 1000 WAIT 0"),
        "$-1\r\n"
    );
    let refused = h.run("LOCK.GUARD l 1 LOCK.ACQUIRE free me 1000 SESSION");
    assert!(
        refused.starts_with("-ERR LOCK.ACQUIRE with SESSION"),
        "{refused}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_before_the_lock_is_looked_at() {
    // Breaks if bad input is told as a lost lock, runs, or ends the node.
    let mut h = Harness::new();
    for (line, error) in [
        (
            "LOCK.GUARD l x GET k",
            "-ERR value is not an integer or out of range\r\n",
        ),
        (
            "LOCK.GUARD l 1.5 GET k",
            "-ERR value is not an integer or out of range\r\n",
        ),
        (
            "LOCK.GUARD l 1 GET",
            "-ERR wrong number of arguments for 'get' command\r\n",
        ),
        (
            "LOCK.GUARD l 1 GET a b",
            "-ERR wrong number of arguments for 'get' command\r\n",
        ),
        (
            "LOCK.GUARD l 1 LOCK.GUARD l 1 GET k",
            "-ERR LOCK.GUARD cannot be nested in LOCK.GUARD\r\n",
        ),
        (
            "LOCK.GUARD l 1 MULTI",
            "-ERR MULTI looks at more than its keys and cannot run under LOCK.GUARD\r\n",
        ),
        (
            "LOCK.GUARD l 1 SUBSCRIBE c",
            "-ERR SUBSCRIBE looks at more than its keys and cannot run under LOCK.GUARD\r\n",
        ),
        (
            "LOCK.GUARD l 1 EVAL x 0",
            "-ERR EVAL looks at more than its keys and cannot run under LOCK.GUARD\r\n",
        ),
        (
            "LOCK.GUARD l 1 GEOADD g 1 2 m",
            "-ERR command 'geoadd' is not supported by this version of Torc\r\n",
        ),
    ] {
        assert_eq!(h.run(line), error, "{line}");
    }
    let unknown = h.run("LOCK.GUARD l 1 NOSUCH k");
    assert!(
        unknown.starts_with("-ERR unknown command 'NOSUCH'"),
        "{unknown}"
    );
    for token in ["-1", "0", "9223372036854775807"] {
        let refused = h.run(&format!("LOCK.GUARD l {token} SET k v"));
        assert!(refused.starts_with("-STALELOCK"), "{refused}");
    }
    h.run("SET l me NX PX 1000");
    for (token, start) in [
        ("-1", "-STALELOCK"),
        ("0", "-STALELOCK"),
        ("9223372036854775807", "-ERR unknown token"),
    ] {
        let refused = h.run(&format!("LOCK.GUARD l {token} SET k v"));
        assert!(refused.starts_with(start), "{refused}");
    }
    assert_eq!(h.run("EXISTS k"), ":0\r\n");
}

#[test]
fn its_keys_are_the_lock_and_those_of_the_command() {
    // Breaks if a guarded command is not routed by its own keys, or arguments that tell none hide the lock's.
    for (line, positions) in [
        ("lock.guard l 1 get k", &[1, 4][..]),
        ("lock.guard l 1 mset a 1 b 2", &[1, 4, 6]),
        ("lock.guard l 1 msetex 2 a 1 b 2", &[1, 5, 7]),
        ("lock.guard l 1 msetex x a 1", &[1]),
        ("lock.guard l 1 nosuch a", &[1]),
        ("lock.guard l 1 get", &[1]),
        ("lock.guard l 1 lock.guard l 1 get k", &[1]),
        ("lock.guard l 1 object encoding k", &[1, 5]),
    ] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let owned = OwnedArgs::from_slices(&words);
        let row = check(owned.args()).unwrap();
        let mut found = KeyPositions::new();
        keys_of(row, owned.args(), &mut found).unwrap();
        assert_eq!(&found[..], positions, "{line}");
    }
}

#[test]
fn lock_and_data_may_lie_apart() {
    // Breaks if the lock is looked for in the data's shard, or the first key's hash is taken for the data's.
    let mut h = Harness::with_caches(3);
    h.run("SET a me NX EX 10");
    assert_eq!(h.run("LOCK.GUARD a 1 MSET b 1 c 2"), "+OK\r\n");
    assert_eq!(h.run("MGET b c"), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
}
