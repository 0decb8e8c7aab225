//! The torc binary: the shell around the node. Sockets, files, the clock, threads and the environment are here and
//! nowhere else.
//!
//! Reading order: `cli` and `config` (what it is started with), `host` (clocks and draws), `listener`, `connection`,
//! `peer` (links to other nodes), `join`, `journal` (the log on disk), `durability` (what becomes of it at start), and
//! `serve`, which starts them. `operator`, `status` and `question` ask a node that runs.

mod banner;
mod cli;
mod config;
mod connection;
mod durability;
mod host;
mod join;
mod journal;
mod listener;
mod logs;
mod operator;
mod peer;
mod question;
mod serve;
mod status;

use anyhow::Context;
use config::{Command, Config};
use operator::Question;
use question::Asked;
use status::Form;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Chosen for its small overhead per allocation and a build of seconds; see ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tasks between two looks at the runtime's shared queue. Fixed, because tuning it by measured times costs a
/// floating point power now and then and wins nothing for tasks as short as ours.
const GLOBAL_QUEUE_INTERVAL: u32 = 61;
/// Between two looks of `torc status --watch`.
const WATCH: Duration = Duration::from_secs(1);
/// How long whoever still holds a thread may do so at the end.
const END_MAX: Duration = Duration::from_millis(100);
/// Descriptors beside the clients': listeners, the runtime's, the logs'.
const OTHER_DESCRIPTORS: u64 = 64;

fn main() -> ExitCode {
    end_on_panic();
    let command = match config::load(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Print(text) => ended(print(&text)),
        Command::Serve(config) => ended(start(*config)),
        Command::Ask {
            asked,
            question,
            form,
            watch,
        } => ended(match watch {
            true => watch_answer(&asked, &question, form),
            false => operator::answer(&asked, &question, form).and_then(|text| print(&text)),
        }),
    }
}

/// Prints a text. That whoever reads it has seen enough of it is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    let printed = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot print the answer")
        }
        _ => Ok(()),
    }
}

/// Prints the answer again and again, each time over the one before. Who watches wants to see a node come back too: only the
/// first look has to succeed.
fn watch_answer(asked: &Asked, question: &Question, form: Form) -> anyhow::Result<()> {
    /// Clears a terminal and goes to its upper left corner.
    const CLEAR: &str = "\x1b[2J\x1b[H";
    let mut answer = Ok(operator::answer(asked, question, form)?);
    loop {
        let mut output = std::io::stdout();
        let clear = match output.is_terminal() {
            true => CLEAR,
            false => "",
        };
        let text = answer.as_deref().unwrap_or_default();
        let text = match (form, rustix::termios::tcgetwinsize(&output)) {
            (Form::Table, Ok(size)) => {
                status::on_screen(text, size.ws_row.into(), size.ws_col.into())
            }
            // JSON is for programs, and what has no size is no terminal.
            (Form::Table | Form::Json, _) => text.into(),
        };
        if write!(output, "{clear}{text}")
            .and_then(|()| output.flush())
            .is_err()
        {
            // Nobody looks any more.
            return Ok(());
        }
        if let Err(error) = &answer {
            eprintln!("torc: {error:#}");
        }
        std::thread::sleep(WATCH);
        answer = operator::answer(asked, question, form);
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("torc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A panic is a bug of ours, and what it left half done must serve nobody: the process ends, and the cluster goes on
/// without it.
fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

/// Builds the runtime and serves until somebody ends it.
fn start(mut config: Config) -> anyhow::Result<()> {
    let logs = logs::start(&config.settings)?;
    let past = durability::open(&config.settings)?;
    raise_descriptors(&mut config);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.settings.worker_threads > 0 {
        builder.worker_threads(config.settings.worker_threads as usize);
    }
    let runtime = builder
        .enable_all()
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .build()
        .context("cannot start threads")?;
    runtime.block_on(serve::serve(config, logs, past))?;
    // Connections end where they wait; whoever still holds a thread does not hold up the end.
    runtime.shutdown_timeout(END_MAX);
    Ok(())
}

/// Asks the system for as many descriptors as clients may need; if it gives fewer, fewer clients are admitted.
fn raise_descriptors(config: &mut Config) {
    let wanted = u64::from(config.settings.maxclients) + OTHER_DESCRIPTORS;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(given) if given < wanted => {
            let clients = given.saturating_sub(OTHER_DESCRIPTORS).max(1) as u32;
            tracing::warn!(
                given,
                maxclients = clients,
                "the system gives too few file descriptors; maxclients is lowered"
            );
            config.settings.maxclients = clients;
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot learn the limit of file descriptors"),
    }
}
