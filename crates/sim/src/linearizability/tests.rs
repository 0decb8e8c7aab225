use super::*;
use crate::history;
use crate::random::Random;

/// `text` has one operation a line: `call return action [answer]`, `?` for an unknown outcome.
fn history_of(text: &str) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (process, line) in text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .enumerate()
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let value = |word: &str| (word != "nil").then(|| Bytes::copy_from_slice(word.as_bytes()));
        let some = |word: &str| value(word).expect("a value");
        let (action, answer): (Action, Option<Answer>) = match (words[2], &words[3..]) {
            ("read", rest) => (
                Action::Read,
                rest.first().map(|word| Answer::Value(value(word))),
            ),
            ("write", [word]) => (Action::Write(some(word)), Some(Answer::Done)),
            ("cas", [expected, word, rest @ ..]) => (
                Action::CompareAndSet {
                    expected: value(expected),
                    value: some(word),
                },
                rest.first().map(|word| Answer::Swapped(*word == "yes")),
            ),
            ("incr", rest) => (
                Action::Increment(1),
                rest.first().map(|sum| Answer::Number(sum.parse().unwrap())),
            ),
            ("append", [word, rest @ ..]) => (
                Action::Append(some(word)),
                rest.first().map(|sum| Answer::Number(sum.parse().unwrap())),
            ),
            ("delete", rest) => (
                Action::Delete,
                rest.first().map(|word| Answer::Removed(*word == "yes")),
            ),
            other => panic!("{other:?}"),
        };
        let outcome = match words[1] {
            "?" => Outcome::Unknown,
            at => Outcome::Answered {
                at_us: at.parse().unwrap(),
                answer: answer.expect("answered"),
            },
        };
        operations.push(Operation {
            process: process as u64,
            key: Bytes::from_static(b"k"),
            action,
            call_us: words[0].parse().unwrap(),
            outcome,
        });
    }
    operations
}

fn assert_linearizable(text: &str) {
    assert_eq!(check(&history_of(text)), Verdict::Linearizable, "{text}");
}

fn assert_refuted(text: &str) -> Violation {
    match check(&history_of(text)) {
        Verdict::Violation(violation) => *violation,
        verdict => panic!("{verdict:?} for {text}"),
    }
}

#[test]
fn good_histories_pass() {
    // Fails when the checker refuses what a correct store may do: every run would look broken.
    assert_linearizable("");
    assert_linearizable("0 1 read nil");
    // A read under way with a write may see either value.
    assert_linearizable(
        "0 9 write a \n 10 30 write b \n 12 14 read a \n 16 18 read b \n 40 41 read b",
    );
    // Three writes under way at once, in an order that is not that of their calls.
    assert_linearizable("0 20 write a \n 1 21 write b \n 2 22 write c \n 30 31 read b");
    // A write of unknown outcome strikes late, after another's answer.
    assert_linearizable("0 ? write a \n 5 6 write b \n 7 8 read b \n 9 10 read a \n 11 12 read a");
    // … or never.
    assert_linearizable("0 ? write a \n 5 6 write b \n 7 8 read b \n 900 901 read b");
    assert_linearizable("0 5 cas nil a yes \n 1 6 cas nil b no \n 7 8 read a");
    assert_linearizable("0 ? incr \n 0 ? incr \n 5 6 incr 2 \n 7 8 incr 4 \n 9 10 read 4");
    assert_linearizable(
        "0 5 append x 1 \n 1 6 append y 2 \n 7 8 read xy \n 9 10 delete yes \n 11 12 delete no",
    );
}

#[test]
fn bad_histories_are_refuted() {
    // Fails when the checker lets one of the classic faults pass.
    let stale_read = "0 9 write a \n 10 20 write b \n 21 22 read a";
    let back_and_forth = "0 9 write a \n 10 90 write b \n 20 30 read b \n 40 50 read a";
    let lost_write = "0 9 write a \n 10 20 read nil";
    let from_nowhere = "0 9 write a \n 10 20 read b";
    let twice = "0 9 write a \n 10 ? write b \n 20 21 read b \n 22 23 write c \n 24 25 read b";
    let both_swapped = "0 9 cas nil a yes \n 0 9 cas nil b yes";
    let lost_increment = "0 5 incr 1 \n 6 9 incr 1";
    let increment_twice = "0 ? incr \n 5 6 incr 3";
    let append_order = "0 1 append x 1 \n 2 3 append y 2 \n 4 5 read yx";
    let deleted_twice = "0 1 write a \n 2 3 delete yes \n 4 5 delete yes";
    for text in [
        stale_read,
        back_and_forth,
        lost_write,
        from_nowhere,
        twice,
        both_swapped,
        lost_increment,
        increment_twice,
        append_order,
        deleted_twice,
    ] {
        assert_refuted(text);
    }
}

#[test]
fn a_violation_shows_the_shortest_window() {
    // Fails when a report buries the fault under all that came before it.
    let mut text = String::new();
    for step in 0..300 {
        text += &format!("{} {} write v{step}\n", step * 10, step * 10 + 5);
    }
    text += "3000 3001 write a \n 3002 3003 write b \n 3004 3005 read a \n 3006 3007 write z";
    let violation = assert_refuted(&text);
    assert!(violation.stands_alone);
    let shown: Vec<u64> = violation
        .window
        .iter()
        .map(|operation| operation.call_us)
        .collect();
    assert_eq!(shown, [3002, 3004]);
    assert_eq!(violation.possible, [Some(Bytes::from_static(b"b"))]);
    assert!(violation.to_string().contains("could be [Some(b\"b\")]"));
}

#[test]
fn agrees_with_trying_every_order() {
    // Fails when one of the short cuts (passive operations, counted unknowns, fewest used) loses an order or invents one.
    let seed = 20_261_121;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut refuted = 0;
    for round in 0..6_000 {
        let history = random_history(&mut random);
        let expected = has_order(&history, &None, 0);
        let verdict = check(&history);
        assert_eq!(
            verdict == Verdict::Linearizable,
            expected,
            "round {round}: {verdict:?} for {history:#?}"
        );
        refuted += u32::from(!expected);
    }
    println!("{refuted} of 6000 have no order");
    assert!(
        (1_000..5_000).contains(&refuted),
        "{refuted} of 6000: too lopsided to prove much"
    );
}

/// Up to seven operations of three values. A true run decides most answers; some are then falsified.
fn random_history(random: &mut Random) -> Vec<Operation> {
    let mut state = None;
    let mut operations = Vec::new();
    let numbers = random.chance(300_000);
    for process in 0..random.between(2, 7) {
        let value = Bytes::from_static(*random.pick(&[b"1", b"2", b"3"]));
        let action = match random.below(if numbers { 8 } else { 6 }) {
            0 | 1 => Action::Read,
            2 => Action::Write(value),
            3 => Action::CompareAndSet {
                expected: random
                    .chance(700_000)
                    .then(|| Bytes::from_static(*random.pick(&[b"1", b"2"]))),
                value,
            },
            4 => Action::Delete,
            5 => Action::Append(value),
            _ => Action::Increment(1),
        };
        let strikes_at_us = process * 10 + 50;
        let (after, answer) = action.run(&state);
        let call_us = strikes_at_us - random.below(30);
        let at_us = strikes_at_us + random.below(30);
        let unknown = random.chance(250_000);
        if !unknown || random.chance(500_000) {
            state = after;
        }
        let answer = match answer {
            Answer::Value(_) if random.chance(200_000) => {
                Answer::Value(Some(Bytes::from_static(b"2")))
            }
            Answer::Swapped(was) if random.chance(200_000) => Answer::Swapped(!was),
            Answer::Number(was) if random.chance(200_000) => Answer::Number(was + 1),
            answer => answer,
        };
        operations.push(Operation {
            process,
            key: Bytes::from_static(b"k"),
            action,
            call_us,
            outcome: if unknown {
                Outcome::Unknown
            } else {
                Outcome::Answered { at_us, answer }
            },
        });
    }
    operations
}

/// Tries every order: the definition itself. `done` has a bit for each operation that has taken effect.
fn has_order(history: &[Operation], state: &State, done: u32) -> bool {
    let open = |number: &usize| done & (1 << number) == 0;
    let answered: Vec<usize> = (0..history.len())
        .filter(open)
        .filter(|&number| history[number].return_us().is_some())
        .collect();
    let Some(first_answer_us) = answered
        .iter()
        .filter_map(|&number| history[number].return_us())
        .min()
    else {
        return true;
    };
    (0..history.len())
        .filter(open)
        .filter(|&number| history[number].call_us <= first_answer_us)
        .any(|number| {
            let (after, would) = history[number].action.run(state);
            let allowed = match &history[number].outcome {
                Outcome::Unknown => true,
                Outcome::Answered { answer, .. } => *answer == would,
            };
            allowed && has_order(history, &after, done | (1 << number))
        })
}

/// A correct run: `operations` over `keys` by `clients`, each with an instant at which it strikes.
fn correct_run(seed: u64, operations: usize, keys: u64, clients: u64) -> Vec<Operation> {
    let mut random = Random::new(seed);
    let mut states: BTreeMap<u64, State> = BTreeMap::new();
    let mut free_at_us = vec![0u64; clients as usize];
    let mut planned = Vec::new();
    for number in 0..operations {
        let client = random.below(clients) as usize;
        let call_us = free_at_us[client] + random.below(50);
        let strikes_at_us = call_us + random.below(1_000);
        let return_us = strikes_at_us + random.below(1_000);
        free_at_us[client] = return_us + 1;
        let key = random.below(keys);
        let value = Bytes::from(format!("{number}"));
        let action = match (key % 10, random.below(10)) {
            (_, 0..=3) => Action::Read,
            (0, _) => Action::Increment(1),
            (_, 9) => Action::Delete,
            (_, 8) => Action::CompareAndSet {
                expected: None,
                value,
            },
            _ => Action::Write(value),
        };
        // One in 200 is never answered; half of those strike all the same.
        let unknown = random.chance(5_000);
        let strikes = !unknown || random.chance(500_000);
        planned.push((
            strikes_at_us,
            number as u64,
            key,
            action,
            call_us,
            (!unknown).then_some(return_us),
            strikes,
        ));
    }
    planned.sort_by_key(|plan| (plan.0, plan.1));
    planned
        .into_iter()
        .map(|(_, process, key, action, call_us, return_us, strikes)| {
            let state = states.entry(key).or_default();
            let (after, answer) = action.run(state);
            if strikes {
                *state = after;
            }
            let outcome = return_us.map_or(Outcome::Unknown, |at_us| Outcome::Answered {
                at_us,
                answer,
            });
            Operation {
                process,
                key: Bytes::from(key.to_string()),
                action,
                call_us,
                outcome,
            }
        })
        .collect()
}

#[test]
fn a_hundred_thousand_operations_are_judged_soon() {
    // Fails when the search grows faster than the history: process tests could not be judged.
    let mut history = correct_run(5, 100_000, 50, 40);
    assert_eq!(check(&history), Verdict::Linearizable);
    assert!(history::longest_write_gap_us(&history) < 1_000_000);
    // One answer made false near the end is found.
    let victim = history.iter().rposition(|operation| {
        matches!(
            &operation.outcome,
            Outcome::Answered {
                answer: Answer::Value(Some(_)),
                ..
            }
        )
    });
    history[victim.expect("there are reads")].outcome = Outcome::Answered {
        at_us: u64::MAX,
        answer: Answer::Value(Some(Bytes::from_static(b"never written"))),
    };
    assert!(matches!(check(&history), Verdict::Violation(_)));
}
