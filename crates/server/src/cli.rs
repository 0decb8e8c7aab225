//! The command line, made from the table of options.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::options::{OPTIONS, Opt, Shape};
use crate::operator::Question;
use crate::status::Form;

mod operate;

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
    /// Ask a node that runs.
    Ask(Asking),
}

/// What a node is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// The command's words, as `node drain`.
    pub(crate) command: String,
    /// HOST:PORT, if it was given.
    pub(crate) address: Option<String>,
    pub(crate) question: Question,
    pub(crate) form: Form,
    /// Whether it is asked again and again.
    pub(crate) watch: bool,
}

/// Why a command line is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misread {
    /// What a node was to be asked or told, as `node drain`; none, if one was to be started.
    pub(crate) command: Option<String>,
    /// The words for flags that are unknown, doubled or lack their value.
    pub(crate) message: String,
}

/// Reads a command line, which starts with the program's name.
///
/// # Errors
///
/// [`Misread`].
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, Misread> {
    let args: Vec<OsString> = args.collect();
    match command().try_get_matches_from(&args) {
        Ok(matches) => Ok(Invocation::Run(flags(&matches))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Invocation::Print(error.to_string()))
            }
            _ => {
                let message = error.to_string();
                Err(Misread {
                    command: command_of(&args),
                    message: words(&message),
                })
            }
        },
    }
}

/// The command that arguments which are wrong somewhere ask for, if it is one that does not start a node.
fn command_of(args: &[OsString]) -> Option<String> {
    let read = command().ignore_errors(true).try_get_matches_from(args);
    let matches = read.ok()?;
    let mut path = Vec::new();
    let mut inner = &matches;
    while let Some((name, next)) = inner.subcommand() {
        path.push(name);
        inner = next;
    }
    match path.as_slice() {
        [] | ["serve"] | ["node", "add"] => None,
        path => Some(path.join(" ")),
    }
}

fn flags(matches: &ArgMatches) -> Flags {
    // Flags may stand before or after the subcommand; it sees both.
    let mut path = Vec::new();
    let mut matches = matches;
    while let Some((name, inner)) = matches.subcommand() {
        path.push(name);
        matches = inner;
    }
    let values = OPTIONS.iter().filter_map(|option| {
        let given = matches.get_many::<String>(option.name)?;
        let words: Vec<&str> = given.map(String::as_str).collect();
        Some((option.name, words.join(" ")))
    });
    let mut values: Vec<(&'static str, String)> = values.collect();
    let action = match (matches.get_flag("print-config"), path.as_slice()) {
        (true, _) => Action::PrintConfig,
        (false, [] | ["serve"]) => Action::Serve,
        (false, ["node", "add"]) => {
            values.push(("join", word(matches, "address").to_owned()));
            Action::Serve
        }
        (false, path) => Action::Ask(operate::asking_from(path, matches)),
    };
    Flags {
        action,
        config_file: matches.get_one("config").cloned(),
        values,
    }
}

/// An argument that must be there.
fn word<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    let word: Option<&String> = matches.get_one(name);
    word.expect("the parser asks for it")
}

/// The parser's message without the usage that follows it, on one line.
fn words(message: &str) -> String {
    let lines: Vec<&str> = message
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let text = lines.join("; ").replace(":; ", ": ");
    text.strip_prefix("error: ").unwrap_or(&text).into()
}

const ABOUT: &str = "A distributed cache that Redis clients use as they use Redis";

const SOURCES: &str = "\
Every option can also be set in the environment, as TORC_MAXMEMORY=2gb, or in the file that
--config or TORC_CONFIG names, as maxmemory = \"2gb\". Flags override the environment, and the
environment overrides the file. torc --print-config prints such a file.

Memory: 1k is 1000 bytes, 1kb is 1024; likewise m, mb, g and gb.";

fn command() -> Command {
    Command::new("torc")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(SOURCES)
        .arg(config_file())
        .args(shown())
        .subcommand(
            Command::new("serve")
                .about("Run a node; also what torc does when no command is given")
                .after_help(SOURCES),
        )
        .subcommands(operate::commands())
}

fn config_file() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Read options from this TOML file")
        .global(true)
}

fn print_config() -> Arg {
    Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Print the configuration in effect, with comments, and exit")
        .global(true)
}

/// The options of a node, for a command that starts one.
fn shown() -> impl Iterator<Item = Arg> {
    std::iter::once(print_config()).chain(OPTIONS.iter().map(argument))
}

/// The options of a node that mean nothing to who asks one: taken, as they may stand in front, and not shown in help.
fn hidden() -> impl Iterator<Item = Arg> {
    let others = OPTIONS
        .iter()
        .filter(|option| !operate::OPTIONS_ASKING.contains(&option.name));
    std::iter::once(print_config())
        .chain(others.map(argument))
        .map(|argument| argument.hide(true))
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
