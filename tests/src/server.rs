//! One server process on a free loopback port.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::{Client, Value};

/// How long a server may take to answer its first PING: a busy machine is slow, a hung server is not
/// waited for any longer.
const START_WAIT_MAX: Duration = Duration::from_secs(30);
/// Another process can take the free port between our look and the server's bind.
const START_TRIES_MAX: usize = 5;

/// Which program is started, and so how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `torc`, or whatever `TORC_TEST_SERVER` names.
    Tested,
    /// Always `redis-server`: the oracle.
    Oracle,
}

/// A running server; dropping it ends the process, and prints its log when the test is failing.
pub struct Server {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts the tested server with its defaults.
    pub fn start() -> Server {
        Server::start_with(Kind::Tested, &[])
    }

    /// Starts a server with further flags (`["--maxclients", "10"]`; both programs know Redis's
    /// names) and waits until it answers PING. Panics with the log when it does not.
    pub fn start_with(kind: Kind, flags: &[&str]) -> Server {
        for _ in 0..START_TRIES_MAX {
            let mut server = Server::spawn(kind, free_port(), flags);
            match server.wait_until_ready() {
                Ok(()) => return server,
                Err(log) if log.contains("in use") => {}
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
        panic!("no free port could be kept in {START_TRIES_MAX} tries");
    }

    /// Starts a server on `port` without waiting for it.
    pub fn spawn(kind: Kind, port: u16, flags: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let log =
            File::create(directory.path().join("log")).expect("a fresh directory takes a file");
        let mut command = command(kind);
        command.arg("--port").arg(port.to_string());
        command.args(flags);
        let child = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file descriptor is left"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
        Server {
            child,
            port,
            directory,
        }
    }

    /// The client port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection; panics when it is refused.
    pub fn client(&self) -> Client {
        Client::connect(self.port)
            .unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.log()))
    }

    /// A new connection that speaks RESP3.
    pub fn client3(&self) -> Client {
        let mut client = self.client();
        let hello = client.ask("HELLO 3");
        assert!(matches!(hello, Value::Map(_)), "HELLO 3 answered {hello:?}");
        client
    }

    /// Whether the tested program is Redis itself.
    pub fn tests_redis() -> bool {
        tested_is_redis()
    }

    /// Waits up to `wait` for the process to end by itself; its exit code (`-1` for a signal).
    pub fn exit_code(&mut self, wait: Duration) -> Option<i32> {
        let end = Instant::now() + wait;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("our own child can be waited for")
            {
                return Some(status.code().unwrap_or(-1));
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends the process a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the process takes a signal"
        );
    }

    /// Everything that the process printed, the last 8 KiB of it.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.directory.path().join("log")) {
            let length = file.metadata().map_or(0, |meta| meta.len());
            let _ = file.seek(SeekFrom::Start(length.saturating_sub(8 * 1024)));
            let _ = file.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Resident memory in bytes, from `/proc`.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or("0 kB");
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .map_or(0, |kib| kib * 1024)
    }

    /// Waits until it answers PING.
    ///
    /// # Errors
    /// It ended, or does not answer for long: its log.
    pub fn wait_until_ready(&mut self) -> Result<(), String> {
        let end = Instant::now() + START_WAIT_MAX;
        while Instant::now() < end {
            if self.exit_code(Duration::ZERO).is_some() {
                return Err(self.log());
            }
            if let Ok(mut client) = Client::connect(self.port) {
                let mut ping = Vec::new();
                crate::encode(&mut ping, &["PING"]);
                // With a password set the answer is NOAUTH: an answer all the same.
                if client.exchange(&ping, 1).is_ok() && self.exit_code(Duration::ZERO).is_none() {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("no answer in {START_WAIT_MAX:?}\n{}", self.log()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of the server on port {} ---\n{}",
                self.port,
                self.log()
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that are handed out: those of an even thousand, so that a node's second port, 1,000 above, and the one for other nodes,
/// 10,000 above, are nobody else's first. All lie below the range that systems take connections' own ports from: where a node is killed
/// and started again, none of those may have its port meanwhile.
const PORTS_FIRST: u16 = 10_000;
const PORTS_COUNT: u16 = 5_000;

/// A port of the loopback interface that nothing listened on a moment ago, and that this process was not given before.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Processes that run beside each other begin far apart.
    let own = std::process::id().wrapping_mul(7919) % u32::from(PORTS_COUNT);
    let next = NEXT.get_or_init(|| AtomicU16::new(own as u16));
    let candidates = std::iter::repeat_with(|| {
        let nth = next.fetch_add(1, Ordering::Relaxed) % PORTS_COUNT;
        PORTS_FIRST + nth / 1000 * 2000 + nth % 1000
    });
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    candidates
        .take(usize::from(PORTS_COUNT))
        .find(is_free)
        .expect("the loopback interface has a free port")
}

/// The `torc` binary of this build, built on first use: `cargo test` does not build the binaries of
/// other packages by itself.
pub fn torc_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // …/target/PROFILE/deps/test-hash or …/target/PROFILE/differential
        let own = std::env::current_exe().expect("a running program has a path");
        let profile = own
            .ancestors()
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name == "release" || name == "debug")
            })
            .expect("cargo puts programs under debug/ or release/");
        let target = profile
            .parent()
            .expect("the profile's folder stands in the target folder");
        let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        build.args(["build", "--quiet", "--package", "server", "--bin", "torc"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let status = build.status().expect("cargo can be run");
        assert!(status.success(), "torc does not build");
        profile.join("torc")
    })
}

fn command(kind: Kind) -> Command {
    let (program, redis) = match kind {
        Kind::Oracle => (PathBuf::from("redis-server"), true),
        Kind::Tested => match std::env::var_os("TORC_TEST_SERVER") {
            Some(program) if !program.is_empty() => (PathBuf::from(program), tested_is_redis()),
            _ => (torc_binary().to_path_buf(), false),
        },
    };
    let mut command = Command::new(program);
    if redis {
        // No files, and DEBUG as Torc has it.
        command.args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--enable-debug-command",
            "yes",
        ]);
    }
    // Nothing of the caller's own settings may reach the tested server.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TORC_") {
            command.env_remove(name);
        }
    }
    command
}

fn tested_is_redis() -> bool {
    std::env::var_os("TORC_TEST_SERVER").is_some_and(|program| {
        Path::new(&program)
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("redis-server"))
    })
}
