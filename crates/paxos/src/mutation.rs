//! Rules that a simulator takes out of a replica, one at a time, to see whether it would notice.
//!
//! Without the feature `mutations` there is no way to switch one on and [`Mutations::has`] is the constant `false`.

/// A rule taken out. The comment says what the replica then does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[cfg_attr(
    not(feature = "mutations"),
    expect(dead_code, reason = "two of them act when they are switched on")
)]
pub enum Mutation {
    /// R1: accepts under a ballot below its promise.
    AcceptBelowPromise,
    /// R1: promises and acknowledgements leave before they are durable.
    SendBeforePersist,
    /// R2: campaigns again under the ballot that it had.
    ReuseBallot,
    /// R3: a promise leaves out the last accepted index.
    PromiseOmitsOne,
    /// R3: adopts the tail of the acceptor whose log is longest instead of the highest ballot's value.
    LongestLogWins,
    /// R3: a promise of several messages counts with its last one, whatever was lost before.
    PromiseMayHaveHoles,
    /// R4: proposes behind a configuration that is not chosen.
    ProposeBehindConfig,
    /// R4: a configuration rules from when it is proposed.
    ConfigAtAppend,
    /// R5: learners count in quorums.
    CountAnybody,
    /// R5 and §3.10: messages to an earlier or later life of the node are taken as one's own.
    IgnoreIncarnation,
    /// R6: crosses into a configuration without phase 1 there.
    NoPhase1InNewConfig,
    /// R7: takes all up to the leader's commit index as chosen, under whichever ballot it was accepted.
    CommitWithoutBallotCheck,
    /// R8: campaigns without being a voter.
    CampaignAsNonVoter,
    /// R9: proposes at indexes that a promise says are chosen.
    ProposeKnownChosen,
    /// R10: reads before what phase 1 brought to light is chosen.
    ReadBeforeLimbo,
    /// R10: reads without phase 1 in the configuration in force.
    ReadWithoutPhase1,
    /// R11: the lease counts echoes of former members.
    LeaseOverOldMembers,
    /// R11: a new leader does not wait for the leases that promises report.
    IgnoreReportedLeases,
    /// R11: writes show before the old lease ends.
    AcknowledgeBeforeVisible,
    /// R11: a replica that comes back with its memory owes nobody anything.
    NoGrantAfterRestart,
    /// R11: the lease runs from the acknowledgement's receipt, not from the request's sending.
    LeaseFromAckTime,
    /// R11: learning a configuration grants nothing.
    ConfigGrantsNothing,
    /// R11: reads by lease go on after the hand-over was sent.
    LeaseDuringTransfer,
    /// R11: log time goes on from what was seen, without its age.
    LogTimeWithoutAge,
    /// R11: log time goes on from what any leader's words come to, not the last one's.
    LogTimeOfAny,
    /// R11: a restart forgets what log time was seen.
    ForgetLogTime,
    /// R12: a snapshot may take the chosen prefix back.
    SnapshotLowersChosen,
    /// R12: a snapshot forgets the promise.
    SnapshotLowersPromised,
    /// R12: a snapshot leaves the configuration as it was.
    SnapshotKeepsConfig,
    /// R13: trims what is not chosen.
    TrimUnchosen,
    /// R13: trims below the base of a stream that is under way.
    TrimUnderStream,
    /// Restart: the promise is forgotten, the log is not.
    ForgetPromise,
    /// §3.6: a read round counts answers to any earlier round.
    AnyProbeRound,
    /// §3.8: voters need not have caught up.
    PromoteLaggard,
    /// §3.9: a removed replica that let its state go says that it knows of nothing.
    RetireForgets,
}

/// All of them, for a simulator to go through.
#[cfg(feature = "mutations")]
pub const MUTATIONS: [Mutation; 35] = {
    use Mutation::*;
    [
        AcceptBelowPromise,
        SendBeforePersist,
        ReuseBallot,
        PromiseOmitsOne,
        LongestLogWins,
        PromiseMayHaveHoles,
        ProposeBehindConfig,
        ConfigAtAppend,
        CountAnybody,
        IgnoreIncarnation,
        NoPhase1InNewConfig,
        CommitWithoutBallotCheck,
        CampaignAsNonVoter,
        ProposeKnownChosen,
        ReadBeforeLimbo,
        ReadWithoutPhase1,
        LeaseOverOldMembers,
        IgnoreReportedLeases,
        AcknowledgeBeforeVisible,
        NoGrantAfterRestart,
        LeaseFromAckTime,
        ConfigGrantsNothing,
        LeaseDuringTransfer,
        LogTimeWithoutAge,
        LogTimeOfAny,
        ForgetLogTime,
        SnapshotLowersChosen,
        SnapshotLowersPromised,
        SnapshotKeepsConfig,
        TrimUnchosen,
        TrimUnderStream,
        ForgetPromise,
        AnyProbeRound,
        PromoteLaggard,
        RetireForgets,
    ]
};

/// Which rules are out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mutations {
    #[cfg(feature = "mutations")]
    bits: u64,
}

impl Mutations {
    #[cfg(feature = "mutations")]
    pub(crate) fn add(&mut self, mutation: Mutation) {
        self.bits |= 1 << mutation as u8;
    }

    #[cfg(feature = "mutations")]
    #[inline]
    pub(crate) fn has(self, mutation: Mutation) -> bool {
        self.bits & (1 << mutation as u8) != 0
    }

    /// Whether any rule is out.
    #[cfg(feature = "mutations")]
    pub(crate) fn any(self) -> bool {
        self.bits != 0
    }

    #[cfg(not(feature = "mutations"))]
    #[inline(always)]
    pub(crate) fn any(self) -> bool {
        false
    }

    #[cfg(not(feature = "mutations"))]
    #[inline(always)]
    pub(crate) fn has(self, _mutation: Mutation) -> bool {
        false
    }
}
