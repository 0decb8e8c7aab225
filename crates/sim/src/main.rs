//! `cargo sim`: the shell around the simulator. Arguments, files and threads are touched here and nowhere else in this crate.

use sim::history;
use sim::linearizability::{self, Verdict};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo sim check-history FILE    judges a history of JSON lines (layout: crates/sim/src/history.rs)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["check-history", path] => check_history(path),
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
