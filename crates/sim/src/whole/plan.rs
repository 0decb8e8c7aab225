//! What a seed draws before anything happens: the shape of the cluster, its clocks and network, its clients, its trouble.

use super::nemesis::{NEMESES, Nemesis};
use crate::clock::Clock;
use crate::network::NetworkPlan;
use crate::random::Random;
use node::settings::ReadMode;
use paxos::Settings;

/// How much memory is lost at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// What no group is hurt by for good.
    OfMinorities,
    /// That of most of a shard's replicas too: it goes on with what is left.
    OfMajorities,
}

/// How much clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// As the seed draws it, in a third of the seeds without a rest.
    AsDrawn,
    /// A few batches a second each: the same trouble for a quarter of the time, most of which goes into requests.
    Light,
}

/// The longest rest between two batches where the load is light, us.
const LIGHT_REST_US: u64 = 80_000;

/// A run, as drawn.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: usize,
    /// Shards.
    pub shards: usize,
    /// Times and bounds of the groups.
    pub settings: Settings,
    /// What leaders' reads wait for.
    pub read_mode: ReadMode,
    /// The nodes' clocks.
    pub clocks: Vec<Clock>,
    /// How far their wall clocks are off, us.
    pub walls_us: Vec<i64>,
    /// The network.
    pub network: NetworkPlan,
    /// Whether messages get lost, come twice and overtake each other one by one; else links are as TCP's: what is sent
    /// arrives in order, or the link breaks.
    pub is_unruly: bool,
    /// Frames with which their link breaks, parts per million.
    pub break_ppm: u64,
    /// After so long without an acknowledgement a link is given up, us.
    pub link_patience_us: u64,
    /// Clients.
    pub clients: usize,
    /// Keys of each kind.
    pub keys: u64,
    /// Longest rest of a client between two batches, us.
    pub rest_us_max: u64,
    /// When a client gives up, us.
    pub patience_us: u64,
    /// Longest time to live of keys and locks, ms.
    pub ttl_ms_max: u64,
    /// How long trouble is made, us.
    pub trouble_us: u64,
    /// Longest time between two troubles, us.
    pub trouble_gap_us_max: u64,
    /// Which.
    pub nemeses: Vec<Nemesis>,
}

impl Plan {
    /// How long a lock outlives the connection that it hangs on, ms. Out of what is drawn anyway.
    pub fn lock_delay_ms(&self) -> u64 {
        [0, 300, 1_000, 15_000][(self.clocks[0].offset_us / 3 % 4) as usize]
    }

    /// Clients: beside those of `clients` some, the last ones, that ask for locks with queues. Out of what is drawn anyway.
    pub fn clients_total(&self) -> usize {
        self.clients + 1 + (self.clocks[0].offset_us / 13 % 4) as usize
    }

    /// Draws one.
    pub fn draw(random: &mut Random, losses: Losses, load: Load) -> Plan {
        let nodes = match losses {
            Losses::OfMinorities => *random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5]),
            Losses::OfMajorities => *random.pick(&[4, 5, 5, 5]),
        };
        let is_still = random.chance(50_000);
        let skews = random.chance(700_000);
        let settings = draw_settings(random);
        let drift = settings.drift_ppm;
        let silence_us = settings.election_max_us;
        let mut nemeses: Vec<Nemesis> = NEMESES.to_vec();
        nemeses.retain(|_| random.chance(400_000));
        if is_still {
            nemeses.clear();
        }
        if losses == Losses::OfMajorities {
            nemeses.extend([Nemesis::LoseMajority; 4]);
        }
        let is_unruly = !is_still && random.chance(250_000);
        let rate = |random: &mut Random| match skews {
            true => *random.pick(&[-1, 1]) * random.between(drift / 2, drift) as i64,
            false => 0,
        };
        let shards = random.between(1, 4) as usize;
        let clocks: Vec<Clock> = (0..nodes)
            .map(|_| Clock {
                offset_us: 1_000_000 + random.below(100_000_000),
                rate_error_ppm: rate(random),
            })
            .collect();
        Plan {
            nodes,
            shards,
            settings,
            // Out of what is drawn anyway: one draw more would make other runs of all seeds that failed once.
            read_mode: match clocks[0].offset_us % 3 {
                0 => ReadMode::Quorum,
                _ => ReadMode::Lease,
            },
            clocks,
            walls_us: (0..nodes)
                .map(|_| random.below(10_000_000) as i64 - 5_000_000)
                .collect(),
            network: draw_network(random, is_unruly),
            is_unruly,
            break_ppm: match is_still {
                true => 0,
                false => *random.pick(&[0, 0, 200, 2_000]),
            },
            link_patience_us: random.between(silence_us / 2, silence_us * 6),
            clients: random.between(2, 6) as usize,
            keys: random.between(1, 4),
            rest_us_max: match (*random.pick(&[2_000, 20_000, 60_000]), load) {
                (rest_us, Load::AsDrawn) => rest_us,
                (_, Load::Light) => LIGHT_REST_US,
            },
            patience_us: *random.pick(&[500_000, 3_000_000, 15_000_000]),
            ttl_ms_max: *random.pick(&[100, 1_000, 3_000]),
            trouble_us: silence_us * random.between(4, 16),
            trouble_gap_us_max: silence_us * random.between(2, 12) / 4,
            nemeses,
        }
    }
}

/// Bounds and times: mostly those of every day, so that what is tried is what runs.
fn draw_settings(random: &mut Random) -> Settings {
    let usual = Settings::default();
    Settings {
        epsilon_us: *random.pick(&[200, 1_000]),
        window_entries_max: *random.pick(&[2, 8, 64, 64]),
        message_bytes_max: *random.pick(&[1_000, 1 << 20, 1 << 20]),
        retained_bytes_max: *random.pick(&[2_000, 20_000, 8 << 20]),
        ..usual
    }
}

fn draw_network(random: &mut Random, is_unruly: bool) -> NetworkPlan {
    let (loss, twice) = match is_unruly {
        true => (
            *random.pick(&[0, 5_000, 50_000]),
            *random.pick(&[0, 10_000]),
        ),
        false => (0, 0),
    };
    NetworkPlan {
        loss_ppm: loss,
        duplicate_ppm: twice,
        delay_us: *random.pick(&[(30, 100), (50, 1_000), (500, 8_000)]),
        slow_ppm: *random.pick(&[0, 1_000, 20_000]),
        slow_us_max: 150_000,
    }
}
