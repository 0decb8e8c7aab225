//! The ring on paper: how evenly many shards lie on many nodes, what moves when one node comes, goes or weighs more, and
//! what it costs to find that out. No server is started.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use placement::{Host, Member, Replicas, Zone, plan, wanted_replicas};

/// The cluster on paper.
#[derive(Debug, Args)]
pub struct RingOptions {
    /// Nodes, of weight 1 each
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=10_000))]
    pub nodes: u64,
    /// Shards
    #[arg(long, default_value_t = 65_536, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub shards: u32,
    /// Replicas of each shard
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=9))]
    pub replicas: u64,
    /// Zones that the nodes are spread over [default: none]
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub zones: u64,
    /// Times that each placement and plan is made; the median is told
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rounds: u64,
}

impl RingOptions {
    fn hosts(&self) -> Vec<Host> {
        (1..=self.nodes).map(|id| self.host(id)).collect()
    }

    fn host(&self, id: u64) -> Host {
        let zone = match self.zones {
            0 => Zone::NONE,
            zones => Zone(1 + id % zones),
        };
        Host {
            member: Member { id, weight: 1 },
            zone,
        }
    }

    fn place(&self, hosts: &[Host]) -> Result<Replicas> {
        Ok(wanted_replicas(hosts, self.shards, self.replicas as usize)?)
    }
}

/// Prints balance, movement and time.
///
/// # Errors
/// Weights that ask for more points than a ring may have.
pub fn run(options: &RingOptions) -> Result<()> {
    ensure!(
        options.replicas < options.nodes,
        "fewer replicas than nodes are wanted"
    );
    let hosts = options.hosts();
    let before = options.place(&hosts)?;
    println!(
        "{} nodes, {} shards, {} replicas each, {} zones\n",
        options.nodes, options.shards, options.replicas, options.zones
    );
    print_balance(options, &hosts, &before);

    let middle = hosts.len() / 2;
    let added: Vec<Host> = (1..=options.nodes + 1).map(|id| options.host(id)).collect();
    let mut removed = hosts.clone();
    removed.remove(middle);
    let weighed = |weight: u32| {
        let mut hosts = hosts.clone();
        hosts[middle].member.weight = weight;
        hosts
    };
    println!(
        "| change | copied | due | ratio | between nodes that stay as they are | handed over | placement, ms | plan, ms |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (name, after) in [
        ("a node more", added),
        ("a node less", removed),
        ("a node drained (weight 0)", weighed(0)),
        ("a node of weight 2", weighed(2)),
    ] {
        print_change(options, name, &hosts, &before, &after)?;
    }
    Ok(())
}

fn print_balance(options: &RingOptions, hosts: &[Host], placed: &Replicas) {
    let (mut held, mut led) = (BTreeMap::new(), BTreeMap::new());
    for holders in &placed.by_shard {
        *led.entry(holders[0]).or_insert(0u64) += 1;
        for &holder in holders {
            *held.entry(holder).or_insert(0u64) += 1;
        }
    }
    let zones: BTreeMap<u64, Zone> = hosts
        .iter()
        .map(|host| (host.member.id, host.zone))
        .collect();
    let is_apart = |holders: &&Vec<u64>| {
        let met: BTreeSet<Zone> = holders.iter().map(|id| zones[id]).collect();
        met.len() == holders.len()
    };
    println!("| of a node | least | mean | most | bound |");
    println!("|---|--:|--:|--:|--:|");
    let shards = u64::from(options.shards);
    let replicas = shards * options.replicas;
    for (name, loads, sum, slack) in [("replicas", held, replicas, 1), ("leaders", led, shards, 0)]
    {
        // Who holds nothing is in no table.
        let least = match loads.len() == hosts.len() {
            true => loads.values().min().copied().unwrap_or(0),
            false => 0,
        };
        let most = loads.values().max().copied().unwrap_or(0);
        let mean = sum as f64 / options.nodes as f64;
        let bound = sum.div_ceil(options.nodes) + slack;
        println!("| {name} | {least} | {mean:.1} | {most} | {bound} |");
    }
    if options.zones > 0 {
        let apart = placed.by_shard.iter().filter(is_apart).count();
        println!("\n{apart} shards of {shards} in distinct zones");
    }
    println!();
}

/// One line: what `after` moves, and what it takes to know. Only one node differs.
fn print_change(
    options: &RingOptions,
    name: &str,
    hosts: &[Host],
    before: &Replicas,
    after: &[Host],
) -> Result<()> {
    let (mut placing, mut planning) = (Vec::new(), Vec::new());
    let mut made = None;
    for _ in 0..options.rounds {
        let start = Instant::now();
        let placed = options.place(after)?;
        placing.push(start.elapsed());
        let start = Instant::now();
        made = Some(plan(before, &placed));
        planning.push(start.elapsed());
    }
    let made = made.expect("there is a round");
    let weights = |hosts: &[Host]| -> BTreeMap<u64, u32> {
        let weight = |host: &Host| (host.member.id, host.member.weight);
        hosts.iter().map(weight).collect()
    };
    let (weights_before, weights_after) = (weights(hosts), weights(after));
    let is_same = |id: u64| weights_before.get(&id) == weights_after.get(&id);
    let between = made
        .moves
        .iter()
        .filter(|step| step.from.is_some_and(is_same) && step.to.is_some_and(is_same))
        .count();
    // The share of the one node that differs, before and after.
    let due = due(options, &weights_before, &weights_after);
    let copied = made.copies_count();
    println!(
        "| {name} | {copied} | {due:.0} | {:.2} | {between} | {} | {:.1} | {:.1} |",
        copied as f64 / due,
        made.hand_overs.len(),
        median_ms(&mut placing),
        median_ms(&mut planning),
    );
    Ok(())
}

/// How many replicas have to change hands at least, were shares met exactly.
fn due(options: &RingOptions, before: &BTreeMap<u64, u32>, after: &BTreeMap<u64, u32>) -> f64 {
    let replicas = f64::from(options.shards) * options.replicas as f64;
    let share = |weights: &BTreeMap<u64, u32>, id: &u64| {
        let sum: u32 = weights.values().sum();
        f64::from(weights.get(id).copied().unwrap_or(0)) / f64::from(sum) * replicas
    };
    let ids: BTreeSet<&u64> = before.keys().chain(after.keys()).collect();
    let gained = |id: &u64| (share(after, id) - share(before, id)).max(0.0);
    ids.into_iter().map(gained).sum()
}

fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
