use crate::testing::{Harness, run_golden};
use std::collections::BTreeMap;

#[test]
fn replies_and_events_are_those_of_redis() {
    // Breaks if a reply, an error's text, the order of checks or a keyspace event differs from redis-server's.
    run_golden(include_str!("../../testdata/sorted-set.txt"));
}

#[test]
fn ranges_are_those_of_redis() {
    // Breaks if a range takes other members than redis-server's, or another error answers wrong arguments.
    run_golden(include_str!("../../testdata/sorted-set-range.txt"));
}

#[test]
fn results_of_several_are_those_of_redis() {
    // Breaks if a union, intersection or difference has other members or scores than redis-server's.
    run_golden(include_str!("../../testdata/sorted-set-combine.txt"));
}

#[test]
fn a_place_comes_with_its_score_when_asked() {
    // Breaks if WITHSCORE of ZRANK and ZREVRANK, which came with 7.2, answers otherwise than documented.
    let mut h = Harness::new();
    h.run("ZADD z 1 a 2.5 b");
    assert_eq!(h.run("ZRANK z b WITHSCORE"), "*2\r\n:1\r\n$3\r\n2.5\r\n");
    assert_eq!(h.run("ZREVRANK z b withscore"), "*2\r\n:0\r\n$3\r\n2.5\r\n");
    assert_eq!(h.run("ZRANK z no WITHSCORE"), "*-1\r\n");
    assert_eq!(h.run("ZREVRANK no a WITHSCORE"), "*-1\r\n");
    assert_eq!(h.run("ZRANK z b WITHSCORES"), "-ERR syntax error\r\n");
    let too_many = "-ERR wrong number of arguments for 'zrank' command\r\n";
    assert_eq!(h.run("ZRANK z b WITHSCORE x"), too_many);
    h.protocol = resp::Protocol::Resp3;
    assert_eq!(h.run("ZRANK z b WITHSCORE"), "*2\r\n:1\r\n,2.5\r\n");
    assert_eq!(h.run("ZRANK z no WITHSCORE"), "_\r\n");
}

/// The bulk strings of a reply.
fn bulks(reply: &str) -> Vec<String> {
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let heads = (0..lines.len()).filter(|at| lines[*at].starts_with('$'));
    heads.map(|at| lines[at + 1].to_owned()).collect()
}

/// Gives members `m0` … the scores 0 …, in a sorted set at `z`.
fn fill(h: &mut Harness, members_count: usize) {
    for at in 0..members_count {
        assert_eq!(h.run(&format!("ZADD z {at} m{at}")), ":1\r\n");
    }
}

#[test]
fn a_large_one_is_walked_step_by_step() {
    // Breaks if a walk misses a member that stays, is one long step, or shows a wrong score.
    let mut h = Harness::new();
    fill(&mut h, 1_000);
    let (mut cursor, mut steps, mut seen) = ("0".to_owned(), 0, BTreeMap::new());
    loop {
        let found = bulks(&h.run(&format!("ZSCAN z {cursor} COUNT 50")));
        assert!(found.len() < 2 * 60, "a step is short");
        let mut found = found.into_iter();
        cursor = found.next().unwrap();
        while let Some(member) = found.next() {
            seen.insert(member, found.next().unwrap());
        }
        steps += 1;
        h.run(&format!("ZADD z {steps} other{steps}"));
        h.run(&format!("ZREM z other{}", steps - 1));
        if cursor == "0" {
            break;
        }
    }
    assert!(steps >= 10, "{steps}");
    for at in 0..1_000 {
        assert_eq!(seen[&format!("m{at}")], at.to_string());
    }
    let missing = h.run("ZSCAN z 0 NOVALUES");
    assert_eq!(
        missing,
        "-ERR NOVALUES option can only be used in HSCAN\r\n"
    );
}

#[test]
fn lots_are_different_members_and_follow_from_the_draw() {
    // Breaks if a member is drawn twice, or two replicas draw different ones.
    let mut h = Harness::new();
    fill(&mut h, 200);
    let mut all = BTreeMap::new();
    for random in 0..200 {
        h.random = random << 32;
        let reply = h.run("ZRANDMEMBER z 20 WITHSCORES");
        assert_eq!(h.run("ZRANDMEMBER z 20 WITHSCORES"), reply);
        let drawn = bulks(&reply);
        let pairs: BTreeMap<_, _> = drawn.chunks(2).map(|pair| (&pair[0], &pair[1])).collect();
        assert_eq!(pairs.len(), 20);
        for (member, score) in pairs {
            assert_eq!(*member, format!("m{score}"));
            *all.entry(member.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(all.len(), 200, "every member is drawn some time");
    assert_eq!(bulks(&h.run("ZRANDMEMBER z -500")).len(), 500);
    let too_many = "-ERR value is out of range\r\n";
    assert_eq!(h.run("ZRANDMEMBER z -1000000000"), too_many);
}

#[test]
fn scores_that_differ_leave_bounds_by_member_defined() {
    // Breaks if what such bounds mean hangs on the path of a search, which differs between replicas.
    let mut h = Harness::new();
    h.run("ZADD z 1 b 1 d 2 a 2 c 3 e");
    for (line, members) in [
        ("ZRANGEBYLEX z - +", "b d a c e"),
        ("ZRANGEBYLEX z - [c", "b"),
        ("ZRANGEBYLEX z [c +", "d a c e"),
        ("ZRANGEBYLEX z (d [e", ""),
    ] {
        assert_eq!(bulks(&h.run(line)).join(" "), members, "{line}");
    }
}

#[test]
fn a_negative_zero_is_zero() {
    // Breaks if two scores that are equal are shown or kept as different ones.
    let mut h = Harness::new();
    assert_eq!(h.run("ZADD z -0 a"), ":1\r\n");
    assert_eq!(h.run("ZADD z CH 0 a"), ":0\r\n");
    assert_eq!(h.events(), "");
    assert_eq!(h.run("ZINCRBY z -0 a"), "$1\r\n0\r\n");
    assert_eq!(h.run("ZINCRBY z -0.0 b"), "$1\r\n0\r\n");
    assert_eq!(
        h.run("ZUNION 1 z WEIGHTS -1 WITHSCORES"),
        "*4\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\nb\r\n$1\r\n0\r\n"
    );
}

/// Members with scores in their order, the slow way.
#[derive(Default)]
struct Naive(Vec<(i64, String)>);

impl Naive {
    fn put(&mut self, member: &str, score: i64) {
        self.0.retain(|(_, known)| known != member);
        self.0.push((score, member.to_owned()));
        self.0.sort();
    }

    fn score(&self, member: &str) -> i64 {
        let found = self.0.iter().find(|(_, known)| known == member);
        found.map_or(0, |(score, _)| *score)
    }

    /// As ZRANGE answers members with these scores.
    fn within(&self, min: i64, max: i64) -> Vec<String> {
        let within = self
            .0
            .iter()
            .filter(|(score, _)| (min..=max).contains(score));
        within
            .flat_map(|(score, member)| [member.clone(), score.to_string()])
            .collect()
    }
}

#[test]
fn large_ones_keep_their_order() {
    // Breaks if places, ranges or removals go wrong where a sorted set is no longer small.
    const SEED: u64 = 11;
    println!("seed {SEED}");
    let mut draws = cache::Draws::new(SEED);
    let (mut h, mut naive) = (Harness::new(), Naive::default());
    for _ in 0..3_000 {
        let member = format!("m{}", draws.below(400));
        let score = draws.below(90) as i64 - 45;
        match draws.below(40) {
            0 => {
                h.run(&format!("ZREM z {member}"));
                naive.0.retain(|(_, known)| *known != member);
            }
            1 => {
                h.run("ZPOPMAX z");
                naive.0.pop();
            }
            2 if !naive.0.is_empty() => {
                h.run("ZREMRANGEBYRANK z 0 0");
                naive.0.remove(0);
            }
            3..10 => {
                h.run(&format!("ZINCRBY z {score} {member}"));
                naive.put(&member, naive.score(&member) + score);
            }
            10..15 => {
                let line = format!("ZRANGE z {score} 20 BYSCORE WITHSCORES");
                assert_eq!(bulks(&h.run(&line)), naive.within(score, 20));
            }
            15 => {
                let line = "ZRANGE z 0 -1 WITHSCORES";
                assert_eq!(bulks(&h.run(line)), naive.within(i64::MIN, i64::MAX));
                let rank = naive.0.iter().position(|(_, known)| *known == member);
                let shown = rank.map_or("$-1\r\n".to_owned(), |rank| format!(":{rank}\r\n"));
                assert_eq!(h.run(&format!("ZRANK z {member}")), shown);
            }
            _ => {
                h.run(&format!("ZADD z {score} {member}"));
                naive.put(&member, score);
            }
        }
    }
    assert!(naive.0.len() > 300, "{}", naive.0.len());
}
