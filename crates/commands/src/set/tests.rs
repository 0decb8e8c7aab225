use crate::testing::{Harness, run_golden};
use cache::INTEGERS_LEN_MAX;
use std::collections::BTreeSet;

#[test]
fn replies_and_events_are_those_of_redis() {
    // Breaks if a reply, an error's text, the order of checks or a keyspace event differs from redis-server's.
    run_golden(include_str!("../../testdata/set.txt"));
}

/// Adds members `m0` … to a set at `s`.
fn fill(h: &mut Harness, members_count: usize) {
    for at in 0..members_count {
        assert_eq!(h.run(&format!("SADD s m{at}")), ":1\r\n");
    }
}

/// The bulk strings of a reply.
fn bulks(reply: &str) -> Vec<String> {
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let is_head = |at: &usize| lines[*at].starts_with('$');
    (0..lines.len())
        .filter(is_head)
        .map(|at| lines[at + 1].to_owned())
        .collect()
}

#[test]
fn a_large_set_is_walked_step_by_step() {
    // Breaks if a walk misses a member that stays, or is one long step.
    let mut h = Harness::new();
    fill(&mut h, 1000);
    let (mut cursor, mut seen, mut steps) = ("0".to_owned(), BTreeSet::new(), 0);
    loop {
        let reply = h.run(&format!("SSCAN s {cursor} COUNT 50"));
        let mut found = bulks(&reply).into_iter();
        cursor = found.next().unwrap();
        seen.extend(found);
        steps += 1;
        if cursor == "0" {
            break;
        }
        h.run(&format!("SREM s m{}", 900 + steps));
    }
    assert_eq!(steps, 20);
    assert!((0..900).all(|at| seen.contains(&format!("m{at}"))));
    assert_eq!(
        h.run("SSCAN s 0 NOVALUES"),
        "-ERR NOVALUES option can only be used in HSCAN\r\n"
    );
}

#[test]
fn members_by_lot_are_removed_once_each() {
    // Breaks if SPOP answers a member that it does not remove, or removes one that it does not answer.
    for count in [1, 3, 50, 199, 200, 1000] {
        let mut h = Harness::new();
        fill(&mut h, 200);
        let (mut popped, mut turn) = (BTreeSet::new(), 0);
        while popped.len() < 200 {
            h.random = turn;
            let reply = h.run(&format!("SPOP s {count}"));
            let members = bulks(&reply);
            assert_eq!(members.len(), count.min(200 - popped.len()));
            for member in members {
                assert_eq!(h.run(&format!("SISMEMBER s {member}")), ":0\r\n");
                assert!(popped.insert(member));
            }
            assert_eq!(h.run("SCARD s"), format!(":{}\r\n", 200 - popped.len()));
            turn += 1;
        }
        assert_eq!(h.run("EXISTS s"), ":0\r\n");
    }
}

#[test]
fn a_part_of_a_set_goes_with_one_event() {
    // Breaks if SPOP of a part tells listeners otherwise than once, or loses the expiry.
    let mut h = Harness::new();
    fill(&mut h, 10);
    h.run("EXPIRE s 100");
    h.run("SPOP s 4");
    assert_eq!(h.all_events(), "spop s");
    h.run("SPOP s");
    assert_eq!(h.all_events(), "spop s");
    assert_eq!(h.run("TTL s"), ":100\r\n");
    h.run("SPOP s 0");
    assert_eq!(h.all_events(), "");
    h.run("SPOP s 5");
    assert_eq!(h.all_events(), "spop s, del s");
}

#[test]
fn members_by_lot_are_as_likely_as_each_other() {
    // Breaks if SRANDMEMBER or SPOP prefers a member, or a replica draws another one.
    let mut counts = [0_u32; 10];
    let mut h = Harness::new();
    fill(&mut h, 10);
    for random in 0..2000 {
        // As the node draws them: without order.
        h.random = cache::Draws::new(random).below(usize::MAX) as u64;
        let reply = h.run("SRANDMEMBER s");
        assert_eq!(h.run("SRANDMEMBER s"), reply);
        let [member] = &bulks(&reply)[..] else {
            panic!("{reply}");
        };
        counts[member[1..].parse::<usize>().unwrap()] += 1;
        if random % 10 == 0 {
            assert_eq!(h.run("SPOP s"), reply);
            h.run(&format!("SADD s {member}"));
        }
        let several = h.run("SRANDMEMBER s 5");
        assert_eq!(
            bulks(&several).into_iter().collect::<BTreeSet<_>>().len(),
            5
        );
    }
    assert!(
        counts.iter().all(|count| (140..=260).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn too_many_draws_are_refused() {
    // Breaks if one request can fill memory with the same member again and again.
    let mut h = Harness::new();
    let refused = "-ERR value is out of range\r\n";
    h.run(&format!("SADD s {}", "x".repeat(1 << 20)));
    assert_eq!(h.run("SRANDMEMBER s -1048577"), refused);
    assert_eq!(h.run("SRANDMEMBER s -1000"), refused);
    assert_eq!(bulks(&h.run("SRANDMEMBER s -100")).len(), 100);
}

#[test]
fn a_set_of_integers_is_in_their_order() {
    // Breaks if a small set of integers is told as another, or a word among them loses one.
    let mut h = Harness::new();
    for at in (0..INTEGERS_LEN_MAX).rev() {
        h.run(&format!("SADD s {at}"));
    }
    let members = bulks(&h.run("SMEMBERS s"));
    assert!((0..INTEGERS_LEN_MAX).all(|at| members[at] == at.to_string()));
    assert_eq!(h.run("OBJECT ENCODING s"), "$6\r\nintset\r\n");
    h.run("SADD s one");
    assert_eq!(h.run("OBJECT ENCODING s"), "$9\r\nhashtable\r\n");
    let members: BTreeSet<_> = bulks(&h.run("SMEMBERS s")).into_iter().collect();
    assert_eq!(members.len(), INTEGERS_LEN_MAX + 1);
    assert!((0..INTEGERS_LEN_MAX).all(|at| members.contains(&at.to_string())));
}
