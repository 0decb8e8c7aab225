//! HELP of a command with subcommands, in Redis's shape, made of the rows.

use crate::command::usage;
use crate::{Flags, Group, Row, Session};
use resp::Reply;

/// The row of a container's HELP.
pub const fn help_row(group: Group, since: &'static str) -> Row {
    Row::session("help", 2, group, Session::Help)
        .flags(Flags::LOADING.and(Flags::STALE))
        .docs(since, "Prints this help.", "O(N) in the subcommands")
}

/// Answers HELP of the container `row`: a line on how to call it, then each subcommand and what it does.
pub fn help(row: &Row, reply: &mut Reply<'_>) {
    let lines = row.subcommands.iter().filter(|sub| sub.is_built());
    reply.array(1 + 2 * lines.clone().count());
    reply.simple(&format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        row.name.to_ascii_uppercase()
    ));
    for sub in lines {
        let usage = format!("{} {}", sub.name.to_ascii_uppercase(), usage(sub));
        reply.simple(usage.trim_end());
        reply.simple(&format!("    {}", sub.summary));
    }
}
