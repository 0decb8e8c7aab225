use super::*;
use crate::workload::Command;

fn result(servers: &[(&str, &[f64])]) -> RowResult {
    let sample = |cpu_us: f64| Sample {
        requests_per_second: 1e6 / cpu_us,
        server_cpu_us_per_request: cpu_us,
        client_busy: 0.5,
        p50_us: cpu_us * 10.0,
        p99_us: cpu_us * 20.0,
        p999_us: cpu_us * 30.0,
    };
    RowResult {
        row: Row {
            command: Command::Get,
            pipeline: 16,
            value_bytes: 64,
            clients: 50,
        },
        servers: servers
            .iter()
            .map(|(name, cpus_us)| ServerSamples {
                server: (*name).to_owned(),
                samples: cpus_us.iter().map(|&cpu_us| sample(cpu_us)).collect(),
            })
            .collect(),
    }
}

#[test]
fn shows_medians_ratios_and_reach() {
    // README's tables are pasted from here; a wrong column is a wrong claim.
    let results = [result(&[
        ("redis", &[1.0, 1.0, 9.0]),
        ("torc", &[0.4, 0.5, 0.45]),
        ("other", &[2.0, 2.0, 2.0]),
    ])];
    assert_eq!(
        cpu_table(&results),
        "| request | value | pipeline | clients | redis µs | torc µs | other µs | torc/redis | other/redis | reach |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n\
         | GET | 64 B | 16 | 50 | 1.000 | 0.450 | 2.000 | 0.45 (0.05–0.50) | 2.00 (0.22–2.00) | ≤ 0.46, met |\n"
    );
    assert!(throughput_table(&results).contains("| ≥ 1.30, met |"));
    assert!(latency_table(&results).contains("| 10 / 20 / 30 | 4 / 9 / 14 |"));
}

#[test]
fn a_missed_reach_is_called_missed() {
    // A table that only ever says "met" says nothing.
    let results = [result(&[("redis", &[1.0]), ("torc", &[1.01])])];
    assert!(cpu_table(&results).contains("≤ 0.46, missed"));
    assert!(throughput_table(&results).contains("≥ 1.30, missed"));
    assert!(latency_table(&results).contains("≤ 1.00, missed"));
}

#[test]
fn without_the_base_there_are_no_ratios() {
    // `--servers torc` must print its numbers, not divide by nothing.
    let results = [result(&[("torc", &[1.0])])];
    let text = cpu_table(&results);
    assert!(!text.contains('/') && !text.contains("reach"), "{text}");
}

#[test]
fn overhead_is_compared_between_equal_fills() {
    // Torc without expiry beside redis with it would be a ratio of two questions.
    let memory = |server: &str, with_expiry, overhead_per_key| MemoryResult {
        server: server.to_owned(),
        with_expiry,
        keys_count: 10,
        idle_rss_bytes: 1 << 20,
        bytes_per_key: overhead_per_key + 80.0,
        overhead_per_key,
    };
    let text = memory_table(&[
        memory("redis", false, 50.0),
        memory("torc", false, 25.0),
        memory("redis", true, 100.0),
        memory("torc", true, 90.0),
    ]);
    assert!(
        text.contains("| 10 without expiry | torc | 105.0 | 25.0 | 0.50 | ≤ 0.75, met | 1.0 |"),
        "{text}"
    );
    assert!(
        text.contains("| 10 with expiry | torc | 170.0 | 90.0 | 0.90 | ≤ 0.75, missed | 1.0 |"),
        "{text}"
    );
}

#[test]
fn a_client_at_its_limit_is_reported() {
    // Otherwise the client's own speed would be printed as the server's.
    let mut results = [result(&[("torc", &[1.0])])];
    assert_eq!(client_bound_note(&results), "");
    results[0].servers[0].samples[0].client_busy = 0.99;
    assert!(client_bound_note(&results).contains("GET P16 64 B c50 on torc"));
}
