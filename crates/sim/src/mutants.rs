//! Takes out one rule after another and looks whether the simulator notices. A simulator that notices nothing proves
//! nothing.

use crate::group::{self, Flaw, Tracing};
use paxos::{MUTATIONS, Mutation};

/// Seeds after which a flaw that was not noticed counts as a survivor.
pub const SEEDS_MAX: u64 = 20_000;

/// How the hunt for a flaw ended.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// Which.
    pub flaw: Flaw,
    /// The seeds tried.
    pub seeds: u64,
    /// The seed that showed it and what was seen.
    pub caught: Option<(u64, String)>,
}

impl std::fmt::Display for Hunt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flaw = self.flaw;
        match &self.caught {
            Some((seed, what)) => {
                let line: String = what.chars().take_while(|&c| c != '\n').take(120).collect();
                write!(
                    f,
                    "caught   {flaw:?}: after {} seeds, by seed {seed}: {line}",
                    self.seeds
                )
            }
            None => match excuse(flaw) {
                Some(why) => write!(f, "harmless {flaw:?}: {} seeds; {why}", self.seeds),
                None => write!(f, "SURVIVED {flaw:?}: {} seeds", self.seeds),
            },
        }
    }
}

impl Hunt {
    /// Whether it should have been caught and was not.
    pub fn is_survivor(&self) -> bool {
        self.caught.is_none() && excuse(self.flaw).is_none()
    }
}

/// Every flaw that is known how to make.
pub fn all() -> Vec<Flaw> {
    MUTATIONS
        .into_iter()
        .map(Flaw::Mutation)
        .chain([Flaw::AmnesiacKeepsIdentity, Flaw::ClocksBeyondBound])
        .collect()
}

/// Runs seeds from `from` on with this flaw until one shows a lie: something that a client or another replica must never
/// see. That a group stands still proves nothing of a rule that is there for safety.
pub fn hunt(flaw: Flaw, from: u64, seeds_max: u64) -> Hunt {
    let is_lie = |what: &str| !STANDSTILLS.iter().any(|begin| what.starts_with(begin));
    for count in 0..seeds_max {
        let seed = from + count;
        // What fails without the flaw as well says nothing of it.
        if let Some(what) = group::run(seed, flaw, Tracing::Off).violation
            && is_lie(&what)
            && group::run(seed, Flaw::None, Tracing::Off)
                .violation
                .is_none()
        {
            return Hunt {
                flaw,
                seeds: count + 1,
                caught: Some((seed, what)),
            };
        }
    }
    Hunt {
        flaw,
        seeds: seeds_max,
        caught: None,
    }
}

/// Flaws that need a rare meeting of events, more seeds than a test run has time for: `cargo sim mutants` hunts them.
pub const RARE: [Flaw; 5] = [
    Flaw::Mutation(Mutation::ProposeBehindConfig),
    Flaw::Mutation(Mutation::NoPhase1InNewConfig),
    Flaw::Mutation(Mutation::CampaignAsNonVoter),
    Flaw::Mutation(Mutation::NoGrantAfterRestart),
    Flaw::Mutation(Mutation::LogTimeOfAny),
];

/// How the judge's words begin where a group does nothing wrong but nothing more either.
const STANDSTILLS: [&str; 3] = ["no recovery", "nothing happens", "3000000 events"];

/// Why a flaw may go unnoticed, if it may.
pub fn excuse(flaw: Flaw) -> Option<&'static str> {
    match flaw {
        Flaw::Mutation(Mutation::ConfigGrantsNothing) => Some(
            "a configuration is learned from a leader's messages, which grant the same; kept because it is free",
        ),
        Flaw::Mutation(Mutation::IgnoreIncarnation) => Some(
            "a second wall: what the newcomer answers bears its own name, which no quorum counts (R5)",
        ),
        Flaw::Mutation(Mutation::ReadWithoutPhase1) => Some(
            "a second wall: a leader reads nothing before Noops behind all that phase 1 found are chosen, and proposes none \
             before phase 1 is done in the configuration in force",
        ),
        Flaw::Mutation(Mutation::PromoteLaggard) => Some(
            "a laggard's vote is safe; it costs liveness when others fail before it has caught up",
        ),
        Flaw::Mutation(Mutation::TrimUnderStream) => {
            Some("costs a second snapshot, no more: nobody is ever sent a log with a hole")
        }
        Flaw::None => Some("it is none"),
        Flaw::Mutation(_) | Flaw::AmnesiacKeepsIdentity | Flaw::ClocksBeyondBound => None,
    }
}
