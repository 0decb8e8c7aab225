//! A host for tests: a few commands on a map, and a count of looks after which it ends the script.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use resp::{Args, Protocol, Reply};
use script::{Engine, Host, Limits, LogLevel, Outcome, Request, Script, Stop};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Map {
    pub keys: BTreeMap<Vec<u8>, Vec<u8>>,
    pub log: Vec<String>,
    /// Looks that are left; without a bound if none.
    pub looks: Option<u32>,
}

impl Host for Map {
    fn call(&mut self, args: Args<'_>, reply: &mut Reply<'_>) {
        let arguments: Vec<&[u8]> = args.iter().collect();
        let protocol = reply.protocol();
        let reply = reply.output().tail_mut();
        let name = String::from_utf8_lossy(arguments[0]).to_ascii_lowercase();
        match (name.as_str(), &arguments[1..]) {
            ("get", [key]) => match self.keys.get(*key) {
                Some(value) => {
                    reply.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                    reply.extend_from_slice(value);
                    reply.extend_from_slice(b"\r\n");
                }
                None if protocol == Protocol::Resp3 => reply.extend_from_slice(b"_\r\n"),
                None => reply.extend_from_slice(b"$-1\r\n"),
            },
            ("set", [key, value]) => {
                self.keys.insert(key.to_vec(), value.to_vec());
                reply.extend_from_slice(b"+OK\r\n");
            }
            ("incr", [key]) => {
                let value = self
                    .keys
                    .entry(key.to_vec())
                    .or_insert_with(|| b"0".to_vec());
                match String::from_utf8_lossy(value).parse::<i64>() {
                    Ok(number) => {
                        *value = (number + 1).to_string().into_bytes();
                        reply.extend_from_slice(format!(":{}\r\n", number + 1).as_bytes());
                    }
                    Err(_) => {
                        reply.extend_from_slice(b"-ERR value is not an integer or out of range\r\n")
                    }
                }
            }
            ("types", []) => reply.extend_from_slice(
                b"*7\r\n%1\r\n+a\r\n:1\r\n~1\r\n+b\r\n,1.5\r\n#t\r\n(12\r\n=6\r\ntxt:hi\r\n_\r\n",
            ),
            _ => reply.extend_from_slice(b"-ERR Unknown Redis command called from script\r\n"),
        }
    }

    fn knows(&self, name: &[u8]) -> bool {
        matches!(name, b"get" | b"set" | b"incr")
    }

    fn stop(&mut self) -> Option<Stop> {
        let looks = self.looks.as_mut()?;
        match looks.checked_sub(1) {
            Some(left) => {
                *looks = left;
                None
            }
            None => Some(Stop::Timeout),
        }
    }

    fn clock_s(&self) -> f64 {
        1.5
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.log
            .push(format!("{level:?} {}", String::from_utf8_lossy(message)));
    }
}

/// Runs a script without keys on a new engine.
pub fn run(source: &str) -> Outcome {
    run_on(&Engine::default(), source, Map::default()).0
}

pub fn run_on(engine: &Engine, source: &str, map: Map) -> (Outcome, Map) {
    let script = Script::new(source.as_bytes()).expect("a script");
    let request = Request {
        script: &script,
        keys: &[b"k1", b"k2"],
        args: &[b"a1"],
        protocol: Protocol::Resp2,
    };
    engine.run(&request, map)
}

/// With a bound on memory and on looks, as an attacker meets them.
pub fn attack(source: &str) -> Outcome {
    let engine = Engine::new(Limits {
        memory_bytes_max: 16 << 20,
        states_max: 1,
    });
    let map = Map {
        looks: Some(2000),
        ..Map::default()
    };
    run_on(&engine, source, map).0
}

/// The reply as text, whatever the outcome.
pub fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Replied(reply) | Outcome::Failed(reply) => {
            String::from_utf8_lossy(reply).into_owned()
        }
        Outcome::Stopped(stop) => format!("{stop:?}"),
    }
}
