//! What the node is told at start, from four sources: defaults, then the file that `--config` names,
//! then `TORC_*` in the environment, then flags; each overrides those before it. All four go
//! through one table ([`options::OPTIONS`]) and the parsers of [`node::settings`], so a value is
//! written alike everywhere and means what it means in Redis.
//!
//! Reading order: this file, `config/options.rs` (the table), `config/file.rs`, `config/memory.rs`
//! (what `maxmemory` is when nobody says), `config/print.rs`; `cli.rs` has the flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use node::settings::{MAXMEMORY_MIN_BYTES, Settings};

use crate::cli::{self, Invocation};
use crate::operator::Question;
use crate::question::Asked;
use crate::status::Form;

mod file;
mod memory;
pub(crate) mod options;
pub(crate) mod print;

use options::{OPTIONS, Opt, Shape};

/// Everything that a node is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// All values by name. Units, defaults and reasons stand with the fields of [`Settings`].
    pub settings: Settings,
    /// Who decided `settings.maxmemory_bytes`.
    pub maxmemory_source: MaxmemorySource,
    /// The file that was read, if one was named. None by default: a node needs no file.
    pub config_file: Option<PathBuf>,
}

/// Where the memory limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxmemorySource {
    /// Somebody named an amount.
    Configured,
    /// 60 % of the memory that the machine or the container has: the rest is for connections'
    /// buffers, the allocator's slack and everything else that runs there.
    Automatic,
}

/// The share of memory that a node takes when nobody says, in percent.
pub const MAXMEMORY_AUTOMATIC_PERCENT: u64 = 60;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a node.
    Serve(Box<Config>),
    /// Ask a running node, and print what it answers.
    Ask {
        /// Which.
        asked: Asked,
        /// What.
        question: Question,
        /// How the answer is printed.
        form: Form,
        /// Whether the question is asked again and again.
        watch: bool,
    },
    /// Print this text and exit with success: help, version or the configuration.
    Print(String),
}

/// All that is wrong with a configuration, in the order file, environment, flags, and what does not
/// go together last. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// What a node was to be asked or told, as `node drain`; none, if one was to be started.
    pub command: Option<String>,
    /// The errors.
    pub errors: Vec<ConfigError>,
}

/// Errors that are printed; the rest is counted. A file of quite another kind has one on each line.
const ERRORS_SHOWN_MAX: usize = 30;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// Where it stands.
    pub origin: Origin,
    /// What it is.
    pub message: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// The configuration file, with the line (from 1) where there is one.
    File {
        /// As it was named.
        path: PathBuf,
        /// Line, from 1.
        line: Option<usize>,
    },
    /// This variable of the environment.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File { path, line: None } => write!(out, "{}", path.display()),
            Origin::File {
                path,
                line: Some(line),
            } => write!(out, "{}:{line}", path.display()),
            Origin::Environment(variable) => write!(out, "environment, {variable}"),
            Origin::Flag => out.write_str("command line"),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.command {
            None => out.write_str("torc cannot start with this configuration:")?,
            Some(command) => write!(out, "torc {command}, which has --help, was not understood:")?,
        }
        for error in self.errors.iter().take(ERRORS_SHOWN_MAX) {
            write!(out, "\n  {}: {}", error.origin, error.message)?;
        }
        match self.errors.len().saturating_sub(ERRORS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(out, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads all sources. `args` starts with the program's name, `env` looks a variable up.
///
/// # Errors
///
/// [`ConfigErrors`], with everything that is wrong in any source at once, but for one case: flags
/// that cannot be told apart at all are reported alone.
pub fn load(
    args: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Command, ConfigErrors> {
    load_on(args, env, Path::new("/"))
}

/// [`load`] on a machine whose `/proc` and `/sys` are found below `root`.
fn load_on(
    args: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
    root: &Path,
) -> Result<Command, ConfigErrors> {
    let flags = match cli::parse(args) {
        Ok(Invocation::Run(flags)) => flags,
        Ok(Invocation::Print(text)) => return Ok(Command::Print(text)),
        Err(cli::Misread { command, message }) => {
            let origin = Origin::Flag;
            let errors = vec![ConfigError { origin, message }];
            return Err(ConfigErrors { command, errors });
        }
    };

    let mut layers = Layers::new();
    let config_file = flags
        .config_file
        .or_else(|| env("TORC_CONFIG").map(PathBuf::from));
    if let Some(path) = &config_file {
        layers.file(path);
    }
    for option in OPTIONS {
        let variable = option.variable();
        if let Some(value) = env(&variable) {
            layers.set(option.name, &value, Origin::Environment(variable));
        }
    }
    for (name, value) in flags.values {
        layers.set(name, &value, Origin::Flag);
    }
    if let cli::Action::Ask(asking) = flags.action {
        return layers.ask(asking);
    }
    let config = layers.finish(config_file, root)?;

    match flags.action {
        cli::Action::Serve => Ok(Command::Serve(Box::new(config))),
        cli::Action::Ask(_) => unreachable!("answered above"),
        cli::Action::PrintConfig => Ok(Command::Print(print::config_text(&config))),
    }
}

/// The sources read so far, laid one over the other.
struct Layers {
    /// `maxmemory_bytes` is 0 until somebody names an amount, against the rule of [`Settings`];
    /// [`Layers::finish`] mends that.
    settings: Settings,
    /// Where each option's present value comes from, if not from its default.
    origins: BTreeMap<&'static str, Origin>,
    errors: Vec<ConfigError>,
}

impl Layers {
    fn new() -> Layers {
        Layers {
            settings: Settings {
                maxmemory_bytes: 0,
                maxmemory_automatic_bytes: 0,
                ..Settings::default()
            },
            origins: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    fn error(&mut self, origin: Origin, message: impl Into<String>) {
        let message = message.into();
        self.errors.push(ConfigError { origin, message });
    }

    fn file(&mut self, path: &Path) {
        let origin = |line| Origin::File {
            path: path.into(),
            line,
        };
        match file::read(path) {
            Ok(entries) => {
                for entry in entries {
                    let origin = origin(Some(entry.line));
                    match entry.value {
                        Ok(value) => self.set(&entry.name, &value, origin),
                        Err(problem) => self.error(origin, format!("{}: {problem}", entry.name)),
                    }
                }
            }
            Err(problems) => {
                for problem in problems {
                    self.error(origin(problem.line), problem.message);
                }
            }
        }
    }

    fn set(&mut self, name: &str, value: &str, origin: Origin) {
        let Some(option) = options::find(name) else {
            let meant = options::find(&name.to_ascii_lowercase().replace('_', "-"));
            let message = match (meant, self.settings.get(name)) {
                (Some(meant), _) => format!("{name}: there is no such option, but {}", meant.name),
                // A name of Redis's that has one value here; only a lower-case one is quoted back.
                (None, Some(only)) => {
                    format!("{name}: cannot be configured, it is always '{only}' here")
                }
                (None, None) => format!("{name}: there is no such option (torc --help lists them)"),
            };
            return self.error(origin, message);
        };
        match self
            .settings
            .configure(option.name, option.redis_text(value))
        {
            Ok(()) => {
                self.origins.insert(option.name, origin);
            }
            Err(refusal) => {
                let refusal = refusal.expect("every option is a setting");
                let shown = match option.shape {
                    // Errors end in logs.
                    Shape::Secret => "(not shown)",
                    Shape::Words(_) | Shape::Word(_) | Shape::YesNo | Shape::Memory => value,
                };
                self.error(origin, format!("{name} '{shown}': {refusal}"));
            }
        }
    }

    fn origin(&self, option: &str) -> Origin {
        self.origins.get(option).cloned().unwrap_or(Origin::Default)
    }

    /// To ask a node needs no more of the configuration than where it is and its password.
    fn ask(self, asking: cli::Asking) -> Result<Command, ConfigErrors> {
        if !self.errors.is_empty() {
            return Err(ConfigErrors {
                command: Some(asking.command),
                errors: self.errors,
            });
        }
        let settings = self.settings;
        let here = || format!("127.0.0.1:{}", settings.port);
        Ok(Command::Ask {
            asked: Asked {
                address: asking.address.unwrap_or_else(here),
                password: settings.requirepass,
            },
            question: asking.question,
            form: asking.form,
            watch: asking.watch,
        })
    }

    /// Fills in what nobody gave, and checks what one value cannot tell.
    fn finish(mut self, config_file: Option<PathBuf>, root: &Path) -> Result<Config, ConfigErrors> {
        let memory_bytes = memory::limit_bytes(root);
        let automatic_bytes = memory_bytes.map(|bytes| bytes / 100 * MAXMEMORY_AUTOMATIC_PERCENT);
        let maxmemory_source = match self.settings.maxmemory_bytes {
            0 => MaxmemorySource::Automatic,
            _ => MaxmemorySource::Configured,
        };
        match (maxmemory_source, automatic_bytes) {
            (MaxmemorySource::Automatic, None) => self.error(
                self.origin("maxmemory"),
                "maxmemory: this machine does not tell how much memory it has; name an amount",
            ),
            (MaxmemorySource::Automatic, Some(bytes)) if bytes < MAXMEMORY_MIN_BYTES => {
                let message = format!(
                    "maxmemory: {MAXMEMORY_AUTOMATIC_PERCENT} % of the memory here is \
                     {bytes} bytes, too little to run with"
                );
                self.error(self.origin("maxmemory"), message);
            }
            (MaxmemorySource::Automatic, Some(bytes)) => self.settings.maxmemory_bytes = bytes,
            (MaxmemorySource::Configured, _) => {}
        }
        // What `CONFIG SET maxmemory 0` goes back to; where the machine does not tell, to the start's.
        self.settings.maxmemory_automatic_bytes =
            automatic_bytes.unwrap_or(self.settings.maxmemory_bytes);

        let Settings {
            protected_mode,
            requirepass,
            ..
        } = &self.settings;
        if *protected_mode && requirepass.is_empty() && !self.settings.bind_is_loopback() {
            let bind = self.settings.get("bind").expect("bind is a setting");
            let message = format!(
                "bind '{bind}': other machines could use this node, and there is no password: set \
                 requirepass, or bind to 127.0.0.1, or set protected-mode no if everybody who can \
                 reach it may use it"
            );
            self.error(self.origin("bind"), message);
        }
        if !self.errors.is_empty() {
            return Err(ConfigErrors {
                command: None,
                errors: self.errors,
            });
        }
        Ok(Config {
            settings: self.settings,
            maxmemory_source,
            config_file,
        })
    }
}

impl Opt {
    /// `value` as Redis writes it: where yes or no is asked for, true and false do as well, as those
    /// are what TOML and container tools have.
    fn redis_text<'a>(&self, value: &'a str) -> &'a str {
        match (self.shape, value) {
            (Shape::YesNo, "true") => "yes",
            (Shape::YesNo, "false") => "no",
            _ => value,
        }
    }
}

#[cfg(test)]
mod tests;
