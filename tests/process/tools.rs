//! Redis's own tools, as people type them.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use torc_tests::{Server, Value, encode};

/// How long one run of a tool may take.
const TOOL_WAIT_MAX: Duration = Duration::from_secs(120);

/// Runs `program` against `server` with `input` on its standard input; ends it after `wait`.
fn run_for(
    server: &Server,
    program: &str,
    arguments: &[&str],
    input: &[u8],
    wait: Duration,
) -> Output {
    // Line by line even into a file: what is ended from outside has then printed what it had to say.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]);
    command
        .args(["-h", "127.0.0.1", "-p", &server.port().to_string()])
        .args(arguments);
    let output = tempfile::tempfile().expect("a temporary file can be made");
    let errors = tempfile::tempfile().expect("a temporary file can be made");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(output.try_clone().expect("a file descriptor is left"))
        .stderr(errors.try_clone().expect("a file descriptor is left"))
        .spawn()
        .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let mut stdin = child.stdin.take().expect("it was piped");
    let _ = stdin.write_all(input);
    drop(stdin);
    let end = Instant::now() + wait;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            break child.wait().expect("our own child can be waited for");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Output {
        status,
        stdout: whole(output),
        stderr: whole(errors),
    }
}

fn whole(mut file: std::fs::File) -> Vec<u8> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().expect("a file can be read again");
    file.read_to_end(&mut bytes).expect("readable");
    bytes
}

/// The output of a tool that must succeed and print no error.
fn tool(server: &Server, program: &str, arguments: &[&str], input: &[u8]) -> String {
    let output = run_for(server, program, arguments, input, TOOL_WAIT_MAX);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{text}",
        output.status
    );
    text
}

fn benchmark(arguments: &[&str]) {
    let server = Server::start();
    let mut all = vec!["-q", "-t", "ping,set,get,incr,mset", "-r", "1000000"];
    all.extend_from_slice(arguments);
    let text = tool(&server, "redis-benchmark", &all, b"");
    for test in [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "MSET (10 keys)",
    ] {
        // Lines overwrite each other by carriage returns; the last one of a test has the sum.
        let done = text.replace('\r', "\n").lines().any(|line| {
            line.starts_with(&format!("{test}: ")) && line.contains("requests per second")
        });
        assert!(done, "no result for {test} in\n{text}");
    }
    assert!(!text.to_lowercase().contains("error"), "{text}");
}

#[test]
fn redis_benchmark_without_pipelining() {
    // Fails when the tool that people try first stops at an error.
    benchmark(&["-n", "20000", "-c", "50", "-P", "1"]);
}

#[test]
fn redis_benchmark_with_pipelines() {
    // Fails when pipelined replies are lost or miscounted.
    benchmark(&["-n", "100000", "-c", "50", "-P", "16"]);
    benchmark(&["-n", "200000", "-c", "50", "-P", "64", "-d", "1024"]);
}

#[test]
fn redis_benchmark_with_many_clients() {
    // Fails when hundreds of connections starve each other.
    benchmark(&["-n", "50000", "-c", "500", "-P", "1"]);
    benchmark(&["-n", "100000", "-c", "500", "-P", "16"]);
}

#[test]
fn redis_benchmark_speaks_resp3_and_selects_a_database() {
    // Fails when HELLO or SELECT ahead of a pipeline gets it out of step.
    benchmark(&["-n", "20000", "-c", "20", "-P", "4", "-3"]);
    benchmark(&["-n", "20000", "-c", "20", "-P", "4", "--dbnum", "7"]);
}

#[test]
fn redis_cli_runs_commands_from_its_input() {
    // Fails when a script that is piped into redis-cli does not work.
    let server = Server::start();
    let text = tool(
        &server,
        "redis-cli",
        &[],
        b"SET greeting \"hello world\"\nGET greeting\nINCR n\nMULTI\nINCR n\nEXEC\nNOSUCH\n",
    );
    assert_eq!(
        text.lines().collect::<Vec<_>>()[..5],
        ["OK", "hello world", "1", "OK", "QUEUED"],
        "{text}"
    );
    assert!(text.contains("ERR unknown command 'NOSUCH'"), "{text}");
    assert_eq!(
        tool(&server, "redis-cli", &["-3", "GET", "greeting"], b"").trim(),
        "hello world"
    );
    assert_eq!(
        tool(&server, "redis-cli", &["-n", "9", "DBSIZE"], b"").trim(),
        "0"
    );
    assert_eq!(
        tool(&server, "redis-cli", &["--no-raw", "GET", "none"], b"").trim(),
        "(nil)"
    );
}

#[test]
fn redis_cli_at_a_terminal() {
    // Fails when what the interactive prompt asks for at its start (COMMAND DOCS) is refused: the
    // prompt would lose its hints, or not come up.
    let server = Server::start();
    server.client().ask("SET greeting hello");
    let line = format!(
        "stty rows 40 cols 120; redis-cli -h 127.0.0.1 -p {}",
        server.port()
    );
    let mut child = Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("script(1) can be run");
    let mut stdin = child.stdin.take().expect("it was piped");
    let mut stdout = child.stdout.take().expect("it was piped");
    let (told, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count) = stdout.read(&mut bytes)
            && count > 0
            && told.send(bytes[..count].to_vec()).is_ok()
        {}
    });
    let prompt = format!("127.0.0.1:{}>", server.port());
    let end = Instant::now() + Duration::from_secs(30);
    let mut screen = Vec::new();
    // What is typed before the prompt is there is thrown away. Each line is typed at the prompt behind the answer before.
    let lines = [
        ("", "GET greeting\r"),
        ("\"hello\"", "HELP get\r"),
        ("since:", "QUIT\r"),
    ];
    for (answer, typed) in lines {
        let is_due = |screen: &[u8]| {
            let text = String::from_utf8_lossy(screen);
            text.find(answer)
                .is_some_and(|at| text[at..].contains(&prompt))
        };
        while !is_due(&screen)
            && let Ok(more) = shown.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            screen.extend(more);
        }
        let _ = stdin.write_all(typed.as_bytes());
        let _ = stdin.flush();
    }
    while let Ok(more) = shown.recv_timeout(end.saturating_duration_since(Instant::now())) {
        screen.extend(more);
    }
    let _ = child.kill();
    let _ = child.wait();
    let text = String::from_utf8_lossy(&screen).into_owned();
    assert!(text.contains("\"hello\""), "{text}");
    assert!(text.contains(&prompt), "{text}");
    assert!(
        text.contains("since:") && text.contains("1.0.0"),
        "HELP get prints what COMMAND DOCS holds\n{text}"
    );
}

#[test]
fn redis_cli_scans() {
    // Fails when --scan misses keys or --bigkeys stops at an error.
    let server = Server::start();
    let mut client = server.client();
    let mut bytes = Vec::new();
    for number in 0..3000 {
        encode(
            &mut bytes,
            &[
                "SET",
                &format!("key:{number}"),
                &"v".repeat(number % 50 + 1),
            ],
        );
    }
    client.exchange(&bytes, 3000).expect("filled");
    client.ask_args(&["SET", "biggest", &"v".repeat(5000)]);
    let mut keys: Vec<String> = tool(&server, "redis-cli", &["--scan", "--pattern", "key:*"], b"")
        .lines()
        .map(str::to_owned)
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3000);
    let text = tool(&server, "redis-cli", &["--bigkeys"], b"");
    assert!(
        text.contains("\"biggest\"") && text.contains("has 5000 bytes"),
        "{text}"
    );
    assert!(text.contains("Sampled 3001 keys"), "{text}");
    let text = tool(&server, "redis-cli", &["--memkeys"], b"");
    assert!(text.contains("biggest"), "{text}");
}

#[test]
fn redis_cli_watches() {
    // Fails when the fields of INFO that --stat reads are missing, or PING is slow to answer.
    let server = Server::start();
    server.client().ask("SET a 1");
    let output = run_for(
        &server,
        "redis-cli",
        &["--stat", "-i", "0.2"],
        b"",
        Duration::from_millis(1500),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("keys") && text.contains("mem") && text.contains("requests"),
        "{text}"
    );
    let row = text
        .lines()
        .find(|line| line.starts_with("1 "))
        .unwrap_or_else(|| panic!("no row with one key in\n{text}"));
    let memory = row.split_whitespace().nth(1).unwrap_or_default();
    assert!(
        memory.ends_with(['K', 'M', 'B']) && !memory.starts_with('0'),
        "no memory in {row}"
    );
    // Not at a terminal, --latency measures for a second and ends by itself.
    let text = tool(&server, "redis-cli", &["--latency", "-i", "1"], b"");
    let samples: u64 = text
        .split_whitespace()
        .nth(3)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    assert!(samples > 20, "{text}");
}

#[test]
fn redis_cli_pipes_mass_inserts() {
    // Fails when the closing ECHO of --pipe does not come back byte by byte.
    let server = Server::start();
    let mut bytes = Vec::new();
    for number in 0..50_000 {
        encode(&mut bytes, &["SET", &format!("bulk:{number}"), "v"]);
    }
    encode(&mut bytes, &["INCR", "bulk:1"]);
    let output = run_for(&server, "redis-cli", &["--pipe"], &bytes, TOOL_WAIT_MAX);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("errors: 1, replies: 50001"), "{text}");
    assert_eq!(server.client().ask("DBSIZE"), Value::Integer(50_000));
}

#[test]
fn monitor_shows_what_others_do() {
    // Fails when MONITOR misses commands, or shows them in another form than tools parse.
    let server = Server::start();
    let mut monitor = server.client();
    assert_eq!(monitor.ask("MONITOR"), Value::simple("OK"));
    let mut client = server.client();
    client.ask_args(&[b"SET".as_slice(), b"k", b"a \"b\"\n\x00\xff"]);
    client.ask("SELECT 3");
    client.ask("GET k");
    let lines: Vec<String> = (0..3)
        .map(|_| monitor.receive().expect("a line").text())
        .collect();
    let address = |line: &str| {
        line.split_once("[")
            .and_then(|(_, rest)| rest.split_once(' '))
            .map(|(db, _)| db.to_owned())
    };
    assert!(
        lines[0].ends_with("] \"SET\" \"k\" \"a \\\"b\\\"\\n\\x00\\xff\""),
        "{lines:?}"
    );
    assert_eq!(address(&lines[0]).as_deref(), Some("0"), "{lines:?}");
    assert_eq!(address(&lines[2]).as_deref(), Some("3"), "{lines:?}");
    let (seconds, micros) = lines[0]
        .split_once(' ')
        .expect("a time stands first")
        .0
        .split_once('.')
        .expect("seconds.micros");
    assert!(seconds.len() == 10 && micros.len() == 6, "{lines:?}");
}

#[test]
fn info_has_what_clients_and_exporters_read() {
    // Fails when a field goes missing that a client gates on or an exporter turns into a metric.
    let server = Server::start();
    let mut client = server.client();
    client.ask("SET a 1 EX 100");
    client.ask("GET a");
    client.ask("GET none");
    let text = client.ask("INFO").text();
    let value = |name: &str| {
        text.lines().find_map(|line| {
            line.trim_end()
                .strip_prefix(name)?
                .strip_prefix(':')
                .map(str::to_owned)
        })
    };
    for name in [
        "redis_version",
        "redis_mode",
        "arch_bits",
        "process_id",
        "run_id",
        "tcp_port",
        "uptime_in_seconds",
        "connected_clients",
        "blocked_clients",
        "maxclients",
        "used_memory",
        "used_memory_human",
        "used_memory_rss",
        "used_memory_peak",
        "maxmemory",
        "maxmemory_policy",
        "mem_fragmentation_ratio",
        "loading",
        "total_connections_received",
        "total_commands_processed",
        "instantaneous_ops_per_sec",
        "total_net_input_bytes",
        "total_net_output_bytes",
        "rejected_connections",
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
        "pubsub_channels",
        "pubsub_patterns",
        "role",
        "connected_slaves",
        "used_cpu_sys",
        "used_cpu_user",
        "cluster_enabled",
    ] {
        assert!(
            value(name).is_some_and(|value| !value.is_empty()),
            "no {name} in\n{text}"
        );
    }
    assert_eq!(value("redis_mode").as_deref(), Some("standalone"));
    assert_eq!(value("cluster_enabled").as_deref(), Some("0"));
    assert_eq!(value("loading").as_deref(), Some("0"));
    assert_eq!(value("role").as_deref(), Some("master"));
    assert_eq!(
        (
            value("keyspace_hits").as_deref(),
            value("keyspace_misses").as_deref()
        ),
        (Some("1"), Some("1"))
    );
    let keyspace = value("db0").expect("a database with a key is listed");
    assert!(
        keyspace.starts_with("keys=1,expires=1,avg_ttl="),
        "{keyspace}"
    );
    assert!(
        client
            .ask("INFO commandstats")
            .text()
            .contains("cmdstat_get:calls=2,usec=")
    );
    assert!(
        client
            .ask("INFO errorstats")
            .text()
            .starts_with("# Errorstats")
    );
}
