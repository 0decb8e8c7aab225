//! Tables in Markdown, as they are pasted into README.

use std::fmt::Write;

use crate::compare::{RowResult, Sample, ServerSamples};
use crate::memory::MemoryResult;
use crate::statistics::{Ratio, median};
use crate::workload::Row;

/// The server that others are compared to, where it takes part.
pub const BASE: &str = "redis";
/// The server whose reach is judged.
pub const TORC: &str = "torc";

/// What a ratio is meant to be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reach {
    AtMost(f64),
    AtLeast(f64),
}

impl Reach {
    /// The cell of a table: the target, and whether `ratio` meets it.
    fn cell(reach: Option<Reach>, ratio: Option<f64>) -> String {
        let (Some(reach), Some(ratio)) = (reach, ratio) else {
            return String::new();
        };
        // Judged as printed: 0.4604 is shown as 0.46 and meets it.
        let ratio = (ratio * 100.0).round() / 100.0;
        let (sign, target, is_met) = match reach {
            Reach::AtMost(target) => ('≤', target, ratio <= target),
            Reach::AtLeast(target) => ('≥', target, ratio >= target),
        };
        let verdict = if is_met { "met" } else { "missed" };
        format!("{sign} {target:.2}, {verdict}")
    }
}

/// Server CPU per request: the table of the pinned section.
pub fn cpu_table(results: &[RowResult]) -> String {
    number_table(
        results,
        "µs",
        |sample| sample.server_cpu_us_per_request,
        |number| format!("{number:.3}"),
        |row| row.reach_cpu().map(Reach::AtMost),
    )
}

/// Requests a second.
pub fn throughput_table(results: &[RowResult]) -> String {
    number_table(
        results,
        "k/s",
        |sample| sample.requests_per_second,
        |number| format!("{:.1}", number / 1e3),
        |row| row.reach_throughput().map(Reach::AtLeast),
    )
}

/// Latency of a batch: three percentiles for each server, and the ratio of the 99th.
pub fn latency_table(results: &[RowResult]) -> String {
    let Some(first) = results.first() else {
        return String::new();
    };
    let compared = compared_names(&first.servers);
    let mut header = row_header();
    header.extend(
        first
            .servers
            .iter()
            .map(|server| format!("{} p50 / p99 / p99.9 µs", server.server)),
    );
    header.extend(compared.iter().map(|name| format!("p99 {name}/{BASE}")));
    header.extend(reach_header(&compared));
    let rows = results.iter().map(|result| {
        let mut cells = row_cells(&result.row);
        cells.extend(result.servers.iter().map(|server| {
            format!(
                "{:.0} / {:.0} / {:.0}",
                median(&server.values(|sample| sample.p50_us)),
                median(&server.values(|sample| sample.p99_us)),
                median(&server.values(|sample| sample.p999_us)),
            )
        }));
        let ratios = ratios(result, &compared, |sample| sample.p99_us);
        cells.extend(ratios.iter().map(|(_, ratio)| ratio_cell(ratio)));
        cells.extend(reach_cell(Some(Reach::AtMost(1.0)), &ratios));
        cells
    });
    table(&header, LEFT_COLUMNS, rows)
}

/// Bytes per key.
pub fn memory_table(results: &[MemoryResult]) -> String {
    let base_overhead = |of: &MemoryResult| {
        results
            .iter()
            .find(|other| other.server == BASE && other.with_expiry == of.with_expiry)
            .map(|base| base.overhead_per_key)
    };
    let header = [
        "keys",
        "server",
        "bytes per key",
        "overhead per key",
        "overhead to redis",
        "reach",
        "idle MiB",
    ]
    .map(str::to_owned);
    let rows = results.iter().map(|result| {
        let ratio = base_overhead(result).map(|base| result.overhead_per_key / base);
        let reach = (result.server == TORC).then_some(Reach::AtMost(0.75));
        vec![
            format!(
                "{} {} expiry",
                result.keys_count,
                if result.with_expiry {
                    "with"
                } else {
                    "without"
                }
            ),
            result.server.clone(),
            format!("{:.1}", result.bytes_per_key),
            format!("{:.1}", result.overhead_per_key),
            ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            Reach::cell(reach, ratio),
            format!("{:.1}", result.idle_rss_bytes as f64 / f64::from(1 << 20)),
        ]
    });
    table(&header, 2, rows)
}

/// A warning for rows in which the load loop was the limit; empty when there is none.
pub fn client_bound_note(results: &[RowResult]) -> String {
    let bound: Vec<_> = results
        .iter()
        .flat_map(|result| {
            result.servers.iter().filter_map(|server| {
                let busy = median(&server.values(|sample| sample.client_busy));
                (busy > 0.95).then(|| format!("{} on {}", result.row, server.server))
            })
        })
        .collect();
    if bound.is_empty() {
        return String::new();
    }
    format!(
        "\nThe load loop used over 95 % of its core, and so limits requests/s and latency, in: {}.\n",
        bound.join("; ")
    )
}

/// Columns at the left that hold words: the request and its value.
const LEFT_COLUMNS: usize = 2;

fn row_header() -> Vec<String> {
    ["request", "value", "pipeline", "clients"]
        .map(str::to_owned)
        .to_vec()
}

fn row_cells(row: &Row) -> Vec<String> {
    vec![
        row.command.to_string(),
        row.value_label(),
        row.pipeline.to_string(),
        row.clients.to_string(),
    ]
}

/// Servers that have a ratio: all but the base, where the base takes part.
fn compared_names(servers: &[ServerSamples]) -> Vec<String> {
    if !servers.iter().any(|server| server.server == BASE) {
        return Vec::new();
    }
    servers
        .iter()
        .filter(|server| server.server != BASE)
        .map(|server| server.server.clone())
        .collect()
}

fn ratios(
    result: &RowResult,
    compared: &[String],
    number: impl Fn(&Sample) -> f64 + Copy,
) -> Vec<(String, Ratio)> {
    let values = |name: &str| {
        result
            .servers
            .iter()
            .find(|server| server.server == name)
            .expect("every row has every server")
            .values(number)
    };
    compared
        .iter()
        .map(|name| (name.clone(), Ratio::of_rounds(&values(name), &values(BASE))))
        .collect()
}

fn ratio_cell(ratio: &Ratio) -> String {
    format!(
        "{:.2} ({:.2}–{:.2})",
        ratio.of_medians, ratio.low, ratio.high
    )
}

fn reach_header(compared: &[String]) -> Option<String> {
    compared
        .iter()
        .any(|name| name == TORC)
        .then(|| "reach".to_owned())
}

fn reach_cell(reach: Option<Reach>, ratios: &[(String, Ratio)]) -> Option<String> {
    ratios
        .iter()
        .find(|(name, _)| name == TORC)
        .map(|(_, ratio)| Reach::cell(reach, Some(ratio.of_medians)))
}

/// One number of each server, the ratios, and the reach.
fn number_table(
    results: &[RowResult],
    unit: &str,
    number: impl Fn(&Sample) -> f64 + Copy,
    shown: impl Fn(f64) -> String,
    reach: impl Fn(&Row) -> Option<Reach>,
) -> String {
    let Some(first) = results.first() else {
        return String::new();
    };
    let compared = compared_names(&first.servers);
    let mut header = row_header();
    header.extend(
        first
            .servers
            .iter()
            .map(|server| format!("{} {unit}", server.server)),
    );
    header.extend(compared.iter().map(|name| format!("{name}/{BASE}")));
    header.extend(reach_header(&compared));
    let rows = results.iter().map(|result| {
        let mut cells = row_cells(&result.row);
        cells.extend(
            result
                .servers
                .iter()
                .map(|server| shown(median(&server.values(number)))),
        );
        let ratios = ratios(result, &compared, number);
        cells.extend(ratios.iter().map(|(_, ratio)| ratio_cell(ratio)));
        cells.extend(reach_cell(reach(&result.row), &ratios));
        cells
    });
    table(&header, LEFT_COLUMNS, rows)
}

/// A Markdown table whose first `left_columns` columns are words and whose others are numbers.
fn table(
    header: &[String],
    left_columns: usize,
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut text = format!("| {} |\n|", header.join(" | "));
    for column in 0..header.len() {
        text.push_str(if column < left_columns {
            "---|"
        } else {
            "---:|"
        });
    }
    text.push('\n');
    for cells in rows {
        assert_eq!(cells.len(), header.len(), "a cell for every column");
        writeln!(text, "| {} |", cells.join(" | ")).expect("a String takes everything");
    }
    text
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
