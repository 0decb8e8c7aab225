//! What one seed draws for its run: sizes, times, clocks, the network's habits, and which misfortunes befall it.
//!
//! Every run draws its own mix ("swarm testing", Groce et al., 2012): a run with few kinds of faults gets further into
//! each than a run with all of them.

use crate::clock::Clock;
use crate::network::NetworkPlan;
use crate::random::Random;
use paxos::Settings;

/// A kind of trouble that is made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nemesis {
    /// Cuts one direction between two nodes.
    OneWayCut,
    /// Parts the nodes in two.
    Partition,
    /// Cuts two nodes apart that both reach a third.
    PartialPartition,
    /// A link goes up and down.
    Flap,
    /// A node stands still.
    Pause,
    /// A node dies and comes back as it can: with its disk, or as somebody else.
    Crash,
    /// A durable node dies and comes back at once.
    Bounce,
    /// A node loses its memory.
    Amnesia,
    /// A node is to die between writing and sending, the next time.
    CrashBeforeSend,
    /// A node is to lose its memory right after its next promise or acknowledgement.
    AmnesiaAfterAck,
    /// A leader is asked to hand over.
    Transfer,
    /// The same, and the two are cut apart soon after.
    CutAtTransfer,
    /// Other voters are wanted: one added, one removed, one replaced.
    Reconfigure,
    /// Two or more voters are to be replaced at once.
    ReplaceTwo,
    /// The same, and the leader is cut off when the configuration is proposed.
    CutAtReconfigure,
    /// Somebody campaigns without cause.
    ForcedCampaign,
    /// All count the leader as silent.
    PeerDown,
    /// The lease holder is cut off and others campaign at once.
    IsolateLeaseHolder,
    /// The same, and the others are restarted before.
    BounceFollowers,
    /// A voter is cut off from the leader until it owes it nothing; then it campaigns, and the leader is cut off from all.
    StaleCandidate,
}

const NEMESES: [Nemesis; 20] = [
    Nemesis::OneWayCut,
    Nemesis::Partition,
    Nemesis::PartialPartition,
    Nemesis::Flap,
    Nemesis::Pause,
    Nemesis::Crash,
    Nemesis::Bounce,
    Nemesis::Amnesia,
    Nemesis::CrashBeforeSend,
    Nemesis::AmnesiaAfterAck,
    Nemesis::Transfer,
    Nemesis::CutAtTransfer,
    Nemesis::Reconfigure,
    Nemesis::ReplaceTwo,
    Nemesis::CutAtReconfigure,
    Nemesis::ForcedCampaign,
    Nemesis::PeerDown,
    Nemesis::IsolateLeaseHolder,
    Nemesis::BounceFollowers,
    Nemesis::StaleCandidate,
];

/// When nodes are told that time went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticking {
    /// Every so many microseconds.
    Every(u64),
    /// When the replica says that a tick matters, and at least every so many microseconds.
    WhenItMatters(u64),
}

/// Whether the last majority's memory may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// Some majority always remembers, so the group must live on.
    KeepMajority,
    /// Anything may be lost; the group may stop, but must not lie.
    Reckless,
}

/// Everything that is drawn before a run begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes that there are.
    pub nodes: usize,
    /// The first so many found the group.
    pub founders: usize,
    /// Times and bounds; `durable` is per node.
    pub settings: Settings,
    /// Which nodes have a disk.
    pub durable: Vec<bool>,
    /// How long a disk takes, us.
    pub disk_us: (u64, u64),
    /// The nodes' clocks.
    pub clocks: Vec<Clock>,
    /// The network.
    pub network: NetworkPlan,
    /// When nodes tick.
    pub ticking: Ticking,
    /// Clients.
    pub clients: usize,
    /// Keys.
    pub keys: usize,
    /// Longest rest of a client between two operations, us.
    pub rest_us_max: u64,
    /// When a client gives up, us.
    pub patience_us: u64,
    /// Reads that ask a quorum even under a lease, parts per million.
    pub quorum_reads_ppm: u64,
    /// Clients' messages lost, parts per million.
    pub client_loss_ppm: u64,
    /// Bytes added to each entry.
    pub padding_bytes: usize,
    /// Bytes of a part of a snapshot.
    pub chunk_bytes: usize,
    /// Snapshots whose producer gives up at some part, parts per million of parts.
    pub snapshot_fails_ppm: u64,
    /// How long trouble is made, us.
    pub trouble_us: u64,
    /// Longest time between two troubles, us.
    pub trouble_gap_us_max: u64,
    /// Which.
    pub nemeses: Vec<Nemesis>,
    /// How often the operator looks, us.
    pub operator_us: u64,
    /// What may be lost.
    pub losses: Losses,
}

impl Plan {
    /// Draws one.
    pub fn draw(random: &mut Random) -> Plan {
        let founders = *random.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5]);
        let nodes = (founders + random.below(4) as usize).clamp(3, 7);
        let settings = draw_settings(random);
        let silence_us = settings.election_max_us;
        let disks = *random.pick(&[0, 0, 500_000, 1_000_000]);
        let is_still = random.chance(30_000);
        let drift = settings.drift_ppm;
        let skews = random.chance(800_000);
        let mut nemeses: Vec<Nemesis> = NEMESES.to_vec();
        nemeses.retain(|_| random.chance(350_000));
        if is_still {
            nemeses.clear();
        }
        let rest_us_max = silence_us / random.between(4, 60);
        Plan {
            nodes,
            founders,
            settings,
            durable: (0..nodes).map(|_| random.chance(disks)).collect(),
            // A disk that takes as long as an election leaves no time to win one.
            disk_us: *random.pick(&[
                (10, 100),
                (100, settings.election_min_us / 16),
                (100, settings.election_min_us / 4),
            ]),
            clocks: (0..nodes)
                .map(|_| Clock {
                    offset_us: random.below(5_000_000),
                    rate_error_ppm: match skews {
                        true => *random.pick(&[-1, 1]) * random.between(drift / 2, drift) as i64,
                        false => 0,
                    },
                })
                .collect(),
            network: draw_network(random, silence_us, is_still),
            ticking: *random.pick(&[
                Ticking::Every(settings.heartbeat_us / 4),
                Ticking::Every(settings.heartbeat_us / 2),
                Ticking::WhenItMatters(settings.heartbeat_us),
                Ticking::WhenItMatters(settings.heartbeat_us * 2),
            ]),
            clients: random.between(1, 6) as usize,
            keys: random.between(1, 5) as usize,
            rest_us_max,
            patience_us: silence_us * random.between(1, 4),
            quorum_reads_ppm: *random.pick(&[0, 100_000, 500_000, 1_000_000]),
            client_loss_ppm: *random.pick(&[0, 0, 20_000]),
            padding_bytes: *random.pick(&[0, 0, 100, 1_000]),
            chunk_bytes: *random.pick(&[5, 16, 64, 4_096]),
            snapshot_fails_ppm: *random.pick(&[0, 0, 50_000]),
            trouble_us: if is_still {
                silence_us * 5
            } else {
                silence_us * random.between(6, 30)
            },
            trouble_gap_us_max: silence_us * random.between(1, 12) / 4,
            nemeses,
            operator_us: silence_us / random.between(2, 8),
            losses: if random.chance(150_000) {
                Losses::Reckless
            } else {
                Losses::KeepMajority
            },
        }
    }
}

/// Bounds and times, absurd ones among them.
fn draw_settings(random: &mut Random) -> Settings {
    let heartbeat_us = *random.pick(&[5_000, 10_000, 50_000]);
    let election_min_us = heartbeat_us * random.between(3, 8);
    let window_entries_max: usize = *random.pick(&[1, 2, 4, 64]);
    Settings {
        heartbeat_us,
        election_min_us,
        election_max_us: election_min_us + election_min_us * random.between(2, 12) / 10,
        lease_us: election_min_us * random.between(40, 100) / 100,
        drift_ppm: 10_000,
        epsilon_us: *random.pick(&[10, 200, 1_000]),
        window_entries_max,
        fill_entries: window_entries_max as u64,
        window_bytes_max: *random.pick(&[200, 2_000, 8 << 20]),
        message_bytes_max: *random.pick(&[100, 500, 1 << 20]),
        retained_bytes_max: *random.pick(&[0, 500, 3_000, 100_000]),
        snapshot_window_chunks: random.between(1, 4),
        durable: false,
    }
}

fn draw_network(random: &mut Random, silence_us: u64, is_still: bool) -> NetworkPlan {
    if is_still {
        return NetworkPlan::GOOD;
    }
    let low = random.between(20, 500);
    NetworkPlan {
        loss_ppm: *random.pick(&[0, 0, 5_000, 30_000, 150_000]),
        duplicate_ppm: *random.pick(&[0, 0, 5_000, 30_000]),
        delay_us: (low, low + random.between(10, silence_us / 40)),
        slow_ppm: *random.pick(&[0, 1_000, 10_000, 50_000]),
        slow_us_max: silence_us * random.between(1, 8) / 2,
    }
}
