//! Starts servers, waits until they answer, asks them things, ends them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use tempfile::TempDir;

use crate::process;
use crate::requests::encode_request;

/// Another process can take the free port between our look and the server's bind.
const START_TRIES_MAX: usize = 5;
/// How long a server may take to answer its first PING.
const START_MAX: Duration = Duration::from_secs(15);
/// Between two PINGs.
const START_POLL: Duration = Duration::from_millis(20);
/// Longest reply to a question (INFO and the like).
const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A server may derive further ports from its own, by adding up to 10000.
const PORT_MAX: u16 = 55_535;

/// How to start a server that is measured.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// Its column in the tables.
    pub name: String,
    /// A shell command that stays in the foreground; `{port}` is replaced.
    pub command: String,
}

/// A running server; it ends when this is dropped.
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    /// Working directory and log; removed with the server.
    _directory: TempDir,
}

impl ServerProcess {
    /// Starts `spec` on a free loopback port and the CPUs given, and waits for its PONG.
    ///
    /// # Errors
    /// The command cannot be run, ends early, or does not answer in time; with its last words.
    pub fn start(spec: &ServerSpec, cpus: &[usize]) -> Result<Self> {
        let mut tries = START_TRIES_MAX;
        loop {
            tries -= 1;
            match Self::start_at(free_port()?, spec, cpus) {
                // Another process has that port by now, or one that the server derives from it.
                Err(error) if tries > 0 && format!("{error:#}").contains("in use") => {}
                result => return result,
            }
        }
    }

    /// The same on a port of the caller's choice: that of a server that has ended, to take its place.
    ///
    /// # Errors
    /// As of [`ServerProcess::start`].
    pub fn start_at(port: u16, spec: &ServerSpec, cpus: &[usize]) -> Result<Self> {
        Self::start_until(port, spec, cpus, |server| {
            let pong = server.ask(&["PING"])?;
            ensure!(
                matches!(&pong, OwnedFrame::SimpleString(text) if text == b"PONG"),
                "no PONG but {pong:?}"
            );
            Ok(true)
        })
    }

    /// The same for a server that says in another way that it is ready.
    ///
    /// # Errors
    /// As of [`ServerProcess::start`].
    pub fn start_until(
        port: u16,
        spec: &ServerSpec,
        cpus: &[usize],
        is_ready: impl Fn(&ServerProcess) -> Result<bool>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir().context("a directory for the server")?;
        let log_path = directory.path().join("server.log");
        let log = File::create(&log_path)?;
        let command = spec.command.replace("{port}", &port.to_string());
        // pdeathsig ends the server even when this program is killed; each of the three programs
        // becomes the next, so the child's pid is the server's.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "-c", &cpu_list(cpus)])
            .args(["sh", "-c", &format!("exec {command}")])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log)
            .spawn()
            .context("running setpriv and taskset (package util-linux)")?;
        let mut server = Self {
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            _directory: directory,
        };
        server
            .wait_until(is_ready)
            .map_err(|error| anyhow!("{error:#}; its last words: {}", last_words(&log_path)))
            .with_context(|| format!("starting {} by `{command}`", spec.name))?;
        Ok(server)
    }

    fn wait_until(&mut self, is_ready: impl Fn(&ServerProcess) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended before it answered ({status})");
            }
            // The order matters: whoever answers must be a child that still lives afterwards, or
            // a stranger on the same port would be measured.
            let ready = is_ready(self);
            if matches!(ready, Ok(true)) && self.child.try_wait()?.is_none() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not ready within {} s: {ready:?}", START_MAX.as_secs());
            }
            thread::sleep(START_POLL);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as SIGKILL does.
    ///
    /// # Errors
    /// It has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// CPU time of all its threads so far, in nanoseconds.
    ///
    /// # Errors
    /// The server is gone.
    pub fn cpu_ns(&self) -> Result<u64> {
        process::cpu_ns(self.pid())
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// The server is gone.
    pub fn rss_bytes(&self) -> Result<u64> {
        process::rss_bytes(self.pid())
    }

    /// Sends one request on a connection of its own and returns the reply.
    ///
    /// # Errors
    /// No connection, no reply within two seconds, or a reply that is no RESP2.
    pub fn ask(&self, arguments: &[&str]) -> Result<OwnedFrame> {
        let timeout = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&self.address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        let mut request = Vec::new();
        let arguments: Vec<&[u8]> = arguments.iter().map(|a| a.as_bytes()).collect();
        encode_request(&arguments, &mut request);
        stream.write_all(&request)?;
        let mut reply = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let read = stream.read(&mut chunk)?;
            ensure!(read > 0, "the connection was closed");
            reply.extend_from_slice(&chunk[..read]);
            ensure!(reply.len() <= REPLY_BYTES_MAX, "the reply is too long");
            match decode(&reply) {
                Ok(Some((frame, _))) => return Ok(frame),
                Ok(None) => {}
                Err(error) => bail!("not RESP2: {error}"),
            }
        }
    }

    /// The fields of `INFO section` as they are printed, `name:value`.
    ///
    /// # Errors
    /// No reply, or one that is not a text.
    pub fn info(&self, section: &str) -> Result<Vec<(String, String)>> {
        let text = match self.ask(&["INFO", section])? {
            OwnedFrame::BulkString(text) => text,
            other => bail!("INFO {section} answered {other:?}"),
        };
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// The server's own version: of all `…_version` fields the one that is not Redis's, which
    /// compatible servers print too.
    pub fn version(&self) -> String {
        let fields = self.info("server").unwrap_or_default();
        own_version(&fields).unwrap_or("unknown").to_owned()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Nothing to keep: no need to ask politely. An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn own_version(fields: &[(String, String)]) -> Option<&str> {
    let is_other = |name: &str| {
        ["redis_version", "gcc_version"].contains(&name) || !name.ends_with("_version")
    };
    fields
        .iter()
        .find(|(name, _)| !is_other(name))
        .or_else(|| fields.iter().find(|(name, _)| name == "redis_version"))
        .map(|(_, value)| value.as_str())
}

/// A connection that asks one thing at a time, and waits `answer_max` at most for an answer.
///
/// # Errors
/// The system's.
pub fn connect(address: SocketAddr, answer_max: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(answer_max))?;
    Ok(stream)
}

/// Pins this process (one thread) to `cpus`; threads and children started later inherit it.
///
/// # Errors
/// `taskset` is missing or refuses.
pub fn pin_self(cpus: &[usize]) -> Result<()> {
    let output = Command::new("taskset")
        .args(["-p", "-c", &cpu_list(cpus), &std::process::id().to_string()])
        .output()
        .context("running taskset (package util-linux)")?;
    ensure!(
        output.status.success(),
        "taskset: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn cpu_list(cpus: &[usize]) -> String {
    let cpus: Vec<_> = cpus.iter().map(usize::to_string).collect();
    cpus.join(",")
}

/// A free loopback port, below those that a server may derive from it.
///
/// # Errors
/// None is free.
pub fn free_port() -> Result<u16> {
    for _ in 0..256 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        if port <= PORT_MAX {
            return Ok(port);
        }
    }
    bail!("no free port up to {PORT_MAX}")
}

fn last_words(log_path: &Path) -> String {
    let log = std::fs::read(log_path).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    if last.is_empty() {
        "(none)".to_owned()
    } else {
        last.join(" / ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ends_or_is_missing_says_so() {
        // A missing binary must be told from a slow one, with the server's own words.
        for (command, words) in [
            ("sh -c 'echo port {port} is cursed; exit 3'", "is cursed"),
            ("/nonexistent/server --port {port}", "not found"),
        ] {
            let spec = ServerSpec {
                name: "broken".to_owned(),
                command: command.to_owned(),
            };
            let cpus = process::allowed_cpus().unwrap();
            let error = ServerProcess::start(&spec, &cpus).err().expect("no server");
            let text = format!("{error:#}");
            assert!(text.contains(words) && text.contains("broken"), "{text}");
        }
    }

    #[test]
    fn a_compatible_server_is_named_by_its_own_version() {
        // Valkey, and Torc, print a redis_version that they are compatible with.
        let fields = |names: &[&str]| -> Vec<(String, String)> {
            names
                .iter()
                .map(|n| (n.to_string(), format!("of {n}")))
                .collect()
        };
        let valkey = fields(&["redis_version", "gcc_version", "valkey_version"]);
        assert_eq!(own_version(&valkey), Some("of valkey_version"));
        let redis = fields(&["redis_version", "os", "gcc_version"]);
        assert_eq!(own_version(&redis), Some("of redis_version"));
        assert_eq!(own_version(&[]), None);
    }
}
