//! etcd beside it all, for orientation: three members, each request an HTTP request of its own through the gateway that
//! etcd puts before its RPCs, 50 connections. It keeps every write on disk, which neither Torc nor redis do here.

use super::locks::{self, Contends, LocksOptions};
use crate::compare::Placement;
use crate::server_process::{ServerProcess, ServerSpec, connect, free_port};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long its members may take to agree on a leader.
const START_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Connections.
const CLIENTS: u64 = 50;
/// Keys that are written and read.
const KEYS: u64 = 10_000;
/// Longest answer's body, bytes.
const BODY_MAX: usize = 64 << 10;

/// Prints a line for writes and one for reads; one that says so if etcd is not there.
///
/// # Errors
/// Its members do not start or answer otherwise than etcd does.
pub fn run(seconds: f64, cpus: &[usize]) -> Result<()> {
    let Some(version) = version() else {
        println!("etcd is not installed (packages etcd-server and etcd-client): left out\n");
        return Ok(());
    };
    let members = start(cpus)?;
    println!("{version}, three members, HTTP, {CLIENTS} connections, for orientation:\n");
    println!("| requests | requests/s | CPU µs per request, all processes | p50 / p99 µs |");
    println!("|---|---:|---:|---:|");
    for (name, path) in [("put", "/v3/kv/put"), ("range", "/v3/kv/range")] {
        let cpu_ns = || -> Result<u64> { members.iter().map(ServerProcess::cpu_ns).sum() };
        let before_ns = cpu_ns()?;
        let begun = Instant::now();
        let latencies = load(members[0].address(), path, seconds)?;
        let count = latencies.len() as f64;
        println!(
            "| {name} | {:.0} | {:.1} | {} / {} |",
            count / begun.elapsed().as_secs_f64(),
            (cpu_ns()? - before_ns) as f64 / 1e3 / count,
            latencies.value_at_quantile(0.5),
            latencies.value_at_quantile(0.99),
        );
    }
    println!();
    Ok(())
}

/// Prints a line for locks of its lock service that clients take and release in turn, as [`super::locks`] does.
///
/// # Errors
/// As [`run`].
pub fn run_locks(seconds: f64, clients: &[usize], placement: &Placement) -> Result<()> {
    let Some(version) = version() else {
        return Ok(());
    };
    let members = start(&placement.server_cpus)?;
    let address = members[0].address();
    println!("{version}, three members, HTTP, for orientation:\n");
    println!(
        "| clients | form | deployment | pairs/s | acquire p50 / p99 µs | release p50 / p99 µs | |"
    );
    println!("|---:|---|---|---:|---:|---:|---:|");
    for &clients in clients {
        let one = |client: usize, ending: &AtomicBool| {
            let mut holder = Holder::open(address, &format!("lock{client}"))?;
            let mut halves = [Histogram::new(3)?, Histogram::new(3)?];
            while !ending.load(Ordering::Relaxed) {
                let begun = Instant::now();
                holder.acquire()?;
                halves[0].record(begun.elapsed().as_micros() as u64)?;
                let begun = Instant::now();
                holder.release()?;
                halves[1].record(begun.elapsed().as_micros() as u64)?;
            }
            Ok(halves)
        };
        locks::print_pairs("etcd", "lock, unlock", clients, seconds, one)?;
    }
    println!();
    Ok(())
}

/// The same for one lock that is handed on.
///
/// # Errors
/// As [`run`].
pub fn run_hand_overs(options: &LocksOptions, placement: &Placement) -> Result<()> {
    if version().is_none() {
        return Ok(());
    }
    let members = start(&placement.server_cpus)?;
    let address = members[0].address();
    let times = locks::hand_overs(options, &|| Holder::open(address, "one"))?;
    locks::print_hand_over_head(options.waiters);
    locks::print_hand_overs("etcd, three members", &times, None);
    println!();
    Ok(())
}

/// Somebody with a lease who takes a lock of etcd's.
struct Holder {
    connection: Connection,
    /// The lock's name in base64.
    name: String,
    lease: String,
    /// What he holds it by.
    key: String,
}

impl Holder {
    fn open(address: SocketAddr, name: &str) -> Result<Holder> {
        let mut connection = Connection::open(address)?;
        let answer = connection.ask("POST", "/v3/lease/grant", r#"{"TTL":60}"#)?;
        Ok(Holder {
            lease: field(&answer, "ID")?,
            // Sixteen characters are base64 of twelve bytes.
            name: format!("{name:0>16}"),
            connection,
            key: String::new(),
        })
    }
}

impl Contends for Holder {
    fn acquire(&mut self) -> Result<()> {
        let body = format!(
            "{{\"name\":\"{}\",\"lease\":\"{}\"}}",
            self.name, self.lease
        );
        let answer = self.connection.ask("POST", "/v3/lock/lock", &body)?;
        self.key = field(&answer, "key")?;
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let body = format!("{{\"key\":\"{}\"}}", self.key);
        let answer = self.connection.ask("POST", "/v3/lock/unlock", &body)?;
        let is_answer = answer.windows(8).any(|word| word == b"\"header\"");
        ensure!(is_answer, "etcd: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

/// A text of an answer.
fn field(answer: &[u8], name: &str) -> Result<String> {
    let parsed: serde_json::Value = serde_json::from_slice(answer)?;
    let text = parsed[name].as_str();
    text.map(str::to_owned)
        .with_context(|| format!("etcd: {}", String::from_utf8_lossy(answer)))
}

/// What etcd calls itself, if it is there.
fn version() -> Option<String> {
    let version = Command::new("etcd")
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let version = String::from_utf8_lossy(&version.stdout);
    Some(version.lines().next().unwrap_or("etcd").to_owned())
}

/// Three members that agree.
fn start(cpus: &[usize]) -> Result<Vec<ServerProcess>> {
    let ports: Vec<(u16, u16)> = (0..3)
        .map(|_| Ok((free_port()?, free_port()?)))
        .collect::<Result<_>>()?;
    let peers: Vec<String> = (ports.iter().enumerate())
        .map(|(nth, (_, peer))| format!("m{nth}=http://127.0.0.1:{peer}"))
        .collect();
    let peers = peers.join(",");
    let mut members = Vec::new();
    for (nth, (port, peer)) in ports.into_iter().enumerate() {
        let (client, own) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let spec = ServerSpec {
            name: format!("etcd {}", nth + 1),
            command: format!(
                "etcd --name m{nth} --data-dir data --listen-client-urls {client} --advertise-client-urls {client} \
                 --listen-peer-urls {own} --initial-advertise-peer-urls {own} --initial-cluster {peers} \
                 --initial-cluster-state new"
            ),
        };
        let listens = |server: &ServerProcess| Ok(TcpStream::connect(server.address()).is_ok());
        members.push(ServerProcess::start_until(port, &spec, cpus, listens)?);
    }
    let deadline = Instant::now() + START_MAX;
    while !members.iter().all(|member| is_healthy(member.address())) {
        ensure!(Instant::now() < deadline, "etcd's members do not agree");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(members)
}

fn is_healthy(address: SocketAddr) -> bool {
    let member = || -> Result<Vec<u8>> {
        let mut connection = Connection::open(address)?;
        connection.ask("GET", "/health", "")
    };
    member().is_ok_and(|body| body.windows(6).any(|word| word == b"\"true\""))
}

/// Requests for random keys on all connections; how long each took, us.
fn load(address: SocketAddr, path: &'static str, seconds: f64) -> Result<Histogram<u64>> {
    let ending = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let ending = ending.clone();
            std::thread::spawn(move || one_client(address, path, client, &ending))
        })
        .collect();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    ending.store(true, Ordering::Relaxed);
    let mut all = Histogram::new(3)?;
    for thread in threads {
        all.add(thread.join().expect("a loading thread does not panic")?)?;
    }
    Ok(all)
}

fn one_client(
    address: SocketAddr,
    path: &str,
    client: u64,
    ending: &AtomicBool,
) -> Result<Histogram<u64>> {
    let mut random = crate::random::Xorshift::new(client + 1);
    let mut connection = Connection::open(address)?;
    let mut latencies = Histogram::new(3)?;
    // Sixteen letters are base64 of twelve bytes, 86 and two signs that of 64.
    let value = "V".repeat(85) + "Q==";
    while !ending.load(Ordering::Relaxed) {
        let key = format!("{:0>16}", random.below(KEYS));
        let body = match path.ends_with("put") {
            true => format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}"),
            false => format!("{{\"key\":\"{key}\"}}"),
        };
        let begun = Instant::now();
        let answer = connection.ask("POST", path, &body)?;
        let is_answer = answer.windows(8).any(|word| word == b"\"header\"");
        ensure!(is_answer, "etcd: {}", String::from_utf8_lossy(&answer));
        latencies.record(begun.elapsed().as_micros() as u64)?;
    }
    Ok(latencies)
}

/// A connection that is kept.
struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Connection> {
        let stream = connect(address, ANSWER_MAX)?;
        Ok(Connection {
            reader: BufReader::new(stream),
        })
    }

    /// The body of the answer.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut length = None;
        loop {
            let mut line = String::new();
            ensure!(self.reader.read_line(&mut line)? > 0, "etcd closed");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let length = length.context("an answer without a length")?;
        ensure!(length <= BODY_MAX, "an answer of {length} bytes");
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }
}
