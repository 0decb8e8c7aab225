//! What is asked of the servers: the rows of the tables, and what Torc means to reach in each.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// Keys that one `MSET` request of the benchmark sets.
pub const MSET_KEYS: usize = 10;

/// The script of [`Command::Evalsha`].
pub const SCRIPT: &str = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])";

/// Its SHA1, by which it is called; a server that is loaded with another script answers NOSCRIPT, which ends the run.
pub const SCRIPT_SHA1: &str = "2b20e84ba26251fc86a627f03be6dd614b31bac8";

/// The connections at which the reach was set; rows with others are measured without one.
const REACH_CLIENTS: usize = 50;

/// The commands that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// One key that exists.
    Get,
    /// Over a key that exists.
    Set,
    /// A counter that exists.
    Incr,
    /// Ten keys that exist, in one request.
    Mset,
    /// A script that sets a key that exists and gets it ([`SCRIPT`]).
    Evalsha,
}

impl Command {
    /// Which prefilled keys the command needs.
    pub fn keyspace(self) -> Keyspace {
        match self {
            Command::Get | Command::Set | Command::Mset | Command::Evalsha => Keyspace::Strings,
            Command::Incr => Keyspace::Counters,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Command::Get => "GET",
            Command::Set => "SET",
            Command::Incr => "INCR",
            Command::Mset => "MSET(10)",
            Command::Evalsha => "EVALSHA",
        })
    }
}

/// A family of keys, filled before rows that use it. A server holds one family at a time, so that
/// every row meets a table of exactly `--keys` entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyspace {
    /// `key:000000000000` and on, with values of the row's size.
    Strings,
    /// `ctr:000000000000` and on, counters.
    Counters,
}

/// One row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The command that every request of the row is.
    pub command: Command,
    /// Requests that a connection sends before it waits for their replies.
    pub pipeline: usize,
    /// Size of a value; meaningless for [`Command::Incr`].
    pub value_bytes: usize,
    /// Connections.
    pub clients: usize,
}

impl Row {
    /// All rows of the given dimensions, those of one keyspace and value size together.
    pub fn all(
        commands: &[Command],
        pipelines: &[usize],
        values_bytes: &[usize],
        clients: &[usize],
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        for (nth, &value_bytes) in values_bytes.iter().enumerate() {
            for &command in commands {
                // A counter has no size: one set of rows is all there is.
                if command == Command::Incr && nth > 0 {
                    continue;
                }
                for &clients in clients {
                    for &pipeline in pipelines {
                        rows.push(Row {
                            command,
                            pipeline,
                            value_bytes,
                            clients,
                        });
                    }
                }
            }
        }
        // A stable sort: within a stage, the order in which the rows were asked for.
        rows.sort_by_key(Row::stage);
        rows
    }

    /// What must stand in a server before the row can run: keys, and the size of their values.
    pub fn stage(&self) -> (Keyspace, usize) {
        match self.command.keyspace() {
            Keyspace::Strings => (Keyspace::Strings, self.value_bytes),
            Keyspace::Counters => (Keyspace::Counters, 0),
        }
    }

    /// The value's size as the tables show it.
    pub fn value_label(&self) -> String {
        match self.command {
            Command::Incr => "counter".to_owned(),
            _ if self.value_bytes.is_multiple_of(1024) => {
                format!("{} KiB", self.value_bytes / 1024)
            }
            _ => format!("{} B", self.value_bytes),
        }
    }

    /// The highest ratio of server CPU per request, Torc to redis 7.0, that Torc means to need
    /// (pinned, a million keys).
    pub fn reach_cpu(&self) -> Option<f64> {
        if self.clients != REACH_CLIENTS {
            return None;
        }
        match (self.command, self.value_bytes, self.pipeline) {
            (Command::Get, 64, 1) | (Command::Set, 64, 1) => Some(0.90),
            (Command::Get, 64, 16) => Some(0.46),
            (Command::Get, 64, 64) => Some(0.36),
            (Command::Set, 64, 16) => Some(0.52),
            (Command::Set, 64, 64) => Some(0.42),
            (Command::Get | Command::Set, 1024, 16) => Some(0.55),
            (Command::Mset, 64, 1) => Some(0.60),
            (Command::Mset, 64, 16) => Some(0.40),
            (Command::Evalsha, 64, 1 | 16) => Some(1.20),
            _ => None,
        }
    }

    /// The lowest ratio of requests/s, Torc to redis 7.0, that Torc means to bring (both cores).
    pub fn reach_throughput(&self) -> Option<f64> {
        (self.clients == REACH_CLIENTS && self.pipeline == 16).then_some(1.3)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} P{} {} c{}",
            self.command,
            self.pipeline,
            self.value_label(),
            self.clients
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_stage_stand_together() {
        // Rows out of order would refill a million keys for each of them.
        let rows = Row::all(
            &[Command::Get, Command::Incr, Command::Mset],
            &[1, 16],
            &[64, 1024],
            &[50, 500],
        );
        assert_eq!(rows.len(), 20);
        let mut stages: Vec<_> = rows.iter().map(Row::stage).collect();
        stages.dedup();
        assert_eq!(
            stages,
            [
                (Keyspace::Strings, 64),
                (Keyspace::Strings, 1024),
                (Keyspace::Counters, 0),
            ]
        );
    }

    #[test]
    fn counters_have_one_size() {
        // INCR at 64 B and at 1 KiB would be the same row twice.
        let rows = Row::all(&[Command::Incr], &[1], &[64, 1024], &[50]);
        assert_eq!(rows.len(), 1);
    }

    #[test]
    fn reach_holds_for_fifty_clients_only() {
        // A target printed beside a row that it was not set for would be read as a failure.
        let mut row = Row {
            command: Command::Get,
            pipeline: 16,
            value_bytes: 64,
            clients: 50,
        };
        assert_eq!(row.reach_cpu(), Some(0.46));
        assert_eq!(row.reach_throughput(), Some(1.3));
        row.clients = 500;
        assert_eq!(row.reach_cpu(), None);
        assert_eq!(row.reach_throughput(), None);
    }
}
