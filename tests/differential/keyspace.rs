//! What an epoch left behind: the same keys by full SCAN iterations, the same contents, and payloads of DUMP that each
//! server reads from the other.

use std::collections::BTreeSet;
use std::io;

use torc_tests::{Client, Value, encode};

use crate::compare::{grouped, without_moments};
use crate::known;

/// Rounds that one iteration may take; more means that the cursor never comes home.
const ROUNDS_MAX: usize = 100_000;
/// Keys whose payloads are carried across in one epoch.
const CARRIED_KEYS_MAX: usize = 5;

/// The differences found, in words.
///
/// # Errors
/// When a connection breaks.
pub fn compare(redis: &mut Client, torc: &mut Client, epoch: u64) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let filters: [&[&str]; 9] = [
        &["TYPE", "hash"],
        &["TYPE", "list", "COUNT", "3"],
        &["TYPE", "set"],
        &["TYPE", "ZSET"],
        &[],
        &["COUNT", "1000"],
        &["MATCH", "key:*", "COUNT", "3"],
        &["TYPE", "string"],
        &["TYPE", "stream"],
    ];
    for database in ["0", "1"] {
        ask(redis, &["SELECT", database])?;
        ask(torc, &["SELECT", database])?;
        let filter = filters[(epoch % 9) as usize];
        let left = scan_all(redis, filter)?;
        let right = scan_all(torc, filter)?;
        if left != right {
            let only_redis: Vec<&Value> = left.difference(&right).collect();
            let only_torc: Vec<&Value> = right.difference(&left).collect();
            found.push(format!("SCAN {filter:?} in database {database}: only Redis {only_redis:?}, only Torc {only_torc:?}"));
        }
        let left = scan_all(redis, &[])?;
        let right = scan_all(torc, &[])?;
        for key in &left {
            let Value::Bulk(key) = key else { continue };
            let (here, there) = (contents(redis, key)?, contents(torc, key)?);
            if here != there {
                found.push(format!(
                    "contents: of {} Redis has {here:?}, Torc {there:?}",
                    key.escape_ascii()
                ));
            }
        }
        if database == "0" {
            // Other keys in other epochs: all kinds of values get their turn.
            let skipped = (epoch / 8 % 9) as usize * CARRIED_KEYS_MAX;
            carry(
                redis,
                torc,
                "Torc reads Redis's DUMP",
                &left,
                skipped,
                &mut found,
            )?;
            carry(
                torc,
                redis,
                "Redis reads Torc's DUMP",
                &right,
                skipped,
                &mut found,
            )?;
        }
    }
    Ok(found)
}

/// DUMP on one side, RESTORE on the other, and both must hold the same bytes then.
fn carry(
    from: &mut Client,
    to: &mut Client,
    what: &str,
    keys: &BTreeSet<Value>,
    skipped: usize,
    found: &mut Vec<String>,
) -> io::Result<()> {
    for key in keys.iter().skip(skipped).take(CARRIED_KEYS_MAX) {
        let Value::Bulk(key) = key else { continue };
        let Value::Bulk(payload) = ask(from, &[b"DUMP".as_slice(), key])? else {
            continue;
        };
        let restored = ask(
            to,
            &[
                b"RESTORE".as_slice(),
                b"carried",
                b"0",
                &payload,
                b"REPLACE",
            ],
        )?;
        let there = contents(to, b"carried")?;
        let here = contents(from, key)?;
        if restored != Value::simple("OK") || there != here {
            found.push(format!(
                "{what}: {} restored as {restored:?}: {here:?} became {there:?}",
                payload.escape_ascii()
            ));
        }
        ask(to, &["DEL", "carried"])?;
    }
    Ok(())
}

/// A key's type and all that it holds, in an order of its own where it has one. Hashes, sets and sorted sets are
/// walked by small pages too, which must show the same.
fn contents(client: &mut Client, key: &[u8]) -> io::Result<(String, Vec<String>)> {
    let kind = ask(client, &[b"TYPE".as_slice(), key])?.text();
    let read: (&str, &[&str], usize, &str) = match kind.as_str() {
        "string" => ("GET", &[], 1, ""),
        "list" => ("LRANGE", &["0", "-1"], 1, ""),
        "hash" => ("HGETALL", &[], 2, "HSCAN"),
        "set" => ("SMEMBERS", &[], 1, "SSCAN"),
        "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"], 2, "ZSCAN"),
        "stream" => {
            let args = [b"XINFO".as_slice(), b"STREAM", key, b"FULL", b"COUNT", b"0"];
            let told = without_moments(&ask(client, &args)?);
            return Ok((kind, vec![format!("{told:?}")]));
        }
        _ => return Ok((kind, Vec::new())),
    };
    let (command, rest, words, walk) = read;
    let mut args = vec![command.as_bytes(), key];
    args.extend(rest.iter().map(|word| word.as_bytes()));
    let reply = known::without_minus_zero(&ask(client, &args)?);
    if command == "LRANGE" {
        return Ok((kind, vec![format!("{reply:?}")]));
    }
    let held = grouped(&reply, words);
    if !walk.is_empty() {
        let walked = walk_all(client, (walk, words), key)?;
        let names: BTreeSet<Vec<u8>> = reply.items().chunks(words).map(name_of).collect();
        if walked != names {
            return Ok((format!("{kind}, but {walk} shows other members"), held));
        }
    }
    Ok((kind, held))
}

fn name_of(group: &[Value]) -> Vec<u8> {
    match group.first() {
        Some(Value::Bulk(name)) => name.clone(),
        _ => Vec::new(),
    }
}

/// The names that one full iteration over a collection returns, `words` words a member.
fn walk_all(
    client: &mut Client,
    (command, words): (&str, usize),
    key: &[u8],
) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    for _ in 0..ROUNDS_MAX {
        let args = [command.as_bytes(), key, &cursor, b"COUNT", b"7"];
        let reply = ask(client, &args)?;
        let [next, page] = reply
            .items()
            .try_into()
            .map_err(|_| io::Error::other(format!("{command} answered {reply:?}")))?;
        names.extend(page.items().chunks(words).map(name_of));
        cursor = next.text().into_bytes();
        if cursor == b"0" {
            return Ok(names);
        }
    }
    Err(io::Error::other(format!(
        "{command} did not end in {ROUNDS_MAX} rounds"
    )))
}

/// Every key that one full iteration returns. A key may come twice; one that is there may not be
/// missing.
fn scan_all(client: &mut Client, filter: &[&str]) -> io::Result<BTreeSet<Value>> {
    let mut keys = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for _ in 0..ROUNDS_MAX {
        let mut args = vec!["SCAN", &cursor];
        args.extend_from_slice(filter);
        let reply = ask(client, &args)?;
        let [next, page] = reply
            .items()
            .try_into()
            .map_err(|_| io::Error::other(format!("SCAN answered {reply:?}")))?;
        keys.extend(page.items());
        cursor = next.text();
        if cursor == "0" {
            return Ok(keys);
        }
    }
    Err(io::Error::other(format!(
        "SCAN did not end in {ROUNDS_MAX} rounds"
    )))
}

fn ask<A: AsRef<[u8]>>(client: &mut Client, args: &[A]) -> io::Result<Value> {
    let mut bytes = Vec::new();
    encode(&mut bytes, args);
    Ok(client.exchange(&bytes, 1)?.remove(0))
}
