//! MONITOR, SLOWLOG, LATENCY, MEMORY, DEBUG.

use crate::testing::{Client, node};

#[test]
fn monitor_shows_commands_as_they_ran_and_no_password() {
    // Breaks if a password is shown, or EXEC's commands are not.
    let (node, _) = node();
    let (mut listener, mut client) = (Client::new(&node), Client::new(&node));
    assert_eq!(listener.run("MONITOR"), "+OK");
    client.run("SET a \"x y\\n\\x01\\\"\"");
    let at = "+1700000000.000000 [0 127.0.0.1:10002]";
    assert_eq!(listener.poll(), format!(r#"{at} "SET" "a" "x y\n\x01\"""#));
    client.run("AUTH default secret");
    client.run("HELLO 2 AUTH default secret SETNAME me");
    client.run("CONFIG SET requirepass \"\"");
    assert_eq!(
        listener.poll(),
        format!(
            r#"{at} "AUTH" "(redacted)" "(redacted)" {at} "HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME" "me""#
        )
    );
    client.pipeline(&["MULTI", "GET a", "EXEC"]);
    assert_eq!(
        listener.poll(),
        format!(r#"{at} "MULTI" {at} "GET" "a" {at} "EXEC""#)
    );
    client.run("EVAL \"return redis.call('get',KEYS[1])\" 1 a");
    assert_eq!(
        listener.poll(),
        format!(r#"{at} "EVAL" "return redis.call('get',KEYS[1])" "1" "a""#)
    );
    assert_eq!(
        listener.run("GET a"),
        "-ERR Replica can't interact with the keyspace"
    );
    assert_eq!(listener.run("RESET"), "+RESET");
    client.run("GET a");
    assert_eq!(listener.poll(), "");
}

#[test]
fn slow_commands_are_kept_and_shortened() {
    // Breaks if the log grows with its commands' arguments, keeps a password, or does not end at its bound.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.run("CONFIG SET slowlog-log-slower-than 0");
    client.run("SLOWLOG RESET");
    client.run(&format!("SET a {}", "x".repeat(200)));
    let entry = client.run("SLOWLOG GET 1");
    assert!(entry.contains("... (72 more bytes)"), "{entry}");
    let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    client.run(&format!("DEL {}", many.join(" ")));
    let entry = client.run("SLOWLOG GET 1");
    assert!(entry.contains("*32 $3 DEL"), "{entry}");
    assert!(entry.contains("... (10 more arguments)"), "{entry}");
    client.run("CONFIG SET requirepass secret");
    assert!(client.run("SLOWLOG GET 1").contains("(redacted)"));
    client.run("CONFIG SET slowlog-max-len 2");
    assert_eq!(client.run("SLOWLOG LEN"), ":2");
    client.run("CONFIG SET slowlog-log-slower-than -1");
    client.run("SLOWLOG RESET");
    client.run("PING");
    assert_eq!(client.run("SLOWLOG LEN"), ":0");
    assert_eq!(
        client.run("SLOWLOG GET -2"),
        "-ERR count should be greater than or equal to -1"
    );
    assert_eq!(
        client.run("SLOWLOG GET 1 2"),
        "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."
    );
}

#[test]
fn debug_sleep_stops_its_connection_alone_and_is_a_spike() {
    // Breaks if one connection's sleep is everybody's, or LATENCY does not see it.
    let (node, clock) = node();
    let (mut sleeper, mut client) = (Client::new(&node), Client::new(&node));
    client.run("CONFIG SET latency-monitor-threshold 100");
    assert_eq!(sleeper.run("DEBUG SLEEP 0.15"), "");
    assert_eq!(client.run("PING"), "+PONG");
    clock.advance_ms(150);
    assert_eq!(sleeper.poll(), "+OK");
    assert_eq!(
        client.run("LATENCY LATEST"),
        "*1 *4 $7 command :1700000000 :150 :150"
    );
    assert_eq!(
        client.run("LATENCY HISTORY command"),
        "*1 *2 :1700000000 :150"
    );
    assert_eq!(client.run("LATENCY RESET"), ":1");
    assert_eq!(client.run("LATENCY LATEST"), "*0");
}

#[test]
fn every_container_answers_help() {
    // Breaks if HELP ends a connection instead of helping.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let containers = [
        "ACL", "CLIENT", "COMMAND", "CONFIG", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB",
        "SLOWLOG",
    ];
    for name in containers {
        let help = client.run(&format!("{name} HELP"));
        assert!(help.contains(&format!("+{name} <subcommand>")), "{help}");
    }
    for kind in ["attrib", "push", "bignum", "verbatim", "double", "null"] {
        for protocol in [2, 3] {
            client.run(&format!("HELLO {protocol}"));
            assert_ne!(client.run(&format!("DEBUG PROTOCOL {kind}")), "");
        }
    }
}
