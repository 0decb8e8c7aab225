//! DEBUG: the harmless ones, and the checksum that replicas are compared by.

use super::access::Access;
use super::{Pending, Session, Step, Turn};
use crate::client::ClientFlag;
use cache::Key;
use resp::{Args, Output, Protocol, Reply, parse_f64};

impl Session {
    pub(super) fn debug(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mut reply = Reply::new(output, self.protocol);
        let sub = args.get(1).to_ascii_lowercase();
        match (sub.as_slice(), args.len()) {
            (b"sleep", 3) => {
                // What is no number is none, as in Redis.
                let seconds = parse_f64(args.get(2)).unwrap_or(0.0).clamp(0.0, 1e9);
                if access.is_held() {
                    // Sleeping with shards locked would stop the other connections.
                    reply.error("ERR DEBUG SLEEP is not allowed inside a transaction");
                    return Step::Done;
                }
                let took_us = (seconds * 1e6) as u64;
                let until_us = turn.now.monotonic_us + took_us;
                if let Some(row) = commands::lookup(args.get(0)) {
                    // SLOWLOG and LATENCY are tried out with this.
                    self.timed(turn, row, args, took_us);
                }
                self.pending = Some(Pending::Sleep { until_us });
                self.client.set(ClientFlag::Blocked);
                return Step::Wait {
                    until_us: Some(until_us),
                };
            }
            (b"object", 3) => self.debug_object(turn, args.get(2), access, &mut reply),
            (b"checksum", 2) => {
                // One sum a shard, in order: equal on all replicas at equal log positions.
                let shards = turn.node.shards_count();
                reply.array(shards);
                for shard in 0..shards {
                    let (applied, sum) = access.with(turn.node, shard, |shard| {
                        shard.run_clock(turn.now);
                        (shard.applied, shard.cache.checksum())
                    });
                    reply.bulk(format!("{applied} {sum:016x}").as_bytes());
                }
            }
            (
                b"jmap" | b"set-active-expire" | b"quicklist-packed-threshold" | b"replybuffer",
                _,
            ) => reply.ok(),
            (b"stringmatch-len", 4) => {
                reply.ok();
            }
            (b"protocol", 3) => protocol_sample(args.get(2), &mut reply),
            (b"change-repl-id", 2) => reply.ok(),
            (b"log", 3) => {
                tracing::info!(message = %String::from_utf8_lossy(args.get(2)), "DEBUG LOG");
                reply.ok();
            }
            (b"help", 2) => {
                let lines = [
                    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                    "CHECKSUM",
                    "    Shows each shard's log position and the checksum of its state.",
                    "JMAP",
                    "    Answers OK.",
                    "LOG <message>",
                    "    Writes a line to the log.",
                    "OBJECT <key>",
                    "    Shows how a key is stored.",
                    "PROTOCOL <type>",
                    "    Replies with a sample of a protocol type.",
                    "SLEEP <seconds>",
                    "    Lets this connection, and no other, wait.",
                    "HELP",
                    "    Prints this help.",
                ];
                reply.array(lines.len());
                lines.iter().for_each(|line| reply.simple(line));
            }
            _ => {
                let sub = String::from_utf8_lossy(args.get(1));
                reply.error(&format!("ERR unknown subcommand or wrong number of arguments for '{sub}'. Try DEBUG HELP."));
            }
        }
        Step::Done
    }

    fn debug_object(
        &mut self,
        turn: Turn<'_>,
        bytes: &[u8],
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        let key = Key::new(turn.node.seed, self.db, bytes);
        let shard = turn.node.shard_of(bytes);
        let line = access.with(turn.node, shard, |state| {
            state.run_clock(turn.now);
            let memory = state.cache.entry_bytes(key)?;
            let entry = state.cache.peek(key)?;
            Some(format!(
                "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:0 lru_seconds_idle:{} shard:{shard} bytes:{memory}",
                commands::object::encoding_name(&entry),
                entry.value.string().map_or(memory, |string| string.len() + 1),
                entry.idle_ms / 1000,
            ))
        });
        match line {
            Some(line) => reply.simple(&line),
            None => reply.error("ERR no such key"),
        }
    }
}

/// DEBUG PROTOCOL: what client libraries test their parsers with.
fn protocol_sample(kind: &[u8], reply: &mut Reply<'_>) {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        // Redis's sample, which is not meant to be pi.
        b"double" => reply.double(3141.0 / 1000.0),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.integer(n);
                reply.boolean(n == 1);
            }
        }
        b"attrib" => {
            if reply.protocol() == Protocol::Resp3 {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if reply.protocol() == Protocol::Resp2 => {
            reply.error("ERR RESP2 is not supported by this command");
        }
        b"push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => reply.error("ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"),
    }
}
