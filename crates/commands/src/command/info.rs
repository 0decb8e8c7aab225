//! COMMAND INFO: one command as the list that drivers parse (redis.io, "COMMAND").

use super::tips;
use crate::{BeginSearch, FindKeys, KeySpec, Row};
use resp::Tree;

/// First key, last key (negative: from the end) and the distance between keys, as versions before Redis 7
/// described them; all 0 if there is no such range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// Position of the first key.
    pub first: i64,
    /// Position of the last key; -1 is the last argument.
    pub last: i64,
    /// Distance between keys.
    pub step: i64,
}

impl Row {
    /// Its keys as one range, so far as ranges that begin at a fixed argument and follow each other tell.
    pub fn key_range(&self) -> KeyRange {
        let mut whole = KeyRange::default();
        for spec in self.keys {
            let (BeginSearch::Index(first), FindKeys::Range { last, step, .. }) =
                (spec.begin, spec.find)
            else {
                continue;
            };
            let first = i64::from(first);
            let last = i64::from(last) + if last < 0 { 0 } else { first };
            if whole.first == 0 {
                whole.first = first;
            } else if whole.last != first - 1 {
                break;
            }
            whole.last = last;
            whole.step = i64::from(step);
        }
        whole
    }
}

/// What COMMAND INFO answers for one command.
pub(super) fn info(row: &'static Row) -> Tree {
    let range = row.key_range();
    let categories = row.all_categories().names();
    let subcommands = row.subcommands.iter().filter(|sub| sub.is_built());
    let subcommands: Vec<_> = subcommands.map(info).collect();
    Tree::Array(vec![
        Tree::bulk(row.full_name().as_bytes()),
        Tree::Integer(i64::from(row.arity)),
        Tree::Set(row.flags.names().map(Tree::simple).collect()),
        Tree::Integer(range.first),
        Tree::Integer(range.last),
        Tree::Integer(range.step),
        Tree::Set(
            categories
                .map(|name| Tree::Simple(format!("@{name}").into()))
                .collect(),
        ),
        Tree::Set(tips::tips(row).iter().map(|tip| Tree::text(tip)).collect()),
        Tree::Set(row.keys.iter().map(key_spec).collect()),
        // As in Redis, an array under RESP3 too, but no subcommands are an empty set.
        match subcommands.is_empty() {
            true => Tree::Set(subcommands),
            false => Tree::Array(subcommands),
        },
    ])
}

fn key_spec(spec: &KeySpec) -> Tree {
    let (begin, begin_spec) = match spec.begin {
        BeginSearch::Index(index) => ("index", vec![number("index", i64::from(index))]),
        BeginSearch::Keyword { keyword, from } => (
            "keyword",
            vec![
                (Tree::text("keyword"), Tree::text(keyword)),
                number("startfrom", i64::from(from)),
            ],
        ),
        BeginSearch::Unknown => ("unknown", Vec::new()),
    };
    let (find, find_spec) = match spec.find {
        FindKeys::Range { last, step, limit } => (
            "range",
            vec![
                number("lastkey", i64::from(last)),
                number("keystep", i64::from(step)),
                number("limit", i64::from(limit)),
            ],
        ),
        FindKeys::KeyNum {
            count_at,
            first,
            step,
        } => (
            "keynum",
            vec![
                number("keynumidx", i64::from(count_at)),
                number("firstkey", i64::from(first)),
                number("keystep", i64::from(step)),
            ],
        ),
        FindKeys::Unknown => ("unknown", Vec::new()),
    };
    Tree::Map(vec![
        (
            Tree::text("flags"),
            Tree::Set(spec.access.names().map(Tree::simple).collect()),
        ),
        (Tree::text("begin_search"), typed(begin, begin_spec)),
        (Tree::text("find_keys"), typed(find, find_spec)),
    ])
}

fn typed(kind: &'static str, spec: Vec<(Tree, Tree)>) -> Tree {
    Tree::Map(vec![
        (Tree::text("type"), Tree::text(kind)),
        (Tree::text("spec"), Tree::Map(spec)),
    ])
}

fn number(name: &'static str, value: i64) -> (Tree, Tree) {
    (Tree::text(name), Tree::Integer(value))
}
