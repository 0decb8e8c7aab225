//! Running an epoch on both servers at once, and finding the shortest stream that shows a difference.

use std::io;
use std::time::Duration;

use torc_tests::{Client, Kind, Server, Value, encode};

use crate::compare::Compare;
use crate::generate::{self, Case};
use crate::known;

/// Commands in one round trip to both servers.
const BATCH_COMMANDS_MAX: usize = 300;
/// Replays that shrinking one difference may take.
const REPLAYS_MAX: usize = 400;

/// What a report shows of one reply.
const REPLY_CHARS_MAX: usize = 600;

/// The two servers.
pub struct Pair {
    /// The oracle.
    pub redis: Server,
    /// The tested one.
    pub torc: Server,
}

/// One command that the two answered differently.
pub struct Difference {
    /// Its place in the epoch's stream.
    pub index: usize,
    /// The command.
    pub args: Vec<Vec<u8>>,
    /// Redis's answer.
    pub redis: String,
    /// Torc's answer.
    pub torc: String,
    /// What is the same for all differences of this sort: for counting.
    pub sort: String,
}

/// What a run of one stream showed.
#[derive(Default)]
pub struct Outcome {
    /// The differences that nothing explains.
    pub differences: Vec<Difference>,
    /// How many were explained, by reason.
    pub explained: Vec<&'static str>,
    /// Not even the prologue went through: no other epoch will fare better.
    pub in_prologue: bool,
}

/// A run that ended early because a connection broke.
struct Broken {
    outcome: Outcome,
    in_prologue: bool,
    index: usize,
    args: Vec<Vec<u8>>,
    error: String,
}

impl Pair {
    /// Starts both.
    pub fn start() -> Pair {
        let flags = ["--maxmemory-policy", "allkeys-lru"];
        Pair {
            redis: Server::start_with(Kind::Oracle, &flags),
            torc: Server::start_with(Kind::Tested, &flags),
        }
    }

    /// Runs `cases` on fresh connections after epoch `epoch`'s prologue. A connection that breaks is
    /// a difference like any other.
    pub fn run(&mut self, epoch: u64, cases: &[Case]) -> Outcome {
        let first = match self.run_batches(epoch, cases, BATCH_COMMANDS_MAX) {
            Ok(outcome) => return outcome,
            Err(broken) => broken,
        };
        // Once more, a command at a time, to learn which one broke the connection.
        self.revive();
        let second = self.run_batches(epoch, cases, 1);
        self.revive();
        let broken = match second {
            Err(broken) => broken,
            Ok(outcome) => Box::new(Broken {
                outcome,
                error: format!("{}, but not a second time", first.error),
                ..*first
            }),
        };
        let mut outcome = broken.outcome;
        let place = if broken.in_prologue {
            "in the prologue, "
        } else {
            ""
        };
        outcome.in_prologue = broken.in_prologue;
        outcome.differences.push(Difference {
            index: broken.index,
            sort: format!("{place}{} breaks the connection", name_of(&broken.args)),
            args: broken.args,
            redis: "an answer".into(),
            torc: broken.error,
        });
        outcome
    }

    /// The full iterations of SCAN and the payloads of DUMP, each on the state that an epoch left.
    pub fn compare_keyspaces(&mut self, epoch: u64) -> Vec<String> {
        let check = |pair: &mut Pair| -> io::Result<Vec<String>> {
            let mut redis = Client::connect(pair.redis.port())?;
            let mut torc = Client::connect(pair.torc.port())?;
            crate::keyspace::compare(&mut redis, &mut torc, epoch)
        };
        check(self).unwrap_or_else(|error| {
            self.revive();
            vec![format!("a connection broke: {error}")]
        })
    }

    /// The shortest part of `cases` found that still shows a difference of the sort of `index`'s.
    pub fn shrink(&mut self, epoch: u64, cases: &[Case], index: usize, sort: &str) -> Vec<Case> {
        let mut kept: Vec<Case> = cases[..=index.min(cases.len() - 1)].to_vec();
        if !self.shows(epoch, &kept, sort) {
            return Vec::new(); // It does not repeat: time or chance had a part in it.
        }
        let mut replays = 1;
        let mut step = (kept.len() / 2).max(1);
        while replays < REPLAYS_MAX {
            let mut at = 0;
            let mut removed = false;
            while at < kept.len() && replays < REPLAYS_MAX {
                let end = (at + step).min(kept.len());
                let mut shorter = kept.clone();
                shorter.drain(at..end);
                replays += 1;
                let still = self.shows(epoch, &shorter, sort);
                if still {
                    kept = shorter;
                    removed = true;
                } else {
                    at = end;
                }
            }
            if step == 1 && !removed {
                break;
            }
            step = (step / 2).max(1);
        }
        kept
    }

    fn shows(&mut self, epoch: u64, cases: &[Case], sort: &str) -> bool {
        !cases.is_empty()
            && self
                .run(epoch, cases)
                .differences
                .iter()
                .any(|difference| difference.sort == sort)
    }

    fn run_batches(
        &mut self,
        epoch: u64,
        cases: &[Case],
        batch_max: usize,
    ) -> Result<Outcome, Box<Broken>> {
        let mut outcome = Outcome::default();
        let broken = |outcome: Outcome,
                      in_prologue: bool,
                      index: usize,
                      cases: &[Case],
                      error: io::Error| {
            let args = cases
                .get(index)
                .map(|case| case.args.clone())
                .unwrap_or_default();
            Box::new(Broken {
                outcome,
                in_prologue,
                index,
                args,
                error: error.to_string(),
            })
        };
        let prologue = generate::prologue(epoch);
        let connected = Client::connect(self.redis.port())
            .and_then(|redis| Ok((redis, Client::connect(self.torc.port())?)));
        let (mut redis, mut torc) = match connected {
            Ok(clients) => clients,
            Err(error) => return Err(broken(outcome, true, 0, &prologue, error)),
        };
        for client in [&mut redis, &mut torc] {
            client.set_read_wait(Some(Duration::from_secs(20)));
        }
        for (number, batch) in prologue.chunks(batch_max).enumerate() {
            if let Err(error) = exchange(&mut redis, &mut torc, batch) {
                return Err(broken(outcome, true, number * batch_max, &prologue, error));
            }
        }
        let mut queued = Vec::new();
        let mut start = 0;
        while start < cases.len() {
            let mut end = (start + batch_max).min(cases.len());
            if let Some(pause) = cases[start..end].iter().position(|case| case.pause_ms > 0) {
                end = start + pause + 1;
            }
            let batch = &cases[start..end];
            let (from_redis, from_torc) = match exchange(&mut redis, &mut torc, batch) {
                Ok(replies) => replies,
                Err(error) => return Err(broken(outcome, false, start, cases, error)),
            };
            for (offset, (left, right)) in from_redis.iter().zip(&from_torc).enumerate() {
                judge(
                    &mut outcome,
                    &mut queued,
                    start + offset,
                    &batch[offset],
                    left,
                    right,
                );
            }
            std::thread::sleep(Duration::from_millis(
                batch.last().map_or(0, |case| case.pause_ms),
            ));
            start = end;
        }
        Ok(outcome)
    }

    /// Starts a server anew that has ended.
    fn revive(&mut self) {
        let flags = ["--maxmemory-policy", "allkeys-lru"];
        if self.torc.exit_code(Duration::from_millis(200)).is_some() {
            eprintln!(
                "the tested server ended by itself; its last words:\n{}",
                self.torc.log()
            );
            self.torc = Server::start_with(Kind::Tested, &flags);
        }
        if self.redis.exit_code(Duration::ZERO).is_some() {
            self.redis = Server::start_with(Kind::Oracle, &flags);
        }
    }
}

/// Sends the batch to both before reading from either: they work at the same time.
fn exchange(
    redis: &mut Client,
    torc: &mut Client,
    batch: &[Case],
) -> io::Result<(Vec<Value>, Vec<Value>)> {
    let mut bytes = Vec::new();
    for case in batch {
        encode(&mut bytes, &case.args);
    }
    std::thread::scope(|scope| {
        let oracle = scope.spawn(|| redis.exchange(&bytes, batch.len()));
        let tested = torc.exchange(&bytes, batch.len());
        let oracle = oracle.join().expect("reading replies does not panic");
        let oracle = oracle.unwrap_or_else(|error| panic!("the oracle itself failed: {error}"));
        Ok((oracle, tested?))
    })
}

fn judge(
    outcome: &mut Outcome,
    queued: &mut Vec<Case>,
    index: usize,
    case: &Case,
    redis: &Value,
    torc: &Value,
) {
    let name = name_of(&case.args);
    let members = if name == "EXEC" {
        std::mem::take(queued)
    } else {
        Vec::new()
    };
    if name == "DISCARD" || name == "RESET" {
        queued.clear();
    }
    if *redis == Value::simple("QUEUED") {
        queued.push(case.clone());
    }
    let compares: Vec<Compare> = members.iter().map(|member| member.compare).collect();
    if case.compare.same(redis, torc, &compares) {
        return;
    }
    let reason =
        known::reason(&case.args, redis, torc).or_else(|| reason_inside(&members, redis, torc));
    if let Some(reason) = reason {
        outcome.explained.push(reason);
        return;
    }
    outcome.differences.push(Difference {
        index,
        args: case.args.clone(),
        redis: cut(format!("{redis:?}")),
        torc: cut(format!("{torc:?}")),
        sort: sort_of(&case.args, redis, torc),
    });
}

/// Why the replies of an EXEC may differ: a reason for every one of its commands' replies that does.
fn reason_inside(members: &[Case], redis: &Value, torc: &Value) -> Option<&'static str> {
    let (Value::Array(left), Value::Array(right)) = (redis, torc) else {
        return None;
    };
    if left.len() != members.len() || right.len() != members.len() {
        return None;
    }
    let mut reason = None;
    for (member, (left, right)) in members.iter().zip(left.iter().zip(right)) {
        if !member.compare.same(left, right, &[]) {
            reason = Some(known::reason(&member.args, left, right)?);
        }
    }
    reason
}

/// A reply as far as a report needs it.
fn cut(text: String) -> String {
    match text.char_indices().nth(REPLY_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Command, subcommand, and what kind of answer came from either side.
fn sort_of(args: &[Vec<u8>], redis: &Value, torc: &Value) -> String {
    let side = |value: &Value| match value {
        Value::Error(text) => format!("-{}", String::from_utf8_lossy(&text[..text.len().min(40)])),
        Value::Simple(text) => format!("+{}", String::from_utf8_lossy(text)),
        other => other.kind().to_owned(),
    };
    format!("{}: {} <> {}", name_of(args), side(redis), side(torc))
}

/// The command's name, with the subcommand of a container.
pub fn name_of(args: &[Vec<u8>]) -> String {
    let containers = [
        "CLIENT", "CONFIG", "COMMAND", "OBJECT", "MEMORY", "PUBSUB", "SLOWLOG", "LATENCY", "DEBUG",
    ];
    let upper = |arg: &Vec<u8>| {
        arg[..arg.len().min(24)]
            .to_ascii_uppercase()
            .escape_ascii()
            .to_string()
    };
    let name = args.first().map(upper).unwrap_or_default();
    match args.get(1) {
        Some(sub) if containers.contains(&name.as_str()) => format!("{name} {}", upper(sub)),
        _ => name,
    }
}
