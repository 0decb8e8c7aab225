use crate::{BeginSearch, FindKeys, KeySpec, Row, commands};
use std::collections::BTreeMap;

/// Rows that Redis got after 7.0, or that are Torc's own.
const NOT_IN_REDIS_7_0: &[&str] = &[
    "client|no-touch",
    "client|setinfo",
    "cluster|myshardid",
    "delex",
    "delifeq",
    "hexpire",
    "hexpireat",
    "hexpiretime",
    "hpersist",
    "hpexpire",
    "hpexpireat",
    "hpexpiretime",
    "hpttl",
    "httl",
    "lock.acquire",
    "lock.extend",
    "lock.fence",
    "lock.guard",
    "lock.info",
    "lock.list",
    "lock.release",
    "msetex",
    "object|pinned",
    "torc",
    "torc|help",
    "torc|hot",
    "torc|node",
    "torc|plan",
    "torc|rebalance",
    "torc|shard",
    "torc|status",
    "waitaof",
];

/// Rows that changed after 7.0, as the golden file would write them.
const CHANGED_AFTER_7_0: &[&str] = &[
    "zrank | -3 | readonly fast | 1 1 1 | @read @sortedset @fast | @1 range 0 1 0 RO+access",
    "zrevrank | -3 | readonly fast | 1 1 1 | @read @sortedset @fast | @1 range 0 1 0 RO+access",
];

#[test]
fn rows_say_what_redis_says() {
    // Breaks if arity, flags, categories or keys of a row differ from Redis's: clients route by them.
    let golden = include_str!("../../testdata/redis-7.0-commands.txt");
    let mut golden: BTreeMap<&str, &str> = golden
        .lines()
        .filter(|line| !line.starts_with('#'))
        .chain(CHANGED_AFTER_7_0.iter().copied())
        .map(|line| (line.split(" | ").next().unwrap(), line))
        .collect();
    let mut differences = Vec::new();
    for row in all_rows() {
        let name = row.full_name();
        match golden.remove(&*name) {
            Some(line) if line == described(row) => {}
            Some(line) => differences.push(format!("{}\n  Redis: {line}", described(row))),
            None if NOT_IN_REDIS_7_0.contains(&&*name) => {}
            None => differences.push(format!("{name} is not Redis's")),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(golden.is_empty(), "rows are missing: {:?}", golden.keys());
}

#[test]
fn what_is_built_is_documented() {
    // Breaks if COMMAND DOCS or HELP has nothing to say of a command that runs.
    for row in all_rows() {
        assert_eq!(row.since.split('.').count(), 3, "{}", row.name);
        if row.is_built() {
            assert!(row.summary.ends_with('.'), "{}", row.name);
            assert!(!row.complexity.is_empty(), "{}", row.name);
        }
    }
}

fn all_rows() -> impl Iterator<Item = &'static Row> {
    commands()
        .iter()
        .flat_map(|row| std::iter::once(row).chain(row.subcommands))
}

/// The row as the golden file writes it.
fn described(row: &'static Row) -> String {
    let flags: Vec<_> = row.flags.names().collect();
    let categories: Vec<_> = row
        .all_categories()
        .names()
        .map(|name| format!("@{name}"))
        .collect();
    let keys: Vec<_> = row.keys.iter().map(key_spec).collect();
    let range = row.key_range();
    format!(
        "{} | {} | {} | {} {} {} | {} | {}",
        row.full_name(),
        row.arity,
        flags.join(" "),
        range.first,
        range.last,
        range.step,
        categories.join(" "),
        keys.join("; ")
    )
    .replace("  ", " ")
    .trim_end()
    .to_owned()
}

fn key_spec(spec: &KeySpec) -> String {
    let begin = match spec.begin {
        BeginSearch::Index(index) => format!("@{index}"),
        BeginSearch::Keyword { keyword, from } => format!("{keyword}@{from}"),
        BeginSearch::Unknown => "?".to_owned(),
    };
    let find = match spec.find {
        FindKeys::Range { last, step, limit } => format!("range {last} {step} {limit}"),
        FindKeys::KeyNum {
            count_at,
            first,
            step,
        } => format!("keynum {count_at} {first} {step}"),
        FindKeys::Unknown => "?".to_owned(),
    };
    let access: Vec<_> = spec.access.names().collect();
    format!("{begin} {find} {}", access.join("+"))
}
