//! The command line, made from the table of options.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::options::{OPTIONS, Opt, Shape};
use crate::status::Form;

/// What a command line asks for.
pub(crate) enum Invocation {
    /// Something that needs the configuration.
    Run(Flags),
    /// Print this text, and that is all.
    Print(String),
}

/// The flags of a command line.
pub(crate) struct Flags {
    pub(crate) action: Action,
    /// `--config`.
    pub(crate) config_file: Option<PathBuf>,
    /// The options that were given, in the order of the table.
    pub(crate) values: Vec<(&'static str, String)>,
}

/// What to do with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Serve,
    PrintConfig,
    /// `torc status`.
    Status {
        /// HOST:PORT, if it was given.
        address: Option<String>,
        form: Form,
    },
}

/// Reads a command line, which starts with the program's name.
///
/// # Errors
///
/// The words for flags that are unknown, doubled or lack their value.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, String> {
    match command().try_get_matches_from(args) {
        Ok(matches) => Ok(Invocation::Run(flags(&matches))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Invocation::Print(error.to_string()))
            }
            _ => Err(words(&error.to_string())),
        },
    }
}

fn flags(matches: &ArgMatches) -> Flags {
    // Flags may stand before or after the subcommand; it sees both.
    let (command, matches) = matches.subcommand().unwrap_or(("serve", matches));
    let values = OPTIONS.iter().filter_map(|option| {
        let given = matches.get_many::<String>(option.name)?;
        let words: Vec<&str> = given.map(String::as_str).collect();
        Some((option.name, words.join(" ")))
    });
    Flags {
        action: match (command, matches.get_flag("print-config")) {
            (_, true) => Action::PrintConfig,
            ("status", false) => Action::Status {
                address: matches.get_one("address").cloned(),
                form: match matches.get_flag("json") {
                    true => Form::Json,
                    false => Form::Table,
                },
            },
            (_, false) => Action::Serve,
        },
        config_file: matches.get_one("config").cloned(),
        values: values.collect(),
    }
}

/// The parser's message without the usage that follows it, on one line.
fn words(message: &str) -> String {
    let lines: Vec<&str> = message
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let text = lines.join("; ");
    text.strip_prefix("error: ").unwrap_or(&text).into()
}

const ABOUT: &str = "A distributed cache that Redis clients use as they use Redis";

const SOURCES: &str = "\
Every option can also be set in the environment, as TORC_MAXMEMORY=2gb, or in the file that
--config or TORC_CONFIG names, as maxmemory = \"2gb\". Flags override the environment, and the
environment overrides the file. torc --print-config prints such a file.

Memory: 1k is 1000 bytes, 1kb is 1024; likewise m, mb, g and gb.";

fn command() -> Command {
    let general = [
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Read options from this TOML file"),
        Arg::new("print-config")
            .long("print-config")
            .action(ArgAction::SetTrue)
            .help("Print the configuration in effect, with comments, and exit"),
    ];
    Command::new("torc")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(SOURCES)
        .args(general.map(|argument| argument.global(true)))
        .args(OPTIONS.iter().map(argument))
        .subcommand(
            Command::new("serve")
                .about("Run a node; also what torc does when no command is given")
                .after_help(SOURCES),
        )
        .subcommand(
            Command::new("status")
                .about("Show the nodes, shards and leaders of a running cluster")
                .after_help("A password is taken from --requirepass, TORC_REQUIREPASS or the file.")
                .arg(
                    Arg::new("address")
                        .value_name("HOST:PORT")
                        .help("A node's clients' port [default: this machine, --port]"),
                )
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print JSON"),
                ),
        )
}

fn argument(option: &Opt) -> Arg {
    let default = match option.default {
        "" => "none",
        default => default,
    };
    let argument = Arg::new(option.name)
        .long(option.name)
        .value_name(option.shape.value_name())
        .value_parser(ValueParser::string())
        .allow_negative_numbers(true)
        .help_heading(option.group.heading())
        .help(format!("{} [default: {default}]", option.help))
        .global(true);
    match option.shape {
        Shape::Words(_) => argument.num_args(1..).action(ArgAction::Append),
        Shape::Word(_) | Shape::YesNo | Shape::Memory | Shape::Secret => argument,
    }
}
