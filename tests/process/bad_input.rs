//! Commands that are refused, each in Redis's own words: clients match on these texts.

use torc_tests::{Client, Kind, Server, Value};

/// Sends each line of `setup`, then checks that every line answers its error.
fn refused(setup: &[&str], lines: &[(&str, &str)]) {
    let server = Server::start();
    let mut client = server.client();
    for line in setup {
        let reply = client.ask(line);
        assert!(
            !matches!(reply, Value::Error(_)),
            "{line} answered {reply:?}"
        );
    }
    for (line, error) in lines {
        assert_eq!(client.ask(line), Value::error(error), "{line}");
    }
    assert_eq!(
        client.ask("PING"),
        Value::simple("PONG"),
        "a refused command leaves the connection as it was"
    );
}

#[test]
fn an_unknown_command_is_named_with_its_arguments() {
    // Fails when clients that recognise an old server by this text would no longer do so.
    refused(
        &[],
        &[
            (
                "NOSUCH",
                "ERR unknown command 'NOSUCH', with args beginning with: ",
            ),
            (
                "nosuch a b",
                "ERR unknown command 'nosuch', with args beginning with: 'a' 'b' ",
            ),
            (
                "CLIENT NOSUCH",
                "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.",
            ),
            (
                "CONFIG NOSUCH a",
                "ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP.",
            ),
            (
                "OBJECT NOSUCH a",
                "ERR unknown subcommand 'NOSUCH'. Try OBJECT HELP.",
            ),
        ],
    );
    let server = Server::start();
    let long = "x".repeat(300);
    let text = server.client().ask_args(&[long.as_str(), "a"]).text();
    assert!(
        text.len() < 300 && text.contains(&"x".repeat(128)),
        "a long name is cut: {text}"
    );
}

#[test]
fn wrong_numbers_of_arguments_name_the_command() {
    // Fails when arity is not checked, or the name in the text is not Redis's.
    refused(
        &[],
        &[
            ("GET", "ERR wrong number of arguments for 'get' command"),
            ("GET a b", "ERR wrong number of arguments for 'get' command"),
            ("SET a", "ERR wrong number of arguments for 'set' command"),
            (
                "MSET a 1 b",
                "ERR wrong number of arguments for 'mset' command",
            ),
            (
                "MSETNX a",
                "ERR wrong number of arguments for 'msetnx' command",
            ),
            (
                "CLIENT",
                "ERR wrong number of arguments for 'client' command",
            ),
            (
                "CLIENT SETNAME",
                "ERR wrong number of arguments for 'client|setname' command",
            ),
            (
                "CONFIG GET",
                "ERR wrong number of arguments for 'config|get' command",
            ),
            (
                "OBJECT ENCODING",
                "ERR wrong number of arguments for 'object|encoding' command",
            ),
            (
                "PING a b",
                "ERR wrong number of arguments for 'ping' command",
            ),
            ("DEL", "ERR wrong number of arguments for 'del' command"),
            (
                "SUBSCRIBE",
                "ERR wrong number of arguments for 'subscribe' command",
            ),
            (
                "EXEC a",
                "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command",
            ),
        ],
    );
}

#[test]
fn a_command_for_another_type_is_refused() {
    // Fails when SORT, the one command of this step that knows other types only, takes a string.
    refused(
        &["SET a text"],
        &[(
            "SORT a",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        )],
    );
}

#[test]
fn what_is_no_integer_is_refused() {
    // Fails when a lenient parser takes what Redis refuses.
    let not = "ERR value is not an integer or out of range";
    refused(
        &[
            "SET text abc",
            "SET n 1",
            "SET spaced 1x",
            "SET huge 99999999999999999999",
        ],
        &[
            ("INCR text", not),
            ("INCR spaced", not),
            ("INCR huge", not),
            ("INCRBY n abc", not),
            ("INCRBY n 1.5", not),
            ("INCRBY n +1", not),
            ("INCRBY n 9223372036854775808", not),
            ("DECRBY n x", not),
            ("EXPIRE n soon", not),
            ("GETRANGE n a b", not),
            ("SELECT x", not),
            ("INCRBYFLOAT n abc", "ERR value is not a valid float"),
            ("INCRBYFLOAT text 1", "ERR value is not a valid float"),
            ("SETBIT n 0 2", "ERR bit is not an integer or out of range"),
            (
                "SETBIT n x 1",
                "ERR bit offset is not an integer or out of range",
            ),
            ("SCAN x", "ERR invalid cursor"),
        ],
    );
}

#[test]
fn overflow_is_refused_and_changes_nothing() {
    // Fails when a counter wraps around.
    let server = Server::start();
    let mut client = server.client();
    client.ask("SET top 9223372036854775807");
    client.ask("SET low -9223372036854775808");
    let overflow = Value::error("ERR increment or decrement would overflow");
    assert_eq!(client.ask("INCR top"), overflow);
    assert_eq!(client.ask("DECR low"), overflow);
    assert_eq!(client.ask("INCRBY low -1"), overflow);
    assert_eq!(
        client.ask("DECRBY top -9223372036854775808"),
        Value::error("ERR decrement would overflow")
    );
    assert_eq!(
        client.ask("INCRBYFLOAT top inf"),
        Value::error("ERR increment would produce NaN or Infinity")
    );
    assert_eq!(client.ask("GET top"), Value::bulk("9223372036854775807"));
    assert_eq!(client.ask("GET low"), Value::bulk("-9223372036854775808"));
}

#[test]
fn options_that_do_not_go_together_are_a_syntax_error() {
    // Fails when contradicting options are silently taken.
    let syntax = "ERR syntax error";
    refused(
        &["SET a 1"],
        &[
            ("SET a 1 NX XX", syntax),
            ("SET a 1 EX 10 PX 10", syntax),
            ("SET a 1 KEEPTTL EX 10", syntax),
            ("SET a 1 EX", syntax),
            ("SET a 1 nosuch", syntax),
            ("GETEX a EX 10 PERSIST", syntax),
            ("BITOP NAND d a", syntax),
            (
                "BITOP NOT d a b",
                "ERR BITOP NOT must be called with a single source key.",
            ),
            ("BITCOUNT a 0", syntax),
            ("COPY a b nosuch", syntax),
            ("SCAN 0 COUNT", syntax),
            ("SCAN 0 COUNT 0", syntax),
            ("FLUSHALL nosuch", syntax),
            (
                "EXPIRE a 10 NX XX",
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ),
            (
                "EXPIRE a 10 GT LT",
                "ERR GT and LT options at the same time are not compatible",
            ),
            ("EXPIRE a 10 nosuch", "ERR Unsupported option nosuch"),
            (
                "LCS a b LEN IDX",
                "ERR If you want both the length and indexes, please just use IDX.",
            ),
        ],
    );
}

#[test]
fn times_that_cannot_be_are_refused() {
    // Fails when a time to live of nothing or beyond the calendar is taken.
    refused(
        &["SET a 1"],
        &[
            ("SET a 1 EX 0", "ERR invalid expire time in 'set' command"),
            ("SET a 1 PX -5", "ERR invalid expire time in 'set' command"),
            (
                "SET a 1 EX 9223372036854775807",
                "ERR invalid expire time in 'set' command",
            ),
            ("SETEX a 0 x", "ERR invalid expire time in 'setex' command"),
            (
                "PSETEX a -1 x",
                "ERR invalid expire time in 'psetex' command",
            ),
            ("GETEX a EX 0", "ERR invalid expire time in 'getex' command"),
            (
                "EXPIRE a 9223372036854775807",
                "ERR invalid expire time in 'expire' command",
            ),
            (
                "PEXPIRE a 9223372036854775807",
                "ERR invalid expire time in 'pexpire' command",
            ),
            ("RESTORE b -1 x", "ERR Invalid TTL value, must be >= 0"),
        ],
    );
}

#[test]
fn offsets_beyond_the_greatest_string_are_refused() {
    // Fails when a small request makes the server allocate gigabytes.
    refused(
        &["SET a 1"],
        &[
            ("SETRANGE a -1 x", "ERR offset is out of range"),
            (
                "SETRANGE a 536870912 x",
                "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            ),
            (
                "SETRANGE a 9223372036854775807 x",
                "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            ),
            (
                "SETBIT a 4294967296 1",
                "ERR bit offset is not an integer or out of range",
            ),
            (
                "SETBIT a -1 1",
                "ERR bit offset is not an integer or out of range",
            ),
            (
                "GETBIT a 4294967296",
                "ERR bit offset is not an integer or out of range",
            ),
            (
                "BITFIELD a SET u8 4294967296 1",
                "ERR bit offset is not an integer or out of range",
            ),
            (
                "BITFIELD a GET u64 0",
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            ),
            ("SELECT 16", "ERR DB index is out of range"),
            ("SELECT -1", "ERR DB index is out of range"),
            (
                "COPY a a",
                "ERR source and destination objects are the same",
            ),
            ("RENAME none b", "ERR no such key"),
        ],
    );
}

#[test]
fn nothing_but_a_password_opens_a_protected_server() {
    // Fails when a command runs before AUTH, or a wrong password opens the door.
    let server = Server::start_with(Kind::Tested, &["--requirepass", "secret"]);
    let mut client = server.client();
    let noauth = Value::error("NOAUTH Authentication required.");
    for line in [
        "GET a",
        "SET a 1",
        "PING",
        "FLUSHALL",
        "CONFIG GET requirepass",
        "SUBSCRIBE c",
        "MULTI",
        "NOSUCHAUTH",
    ] {
        let reply = client.ask(line);
        let unknown = line == "NOSUCHAUTH" && reply.text().starts_with("ERR unknown command");
        assert!(reply == noauth || unknown, "{line} answered {reply:?}");
    }
    let wrong = Value::error("WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(client.ask("AUTH nosecret"), wrong);
    assert_eq!(client.ask("AUTH nobody secret"), wrong);
    assert_eq!(client.ask("HELLO 3 AUTH default nosecret"), wrong);
    let hello = client.ask("HELLO 3");
    assert!(
        hello
            .text()
            .starts_with("NOAUTH HELLO must be called with the client already authenticated"),
        "{hello:?}"
    );
    assert_eq!(client.ask("GET a"), noauth, "still closed");
    assert_eq!(client.ask("AUTH secret"), Value::simple("OK"));
    assert_eq!(client.ask("PING"), Value::simple("PONG"));
    let mut second = server.client();
    assert!(matches!(
        second.ask("HELLO 3 AUTH default secret"),
        Value::Map(_)
    ));
    assert_eq!(
        second.ask("CONFIG SET requirepass other"),
        Value::simple("OK")
    );
    assert_eq!(
        server.client().ask("AUTH secret"),
        wrong,
        "a changed password holds at once"
    );
    assert_eq!(
        second.ask("PING"),
        Value::simple("PONG"),
        "who is in stays in"
    );
}

#[test]
fn a_password_for_an_open_server_is_refused_in_words() {
    // Fails when a misconfigured client believes that it was authenticated.
    let text = "ERR AUTH <password> called without any password configured for the default user. \
                Are you sure your configuration is correct?";
    refused(&[], &[("AUTH secret", text)]);
}

#[test]
fn unknown_settings_and_values_are_refused_by_config_set() {
    // Fails when a misspelt setting is taken for set.
    refused(
        &[],
        &[
            (
                "CONFIG SET nosuch 1",
                "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
            ),
            (
                "CONFIG SET maxmemory lots",
                "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value",
            ),
            (
                "CONFIG SET databases 3",
                "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
            ),
        ],
    );
    let server = Server::start();
    let mut client = server.client();
    let reply = client.ask("CONFIG SET maxmemory-policy nosuch").text();
    assert!(reply.starts_with("ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the following: "), "{reply}");
    // All or nothing: the first of the two must not stay set.
    client.ask("CONFIG SET timeout 77 nosuch 1");
    assert_eq!(setting(&mut client, "timeout"), "0");
}

fn setting(client: &mut Client, name: &str) -> String {
    client
        .ask(&format!("CONFIG GET {name}"))
        .items()
        .get(1)
        .map(Value::text)
        .unwrap_or_default()
}

#[test]
fn transactions_refuse_what_redis_refuses() {
    // Fails when EXEC runs after a command that could not be queued.
    refused(
        &[],
        &[
            ("EXEC", "ERR EXEC without MULTI"),
            ("DISCARD", "ERR DISCARD without MULTI"),
        ],
    );
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("MULTI"), Value::simple("OK"));
    assert_eq!(
        client.ask("MULTI"),
        Value::error("ERR MULTI calls can not be nested")
    );
    assert_eq!(
        client.ask("WATCH a"),
        Value::error("ERR WATCH inside MULTI is not allowed")
    );
    assert_eq!(client.ask("SET a 1"), Value::simple("QUEUED"));
    assert!(matches!(client.ask("NOSUCH"), Value::Error(_)));
    assert_eq!(
        client.ask("EXEC"),
        Value::error("EXECABORT Transaction discarded because of previous errors.")
    );
    assert_eq!(client.ask("GET a"), Value::NullBulk);
}

#[test]
fn versions_of_the_protocol_that_do_not_exist_are_refused() {
    // Fails when a client that asks for a newer protocol cannot fall back.
    refused(
        &[],
        &[
            ("HELLO 4", "NOPROTO unsupported protocol version"),
            ("HELLO 1", "NOPROTO unsupported protocol version"),
            (
                "HELLO x",
                "ERR Protocol version is not an integer or out of range",
            ),
            (
                "HELLO 3 nosuch",
                "ERR Syntax error in HELLO option 'nosuch'",
            ),
        ],
    );
}
