//! What a node knows of its cluster, for people, or as JSON.

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// How the status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tables.
    Table,
    /// As the node gives it.
    Json,
}

/// A status as a node gives it, for printing.
///
/// # Errors
/// It is no JSON.
pub fn show(json: &str, form: Form) -> anyhow::Result<String> {
    match form {
        Form::Json => Ok(json.to_owned() + "\n"),
        Form::Table => {
            let value = serde_json::from_str(json).context("the node's answer is not JSON")?;
            Ok(tables(&value))
        }
    }
}

/// A status as tables: what stands alone first, a line each, then each list under its name.
pub fn tables(status: &Value) -> String {
    let mut text = String::new();
    let Value::Object(fields) = status else {
        return format!("{status}\n");
    };
    // Numbers have room in one line.
    let is_list =
        |value: &Value| matches!(value, Value::Array(items) if !items.iter().all(Value::is_number));
    let width = fields.keys().map(|name| name.len()).max().unwrap_or(0);
    for (name, value) in fields.iter().filter(|(_, value)| !is_list(value)) {
        line(
            &mut text,
            format_args!("{:width$}  {}", words(name), cell(value)),
        );
    }
    for (name, value) in fields {
        if let Value::Array(items) = value
            && is_list(value)
        {
            line(&mut text, format_args!("\n{}", words(name)));
            line(&mut text, format_args!("{}", table(items)));
        }
    }
    text
}

/// As much of a text as fits on a screen of so many rows and columns, from its top: what scrolls away is what matters. The
/// last row says how many lines are left out. A screen of 0 rows takes all.
pub fn on_screen(text: &str, rows: usize, columns: usize) -> String {
    let lines = || text.lines();
    let rows_of = |line: &str| line.chars().count().div_ceil(columns.max(1)).max(1);
    // The cursor stands in a row of its own.
    if rows == 0 || lines().map(rows_of).sum::<usize>() < rows {
        return text.into();
    }
    let mut taken = 0;
    let shown = lines().take_while(|line| {
        taken += rows_of(line);
        taken + 2 <= rows
    });
    let mut screen: Vec<&str> = shown.collect();
    let left_out = format!("({} more lines)", lines().count() - screen.len());
    screen.push(&left_out);
    screen.join("\n") + "\n"
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes any text");
}

/// A list of objects with a column for each of their fields, or of values in one column.
fn table(items: &[Value]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let first = items.iter().find_map(Value::as_object);
    let columns: Vec<&String> = first.map(Map::keys).into_iter().flatten().collect();
    if !columns.is_empty() {
        table.set_header(columns.iter().map(|name| words(name)));
    }
    for item in items {
        match item {
            Value::Object(fields) => {
                let value = |name: &&String| fields.get(*name).map_or_else(String::new, cell);
                table.add_row(columns.iter().map(value));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                table.add_row([cell(item)]);
            }
        }
    }
    table
}

/// A field's name as words: `lag_indexes` is `lag indexes`.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let cells: Vec<String> = items.iter().map(cell).collect();
            cells.join(" ")
        }
        Value::Object(fields) => {
            let cells = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", cell(value)));
            cells.collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_stays_on_the_screen() {
        // Breaks if the shards of `torc status --watch` push the nodes, and what is left to move, off the top.
        let text = "one\ntwo is long\nthree\nfour\nfive\n";
        assert_eq!(on_screen(text, 6, 80), text);
        assert_eq!(
            on_screen(text, 5, 80),
            "one\ntwo is long\nthree\n(2 more lines)\n"
        );
        assert_eq!(on_screen(text, 5, 6), "one\ntwo is long\n(3 more lines)\n");
        assert_eq!(on_screen(text, 1, 80), "(5 more lines)\n");
        assert_eq!(on_screen(text, 0, 0), text);
        assert_eq!(on_screen("", 5, 80), "");
    }

    #[test]
    fn a_status_is_shown_with_all_that_is_in_it() {
        // Breaks if a column, a row or a fact of the node's answer were not to be seen.
        let status = serde_json::json!({
            "cluster_id": "ab", "epoch": 3, "meta_voters": [1, 3],
            "nodes": [
                {"id": 1, "address": "h:1", "alive": true, "leads": 22},
                {"id": 2, "address": "h:2", "alive": false, "leads": null},
            ],
            "shards": [{"shard": 0, "replicas": [1, 2]}],
            "warnings": [],
        });
        let text = tables(&status);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert!(lines.contains(&vec!["cluster", "id", "ab"]), "{text}");
        assert!(lines.contains(&vec!["meta", "voters", "1", "3"]), "{text}");
        assert!(
            lines.contains(&vec!["id", "address", "alive", "leads"]),
            "columns stand as the node tells them, the id first: {text}"
        );
        assert!(lines.contains(&vec!["1", "h:1", "yes", "22"]), "{text}");
        assert!(text.contains("1 2"), "{text}");
    }
}
