use super::{place, span};
use crate::testing::{Harness, run_marked};

#[test]
fn lists_answer_as_in_redis() {
    // Breaks if a reply, an error's text, the order of checks or an event is not Redis's.
    let script = include_str!("../../testdata/redis-7.0-list.txt");
    run_marked(&mut Harness::new(), script);
}

#[test]
fn a_command_that_changes_nothing_says_so() {
    // Breaks if WATCH or a cache at a client is told of a change that was none, or of none where there was one.
    let mut h = Harness::new();
    h.run("RPUSH l a b c");
    h.cache().observe(true);
    for (line, changes) in [
        ("LPUSHX n a", 0),
        ("LPOP l 0", 0),
        ("LPOP n", 0),
        ("LREM l 0 q", 0),
        ("LINSERT l BEFORE q x", 0),
        ("LMOVE n l LEFT LEFT", 0),
        ("LMPOP 1 n LEFT", 0),
        ("LRANGE l 0 -1", 0),
        ("LPOS l a", 0),
        ("LMOVE l l LEFT RIGHT", 1),
        ("LMOVE l m LEFT RIGHT", 2),
        ("LTRIM l 0 -1", 1),
        ("LPOP l 9", 1),
    ] {
        h.run(line);
        let seen = h.cache().take_changes().len();
        assert_eq!(seen, changes, "{line}");
    }
}

#[test]
fn lists_may_be_in_different_caches() {
    // Breaks if a list is looked for in the cache of another key.
    let mut h = Harness::with_caches(3);
    h.run("RPUSH a 1 2 3");
    assert_eq!(h.run("LMOVE a b RIGHT LEFT"), "$1\r\n3\r\n");
    assert_eq!(h.run("RPOPLPUSH b c"), "$1\r\n3\r\n");
    assert_eq!(h.events(), "lpush c, rpop b, del b");
    assert_eq!(
        h.run("LMPOP 3 d b c LEFT"),
        "*2\r\n$1\r\nc\r\n*1\r\n$1\r\n3\r\n"
    );
    assert_eq!(h.run("LLEN a"), ":2\r\n");
}

#[test]
fn a_rank_without_a_magnitude_is_refused() {
    // Breaks if the lowest integer is negated. (Redis 7.0 does so; its later versions have this text.)
    let mut h = Harness::new();
    assert_eq!(
        h.run("LPOS l a RANK -9223372036854775808"),
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n"
    );
}

#[test]
fn places_are_those_of_a_list_counted_by_hand() {
    // Breaks if an index is off by one at an end.
    let letters = ["a", "b", "c"];
    for index in -5..5i64 {
        let by_hand = if index < 0 { index + 3 } else { index };
        let by_hand = (0..3).contains(&by_hand).then_some(by_hand as usize);
        assert_eq!(place(index, letters.len()), by_hand);
        for last in -5..5i64 {
            let kept: Vec<usize> = (0..3)
                .filter(|at| {
                    let first = if index < 0 { index + 3 } else { index };
                    let last = if last < 0 { last + 3 } else { last };
                    first <= *at && *at <= last
                })
                .map(|at| at as usize)
                .collect();
            assert_eq!(
                span(index, last, 3).collect::<Vec<_>>(),
                kept,
                "{index} {last}"
            );
        }
    }
}
