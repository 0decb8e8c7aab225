//! Logs: `tracing` to standard error or to a file, at the level of `loglevel`, which may change at run time.

use anyhow::Context;
use node::Settings;
use node::settings::LogLevel;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::sync::Mutex;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// The logs, once started.
pub struct Logs {
    level: Mutex<LogLevel>,
    filter: reload::Handle<LevelFilter, Registry>,
}

/// Starts the logs.
///
/// # Errors
/// If the log file cannot be opened.
pub fn start(settings: &Settings) -> anyhow::Result<Logs> {
    let (filter, handle) = reload::Layer::new(filter_of(settings.loglevel));
    let registry = tracing_subscriber::registry().with(filter);
    if settings.logfile.is_empty() {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(false)
                    .with_writer(std::io::stderr),
            )
            .init();
    } else {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&settings.logfile)
            .with_context(|| format!("cannot open the log file {}", settings.logfile))?;
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_target(false)
                    .with_writer(file),
            )
            .init();
    }
    Ok(Logs {
        level: Mutex::new(settings.loglevel),
        filter: handle,
    })
}

impl Logs {
    /// Changes the level, if it is another one.
    pub fn set_level(&self, level: LogLevel) {
        let mut current = self.level.lock().expect("nobody panics while holding it");
        if *current != level {
            *current = level;
            let _ = self.filter.modify(|filter| *filter = filter_of(level));
        }
    }
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}
