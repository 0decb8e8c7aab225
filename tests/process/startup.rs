//! Starting, stopping and refusing to start.

use std::fs;
use std::time::Duration;

use torc_tests::{Kind, Server, Value, free_port};

/// How long a server may take to refuse or to stop.
const END_WAIT_MAX: Duration = Duration::from_secs(10);

/// Starts with `flags`, expects a refusal that names `word`.
fn refused_start(flags: &[&str], word: &str) {
    let mut server = Server::spawn(Kind::Tested, free_port(), flags);
    let code = server.exit_code(END_WAIT_MAX);
    let log = server.log();
    assert!(
        code.is_some_and(|code| code != 0),
        "{flags:?}: exit code {code:?}\n{log}"
    );
    assert!(log.contains(word), "{flags:?}: no {word:?} in\n{log}");
    assert!(
        !log.contains("panicked"),
        "{flags:?}: a panic is no message\n{log}"
    );
}

#[test]
fn a_taken_port_is_refused_in_words() {
    // Fails when a second server on the same port hangs, crashes or starts all the same.
    let first = Server::start();
    let mut second = Server::spawn(Kind::Tested, first.port(), &[]);
    let code = second.exit_code(END_WAIT_MAX);
    assert!(
        code.is_some_and(|code| code != 0),
        "exit code {code:?}\n{}",
        second.log()
    );
    let log = second.log();
    assert!(log.to_lowercase().contains("in use"), "{log}");
    assert!(log.contains(&first.port().to_string()), "{log}");
    assert_eq!(
        first.client().ask("PING"),
        Value::simple("PONG"),
        "the first one lives on"
    );
}

#[test]
fn an_unknown_flag_is_named() {
    // Fails when a misspelt flag is ignored.
    refused_start(&["--nosuchflag", "1"], "nosuchflag");
}

#[test]
fn a_bad_value_is_named_with_its_flag() {
    // Fails when a value that makes no sense is taken for a default.
    refused_start(&["--maxmemory", "lots"], "maxmemory");
    refused_start(&["--maxmemory-policy", "nosuch"], "maxmemory-policy");
    refused_start(&["--port", "99999"], "port");
}

#[test]
fn a_config_file_that_cannot_be_read_is_named() {
    // Fails when a server starts with defaults although its file was not read.
    if Server::tests_redis() {
        return; // Redis has no --config flag.
    }
    refused_start(
        &["--config", "/nonexistent/torc.toml"],
        "/nonexistent/torc.toml",
    );
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("torc.toml");
    let path = file.to_str().expect("a plain path");
    fs::write(&file, "nosuchkey = 1\n").expect("writable");
    refused_start(&["--config", path], "nosuchkey");
    fs::write(&file, "maxclients = [\n").expect("writable");
    refused_start(&["--config", path], "torc.toml");
    fs::write(&file, "maxmemory = \"64mb\"\n").expect("writable");
    let configured = Server::start_with(Kind::Tested, &["--config", path]);
    assert_eq!(
        configured.client().ask("CONFIG GET maxmemory").items()[1],
        Value::bulk("67108864")
    );
}

#[test]
fn a_memory_limit_that_holds_nothing_is_refused() {
    // Fails when a server starts that could never hold one entry.
    if Server::tests_redis() {
        return; // Redis starts and then answers OOM to every write.
    }
    refused_start(&["--maxmemory", "1"], "maxmemory");
}

#[test]
fn signals_and_shutdown_end_the_process_cleanly() {
    // Fails when a stopping server hangs on its clients, or ends with an error.
    for how in ["TERM", "INT", "SHUTDOWN NOSAVE"] {
        let mut server = Server::start();
        let mut client = server.client();
        let mut idle = server.client();
        assert_eq!(client.ask("SET a 1"), Value::simple("OK"));
        if how.starts_with("SHUTDOWN") {
            client
                .send_args(&["SHUTDOWN", "NOSAVE"])
                .expect("the server listens");
        } else {
            server.signal(how);
        }
        assert_eq!(
            server.exit_code(END_WAIT_MAX),
            Some(0),
            "{how}\n{}",
            server.log()
        );
        assert!(client.receive().is_err(), "{how}: the connection is closed");
        assert!(
            idle.receive().is_err(),
            "{how}: idle connections are closed too"
        );
    }
}

#[test]
fn the_log_of_a_normal_run_holds_no_alarm() {
    // Fails when a plain start and stop prints errors or a panic.
    let mut server = Server::start();
    server.client().ask("PING");
    server.signal("TERM");
    server.exit_code(END_WAIT_MAX);
    let log = server.log();
    if !Server::tests_redis() {
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
        assert!(
            log.contains(&server.port().to_string()),
            "the banner names the port\n{log}"
        );
    }
}
