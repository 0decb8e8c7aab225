use super::*;
use std::collections::BTreeSet;

/// Sets one pair and returns the words of the refusal.
fn refusal(name: &str, value: &str) -> String {
    let mut settings = Settings::default();
    let words = match settings.set(name, value) {
        Ok(()) => panic!("{name} takes {value:?}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(settings, Settings::default(), "a refusal changes nothing");
    words
}

/// The value of `name` after it was set to `value`.
fn after(name: &str, value: &str) -> String {
    let mut settings = Settings::default();
    if let Err(error) = settings.set(name, value) {
        panic!("{error}");
    }
    settings.get(name).unwrap()
}

#[test]
fn refusals_are_in_redis_words() {
    // Breaks if a tool that matches on Redis's error texts reads others.
    let cases = [
        (
            "timeout",
            "abc",
            "argument couldn't be parsed into an integer",
        ),
        ("timeout", "", "argument couldn't be parsed into an integer"),
        (
            "timeout",
            "+5",
            "argument couldn't be parsed into an integer",
        ),
        (
            "timeout",
            "05",
            "argument couldn't be parsed into an integer",
        ),
        (
            "timeout",
            "1kb",
            "argument couldn't be parsed into an integer",
        ),
        (
            "timeout",
            "-1",
            "argument must be between 0 and 2147483647 inclusive",
        ),
        (
            "maxclients",
            "0",
            "argument must be between 1 and 4294967295 inclusive",
        ),
        (
            "slowlog-log-slower-than",
            "-2",
            "argument must be between -1 and 9223372036854775807 inclusive",
        ),
        (
            "proto-max-bulk-len",
            "1000",
            "argument must be between 1048576 and 9223372036854775807 inclusive",
        ),
        ("maxmemory", "abc", "argument must be a memory value"),
        ("maxmemory", "-1", "argument must be a memory value"),
        ("maxmemory", "1.5gb", "argument must be a memory value"),
        ("maxmemory", "1tb", "argument must be a memory value"),
        (
            "maxmemory-policy",
            "foo",
            "argument(s) must be one of the following: volatile-lru, volatile-lfu, \
             volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction",
        ),
        (
            "read-mode",
            "any",
            "argument(s) must be one of the following: lease, quorum",
        ),
        (
            "on-quorum-loss",
            "any",
            "argument(s) must be one of the following: reset, wait",
        ),
        ("protected-mode", "1", "argument must be 'yes' or 'no'"),
        (
            "notify-keyspace-events",
            "xyz",
            "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
        ),
        (
            "client-output-buffer-limit",
            "normal 0 0",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "master 0 0 0",
            "Invalid client class specified in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "normal 0 0 -1",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "latency-tracking-info-percentiles",
            "nan",
            "Invalid latency-tracking-info-percentiles parameters",
        ),
        (
            "latency-tracking-info-percentiles",
            "-1",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        ("databases", "3", "can't set immutable config"),
        ("io-threads", "1", "can't set immutable config"),
    ];
    for (name, value, reason) in cases {
        assert_eq!(
            refusal(name, value),
            format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}")
        );
    }
    assert_eq!(
        refusal("NoSuch", "1"),
        "Unknown option or number of arguments for CONFIG SET - 'NoSuch'"
    );
}

#[test]
fn refusals_of_our_own_say_what_to_do() {
    // Breaks if somebody who asks for what Redis has and Torc has not is left without a way.
    let words = refusal("maxmemory-policy", "volatile-lfu");
    assert!(words.contains("use volatile-lru"), "{words}");
    let words = refusal("maxmemory", "1000kb");
    assert!(words.contains("at least 1048576 bytes (1mb)"), "{words}");
    let mut settings = Settings::default();
    let error = settings
        .set_all(&[(b"requirepass", b"\xff")])
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("argument must be text in UTF-8"), "{error}");
}

#[test]
fn names_are_judged_before_values() {
    // Breaks if of several errors another one is told than Redis tells, or names are quoted otherwise.
    let mut settings = Settings::default();
    let mut words = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(&[u8], &[u8])> = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        settings.set_all(&pairs).unwrap_err().to_string()
    };
    assert_eq!(
        words(&[("timeout", "abc"), ("DATABASES", "3"), ("nosuch", "1")]),
        "CONFIG SET failed (possibly related to argument 'DATABASES') - can't set immutable config"
    );
    assert_eq!(
        words(&[("timeout", "3"), ("Timeout", "4")]),
        "CONFIG SET failed (possibly related to argument 'Timeout') - duplicate parameter"
    );
    assert_eq!(
        words(&[("timeout", "7"), ("MAXMEMORY", "abc")]),
        "CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value"
    );
    assert_eq!(settings, Settings::default(), "all or nothing");
}

#[test]
fn memory_has_redis_units() {
    // Breaks if 1k and 1kb are mixed up, or an amount beyond 64 bits wraps to a tiny one.
    let cases = [
        ("0", 0),
        ("05", 5),
        ("5b", 5),
        ("1k", 1000),
        ("1KB", 1024),
        ("3m", 3_000_000),
        ("3Mb", 3 << 20),
        ("2g", 2_000_000_000),
        ("2gb", 2 << 30),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse_memory(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "b",
        "kb",
        " 1",
        "1 kb",
        "+1",
        "1e3",
        "18446744073709551616",
        "99999999999g",
    ] {
        assert!(parse_memory(text).is_err(), "{text}");
    }
}

#[test]
fn values_read_back_as_redis_prints_them() {
    // Breaks if a tool that reads a setting, changes it and writes it back destroys it.
    let cases = [
        ("maxmemory", "2gb", "2147483648"),
        ("maxmemory-policy", "VOLATILE-TTL", "volatile-ttl"),
        ("protected-mode", "NO", "no"),
        ("read-mode", "Quorum", "quorum"),
        ("on-quorum-loss", "WAIT", "wait"),
        ("notify-keyspace-events", "KEA", "AKE"),
        ("notify-keyspace-events", "nmtxE", "xtnEm"),
        ("notify-keyspace-events", "g$lshzxetd", "A"),
        ("notify-keyspace-events", "Anm", "Anm"),
        ("notify-keyspace-events", "", ""),
        (
            "client-output-buffer-limit",
            "replica 1mb 2mb 3 PUBSUB 1 2 3",
            "normal 0 0 0 slave 1048576 2097152 3 pubsub 1 2 3",
        ),
        ("latency-tracking-info-percentiles", "50 99.99", "50 99.99"),
        ("latency-tracking-info-percentiles", "", ""),
        ("requirepass", "s p a c e", "s p a c e"),
        ("loglevel", "Nothing", "nothing"),
        ("slowlog-log-slower-than", "-1", "-1"),
    ];
    for (name, value, text) in cases {
        assert_eq!(after(name, value), text, "{name} {value}");
    }
}

#[test]
fn every_value_can_be_set_to_what_it_reads() {
    // Breaks if CONFIG GET prints something that CONFIG SET, or the server's start, refuses.
    let mut settings = Settings::default();
    for row in ROWS {
        let value = settings.get(row.name).unwrap();
        match row.kind {
            Kind::Mutable { .. } | Kind::Fixed(_) => settings.set(row.name, &value).unwrap(),
            Kind::Startup { .. } | Kind::Settled { .. } => {
                settings.configure(row.name, &value).unwrap()
            }
            Kind::Constant(_) => {}
        }
    }
    assert_eq!(settings, Settings::default());
}

#[test]
fn fixed_names_take_their_value_and_no_other() {
    // Breaks if a tool that switches off snapshots fails, or one that switches them on believes it did.
    assert_eq!(after("save", ""), "");
    assert_eq!(after("appendonly", "NO"), "no");
    assert_eq!(after("repl-backlog-size", "1mb"), "1048576");
    assert!(refusal("save", "60 1").ends_with("can't set immutable config"));
    assert!(refusal("appendonly", "yes").ends_with("can't set immutable config"));
}

#[test]
fn maxmemory_zero_is_the_automatic_limit() {
    // Breaks if `maxmemory 0` lifted the limit: the node would be killed when memory ends.
    let mut settings = Settings {
        maxmemory_automatic_bytes: 7 << 20,
        ..Settings::default()
    };
    settings.set("maxmemory", "5mb").unwrap();
    settings.set("maxmemory", "0").unwrap();
    assert_eq!(settings.maxmemory_bytes, 7 << 20);
}

#[test]
fn only_settings_can_be_configured_at_start() {
    // Breaks if a node starts with a snapshot schedule in its file and makes none.
    let mut settings = Settings::default();
    settings.configure("bind", "127.0.0.1 ::1").unwrap();
    assert_eq!(settings.get("bind").unwrap(), "127.0.0.1 ::1");
    assert!(settings.bind_is_loopback());
    settings.configure("bind", "* ::*").unwrap();
    assert_eq!(settings.get("bind").unwrap(), "0.0.0.0 ::");
    assert!(!settings.bind_is_loopback());
    assert_eq!(settings.configure("save", "60 1"), Err(None));
    assert_eq!(settings.configure("nosuch", "yes"), Err(None));
    for bad in ["", "1.2.3", "127.0.0.1 host"] {
        assert!(
            matches!(settings.configure("bind", bad), Err(Some(_))),
            "{bad}"
        );
    }
}

#[test]
fn durability_is_given_at_start_and_stays() {
    // Breaks if a tool believes that it switched durability, or cannot find it as it wants it.
    let mut settings = Settings::default();
    for (name, value) in [
        ("appendonly", "yes"),
        ("appendfsync", "ALWAYS"),
        ("dir", "/data"),
    ] {
        settings.configure(name, value).unwrap();
    }
    assert_eq!(settings.get("appendfsync").unwrap(), "always");
    settings.set("appendonly", "yes").unwrap();
    for (name, value) in [
        ("appendonly", "no"),
        ("appendfsync", "no"),
        ("dir", "/data"),
    ] {
        let error = settings.set(name, value).unwrap_err().to_string();
        assert!(error.ends_with("can't set immutable config"), "{error}");
    }
    assert!(matches!(
        settings.configure("appendfsync", "often"),
        Err(Some(_))
    ));
}

#[test]
fn events_reach_nobody_without_a_kind_of_channel() {
    // Breaks if events are made, at a look-up each, that can be published nowhere.
    use commands::EventClass;
    let quiet = KeyspaceEvents::parse("Ax").unwrap();
    assert_eq!(quiet.classes(), 0);
    let loud = KeyspaceEvents::parse("Kxn").unwrap();
    assert_eq!(
        loud.classes(),
        EventClass::Expired as u16 | EventClass::New as u16
    );
    assert!(loud.keyspace() && !loud.keyevent());
}

#[test]
fn every_name_stands_once_and_in_lower_case() {
    // Breaks if CONFIG GET * would name something twice, or a name could not be found.
    let names: BTreeSet<&str> = Settings::names().collect();
    assert_eq!(names.len(), Settings::names().count());
    for name in names {
        assert_eq!(name, name.to_ascii_lowercase());
        assert!(
            Settings::default()
                .get(&name.to_ascii_uppercase())
                .is_some()
        );
    }
}
