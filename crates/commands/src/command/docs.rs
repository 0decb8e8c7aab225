//! COMMAND DOCS: one command as documentation, with its arguments as a tree.

use super::syntax::{self, Argument, Repeat};
use crate::Row;
use resp::Tree;

/// A command that has been superseded: since when, and by what.
struct Superseded {
    name: &'static str,
    since: &'static str,
    by: &'static str,
}

static SUPERSEDED: &[Superseded] = &[
    Superseded {
        name: "cluster|slaves",
        since: "5.0.0",
        by: "`CLUSTER REPLICAS`",
    },
    Superseded {
        name: "getset",
        since: "6.2.0",
        by: "`SET` with the `GET` argument",
    },
    Superseded {
        name: "hmset",
        since: "4.0.0",
        by: "`HSET` with multiple field-value pairs",
    },
    Superseded {
        name: "slaveof",
        since: "5.0.0",
        by: "`REPLICAOF`",
    },
    Superseded {
        name: "substr",
        since: "2.0.0",
        by: "`GETRANGE`",
    },
    Superseded {
        name: "zrangebylex",
        since: "6.2.0",
        by: "`ZRANGE` with the `BYLEX` argument",
    },
    Superseded {
        name: "zrangebyscore",
        since: "6.2.0",
        by: "`ZRANGE` with the `BYSCORE` argument",
    },
    Superseded {
        name: "zrevrange",
        since: "6.2.0",
        by: "`ZRANGE` with the `REV` argument",
    },
    Superseded {
        name: "zrevrangebylex",
        since: "6.2.0",
        by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
    },
    Superseded {
        name: "zrevrangebyscore",
        since: "6.2.0",
        by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
    },
];

/// Commands that programs use and people do not.
const INTERNAL: &[&str] = &["debug", "psync", "replconf", "restore-asking", "sync"];

/// What COMMAND DOCS answers for one command.
pub(super) fn docs(row: &'static Row) -> Tree {
    let name = row.full_name();
    let mut pairs = vec![
        (Tree::text("summary"), Tree::text(row.summary)),
        (Tree::text("since"), Tree::text(row.since)),
        (Tree::text("group"), Tree::text(row.group.name())),
        (Tree::text("complexity"), Tree::text(row.complexity)),
    ];
    let superseded = SUPERSEDED.iter().find(|superseded| superseded.name == name);
    if superseded.is_some() {
        pairs.push(doc_flag("deprecated"));
    } else if INTERNAL.contains(&&*name) {
        pairs.push(doc_flag("syscmd"));
    }
    if let Some(superseded) = superseded {
        pairs.push((Tree::text("deprecated_since"), Tree::text(superseded.since)));
        pairs.push((Tree::text("replaced_by"), Tree::text(superseded.by)));
    }
    let arguments = syntax::arguments(row);
    if !arguments.is_empty() {
        pairs.push((Tree::text("arguments"), all(&arguments)));
    }
    let subcommands = row.subcommands.iter().filter(|sub| sub.is_built());
    let subcommands: Vec<_> = subcommands
        .map(|sub| (Tree::bulk(sub.full_name().as_bytes()), docs(sub)))
        .collect();
    if !subcommands.is_empty() {
        pairs.push((Tree::text("subcommands"), Tree::Map(subcommands)));
    }
    Tree::Map(pairs)
}

fn doc_flag(flag: &'static str) -> (Tree, Tree) {
    (Tree::text("doc_flags"), Tree::Set(vec![Tree::simple(flag)]))
}

fn all(arguments: &[Argument]) -> Tree {
    Tree::Array(arguments.iter().map(argument).collect())
}

fn argument(argument: &Argument) -> Tree {
    let mut pairs = vec![
        (Tree::text("name"), Tree::bulk(argument.name().as_bytes())),
        (Tree::text("type"), Tree::text(argument.kind.name())),
    ];
    if let Some(index) = argument.kind.key_index() {
        pairs.push((Tree::text("key_spec_index"), Tree::Integer(index)));
    }
    if let Some(token) = argument.token {
        pairs.push((Tree::text("token"), Tree::text(token)));
    }
    let optional = argument.is_optional.then_some("optional");
    let repeat: &[&str] = match argument.repeat {
        Repeat::Once => &[],
        Repeat::Value => &["multiple"],
        Repeat::TokenAndValue => &["multiple", "multiple_token"],
    };
    let flags: Vec<_> = optional
        .iter()
        .chain(repeat)
        .copied()
        .map(Tree::simple)
        .collect();
    if !flags.is_empty() {
        pairs.push((Tree::text("flags"), Tree::Set(flags)));
    }
    if !argument.kind.members().is_empty() {
        pairs.push((Tree::text("arguments"), all(argument.kind.members())));
    }
    Tree::Map(pairs)
}
