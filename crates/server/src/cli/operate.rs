//! The operator's commands: how they are written, and what they ask of a node.

use super::{Asking, hidden, shown, word};
use crate::operator::{Deed, End, Question};
use crate::status::Form;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};

/// The options of a node that matter to who asks one.
pub(super) const OPTIONS_ASKING: [&str; 2] = ["port", "requirepass"];

const PASSWORD: &str = "A password is taken from --requirepass, TORC_REQUIREPASS or the file.";

/// All of them.
pub(super) fn commands() -> Vec<Command> {
    let node = || {
        argument(
            "node",
            "NODE",
            "Its number, its 40 hex digits or its HOST:PORT",
        )
    };
    let shard = || argument("shard", "SHARD", "The shard's number");
    vec![
        asking(
            "status",
            "Show the nodes, shards and leaders of a running cluster",
        )
        .args(where_to_ask())
        .arg(flag("watch", "Show it again each second")),
        asking(
            "hot",
            "Show the shards of a cluster, and the keys at a node, that are asked for most",
        )
        .args(where_to_ask())
        .arg(flag("watch", "Show it again each second")),
        Command::new("node")
            .args(hidden())
            .about("List, add, drain, remove, weigh or place nodes of a running cluster")
            .subcommand_required(true)
            .subcommand(asking("list", "Show the nodes").args(where_to_ask()))
            .subcommand(
                Command::new("add")
                    .about(
                        "Run a node here that joins the cluster of another, as serve --join does",
                    )
                    .arg(argument("address", "HOST:PORT", "A node of the cluster"))
                    .args(shown()),
            )
            .subcommand(
                deed(
                    "drain",
                    "Have others hold what a node holds, so that it may be stopped",
                )
                .arg(node())
                .arg(force())
                .arg(wait()),
            )
            .subcommand(deed("remove", "Have a drained or lost node leave for good").arg(node()))
            .subcommand(
                deed(
                    "weight",
                    "Change a node's share of replicas, relative to others'",
                )
                .arg(node())
                .arg(argument("new-weight", "WEIGHT", "0 to 16; 0 drains it"))
                .arg(force())
                .arg(wait()),
            )
            .subcommand(
                deed(
                    "zone",
                    "Say where a node stands: replicas are kept in distinct zones",
                )
                .arg(node())
                .arg(argument("new-zone", "ZONE", "Its name"))
                .arg(wait()),
            ),
        Command::new("shard")
            .args(hidden())
            .about("List shards, move their replicas or their leaders")
            .subcommand_required(true)
            .subcommand(asking("list", "Show the shards").args(where_to_ask()))
            .subcommand(
                deed("move", "Move a shard's replica from one node to another")
                    .arg(shard())
                    .arg(argument("from", "FROM", "The node that holds it"))
                    .arg(argument("to", "TO", "The node that is to"))
                    .arg(wait()),
            )
            .subcommand(
                deed("transfer-leader", "Have a node lead a shard that it holds")
                    .arg(shard())
                    .arg(node())
                    .arg(wait()),
            ),
        deed(
            "rebalance",
            "Have the ring alone say where replicas are, or show what would move",
        )
        .arg(flag("plan", "Show what would move, and how many bytes"))
        .arg(flag("apply", "Do it"))
        .group(ArgGroup::new("what").args(["plan", "apply"]).required(true))
        .arg(
            Arg::new("weights")
                .long("weights")
                .value_name("NODE=WEIGHT,...")
                .value_delimiter(',')
                .value_parser(parse_weight)
                .help("With these weights of nodes"),
        )
        .arg(force())
        .arg(wait()),
    ]
}

/// A command that asks and changes nothing.
fn asking(name: &'static str, about: &'static str) -> Command {
    let json = flag("json", "Print JSON");
    Command::new(name)
        .about(about)
        .after_help(PASSWORD)
        .args(hidden())
        .arg(json)
}

/// A command that has something done: what it is about comes first, where it is asked is a flag.
fn deed(name: &'static str, about: &'static str) -> Command {
    asking(name, about).arg(address().long("at"))
}

/// Where a question is asked: alone it needs no flag, and `--at` is right for all of these commands.
fn where_to_ask() -> [Arg; 2] {
    let at = Arg::new("at")
        .long("at")
        .value_name("HOST:PORT")
        .conflicts_with("address")
        .help("The same, as other commands have it");
    [address().index(1), at]
}

fn address() -> Arg {
    Arg::new("address")
        .value_name("HOST:PORT")
        .help("A node's clients' port [default: this machine, --port]")
}

fn argument(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name(value_name)
        .required(true)
        .help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn force() -> Arg {
    flag(
        "force",
        "Though too few nodes are left for as many replicas",
    )
}

fn wait() -> Arg {
    flag(
        "no-wait",
        "Return as soon as the cluster has agreed, not when all has moved",
    )
}

/// NODE=WEIGHT.
fn parse_weight(text: &str) -> Result<(String, String), String> {
    let pair = text
        .rsplit_once('=')
        .filter(|(_, weight)| weight.parse::<u32>().is_ok());
    pair.map(|(node, weight)| (node.to_owned(), weight.to_owned()))
        .ok_or_else(|| "write it as NODE=WEIGHT, e.g. 4=2".into())
}

/// A request's words, and that it is to be done whatever follows from it, if that was said.
fn forced<'a>(matches: &ArgMatches, words: &[&'a str]) -> Vec<&'a str> {
    let force = matches.get_flag("force").then_some("FORCE");
    words.iter().copied().chain(force).collect()
}

/// What a command asks of a node.
pub(super) fn asking_of(path: &[&str], matches: &ArgMatches) -> Question {
    let is_set = |name: &str| matches.get_flag(name);
    let deed = |words: &[&str], end: End| {
        let words = std::iter::once(&"TORC").chain(words);
        Question::Do(Deed {
            command: words.map(|word| (*word).to_owned()).collect(),
            end: match is_set("no-wait") {
                true => End::Agreed,
                false => end,
            },
        })
    };
    let word = |name| word(matches, name);
    match path {
        ["status"] => Question::Status,
        ["hot"] => Question::Hot,
        ["node", "list"] => Question::Nodes,
        ["shard", "list"] => Question::Shards,
        ["node", "drain"] => {
            let end = End::Empty(word("node").to_owned());
            deed(&forced(matches, &["NODE", "DRAIN", word("node")]), end)
        }
        ["node", "remove"] => Question::Do(Deed {
            command: ["TORC", "NODE", "REMOVE", word("node")]
                .map(str::to_owned)
                .to_vec(),
            end: End::Agreed,
        }),
        ["node", "weight"] => {
            let words = ["NODE", "WEIGHT", word("node"), word("new-weight")];
            let words = forced(matches, &words);
            match word("new-weight") {
                "0" => deed(&words, End::Empty(word("node").to_owned())),
                _ => deed(&words, End::Placed),
            }
        }
        ["node", "zone"] => deed(
            &["NODE", "ZONE", word("node"), word("new-zone")],
            End::Placed,
        ),
        ["shard", "move"] => deed(
            &["SHARD", "MOVE", word("shard"), word("from"), word("to")],
            End::Placed,
        ),
        ["shard", "transfer-leader"] => {
            deed(&["SHARD", "LEAD", word("shard"), word("node")], End::Placed)
        }
        ["rebalance"] => {
            let weights = matches.get_many::<(String, String)>("weights");
            let pairs = weights.into_iter().flatten();
            let weights: Vec<String> = pairs
                .flat_map(|(node, weight)| [node.clone(), weight.clone()])
                .collect();
            if is_set("plan") {
                return Question::Plan(weights);
            }
            let mut words = vec!["REBALANCE"];
            words.extend(weights.iter().map(String::as_str));
            deed(&forced(matches, &words), End::Placed)
        }
        other => unreachable!("the parser knows no {other:?}"),
    }
}

/// The same, with where to ask and how to print.
pub(super) fn asking_from(path: &[&str], matches: &ArgMatches) -> Asking {
    let given = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    Asking {
        command: path.join(" "),
        address: given("address").or_else(|| given("at")),
        question: asking_of(path, matches),
        form: match matches.get_flag("json") {
            true => Form::Json,
            false => Form::Table,
        },
        watch: matches!(path, ["status" | "hot"]) && matches.get_flag("watch"),
    }
}
