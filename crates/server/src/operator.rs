//! `torc node`, `torc shard`, `torc rebalance`: what an operator has done to a running cluster.
//!
//! The node that is asked refuses what is unsafe, and answers when the cluster has agreed. What follows takes its time:
//! [`follow`] shows on a terminal how much is still to move, until nothing is.

use crate::question::Asked;
use crate::status::{self, Form};
use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(300);
/// So long nothing may come nearer, before whoever waits is told.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// What is asked of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// All that a node knows.
    Status,
    /// The nodes.
    Nodes,
    /// The shards.
    Shards,
    /// The shards and keys that are asked for most.
    Hot,
    /// What is still to move, or would with other weights.
    Plan(Vec<String>),
    /// To have something done.
    Do(Deed),
}

/// Something that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The command.
    pub command: Vec<String>,
    /// What to wait for.
    pub end: End,
}

/// When something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As soon as the cluster has agreed.
    Agreed,
    /// When all replicas are where they should be.
    Placed,
    /// When this node holds nothing any more.
    Empty(String),
}

/// The answer, as text to print.
///
/// # Errors
/// No node there, or it refuses.
pub fn answer(asked: &Asked, question: &Question, form: Form) -> anyhow::Result<String> {
    match question {
        Question::Status => status::show(&asked.ask(&["TORC", "STATUS"])?, form),
        Question::Hot => status::show(&asked.ask(&["TORC", "HOT"])?, form),
        Question::Nodes => part(asked, "nodes", form),
        Question::Shards => part(asked, "shards", form),
        Question::Plan(weights) => {
            let words = ["TORC", "PLAN"].into_iter();
            let words: Vec<&str> = words.chain(weights.iter().map(String::as_str)).collect();
            let plan = asked.ask(&words)?;
            match form {
                Form::Json => Ok(plan + "\n"),
                Form::Table => Ok(plan_text(&plan)?),
            }
        }
        Question::Do(deed) => {
            let words: Vec<&str> = deed.command.iter().map(String::as_str).collect();
            asked.ask(&words).map_err(|error| in_flags(&error))?;
            let told = follow(asked, &deed.end, form)?;
            match form {
                Form::Json => Ok(json!({ "done": told }).to_string() + "\n"),
                Form::Table => Ok(told + "\n"),
            }
        }
    }
}

/// A node's refusal, with what it calls FORCE as it is written here.
fn in_flags(error: &anyhow::Error) -> anyhow::Error {
    anyhow!(format!("{error:#}").replace("FORCE does it", "--force does it"))
}

/// One list of the status.
fn part(asked: &Asked, name: &str, form: Form) -> anyhow::Result<String> {
    let status = value(&asked.ask(&["TORC", "STATUS"])?)?;
    let list = status.get(name).cloned().unwrap_or_default();
    match form {
        Form::Json => Ok(list.to_string() + "\n"),
        Form::Table => Ok(status::tables(&json!({ name: list }))),
    }
}

fn value(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).context("the node's answer is not JSON")
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn plan_text(plan: &str) -> anyhow::Result<String> {
    let plan = value(plan)?;
    let (replicas, leaders) = (number(&plan, "replicas"), number(&plan, "leaders"));
    let unknown = plan.get("unknown").and_then(Value::as_array);
    let mut text = match (replicas, leaders) {
        (0, 0) => "Nothing is to move.\n".to_owned(),
        _ => format!(
            "{replicas} replicas are to move, {} in all; {leaders} shards are to change their leader.\n",
            indicatif::HumanBytes(number(&plan, "bytes"))
        ),
    };
    if let Some(unknown) = unknown.filter(|list| !list.is_empty()) {
        text += &format!(
            "{} shards are not counted, as nobody has said yet who leads them.\n",
            unknown.len()
        );
    }
    if plan
        .get("moves")
        .and_then(Value::as_array)
        .is_some_and(|moves| !moves.is_empty())
    {
        text += "\n";
        text += &status::tables(&json!({ "moves": plan["moves"] }));
    }
    Ok(text)
}

/// Waits until a deed has come about, and shows on a terminal how far it is; returns what can be said in the end.
fn follow(asked: &Asked, end: &End, form: Form) -> anyhow::Result<String> {
    let node = match end {
        End::Agreed => return Ok("Done.".into()),
        End::Placed => None,
        End::Empty(node) => Some(node.as_str()),
    };
    let bar = match form == Form::Table && std::io::stderr().is_terminal() {
        true => ProgressBar::new(0),
        false => ProgressBar::hidden(),
    };
    let style = "{bar:40} {pos}/{len} replicas moved, {msg} to go";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is right"));
    let (mut most, mut least) = (0, u64::MAX);
    let mut nearer = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        let plan = value(&asked.ask(&["TORC", "PLAN"])?)?;
        let moves = plan.get("moves").and_then(Value::as_array);
        let moves = moves.map_or(0, |moves| moves.len() as u64);
        let left = moves + number(&plan, "leaders");
        most = most.max(moves);
        bar.set_message(indicatif::HumanBytes(number(&plan, "bytes")).to_string());
        bar.set_length(most);
        bar.set_position(most - moves);
        let is_known = plan["unknown"].as_array().is_none_or(Vec::is_empty);
        if left == 0 && is_known && node.is_none_or(|node| is_empty(asked, node).unwrap_or(false)) {
            break;
        }
        if left < least {
            (least, nearer) = (left, Instant::now());
        } else if nearer.elapsed() > STANDSTILL_MAX {
            bar.abandon();
            bail!(
                "the cluster has agreed, but for {} s nothing has moved: {left} shards are left. 'torc status' shows why, \
                 'torc rebalance --plan' what",
                STANDSTILL_MAX.as_secs()
            );
        }
    }
    bar.finish_and_clear();
    Ok(match node {
        None => "Done: all replicas are where they should be.".into(),
        Some(node) => format!("Done: node {node} holds nothing any more and may be stopped."),
    })
}

/// Whether a node votes nowhere.
fn is_empty(asked: &Asked, node: &str) -> anyhow::Result<bool> {
    let status = value(&asked.ask(&["TORC", "STATUS"])?)?;
    let is_named = |record: &&Value| {
        let text = |name: &str| record.get(name).and_then(Value::as_str) == Some(node);
        let number = record.get("node").and_then(Value::as_u64);
        number.is_some_and(|number| node.parse() == Ok(number)) || text("name") || text("address")
    };
    let nodes = status.get("nodes").and_then(Value::as_array);
    let Some(record) = nodes.and_then(|nodes| nodes.iter().find(is_named)) else {
        return Ok(true);
    };
    let meta_voters = status.get("meta_voters").and_then(Value::as_array);
    let votes = meta_voters.is_some_and(|ids| ids.contains(&record["node"]));
    Ok(number(record, "votes") == 0 && !votes)
}
