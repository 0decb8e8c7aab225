//! The kinds of misfortune that are made, and how often each was.

/// What was done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Fault {
    /// A message vanished.
    Loss,
    /// A message came twice.
    Duplicate,
    /// A message took far longer than others, which overtook it.
    SlowMessage,
    /// A message came with another generation, as if from the group before a reset.
    StrayGeneration,
    /// A message was dropped by a cut.
    CutMessage,
    /// One direction between two nodes was cut.
    OneWayCut,
    /// The nodes were parted in two.
    Partition,
    /// Two nodes could not reach each other, but both a third.
    PartialPartition,
    /// A link went up and down.
    Flap,
    /// A node stood still and came back.
    Pause,
    /// A node died and came back with what it had made durable.
    CrashDurable,
    /// A durable node died with records that were not durable yet.
    RecordsLost,
    /// A node died and came back as somebody else.
    CrashAmnesia,
    /// A node died after it wrote and before it sent.
    CrashBeforeSend,
    /// A node lost its memory right after it acknowledged or promised.
    AmnesiaAfterAck,
    /// A leader was asked to hand over.
    Transfer,
    /// A leader was asked for a configuration.
    Reconfigure,
    /// Two or more voters were replaced by one configuration.
    ReplaceTwo,
    /// A leader was counted as silent by all, so that others campaign at once.
    ForcedCampaign,
    /// The holder of a lease was cut off and another campaigned at once.
    IsolateLeaseHolder,
    /// The same, and the others were restarted in between.
    BounceFollowers,
    /// A voter that owed the leader nothing any more campaigned while the others still did.
    StaleCandidate,
    /// A leader was cut off right after it proposed a configuration.
    CutAtReconfigure,
    /// Voters that stay were cut off from the leader and from the new ones while a configuration became chosen.
    PartAtReconfigure,
    /// Old and new leader were cut apart in mid hand-over.
    CutAtTransfer,
    /// A snapshot's stream began.
    SnapshotStream,
    /// A snapshot was installed.
    SnapshotInstalled,
    /// A producer gave up a snapshot.
    SnapshotFailed,
    /// A client's request or its answer was lost, or the client gave up.
    ClientLoss,
    /// A connection between two nodes broke, with all that was on its way.
    LinkBreak,
    /// A node stood still in the middle of its work.
    Stall,
    /// A wall clock was set.
    WallStep,
    /// A node that was removed let its state go.
    Retire,
    /// An operator changed weights, places or leaders, or removed a node.
    Operation,
    /// Several nodes lost their memory at once, whatever that left of shards. Of runs with such losses alone.
    MajorityLoss,
}

/// All kinds, in order.
pub const FAULTS: [Fault; 35] = [
    Fault::Loss,
    Fault::Duplicate,
    Fault::SlowMessage,
    Fault::StrayGeneration,
    Fault::CutMessage,
    Fault::OneWayCut,
    Fault::Partition,
    Fault::PartialPartition,
    Fault::Flap,
    Fault::Pause,
    Fault::CrashDurable,
    Fault::RecordsLost,
    Fault::CrashAmnesia,
    Fault::CrashBeforeSend,
    Fault::AmnesiaAfterAck,
    Fault::Transfer,
    Fault::Reconfigure,
    Fault::ReplaceTwo,
    Fault::ForcedCampaign,
    Fault::IsolateLeaseHolder,
    Fault::BounceFollowers,
    Fault::StaleCandidate,
    Fault::CutAtReconfigure,
    Fault::PartAtReconfigure,
    Fault::CutAtTransfer,
    Fault::SnapshotStream,
    Fault::SnapshotInstalled,
    Fault::SnapshotFailed,
    Fault::ClientLoss,
    Fault::LinkBreak,
    Fault::Stall,
    Fault::WallStep,
    Fault::Retire,
    Fault::Operation,
    Fault::MajorityLoss,
];

/// Kinds that only befall whole nodes.
pub const FAULTS_OF_NODES: [Fault; 5] = [
    Fault::LinkBreak,
    Fault::Stall,
    Fault::WallStep,
    Fault::Operation,
    Fault::MajorityLoss,
];

/// How often each kind happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; FAULTS.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            counts: [0; FAULTS.len()],
        }
    }
}

impl Tally {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    /// How often.
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Tally) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, fault) in FAULTS.iter().enumerate() {
            let gap = if number == 0 { "" } else { ", " };
            write!(f, "{gap}{fault:?} {}", self.of(*fault))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_place() {
        // Fails when a kind is missing from the list: its count would go to another or out of range.
        assert!(
            FAULTS
                .iter()
                .enumerate()
                .all(|(place, fault)| *fault as usize == place)
        );
    }
}
