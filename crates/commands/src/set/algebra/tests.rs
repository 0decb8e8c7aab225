use crate::testing::{Harness, run_golden};
use cache::Draws;
use std::collections::BTreeSet;

#[test]
fn replies_and_events_are_those_of_redis() {
    // Breaks if a reply, an error's text, the order of checks or a keyspace event differs from redis-server's.
    run_golden(include_str!("../../../testdata/set-algebra.txt"));
}

type Model = BTreeSet<String>;

/// The members that a reply tells.
fn members(reply: &str) -> Model {
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let is_head = |at: &usize| lines[*at].starts_with('$');
    let members: Vec<String> = (0..lines.len())
        .filter(is_head)
        .map(|at| lines[at + 1].to_owned())
        .collect();
    let count = members.len();
    let distinct: Model = members.into_iter().collect();
    assert_eq!(distinct.len(), count, "a member twice: {reply}");
    distinct
}

/// What the commands are to make of the sets, done one member after the other.
fn expected(operation: &str, sets: &[&Model]) -> Model {
    let all: Model = sets.iter().copied().flatten().cloned().collect();
    let keep = |member: &String| match operation {
        "INTER" => sets.iter().all(|set| set.contains(member)),
        "UNION" => true,
        _ => sets[0].contains(member) && !sets[1..].iter().any(|set| set.contains(member)),
    };
    all.into_iter().filter(keep).collect()
}

#[test]
fn every_way_to_the_result_is_the_same() {
    // Breaks if a result depends on which set is the largest, on how many there are, or on where they are kept.
    for seed in 0..60 {
        let mut draws = Draws::new(seed);
        let mut h = Harness::with_caches(1 + draws.below(3));
        let mut sets = Vec::new();
        for name in ["a", "b", "c", "d"] {
            let len = [0, 1, 5, 60, 600][draws.below(5)];
            let prefix = ["", "m"][draws.below(2)];
            let set: Model = (0..len)
                .map(|_| format!("{prefix}{}", draws.below(700)))
                .collect();
            for member in &set {
                h.run(&format!("SADD {name} {member}"));
            }
            sets.push((name, set));
        }
        for operation in ["INTER", "UNION", "DIFF"] {
            let chosen: Vec<_> = (0..1 + draws.below(4))
                .map(|_| &sets[draws.below(sets.len())])
                .collect();
            let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
            let models: Vec<&Model> = chosen.iter().map(|(_, set)| set).collect();
            let expected = expected(operation, &models);
            let names = names.join(" ");
            let shown = format!("seed {seed}: S{operation} {names}");
            assert_eq!(
                members(&h.run(&format!("S{operation} {names}"))),
                expected,
                "{shown}"
            );
            let stored = h.run(&format!("S{operation}STORE result {names}"));
            assert_eq!(stored, format!(":{}\r\n", expected.len()), "{shown}");
            assert_eq!(members(&h.run("SMEMBERS result")), expected, "{shown}");
        }
        for (name, set) in &sets {
            assert_eq!(&members(&h.run(&format!("SMEMBERS {name}"))), set);
        }
    }
}

#[test]
fn a_result_that_is_changed_leaves_its_sources_alone() {
    // Breaks if a stored result and the source that it began as share more than memory.
    let mut h = Harness::new();
    h.run("SADD a x y z");
    h.run("SUNIONSTORE b a");
    h.run("SADD b new");
    h.run("SREM b x");
    h.run("SREM a y");
    let shown = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Model>()
    };
    assert_eq!(members(&h.run("SMEMBERS a")), shown(&["x", "z"]));
    assert_eq!(members(&h.run("SMEMBERS b")), shown(&["new", "y", "z"]));
}
