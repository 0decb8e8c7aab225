//! `cargo sim`: the shell around the simulator. Arguments, files and threads are touched here and nowhere else in this crate.

use sim::faults::Tally;
use sim::group::{self, Flaw, Report, Tracing};
use sim::history;
use sim::linearizability::{self, Verdict};
use sim::model::{self, Bounds, Group};
use sim::whole;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

const USAGE: &str = "\
usage: cargo sim SEED                  runs one seed of one group and prints what happens in it
       cargo sim whole SEED            the same with a cluster of whole nodes
       cargo sim light SEED            the same with clients that rest more
       cargo sim resets SEED           the same where shards lose the memory of majorities
       cargo sim run [--group | --whole | --light | --resets] [--from SEED] [--count N] [--minutes M] [--threads T]
                                       runs seeds one after another; without --from, fresh ones. Ends at the first of
                                       N seeds (100) and M minutes; prints a line for each that fails. With neither
                                       --group nor --whole one in 16 is of whole nodes
       cargo sim mutants [--seeds N] [NAME…]
                                       takes out one rule after another, or those that are named, and counts seeds
                                       until that is noticed
       cargo sim model [CAMPAIGNS PROPOSALS CRASHES CHANGES STEPS]
                                       tries every order of events of a small group, up to these bounds; without
                                       them, 2 2 0 0 15 and 2 2 1 1 12, which takes minutes and 5 GB of memory
       cargo sim check-history FILE    judges a history of JSON lines (layout: crates/sim/src/history.rs)";

/// Seeds that may fail before a search ends.
const FAILURES_MAX: u64 = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["check-history", path] => check_history(path),
        ["run", options @ ..] => Search::parse(options).and_then(|search| search.run()),
        ["mutants", "--seeds", count, names @ ..] => {
            number(count).and_then(|count| mutants(count, names))
        }
        ["mutants", names @ ..] => mutants(sim::mutants::SEEDS_MAX, names),
        ["model"] => {
            model(Bounds::NARROW.further(2)).and_then(|()| model(Bounds::BROAD.further(2)))
        }
        ["model", campaigns, proposals, crashes, changes, steps] => {
            let small = |word: &str| number(word).map(|count| count.min(255) as u8);
            (|| {
                model(Bounds {
                    campaigns: small(campaigns)?,
                    proposals: small(proposals)?,
                    crashes: small(crashes)?,
                    changes: small(changes)?,
                    steps: number(steps)? as usize,
                })
            })()
        }
        ["whole", seed] => number(seed).and_then(|seed| replay_whole(seed, Kind::Whole)),
        ["light", seed] => number(seed).and_then(|seed| replay_whole(seed, Kind::Light)),
        ["resets", seed] => number(seed).and_then(|seed| replay_whole(seed, Kind::Resets)),
        [seed] => number(seed).and_then(replay),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse()
        .map_err(|_| format!("{word:?} is no number\n{USAGE}"))
}

fn replay(seed: u64) -> Result<(), String> {
    let report = group::run(seed, Flaw::None, Tracing::On);
    for line in &report.trace {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} operations, {} indexes chosen, {} leaderships, {} events",
        report.operations, report.chosen, report.leaderships, report.events
    );
    println!("{}", report.tally);
    match report.violation {
        None => Ok(()),
        Some(what) => Err(format!("seed {seed}: {what}; replay: cargo sim {seed}")),
    }
}

fn replay_whole(seed: u64, kind: Kind) -> Result<(), String> {
    let Some(run) = kind.of_nodes() else {
        return replay(seed);
    };
    let report = run(seed, Tracing::On);
    for line in &report.trace {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} operations, {} leaderships, {} events, digest {:016x}",
        report.operations, report.leaderships, report.events, report.digest
    );
    println!("{}", report.tally);
    match report.violation {
        None => Ok(()),
        Some(what) => Err(format!(
            "seed {seed}: {what}; replay: cargo sim {}{seed}",
            kind.word()
        )),
    }
}

/// What is run of a seed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A group of replicas.
    Group,
    /// A cluster of nodes.
    Whole,
    /// A cluster of nodes whose clients rest more.
    Light,
    /// One in which shards lose the memory of majorities.
    Resets,
}

impl Kind {
    /// What runs it; none: it is of one group.
    fn of_nodes(self) -> Option<fn(u64, Tracing) -> whole::Report> {
        match self {
            Kind::Group => None,
            Kind::Whole => Some(whole::run),
            Kind::Light => Some(whole::run_lightly),
            Kind::Resets => Some(whole::run_with_resets),
        }
    }

    /// Ahead of the seed, where one is replayed.
    fn word(self) -> &'static str {
        match self {
            Kind::Group => "",
            Kind::Whole => "whole ",
            Kind::Light => "light ",
            Kind::Resets => "resets ",
        }
    }
}

/// In a search of both kinds one seed in so many is of whole nodes.
const WHOLE_EVERY: u64 = 16;

/// Which seeds to run.
struct Search {
    /// None: both.
    kind: Option<Kind>,
    from: u64,
    count: u64,
    minutes: Option<u64>,
    threads: u64,
}

/// What a search has come to.
#[derive(Default)]
struct Sums {
    tally: Tally,
    seeds: u64,
    operations: u64,
    leaderships: u64,
    lost: u64,
    resets: u64,
    undecided: u64,
    failures: Vec<u64>,
}

impl Search {
    fn parse(options: &[&str]) -> Result<Search, String> {
        let (kind, options) = match options {
            ["--group", rest @ ..] => (Some(Kind::Group), rest),
            ["--whole", rest @ ..] => (Some(Kind::Whole), rest),
            ["--light", rest @ ..] => (Some(Kind::Light), rest),
            ["--resets", rest @ ..] => (Some(Kind::Resets), rest),
            all => (None, all),
        };
        let mut search = Search {
            kind,
            from: fresh_seed(),
            count: 100,
            minutes: None,
            threads: 1,
        };
        let mut counted = false;
        for pair in options.chunks(2) {
            let [name, value] = pair else {
                return Err(USAGE.to_owned());
            };
            let value = number(value)?;
            match *name {
                "--from" => search.from = value,
                "--count" => (search.count, counted) = (value, true),
                "--minutes" => search.minutes = Some(value),
                "--threads" => search.threads = value.max(1),
                _ => return Err(USAGE.to_owned()),
            }
        }
        if search.minutes.is_some() && !counted {
            search.count = u64::MAX;
        }
        Ok(search)
    }

    fn run(&self) -> Result<(), String> {
        let next = AtomicU64::new(0);
        let sums = Mutex::new(Sums::default());
        let started = Instant::now();
        println!("seeds from {}", self.from);
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| self.work(&next, &sums, started));
            }
        });
        let sums = sums.into_inner().expect("no worker panics");
        println!(
            "{} seeds in {} s: {} operations, {} leaderships, {} groups lost to amnesia, {} resets, {} histories too wide, {} violations",
            sums.seeds,
            started.elapsed().as_secs(),
            sums.operations,
            sums.leaderships,
            sums.lost,
            sums.resets,
            sums.undecided,
            sums.failures.len()
        );
        println!("{}", sums.tally);
        if sums.failures.is_empty() {
            Ok(())
        } else {
            Err(format!("failing seeds: {:?}", sums.failures))
        }
    }

    fn kind_of(&self, offset: u64) -> Kind {
        self.kind.unwrap_or(match offset % WHOLE_EVERY {
            0 => Kind::Whole,
            _ => Kind::Group,
        })
    }

    fn work(&self, next: &AtomicU64, sums: &Mutex<Sums>, started: Instant) {
        let minutes = self
            .minutes
            .map(|minutes| Duration::from_secs(minutes * 60));
        while minutes.is_none_or(|minutes| started.elapsed() < minutes) {
            let offset = next.fetch_add(1, Ordering::Relaxed);
            if offset >= self.count {
                return;
            }
            let seed = self.from.wrapping_add(offset);
            let report = match self.kind_of(offset).of_nodes() {
                None => group::run(seed, Flaw::None, Tracing::Off),
                Some(run) => run(seed, Tracing::Off).into(),
            };
            if let Some(what) = &report.violation {
                let line = what.lines().next().unwrap_or_default();
                let whole = self.kind_of(offset).word();
                println!("{whole}seed {seed}: {line}; replay: cargo sim {whole}{seed}");
            }
            let mut sums = sums.lock().expect("no worker panics");
            sums.add(seed, &report);
            if sums.failures.len() as u64 >= FAILURES_MAX {
                return;
            }
        }
    }
}

impl Sums {
    fn add(&mut self, seed: u64, report: &Report) {
        self.tally.add(&report.tally);
        self.seeds += 1;
        self.operations += report.operations;
        self.leaderships += report.leaderships;
        self.lost += u64::from(report.is_lost);
        self.resets += report.resets;
        self.undecided += u64::from(report.is_undecided);
        if report.violation.is_some() {
            self.failures.push(seed);
        }
    }
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64 * 1_000
}

fn mutants(seeds_max: u64, names: &[&str]) -> Result<(), String> {
    let mut survivors = Vec::new();
    let is_named = |flaw: &Flaw| {
        let shown = format!("{flaw:?}");
        names.is_empty() || names.iter().any(|name| shown.contains(name))
    };
    for flaw in sim::mutants::all().into_iter().filter(is_named) {
        let found = sim::mutants::hunt(flaw, 1, seeds_max);
        println!("{found}");
        if found.is_survivor() {
            survivors.push(format!("{flaw:?}"));
        }
    }
    if survivors.is_empty() {
        Ok(())
    } else {
        Err(format!("not noticed in {seeds_max} seeds: {survivors:?}"))
    }
}

fn model(bounds: Bounds) -> Result<(), String> {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let group = Group {
        bounds,
        mutation: None,
    };
    let outcome = model::check(group, threads);
    println!(
        "{bounds:?}: {} states in {} s",
        outcome.states,
        started.elapsed().as_secs()
    );
    match outcome.violation {
        None if outcome.reaches => Ok(()),
        None => Err("the bound is too small: not all that is to be seen was reached".to_owned()),
        Some(steps) => Err(format!("replicas disagree after {steps}")),
    }
}

fn check_history(path: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let history = history::parse(&text).map_err(|error| format!("{path}: {error}"))?;
    let gap_ms = history::longest_write_gap_us(&history) / 1_000;
    let said = format!(
        "{} operations, longest write gap {gap_ms} ms",
        history.len()
    );
    match linearizability::check(&history) {
        Verdict::Linearizable => {
            println!("{said}, linearizable");
            Ok(())
        }
        Verdict::Violation(violation) => Err(format!("{said}, NOT linearizable\n{violation}")),
        Verdict::Undecided { key } => Err(format!(
            "{said}, undecided: key {key:?} has too many operations of unknown outcome at once"
        )),
    }
}
