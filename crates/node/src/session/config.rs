//! CONFIG.

use super::access::Access;
use super::holes::Fill;
use super::operate::answered;
use super::{Session, Turn};
use crate::settings::Settings;
use commands::glob;
use resp::{Args, Output, Reply};

/// Ahead of why the others did not take a setting over.
const ON_ONE_NODE: &str = "CONFIG SET took effect on this node alone: ";

impl Session {
    pub(super) fn config(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) {
        let reply = &mut Reply::new(output, self.protocol);
        match args.get(1).to_ascii_lowercase().as_slice() {
            b"get" => {
                let patterns = args.from(2);
                let shown: Vec<(&str, &[u8])> = Settings::names()
                    .filter_map(|name| Some((name, shown_as(name, patterns)?)))
                    .collect();
                reply.map(shown.len());
                // Not the turn's: a CONFIG SET ahead of it in the same batch counts.
                let settings = turn.node.settings.load();
                for (name, shown) in shown {
                    reply.bulk(shown);
                    let value = settings.get(name).expect("a name of the table has a value");
                    reply.bulk(value.as_bytes());
                }
            }
            b"set" => self.config_set(turn, args, access, output),
            b"resetstat" => {
                turn.node.stats.reset();
                for shard in 0..turn.node.shards_count() {
                    access.with(turn.node, shard, |shard| shard.cache.reset_lookups());
                }
                reply.ok();
            }
            b"rewrite" => reply.error("ERR The server is running without a config file"),
            _ => super::server::help(b"config", reply),
        }
    }

    /// CONFIG SET: here at once, and where a value is the cluster's, on all nodes; the reply waits until the cluster has
    /// agreed.
    fn config_set(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &Access<'_>,
        output: &mut Output,
    ) {
        let reply = &mut Reply::new(output, self.protocol);
        if !args.len().is_multiple_of(2) {
            return reply.error("ERR syntax error");
        }
        let pairs: Vec<(&[u8], &[u8])> = (2..args.len())
            .step_by(2)
            .map(|at| (args.get(at), args.get(at + 1)))
            .collect();
        {
            let _one_at_a_time = turn.node.settings_lock.lock();
            let mut settings = Settings::clone(&turn.node.settings.load());
            if let Err(error) = settings.set_all(&pairs) {
                return reply.error(&format!("ERR {error}"));
            }
            turn.node.settings.store(settings.into());
            turn.node.settings_changed();
        }
        self.listen_again(turn);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of_cluster: Vec<(String, String)> = pairs
            .iter()
            .filter_map(|(name, value)| {
                let name = Settings::name_in_cluster(&text(name))?;
                Some((name.to_owned(), text(value)))
            })
            .collect();
        if of_cluster.is_empty() {
            return reply.ok();
        }
        if self.holds_shards {
            // Taking settings over wants the shards.
            self.configure_later.extend(of_cluster);
            return reply.ok();
        }
        // A transaction's reply waits for nobody else.
        if access.is_held() || turn.node.view().nodes.len() < 2 {
            turn.node.configure_cluster(of_cluster, Box::new(drop));
            return reply.ok();
        }
        let (slot, ticket) = self.open_slot();
        let done = Box::new(move |answer| ticket.fill(&answered(answer, ON_ONE_NODE)));
        turn.node.configure_cluster(of_cluster, done);
        let row = commands::lookup(args.get(0)).expect("it was found by its name");
        self.open_hole(row, Fill::Reply(slot), output);
    }

    /// Tells the shards whether changes are wanted; put off to the end of a transaction, which holds shards locked.
    pub(super) fn listen_again(&mut self, turn: Turn<'_>) {
        if self.holds_shards {
            self.listen_later = true;
        } else {
            turn.node.listen_again();
        }
    }
}

/// How a setting that the first of `patterns` matches is named in the reply: a plain name as the client wrote it,
/// as in Redis, one found by a pattern by its own.
fn shown_as<'a>(name: &'a str, patterns: Args<'a>) -> Option<&'a [u8]> {
    let pattern = patterns
        .iter()
        .find(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes()))?;
    let is_plain = !pattern.iter().any(|byte| b"*?[".contains(byte));
    Some(if is_plain { pattern } else { name.as_bytes() })
}

#[cfg(test)]
mod tests;
