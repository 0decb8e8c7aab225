//! Counters. What every command touches is striped, so that connections on different cores do not share a
//! cache line; a connection adds once a run of equal commands, not once a command.

use commands::Row;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stripes of the per-command counters.
const STRIPES: usize = 16;
/// Classes of a latency histogram: class n holds what took less than 2^n microseconds.
pub const LATENCY_CLASSES: usize = 32;
/// Seconds that instantaneous rates are averaged over, as Redis: 16 samples, 100 ms apart.
const RATE_SAMPLES: usize = 16;
/// Distinct error codes that are counted; the rest is refused, as in Redis, so that a client cannot fill memory.
const ERROR_CODES_MAX: usize = 128;

/// All counters of a node.
#[derive(Debug)]
pub struct Stats {
    stripes: Box<[Stripe]>,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused for `maxclients`.
    pub rejected: AtomicU64,
    /// Keys whose expiry passed.
    pub expired_keys: AtomicU64,
    /// Keys evicted.
    pub evicted_keys: AtomicU64,
    /// Bytes read from clients.
    pub input_bytes: AtomicU64,
    /// Bytes written to clients.
    pub output_bytes: AtomicU64,
    /// Error replies.
    pub errors: AtomicU64,
    /// Largest `used_memory` seen, bytes.
    pub peak_memory: AtomicU64,
    /// Error replies by code, sorted by it.
    error_codes: Mutex<Vec<(String, u64)>>,
    rates: Mutex<Rates>,
    /// When the log heard of HTTP on a client port.
    pub(crate) http: crate::session::HttpTold,
    /// When the node started, monotonic microseconds.
    pub started_us: u64,
}

#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    rows: Box<[RowCounters]>,
}

/// Counters of one command.
#[derive(Debug, Default)]
struct RowCounters {
    calls: AtomicU64,
    took_us: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    /// Allocated with the first call: counts by class of duration.
    latency: std::sync::OnceLock<Box<[AtomicU64; LATENCY_CLASSES]>>,
}

/// What a command's counters say, summed over the stripes.
#[derive(Clone, Debug, Default)]
pub struct RowStats {
    /// Calls that ran.
    pub calls: u64,
    /// Microseconds in all.
    pub took_us: u64,
    /// Refused before they ran (arity, authentication, memory …).
    pub rejected: u64,
    /// Answered by an error.
    pub failed: u64,
    /// Calls by class of duration.
    pub latency: [u64; LATENCY_CLASSES],
}

#[derive(Debug, Default)]
struct Rates {
    at_us: u64,
    commands: u64,
    input: u64,
    output: u64,
    /// Per second: commands, bytes in, bytes out.
    samples: [[u64; 3]; RATE_SAMPLES],
    next: usize,
}

impl Stats {
    /// Counters for `rows_count` rows.
    pub fn new(rows_count: usize, now_us: u64) -> Self {
        let stripe = || Stripe {
            rows: (0..rows_count).map(|_| RowCounters::default()).collect(),
        };
        Stats {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            connections: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            expired_keys: AtomicU64::new(0),
            evicted_keys: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            error_codes: Mutex::new(Vec::new()),
            rates: Mutex::new(Rates::default()),
            http: crate::session::HttpTold::default(),
            started_us: now_us,
        }
    }

    fn row(&self, client: u64, row: usize) -> &RowCounters {
        &self.stripes[client as usize % STRIPES].rows[row]
    }

    /// Adds `calls` runs of one command by `client` that took `took_us` in all.
    pub fn ran(&self, client: u64, row: usize, calls: u64, took_us: u64) {
        let counters = self.row(client, row);
        counters.calls.fetch_add(calls, Ordering::Relaxed);
        counters.took_us.fetch_add(took_us, Ordering::Relaxed);
        let latency = counters
            .latency
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; LATENCY_CLASSES]));
        let each_us = took_us / calls.max(1);
        let class = (u64::BITS - each_us.leading_zeros()) as usize;
        latency[class.min(LATENCY_CLASSES - 1)].fetch_add(calls, Ordering::Relaxed);
    }

    /// A command of `client` was refused before it ran.
    pub fn refused(&self, client: u64, row: usize) {
        self.row(client, row)
            .rejected
            .fetch_add(1, Ordering::Relaxed);
    }

    /// A command of `client` was answered by an error.
    pub fn failed(&self, client: u64, row: usize) {
        self.row(client, row).failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an error reply by its code, the first word of `text`.
    pub fn error(&self, text: &[u8]) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let word = text
            .split(|&byte| byte == b' ' || byte == b'\r')
            .next()
            .unwrap_or_default();
        let code = String::from_utf8_lossy(&word[..word.len().min(32)]);
        let mut codes = self.error_codes.lock();
        match codes.binary_search_by(|(known, _)| known.as_str().cmp(&code)) {
            Ok(at) => codes[at].1 += 1,
            Err(at) if codes.len() < ERROR_CODES_MAX => codes.insert(at, (code.into_owned(), 1)),
            Err(_) => {}
        }
    }

    /// Error replies by code.
    pub fn error_codes(&self) -> Vec<(String, u64)> {
        self.error_codes.lock().clone()
    }

    /// The counters of `row`.
    pub fn of(&self, row: &'static Row) -> RowStats {
        let mut sum = RowStats::default();
        for stripe in &self.stripes {
            let counters = &stripe.rows[row.id()];
            sum.calls += counters.calls.load(Ordering::Relaxed);
            sum.took_us += counters.took_us.load(Ordering::Relaxed);
            sum.rejected += counters.rejected.load(Ordering::Relaxed);
            sum.failed += counters.failed.load(Ordering::Relaxed);
            if let Some(latency) = counters.latency.get() {
                for (sum, class) in sum.latency.iter_mut().zip(latency.iter()) {
                    *sum += class.load(Ordering::Relaxed);
                }
            }
        }
        sum
    }

    /// Commands that ran, all together.
    pub fn commands(&self) -> u64 {
        let rows = self.stripes.iter().flat_map(|stripe| stripe.rows.iter());
        rows.map(|counters| counters.calls.load(Ordering::Relaxed))
            .sum()
    }

    /// Takes a sample of the rates, about every 100 ms.
    pub fn sample(&self, now_us: u64) {
        let commands = self.commands();
        let input = self.input_bytes.load(Ordering::Relaxed);
        let output = self.output_bytes.load(Ordering::Relaxed);
        let mut rates = self.rates.lock();
        let took_us = now_us.saturating_sub(rates.at_us).max(1);
        let rate = |after: u64, before: u64| after.saturating_sub(before) * 1_000_000 / took_us;
        let sample = [
            rate(commands, rates.commands),
            rate(input, rates.input),
            rate(output, rates.output),
        ];
        let next = rates.next;
        rates.samples[next] = sample;
        *rates = Rates {
            at_us: now_us,
            commands,
            input,
            output,
            samples: rates.samples,
            next: (next + 1) % RATE_SAMPLES,
        };
    }

    /// Commands, bytes in and bytes out a second, averaged over the last samples.
    pub fn rates(&self) -> [u64; 3] {
        let rates = self.rates.lock();
        std::array::from_fn(|kind| {
            rates.samples.iter().map(|sample| sample[kind]).sum::<u64>() / RATE_SAMPLES as u64
        })
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for counters in self.stripes.iter().flat_map(|stripe| stripe.rows.iter()) {
            for counter in [
                &counters.calls,
                &counters.took_us,
                &counters.rejected,
                &counters.failed,
            ] {
                counter.store(0, Ordering::Relaxed);
            }
            if let Some(latency) = counters.latency.get() {
                latency
                    .iter()
                    .for_each(|class| class.store(0, Ordering::Relaxed));
            }
        }
        for counter in [
            &self.connections,
            &self.rejected,
            &self.expired_keys,
            &self.evicted_keys,
            &self.input_bytes,
            &self.output_bytes,
            &self.errors,
            &self.peak_memory,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.error_codes.lock().clear();
        *self.rates.lock() = Rates::default();
    }

    /// Forgets one command's durations (LATENCY HISTOGRAM's RESET goes with CONFIG RESETSTAT in Redis; this is for it).
    pub fn uptime_us(&self, now_us: u64) -> u64 {
        now_us - self.started_us
    }
}
