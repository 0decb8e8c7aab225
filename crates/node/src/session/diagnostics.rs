//! SLOWLOG, LATENCY, MEMORY, MONITOR.

use super::access::Access;
use super::info::each_used_row;
use super::{Session, Turn};
use crate::client::ClientFlag;
use crate::latency::LatencyEvent;
use resp::{Args, Reply, parse_i64};
use std::sync::atomic::Ordering;

impl Session {
    pub(super) fn monitor(
        &mut self,
        turn: Turn<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        if access.is_held() {
            return reply.error("ERR MONITOR isn't allowed for DENY BLOCKING client");
        }
        reply.ok();
        self.client.set(ClientFlag::Monitor);
        turn.node.monitors.add(&self.client);
    }

    pub(super) fn slowlog(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let slowlog = &turn.node.slowlog;
        match args.get(1).to_ascii_lowercase().as_slice() {
            b"len" => reply.integer(slowlog.len() as i64),
            b"reset" => {
                slowlog.reset();
                reply.ok();
            }
            b"get" => {
                let count = if args.len() > 2 {
                    parse_i64(args.get(2))
                } else {
                    Some(10)
                };
                if args.len() > 3 {
                    return reply.error_bytes(&super::server::misused(args));
                }
                let count = match count {
                    Some(-1) => None,
                    Some(count) if count >= 0 => Some(count as usize),
                    Some(_) | None => {
                        return reply.error("ERR count should be greater than or equal to -1");
                    }
                };
                let entries = slowlog.newest(count);
                reply.array(entries.len());
                for entry in entries {
                    reply.array(6);
                    reply.integer(entry.id as i64);
                    reply.integer(entry.wall_s as i64);
                    reply.integer(entry.took_us as i64);
                    reply.array(entry.args.len());
                    entry.args.iter().for_each(|argument| reply.bulk(argument));
                    reply.bulk(entry.addr.as_bytes());
                    reply.bulk(&entry.name);
                }
            }
            _ => super::server::help(b"slowlog", reply),
        }
    }

    pub(super) fn latency(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let monitor = &turn.node.latency;
        let event_of = |name: &[u8]| {
            LatencyEvent::ALL
                .into_iter()
                .find(|event| event.name().as_bytes().eq_ignore_ascii_case(name))
        };
        match args.get(1).to_ascii_lowercase().as_slice() {
            b"latest" => {
                let all = monitor.all();
                reply.array(all.len());
                for (event, spikes) in all {
                    let (at_s, took_ms) = spikes.samples.last().copied().unwrap_or_default();
                    reply.array(4);
                    reply.bulk(event.name().as_bytes());
                    reply.integer(at_s as i64);
                    reply.integer(took_ms as i64);
                    reply.integer(spikes.max_ms as i64);
                }
            }
            b"history" => {
                let spikes = event_of(args.get(2))
                    .and_then(|event| monitor.all().remove(&event))
                    .unwrap_or_default();
                reply.array(spikes.samples.len());
                for (at_s, took_ms) in spikes.samples {
                    reply.array(2);
                    reply.integer(at_s as i64);
                    reply.integer(took_ms as i64);
                }
            }
            b"reset" => {
                let events: Vec<LatencyEvent> = args.from(2).iter().filter_map(event_of).collect();
                let reset = if args.len() > 2 && events.is_empty() {
                    0
                } else {
                    monitor.reset(&events)
                };
                reply.integer(reset as i64);
            }
            b"histogram" => self.latency_histogram(turn, args, reply),
            b"graph" => reply.error(&format!(
                "ERR No samples available for event '{}'",
                String::from_utf8_lossy(args.get(2))
            )),
            b"doctor" => {
                let all = monitor.all();
                let mut text = String::new();
                if turn.settings.latency_monitor_threshold_ms == 0 && all.is_empty() {
                    text.push_str("Latency monitoring is off. Turn it on with CONFIG SET latency-monitor-threshold <milliseconds>.\n");
                } else if all.is_empty() {
                    text.push_str("No latency spike was seen since the last reset.\n");
                }
                for (event, spikes) in all {
                    text.push_str(&format!(
                        "{}: {} spikes kept, the longest of {} ms. SLOWLOG GET shows which commands.\n",
                        event.name(),
                        spikes.samples.len(),
                        spikes.max_ms
                    ));
                }
                reply.verbatim("txt", text.as_bytes());
            }
            _ => super::server::help(b"latency", reply),
        }
    }

    /// LATENCY HISTOGRAM [command …]: cumulative counts by powers of two of microseconds.
    fn latency_histogram(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let mut shown = Vec::new();
        each_used_row(turn, |row, stats| {
            let name = row.full_name();
            let parent = name.split('|').next().unwrap_or_default().to_string();
            let wanted = args.len() == 2
                || args.from(2).iter().any(|wanted| {
                    wanted.eq_ignore_ascii_case(name.as_bytes())
                        || wanted.eq_ignore_ascii_case(parent.as_bytes())
                });
            if wanted && stats.calls > 0 {
                shown.push((name, stats.clone()));
            }
        });
        reply.map(shown.len());
        for (name, stats) in shown {
            reply.bulk(name.as_bytes());
            reply.map(2);
            reply.bulk(b"calls");
            reply.integer(stats.calls as i64);
            reply.bulk(b"histogram_usec");
            let mut sum = 0;
            let mut classes = Vec::new();
            for (class, count) in stats
                .latency
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
            {
                sum += count;
                classes.push(((1u64 << class).max(1), sum));
            }
            reply.map(classes.len());
            for (upto_us, count) in classes {
                reply.integer(upto_us as i64);
                reply.integer(count as i64);
            }
        }
    }

    /// MEMORY STATS, DOCTOR, PURGE, MALLOC-STATS (USAGE is a data command).
    pub(super) fn memory(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        reply: &mut Reply<'_>,
    ) {
        match args.get(1).to_ascii_lowercase().as_slice() {
            b"stats" => self.memory_stats(turn, access, reply),
            b"purge" => reply.ok(),
            b"malloc-stats" => {
                reply.verbatim("txt", b"mimalloc; see INFO memory for what it holds\n")
            }
            b"doctor" => {
                let used = used_bytes(turn, access);
                let total = turn.node.budget.total();
                let evicted = turn.node.stats.evicted_keys.load(Ordering::Relaxed);
                let resident = turn.node.host.process().resident_bytes;
                let mut text = format!(
                    "{used} of {total} bytes are used, {evicted} keys were evicted so far.\n"
                );
                if evicted > 0 {
                    text.push_str("The cache is full and evicts: raise maxmemory if the hit rate suffers (INFO stats: keyspace_hits).\n");
                }
                if used > 16 << 20 && resident > used + used / 4 {
                    text.push_str("Resident memory is over a quarter above what is accounted: look at client buffers (CLIENT LIST, omem, qbuf).\n");
                }
                reply.verbatim("txt", text.as_bytes());
            }
            _ => super::server::help(b"memory", reply),
        }
    }

    fn memory_stats(&mut self, turn: Turn<'_>, access: &mut Access<'_>, reply: &mut Reply<'_>) {
        let mut keys = 0;
        let mut used = 0;
        for shard in 0..turn.node.shards_count() {
            access.with(turn.node, shard, |shard| {
                keys += (0..16).map(|db| shard.cache.len(db)).sum::<usize>();
                used += shard.cache.used_bytes() as u64;
            });
        }
        let process = turn.node.host.process();
        let peak = turn
            .node
            .stats
            .peak_memory
            .fetch_max(used, Ordering::Relaxed)
            .max(used);
        let integers = [
            ("peak.allocated", peak),
            ("total.allocated", used),
            ("startup.allocated", 0),
            ("replication.backlog", 0),
            ("clients.slaves", 0),
            ("clients.normal", 0),
            ("cluster.links", 0),
            ("aof.buffer", 0),
            ("lua.caches", 0),
            ("functions.caches", 0),
            ("overhead.total", 0),
            ("keys.count", keys as u64),
            ("keys.bytes-per-key", used / (keys as u64).max(1)),
            ("dataset.bytes", used),
        ];
        let doubles = [
            ("peak.percentage", used as f64 * 100.0 / peak.max(1) as f64),
            (
                "fragmentation",
                process.resident_bytes as f64 / used.max(1) as f64,
            ),
        ];
        reply.map(integers.len() + doubles.len());
        for (name, value) in integers {
            reply.bulk(name.as_bytes());
            reply.integer(value as i64);
        }
        for (name, value) in doubles {
            reply.bulk(name.as_bytes());
            reply.double(value);
        }
    }
}

fn used_bytes(turn: Turn<'_>, access: &mut Access<'_>) -> u64 {
    (0..turn.node.shards_count())
        .map(|shard| access.with(turn.node, shard, |s| s.cache.used_bytes() as u64))
        .sum()
}

#[cfg(test)]
mod tests;
