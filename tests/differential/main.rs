//! The differential test: the same seeded stream of commands to `redis-server` and to Torc, in RESP2
//! and RESP3, compared reply by reply.
//!
//! ```text
//! differential [--commands N] [--seed N] [--epoch N] [--show N] [--scripts PERCENT]
//! ```
//!
//! The stream is made of epochs of a few hundred commands. Each starts from empty servers and fresh
//! connections (even epochs speak RESP2, odd ones RESP3) and depends on nothing but the seed and its
//! number, so `--seed S --epoch E` replays exactly one. A difference is shrunk to the shortest stream
//! that still shows it and printed with that; differences of one sort are counted, not repeated.
//! What may differ, and why, stands in `known`.
//!
//! The oracle is Redis 7.0; Torc follows 7.4. A command or option that only 7.4 has is not in the
//! stream. The exit code is 1 when there was any difference.
//!
//! Reading order: `generate` (epochs, transactions), the families `strings`, `bits`, `keys`, `server`,
//! `hashes`, `lists`, `sets`, `sorted_sets`, `scripts` with `script_formats` and `collection_scripts`, all
//! over `vocabulary`; `compare`, `known`; `run`, `keyspace`.

mod bits;
mod collection_scripts;
mod compare;
mod generate;
mod hashes;
mod keys;
mod keyspace;
mod known;
mod lists;
mod random;
mod run;
mod script_formats;
mod scripts;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod vocabulary;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use run::Pair;

/// Commands of one epoch, not counting its prologue.
const EPOCH_COMMANDS: usize = 400;
/// Of a hundred commands, so many on Lua scripts unless it is said otherwise.
const SCRIPTS_PERCENT: usize = 8;

/// What was asked for on the command line.
#[derive(Debug)]
struct Request {
    /// How many commands to run.
    commands: u64,
    /// The stream's seed.
    seed: u64,
    /// Only this epoch.
    epoch: Option<u64>,
    /// Sorts of differences that are shrunk and shown in full.
    show: usize,
    /// How many of a hundred commands are on Lua scripts.
    scripts: usize,
}

/// What a whole run showed.
struct Report {
    commands: u64,
    /// By sort: how many, and the first one in full.
    sorts: BTreeMap<String, (u64, String)>,
    /// By reason: how many were meant to be.
    explained: BTreeMap<&'static str, u64>,
    seconds: f64,
}

fn main() -> ExitCode {
    let request = match request(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(problem) => {
            eprintln!(
                "{problem}\nusage: differential [--commands N] [--seed N] [--epoch N] [--show N] [--scripts PERCENT]"
            );
            return ExitCode::from(2);
        }
    };
    let report = compare_servers(&request);
    print(&request, &report);
    if report.sorts.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn request(mut words: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut request = Request {
        commands: 100_000,
        seed: 1,
        epoch: None,
        show: 30,
        scripts: SCRIPTS_PERCENT,
    };
    while let Some(word) = words.next() {
        let text = words
            .next()
            .ok_or_else(|| format!("{word} needs a number"))?;
        let number: u64 = text
            .parse()
            .map_err(|_| format!("{word} needs a number, not {text}"))?;
        match word.as_str() {
            "--commands" => request.commands = number,
            "--seed" => request.seed = number,
            "--epoch" => request.epoch = Some(number),
            "--show" => request.show = number as usize,
            "--scripts" => request.scripts = number as usize,
            _ => return Err(format!("unknown flag {word}")),
        }
    }
    Ok(request)
}

fn compare_servers(request: &Request) -> Report {
    let mut pair = Pair::start();
    let start = Instant::now();
    let mut report = Report {
        commands: 0,
        sorts: BTreeMap::new(),
        explained: BTreeMap::new(),
        seconds: 0.0,
    };
    let epochs = match request.epoch {
        Some(epoch) => epoch..epoch + 1,
        None => 0..request.commands.div_ceil(EPOCH_COMMANDS as u64),
    };
    for epoch in epochs {
        let cases = generate::epoch((request.seed, epoch), EPOCH_COMMANDS, request.scripts);
        let outcome = pair.run(epoch, &cases);
        report.commands += cases.len() as u64;
        let hopeless = outcome.in_prologue;
        for reason in outcome.explained {
            *report.explained.entry(reason).or_default() += 1;
        }
        let mut new_sorts = Vec::new();
        for difference in outcome.differences {
            let shown = report.sorts.len() + new_sorts.len() < request.show;
            let entry = report
                .sorts
                .entry(difference.sort.clone())
                .or_insert_with(|| {
                    if shown {
                        new_sorts.push((difference.index, difference.sort.clone()));
                    }
                    (
                        0,
                        format!(
                            "    first at --seed {} --epoch {epoch}, index {}: {}",
                            request.seed,
                            difference.index,
                            line(&difference)
                        ),
                    )
                });
            entry.0 += 1;
        }
        if hopeless {
            break;
        }
        // After the keyspaces, since shrinking runs other streams on the servers.
        for words in pair.compare_keyspaces(epoch) {
            let sort = words.split(':').next().unwrap_or_default().to_owned();
            report
                .sorts
                .entry(sort)
                .or_insert_with(|| {
                    (
                        0,
                        format!("    --seed {} --epoch {epoch}: {words}", request.seed),
                    )
                })
                .0 += 1;
        }
        for (index, sort) in new_sorts {
            let shortest = pair.shrink(epoch, &cases, index, &sort);
            if let Some((_, text)) = report.sorts.get_mut(&sort) {
                let stream: Vec<String> = shortest
                    .iter()
                    .map(|case| format!("        {}", words(&case.args)))
                    .collect();
                if stream.is_empty() {
                    text.push_str("\n    it does not repeat");
                } else {
                    text.push_str(&format!(
                        "\n    shortest stream (RESP{}):\n{}",
                        2 + epoch % 2,
                        stream.join("\n")
                    ));
                }
            }
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    report
}

fn print(request: &Request, report: &Report) {
    for (sort, (count, text)) in &report.sorts {
        println!("DIFFERENT {count} x {sort}\n{text}");
    }
    for (reason, count) in &report.explained {
        println!("meant to differ {count} x: {reason}");
    }
    let rate = report.commands as f64 / report.seconds.max(0.001);
    println!(
        "differential: seed {}, {} commands, {} sorts of difference, {:.1} s, {rate:.0} commands/s",
        request.seed,
        report.commands,
        report.sorts.len(),
        report.seconds
    );
}

fn line(difference: &run::Difference) -> String {
    format!(
        "{}\n      redis {}\n      torc  {}",
        words(&difference.args),
        difference.redis,
        difference.torc
    )
}

/// A command as one types it, binary escaped, long arguments cut.
fn words(args: &[Vec<u8>]) -> String {
    let word = |arg: &Vec<u8>| {
        let text = arg[..arg.len().min(200)].escape_ascii().to_string();
        let text = if arg.len() > 200 {
            format!("{text}…({} bytes)", arg.len())
        } else {
            text
        };
        if text.is_empty() || text.contains(' ') || text.contains('\\') {
            format!("\"{text}\"")
        } else {
            text
        }
    };
    args.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_thousand_commands_are_answered_as_redis_answers_them() {
        // Fails when any reply differs from Redis's and no reason for it is written down.
        let request = Request {
            commands: 20_000,
            seed: 20_261_121,
            epoch: None,
            show: 10,
            scripts: SCRIPTS_PERCENT,
        };
        let report = compare_servers(&request);
        print(&request, &report);
        assert!(
            report.sorts.is_empty(),
            "{} sorts of difference, printed above",
            report.sorts.len()
        );
    }

    #[test]
    fn an_epoch_depends_on_its_seed_and_number_alone() {
        // Fails when a difference that was reported cannot be replayed.
        let names = |seed, epoch| -> Vec<Vec<Vec<u8>>> {
            generate::epoch((seed, epoch), 100, SCRIPTS_PERCENT)
                .into_iter()
                .map(|case| case.args)
                .collect()
        };
        assert_eq!(names(7, 3), names(7, 3));
        assert_ne!(names(7, 3), names(7, 4));
        assert_ne!(names(7, 3), names(8, 3));
    }

    #[test]
    fn a_difference_is_seen() {
        // Fails when the comparison is so loose that it would pass anything.
        use compare::Compare;
        use torc_tests::Value;
        let different = [
            (Compare::Exact, Value::NullBulk, Value::NullArray),
            (Compare::Exact, Value::Integer(1), Value::bulk("1")),
            (Compare::Kind, Value::error("ERR a"), Value::error("ERR b")),
            (Compare::Kind, Value::NullBulk, Value::bulk("")),
            (Compare::Near(2), Value::Integer(-1), Value::Integer(-2)),
            (Compare::Near(2), Value::Integer(10), Value::Integer(13)),
            (
                Compare::Unordered,
                Value::Array(vec![Value::bulk("a")]),
                Value::Array(vec![Value::bulk("b")]),
            ),
        ];
        for (compare, left, right) in different {
            assert!(
                !compare.same(&left, &right, &[]),
                "{compare:?} {left:?} {right:?}"
            );
        }
    }
}
