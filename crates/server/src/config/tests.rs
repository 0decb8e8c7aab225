use super::*;
use std::collections::BTreeMap as Map;
use std::fs;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A machine of 1000 MiB, with a directory for configuration files.
struct Machine {
    root: TempDir,
    env: Map<&'static str, &'static str>,
}

impl Machine {
    fn new() -> Machine {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("proc")).unwrap();
        fs::write(root.path().join("proc/meminfo"), "MemTotal: 1024000 kB\n").unwrap();
        let env = Map::new();
        Machine { root, env }
    }

    fn env(mut self, variable: &'static str, value: &'static str) -> Machine {
        self.env.insert(variable, value);
        self
    }

    fn file(&self, text: &str) -> String {
        let path = self.root.path().join("torc.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().into()
    }

    fn load(&self, flags: &[&str]) -> Result<Command, ConfigErrors> {
        let args = std::iter::once("torc").chain(flags.iter().copied());
        load_on(
            args.map(OsString::from),
            |variable| self.env.get(variable).map(|value| value.to_string()),
            self.root.path(),
        )
    }

    fn config(&self, flags: &[&str]) -> Config {
        match self.load(flags) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{flags:?} gave {other:?}"),
        }
    }

    fn printed(&self, flags: &[&str]) -> String {
        match self.load(flags) {
            Ok(Command::Print(text)) => text,
            other => panic!("{flags:?} gave {other:?}"),
        }
    }

    /// Each error as it is printed, with the path of the file shortened to its name.
    fn errors(&self, flags: &[&str]) -> Vec<String> {
        let directory = format!("{}/", self.root.path().display());
        let errors = self.load(flags).unwrap_err();
        let lines = errors.to_string();
        lines
            .lines()
            .skip(1)
            .map(|line| line.trim().replace(&directory, ""))
            .collect()
    }
}

#[test]
fn without_a_word_the_defaults_hold() {
    // Breaks if a fresh `torc` listens elsewhere, takes another share of memory, or does not start.
    let config = Machine::new().config(&[]);
    let bytes = 1024000 * 1024 / 100 * 60;
    let settings = Settings {
        maxmemory_bytes: bytes,
        maxmemory_automatic_bytes: bytes,
        ..Settings::default()
    };
    assert_eq!(config.settings, settings);
    assert_eq!(config.maxmemory_source, MaxmemorySource::Automatic);
    assert_eq!(Machine::new().config(&["serve"]), config);
}

#[test]
fn documented_defaults_are_the_defaults() {
    // Breaks if the help page tells another default than the one that holds, or names no setting.
    for option in OPTIONS {
        let mut settings = Settings {
            maxmemory_bytes: 0,
            maxmemory_automatic_bytes: 0,
            ..Settings::default()
        };
        let before = settings.clone();
        assert_eq!(
            settings.configure(option.name, option.default),
            Ok(()),
            "{}",
            option.name
        );
        assert_eq!(settings, before, "{}", option.name);
    }
}

#[test]
fn every_setting_is_an_option() {
    // Breaks if something can be changed while the node runs but not be given at start.
    let mut settings = Settings::default();
    for name in Settings::names() {
        let value = settings.get(name).unwrap();
        let is_setting = settings.configure(name, &value).is_ok();
        assert_eq!(is_setting, options::find(name).is_some(), "{name}");
    }
}

#[test]
fn flags_override_the_environment_and_that_the_file() {
    // Breaks if a container's variable cannot override its image's file, or a flag the variable.
    let machine = Machine::new()
        .env("TORC_TIMEOUT", "2")
        .env("TORC_MAXCLIENTS", "20");
    let file = machine.file("timeout = 1\nmaxclients = 10\ndatabases = 5\n");
    let settings = machine
        .config(&["--config", &file, "--timeout", "3"])
        .settings;
    assert_eq!(settings.timeout_s, 3);
    assert_eq!(settings.maxclients, 20);
    assert_eq!(settings.databases, 5);
    assert_eq!(settings.tcp_backlog, 511);
}

#[test]
fn the_file_may_be_named_in_the_environment() {
    // Breaks if TORC_CONFIG is not read, or wins over --config.
    let machine = Machine::new();
    let path = machine.file("port = 1234\n");
    let machine = machine.env("TORC_CONFIG", Box::leak(path.into_boxed_str()));
    let config = machine.config(&[]);
    assert_eq!(config.settings.port, 1234);
    assert!(config.config_file.unwrap().ends_with("torc.toml"));
    let words = machine.errors(&["--config", "/nonexistent/torc.toml"]);
    assert!(
        words[0].starts_with("/nonexistent/torc.toml: "),
        "{words:?}"
    );
}

#[test]
fn the_file_takes_toml_of_every_kind() {
    // Breaks if a natural way to write a value in TOML is refused.
    let machine = Machine::new();
    let file = machine.file(
        r#"
        bind = ["127.0.0.1", "::1"]          # a list
        "maxmemory" = "64mb"                 # a quoted key, Redis's unit
        proto-max-bulk-len = 2097152         # bytes
        protected-mode = false
        latency-tracking = "no"
        requirepass = "correct horse"
        slowlog-log-slower-than = -1
        latency-tracking-info-percentiles = [50, 99.5]
        client-output-buffer-limit = "pubsub 1mb 512kb 5"
        maxmemory-policy = "volatile-ttl"
        notify-keyspace-events = "Ex"
        "#,
    );
    let config = machine.config(&["--config", &file]);
    let value = |name| config.settings.get(name).unwrap();
    assert_eq!(value("bind"), "127.0.0.1 ::1");
    assert_eq!(config.settings.maxmemory_bytes, 64 * MIB);
    assert_eq!(config.maxmemory_source, MaxmemorySource::Configured);
    assert_eq!(config.settings.proto_max_bulk_len_bytes, 2 * MIB);
    assert_eq!(
        (value("protected-mode"), value("latency-tracking")),
        ("no".into(), "no".into())
    );
    assert_eq!(value("requirepass"), "correct horse");
    assert_eq!(value("slowlog-log-slower-than"), "-1");
    assert_eq!(value("latency-tracking-info-percentiles"), "50 99.5");
    assert_eq!(
        value("client-output-buffer-limit"),
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 1048576 524288 5"
    );
    assert_eq!(value("maxmemory-policy"), "volatile-ttl");
    assert_eq!(value("notify-keyspace-events"), "xE");
}

#[test]
fn flags_are_written_as_with_redis() {
    // Breaks if a redis-server command line with Torc's options is refused.
    let config = Machine::new().config(&[
        "--port",
        "0",
        "--bind",
        "127.0.0.1",
        "::1",
        "--client-output-buffer-limit",
        "pubsub",
        "1mb",
        "512kb",
        "5",
        "--slowlog-log-slower-than",
        "-1",
        "--requirepass=-secret",
        "--protected-mode",
        "no",
        "--maxmemory",
        "2gb",
    ]);
    let value = |name| config.settings.get(name).unwrap();
    assert_eq!(value("port"), "0");
    assert_eq!(value("bind"), "127.0.0.1 ::1");
    assert!(value("client-output-buffer-limit").ends_with("pubsub 1048576 524288 5"));
    assert_eq!(value("slowlog-log-slower-than"), "-1");
    assert_eq!(value("requirepass"), "-secret");
    assert_eq!(value("protected-mode"), "no");
    assert_eq!(value("maxmemory"), "2147483648");
}

#[test]
fn flags_count_before_and_after_the_command() {
    // Breaks if `torc --port 1 serve` and `torc serve --port 1` differ.
    let machine = Machine::new();
    let before = machine.config(&["--port", "1", "serve"]);
    assert_eq!(before.settings.port, 1);
    assert_eq!(machine.config(&["serve", "--port", "1"]), before);
}

#[test]
fn all_errors_are_told_at_once_and_where_they_stand() {
    // Breaks if somebody has to start the node five times to find five mistakes.
    let machine = Machine::new()
        .env("TORC_TCP_KEEPALIVE", "often")
        .env("TORC_PROTECTED_MODE", "maybe");
    let file = machine
        .file("maxmemry = \"2gb\"\nmaxmemory = \"2xb\"\n[cache]\nsize = 1\n[[list]]\nx = 1\n");
    let errors = machine.errors(&[
        "--config",
        &file,
        "--shards",
        "0",
        "--bind",
        "0.0.0.0",
        "--timeout",
        "",
    ]);
    assert_eq!(
        errors,
        [
            "torc.toml:1: maxmemry: there is no such option (torc --help lists them)",
            "torc.toml:2: maxmemory '2xb': argument must be a memory value",
            "torc.toml:3: cache: there are no sections: options stand at the top level",
            "torc.toml:5: list: there are no sections: options stand at the top level",
            "environment, TORC_TCP_KEEPALIVE: tcp-keepalive 'often': argument couldn't be parsed \
             into an integer",
            "environment, TORC_PROTECTED_MODE: protected-mode 'maybe': argument must be 'yes' or 'no'",
            "command line: timeout '': argument couldn't be parsed into an integer",
            "command line: shards '0': argument must be between 1 and 16384 inclusive",
            "command line: bind '0.0.0.0': other machines could use this node, and there is no \
             password: set requirepass, or bind to 127.0.0.1, or set protected-mode no if everybody \
             who can reach it may use it",
        ]
    );
}

#[test]
fn unknown_and_broken_flags_are_told_in_a_line() {
    // Breaks if a mistyped flag is ignored, or answered with a page.
    let machine = Machine::new();
    let one = |flags: &[&str]| {
        let errors = machine.errors(flags);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.into_iter().next().unwrap()
    };
    assert_eq!(
        one(&["--maxmemry", "2gb"]),
        "command line: unexpected argument '--maxmemry' found; tip: a similar argument exists: \
         '--maxmemory'"
    );
    assert!(one(&["--timeout"]).contains("a value is required for '--timeout <SECONDS>'"));
    assert!(one(&["--timeout", "1", "--timeout", "2"]).contains("cannot be used multiple times"));
    assert!(one(&["sevre"]).contains("unrecognized subcommand 'sevre'"));
}

#[test]
fn files_that_cannot_be_read_are_told() {
    // Breaks if a node starts with its defaults because its file was unreadable, huge or not TOML.
    let machine = Machine::new();
    let errors = machine.errors(&["--config", "/nonexistent/x.toml", "--shards", "0"]);
    assert_eq!(
        errors,
        [
            "/nonexistent/x.toml: cannot read the configuration file: No such file or directory (os \
             error 2)",
            "command line: shards '0': argument must be between 1 and 16384 inclusive",
        ]
    );
    let directory = machine.root.path().to_str().unwrap();
    let errors = machine.errors(&["--config", directory]);
    assert!(
        errors[0].ends_with("Is a directory (os error 21)"),
        "{errors:?}"
    );

    let file = machine.file(&"#".repeat((64 << 10) + 1));
    let errors = machine.errors(&["--config", &file]);
    assert!(
        errors[0].ends_with("it is larger than 65536 bytes"),
        "{errors:?}"
    );

    let file = machine.file("port = 1\nmaxmemory 2gb\ntimeout = = 2\nport = 2\n");
    let errors = machine.errors(&["--config", &file]);
    assert!(errors.len() >= 3, "{errors:?}");
    assert!(
        errors[0].starts_with("torc.toml:2: not TOML: "),
        "{errors:?}"
    );
    assert!(
        errors[0].ends_with("(an option is written as maxmemory = \"2gb\")"),
        "{errors:?}"
    );
    fs::write(&file, b"requirepass = \"\xff\"").unwrap();
    let errors = machine.errors(&["--config", &file]);
    assert!(errors[0].contains("valid UTF-8"), "{errors:?}");
}

#[test]
fn of_very_many_errors_the_first_are_shown() {
    // Breaks if a file of another kind, given by mistake, floods the terminal.
    let machine = Machine::new();
    let file = machine.file(&"what is this\n".repeat(1000));
    let errors = machine.errors(&["--config", &file]);
    assert_eq!(errors.len(), ERRORS_SHOWN_MAX + 1);
    assert!(errors.last().unwrap().starts_with("and "), "{errors:?}");
}

#[test]
fn bad_values_are_refused_with_the_reason() {
    // Breaks if a value that cannot work is taken, or refused without saying why.
    let machine = Machine::new();
    let cases = [
        (["--maxmemory", "1000kb"], "at least 1048576 bytes (1mb)"),
        (["--maxmemory", "lots"], "argument must be a memory value"),
        (["--maxmemory-policy", "allkeys-lfu"], "use allkeys-lru"),
        (
            ["--maxmemory-policy", "lru"],
            "must be one of the following: volatile-lru, ",
        ),
        (
            ["--bind", "example.org"],
            "'example.org' is not an IP address",
        ),
        (["--bind", ""], "argument must be 1 to 16 IP addresses"),
        (
            ["--port", "65536"],
            "argument must be between 0 and 65535 inclusive",
        ),
        (
            ["--shards", "16385"],
            "argument must be between 1 and 16384 inclusive",
        ),
        (
            ["--databases", "17"],
            "argument must be between 1 and 16 inclusive",
        ),
        (
            ["--client-output-buffer-limit", "normal 1"],
            "Wrong number of arguments",
        ),
        (
            ["--notify-keyspace-events", "Q"],
            "Invalid event class character",
        ),
        (
            ["--loglevel", "loud"],
            "debug, verbose, notice, warning, nothing",
        ),
        (
            ["--proto-max-bulk-len", "1k"],
            "argument must be between 1048576 and ",
        ),
    ];
    for (flags, reason) in cases {
        let errors = machine.errors(&flags);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("command line: "), "{errors:?}");
        assert!(errors[0].contains(reason), "{errors:?}");
    }
    let file = machine.file("repl-timeout = 5\nsave = \"\"\n");
    assert_eq!(
        machine.errors(&["--config", &file]),
        [
            "torc.toml:1: repl-timeout: cannot be configured, it is always '60' here",
            "torc.toml:2: save: cannot be configured, it is always '' here",
        ]
    );
    let file = machine.file("Port = 1\ntcp_keepalive = 5\n");
    assert_eq!(
        machine.errors(&["--config", &file]),
        [
            "torc.toml:1: Port: there is no such option, but port",
            "torc.toml:2: tcp_keepalive: there is no such option, but tcp-keepalive",
        ]
    );
}

#[test]
fn other_machines_need_a_password_or_a_word() {
    // Breaks if a node that anybody can reach starts without a password.
    let machine = Machine::new();
    for open in ["0.0.0.0", "*", "::*", "127.0.0.1 192.0.2.1"] {
        let errors = machine.errors(&["--bind", open]);
        assert!(
            errors[0].contains("there is no password"),
            "{open}: {errors:?}"
        );
        machine.config(&["--bind", open, "--requirepass", "secret"]);
        machine.config(&["--bind", open, "--protected-mode", "no"]);
    }
    for own in ["127.0.0.1", "127.8.8.8 ::1", "localhost"] {
        machine.config(&["--bind", own]);
    }
}

#[test]
fn memory_that_nobody_tells_must_be_named() {
    // Breaks if a node runs with a limit of nothing, or of a guess.
    let machine = Machine::new();
    fs::remove_file(machine.root.path().join("proc/meminfo")).unwrap();
    let errors = machine.errors(&[]);
    assert_eq!(
        errors,
        ["default: maxmemory: this machine does not tell how much memory it has; name an amount"]
    );
    let settings = machine.config(&["--maxmemory", "2mb"]).settings;
    assert_eq!(settings.maxmemory_bytes, 2 * MIB);
    assert_eq!(settings.maxmemory_automatic_bytes, 2 * MIB);

    fs::write(
        machine.root.path().join("proc/meminfo"),
        "MemTotal: 1000 kB\n",
    )
    .unwrap();
    let errors = machine.errors(&["--maxmemory", "0"]);
    assert!(
        errors[0].starts_with("command line: maxmemory: 60 % of "),
        "{errors:?}"
    );
}

#[test]
fn a_password_is_never_quoted() {
    // Breaks if an error could put a password into a log.
    let option = options::find("requirepass").unwrap();
    assert_eq!(option.shape, Shape::Secret);
    let machine = Machine::new().env("TORC_REQUIREPASS", "hunter2");
    let errors = machine.errors(&["--port", "x"]);
    assert!(!errors.concat().contains("hunter2"), "{errors:?}");
}

#[test]
fn the_printed_configuration_reads_back_to_the_same() {
    // Breaks if what --print-config prints is not TOML, or changes what it describes.
    let machine = Machine::new();
    let cases: [&[&str]; 3] = [
        &[],
        &[
            "--maxmemory",
            "600mb",
            "--databases",
            "3",
            "--requirepass",
            "007",
        ],
        &[
            "--requirepass",
            "a \"quote\", a \\ and \u{e4}\n",
            "--bind",
            "*",
            "::1",
            "--client-output-buffer-limit",
            "normal 1000 10kb 7",
            "--latency-tracking",
            "no",
            "--notify-keyspace-events",
            "KEA",
            "--proto-max-bulk-len",
            "1048577",
            "--logfile",
            "12",
            "--latency-tracking-info-percentiles",
            "99.9",
        ],
    ];
    for flags in cases {
        let config = machine.config(flags);
        let text = machine.printed(&[flags, &["--print-config"]].concat());
        let file = machine.file(&text);
        let again = machine.config(&["--config", &file]);
        assert_eq!(again.settings, config.settings, "{text}");
        assert_eq!(again.maxmemory_source, config.maxmemory_source);
    }
}

#[test]
fn the_printed_configuration_explains_itself() {
    // Breaks if an option is missing from it, or stands without its explanation.
    let text = Machine::new().printed(&["--print-config"]);
    let unwrapped = text.replace("\n# ", " ");
    for option in OPTIONS {
        assert!(text.contains(&format!("\n{} = ", option.name)), "{text}");
        assert!(unwrapped.contains(option.help), "{}", option.name);
    }
    assert!(text.contains("\nmaxmemory = 0\n"), "{text}");
    assert!(
        unwrapped.contains("That is 629145600 bytes here."),
        "{text}"
    );
    assert!(
        text.contains("\nproto-max-bulk-len = \"512mb\"\n"),
        "{text}"
    );
}

#[test]
fn a_bad_configuration_is_not_printed() {
    // Breaks if --print-config hides what serve would refuse.
    let errors = Machine::new().errors(&["--print-config", "--timeout", "x"]);
    assert_eq!(errors.len(), 1);
}

#[test]
fn help_and_version_are_texts() {
    // Breaks if the help page loses an option, its default, or the word on where else to set it.
    let machine = Machine::new();
    let help = machine.printed(&["--help"]);
    for option in OPTIONS {
        assert!(
            help.contains(&format!("--{} <", option.name)),
            "{}",
            option.name
        );
        assert!(help.contains(option.group.heading()), "{help}");
    }
    for words in [
        "[default: 6379]",
        "TORC_MAXMEMORY=2gb",
        "serve",
        "--print-config",
    ] {
        assert!(help.contains(words), "{words}");
    }
    let version = machine.printed(&["--version"]);
    assert_eq!(version, format!("torc {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_operators_command_that_is_not_understood_says_so() {
    // Breaks if somebody who asks a running node is told that it "cannot start".
    let machine = Machine::new();
    for (flags, told) in [
        (
            &["shard", "move", "1", "2"] as &[&str],
            "torc shard move, which has --help, was not understood:\n  \
             command line: the following required arguments were not provided: <TO>",
        ),
        (
            &["rebalance"],
            "torc rebalance, which has --help, was not understood:\n  \
             command line: the following required arguments were not provided: <--plan|--apply>",
        ),
        (
            &["node", "weight", "2", "1", "--port", "x"],
            "torc node weight, which has --help, was not understood:\n  \
             command line: port 'x': argument couldn't be parsed into an integer",
        ),
        (
            &["rebalance", "--plan", "--weights", "x"],
            "torc rebalance, which has --help, was not understood:\n  \
             command line: invalid value 'x' for '--weights <NODE=WEIGHT,...>': write it as NODE=WEIGHT, e.g. 4=2",
        ),
        (
            &["node", "add"],
            "torc cannot start with this configuration:\n  \
             command line: the following required arguments were not provided: <HOST:PORT>",
        ),
        (
            &["serve", "--prot", "1"],
            "torc cannot start with this configuration:\n  \
             command line: unexpected argument '--prot' found; tip: a similar argument exists: '--port'",
        ),
    ] {
        let errors = machine.load(flags).unwrap_err();
        assert_eq!(errors.to_string(), told);
    }
}

#[test]
fn every_question_takes_its_address_by_at() {
    // Breaks if what is right for `torc node drain` is wrong for `torc node list`.
    let machine = Machine::new();
    for words in [
        "status",
        "hot",
        "node list",
        "shard list",
        "node remove 2",
        "rebalance --plan",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let flags = [words.as_slice(), &["--at", "h:1"]].concat();
        match machine.load(&flags) {
            Ok(Command::Ask { asked, .. }) => assert_eq!(asked.address, "h:1", "{flags:?}"),
            other => panic!("{flags:?} gave {other:?}"),
        }
    }
    assert!(machine.load(&["status", "h:1", "--at", "h:2"]).is_err());
}

#[test]
fn the_help_of_a_question_is_about_the_question() {
    // Breaks if `torc node drain --help` shows sixty options of a node that it does not start, or forgets those that
    // say which node is asked, or if the others are not taken any more.
    let machine = Machine::new();
    for words in [
        &["node", "drain"] as &[&str],
        &["status"],
        &["shard"],
        &["rebalance"],
    ] {
        let help = machine.printed(&[words, &["--help"]].concat());
        for shown in ["--port", "--requirepass", "--config"] {
            assert!(help.contains(shown), "{words:?}: {help}");
        }
        assert!(!help.contains("--maxmemory"), "{words:?}: {help}");
        assert!(!help.contains("--print-config"), "{words:?}: {help}");
    }
    assert!(
        machine
            .printed(&["serve", "--help"])
            .contains("--maxmemory")
    );
    assert!(
        machine
            .printed(&["node", "add", "--help"])
            .contains("--maxmemory")
    );
    for flags in [
        ["--maxmemory", "2gb", "status"],
        ["status", "--maxmemory", "2gb"],
    ] {
        assert!(machine.load(&flags).is_ok(), "{flags:?}");
    }
    match machine.load(&["--port", "7001", "node", "list"]) {
        Ok(Command::Ask { asked, .. }) => assert_eq!(asked.address, "127.0.0.1:7001"),
        other => panic!("{other:?}"),
    }
}
