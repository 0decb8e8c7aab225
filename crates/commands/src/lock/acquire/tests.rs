use crate::testing::{Harness, WALL_OFFSET_MS};

#[test]
fn a_lock_and_set_nx_see_each_other() {
    // Breaks if stock clients and LOCK.* could hold one lock at once, or not end each other's by the owner's name.
    let mut h = Harness::new();
    let reply = h.run("LOCK.ACQUIRE l me 100");
    let fence = h.run("LOCK.INFO l");
    assert!(reply.starts_with(':') && fence.contains(&reply), "{fence}");
    assert_eq!(h.run("GET l"), "$2\r\nme\r\n");
    assert_eq!(h.run("PTTL l"), ":100\r\n");
    assert_eq!(h.run("SET l you NX PX 100"), "$-1\r\n");
    assert_eq!(h.run("DELIFEQ l me"), ":1\r\n");
    assert_eq!(h.run("SET l you NX PX 100"), "+OK\r\n");
    assert_eq!(h.run("LOCK.ACQUIRE l me 100"), "$-1\r\n");
    assert_eq!(h.run("LOCK.RELEASE l me"), ":0\r\n");
    assert_eq!(h.run("LOCK.EXTEND l you 500"), ":1\r\n");
    assert_eq!(h.events(), "expire l");
    assert_eq!(h.run("PTTL l"), ":500\r\n");
    assert_eq!(h.run("LOCK.RELEASE l you"), ":1\r\n");
    assert_eq!(h.events(), "del l");
    assert_eq!(h.run("LOCK.INFO l"), "$-1\r\n");
}

#[test]
fn who_waits_is_told_later() {
    // Breaks if a request that was queued were answered at once, or one in a transaction were queued.
    let mut h = Harness::new();
    h.run("LOCK.ACQUIRE l a 100");
    assert_eq!(h.run("LOCK.ACQUIRE l b 100 WAIT 50"), "+WAITING\r\n");
    h.requests = u64::MAX;
    assert_eq!(h.run("LOCK.ACQUIRE l c 100 wait 50"), "$-1\r\n");
    assert_eq!(
        h.run("LOCK.ACQUIRE l c 100 SESSION"),
        "-ERR LOCK.ACQUIRE with SESSION cannot be part of a transaction or run under LOCK.GUARD\r\n"
    );
    assert_eq!(h.run("LOCK.RELEASE l a"), ":1\r\n");
    assert_eq!(h.run("GET l"), "$1\r\nb\r\n");
    assert_eq!(h.caches[0].take_grants().len(), 1);
}

#[test]
fn what_is_shown_of_a_lock() {
    // Breaks if LOCK.INFO leaves out a holder or a waiter, or names them in another order.
    let mut h = Harness::new();
    h.run("LOCK.ACQUIRE l a 100 SHARED SESSION");
    h.pass_ms(40);
    h.run("LOCK.ACQUIRE l b 100 SHARED");
    h.run("LOCK.ACQUIRE l c 100 WAIT 0");
    h.run("LOCK.ACQUIRE l d 100 SHARED WAIT 10");
    assert_eq!(
        h.run("LOCK.INFO l"),
        "*10\r\n$4\r\nmode\r\n$6\r\nshared\r\n$7\r\nholding\r\n:2\r\n$7\r\nholders\r\n*2\r\n\
         *8\r\n$5\r\nowner\r\n$1\r\na\r\n$5\r\nfence\r\n:1\r\n$3\r\nttl\r\n:60\r\n$7\r\nsession\r\n:1\r\n\
         *8\r\n$5\r\nowner\r\n$1\r\nb\r\n$5\r\nfence\r\n:2\r\n$3\r\nttl\r\n:100\r\n$7\r\nsession\r\n:0\r\n\
         $7\r\nwaiting\r\n:2\r\n$5\r\nqueue\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n"
    );
    h.run("SET plain v");
    assert_eq!(h.run("LOCK.INFO plain"), "$-1\r\n");
}

#[test]
fn bad_arguments_are_refused_and_change_nothing() {
    // Breaks if a lock were taken for a time that was not meant.
    let mut h = Harness::new();
    let syntax = "-ERR syntax error\r\n";
    let expire = "-ERR invalid expire time in 'lock.acquire' command\r\n";
    let integer = "-ERR value is not an integer or out of range\r\n";
    let long = "x".repeat(257);
    for (line, error) in [
        ("LOCK.ACQUIRE l me 0", expire),
        ("LOCK.ACQUIRE l me -1", expire),
        ("LOCK.ACQUIRE l me 9223372036854775807", expire),
        ("LOCK.ACQUIRE l me 9223372036854775808", integer),
        ("LOCK.ACQUIRE l me soon", integer),
        ("LOCK.ACQUIRE l me 10 WAIT", syntax),
        ("LOCK.ACQUIRE l me 10 WAIT 1 WAIT 2", syntax),
        ("LOCK.ACQUIRE l me 10 SHARED SHARED", syntax),
        ("LOCK.ACQUIRE l me 10 PX", syntax),
        (
            "LOCK.ACQUIRE l me 10 WAIT -1",
            "-ERR timeout is negative\r\n",
        ),
        (
            "LOCK.ACQUIRE l me 10 WAIT x",
            "-ERR timeout is not an integer or out of range\r\n",
        ),
        (
            "LOCK.ACQUIRE l me 10 WAIT 9223372036854775807",
            "-ERR timeout is out of range\r\n",
        ),
        (
            &format!("LOCK.ACQUIRE l {long} 10"),
            "-ERR the owner's name is longer than 256 bytes\r\n",
        ),
        (
            "LOCK.EXTEND l me 0",
            "-ERR invalid expire time in 'lock.extend' command\r\n",
        ),
    ] {
        assert_eq!(h.run(line), error, "{line}");
        assert_eq!(h.run("EXISTS l"), ":0\r\n", "{line}");
    }
}

#[test]
fn the_longest_time_can_be_waited_for() {
    // Breaks if a time at the end of what is possible passed it while its request waited.
    let mut h = Harness::new();
    h.run("LOCK.ACQUIRE l a 100");
    let longest = i64::MAX - h.now_ms as i64 - WALL_OFFSET_MS;
    let line = format!("LOCK.ACQUIRE l b {longest} WAIT 0");
    assert_eq!(h.run(&line), "+WAITING\r\n");
    h.pass_ms(1000);
    assert_eq!(h.run("LOCK.ACQUIRE l c 100"), "$-1\r\n");
    assert_eq!(h.run("GET l"), "$1\r\nb\r\n");
    let pttl = format!(":{longest}\r\n");
    assert_eq!(h.run("PTTL l"), pttl);
    let latest = format!(":{}\r\n", i64::MAX);
    assert_eq!(h.run("PEXPIRETIME l"), latest);
    assert!(h.run("LOCK.INFO l").contains(&pttl));
    assert_eq!(h.run("PERSIST l"), ":1\r\n");
    assert_eq!(h.run("LOCK.RELEASE l b"), ":0\r\n");
    assert_eq!(h.run("LOCK.INFO l"), "$-1\r\n");
}

#[test]
fn what_is_no_string_is_no_lock() {
    // Breaks if a list is told to be free as a lock, or somebody waits for it to end.
    let mut h = Harness::new();
    h.run("RPUSH k v");
    for line in [
        "LOCK.ACQUIRE k me 1000",
        "LOCK.RELEASE k me",
        "LOCK.EXTEND k me 1000",
        "LOCK.INFO k",
        "LOCK.FENCE k",
    ] {
        let reply = h.run(line);
        assert!(reply.starts_with("-WRONGTYPE "), "{line}: {reply}");
    }
    assert_eq!(h.run("LLEN k"), ":1\r\n");
}
