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
                let line = what.lines().next().unwrap_or_default();
                write!(
                    f,
                    "caught   {flaw:?}: after {} seeds, by seed {seed}: {line}",
                    self.seeds
                )
            }
            None => match excuse(flaw) {
                Some(why) => write!(f, "excused  {flaw:?}: {} seeds; {why}", self.seeds),
                None => write!(f, "SURVIVED {flaw:?}: {} seeds", self.seeds),
            },
        }
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

/// Runs seeds from `from` on with this flaw until one fails.
pub fn hunt(flaw: Flaw, from: u64, seeds_max: u64) -> Hunt {
    for count in 0..seeds_max {
        let seed = from + count;
        if let Some(what) = group::run(seed, flaw, Tracing::Off).violation {
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

/// Why a flaw may go unnoticed, if it may.
pub fn excuse(flaw: Flaw) -> Option<&'static str> {
    match flaw {
        Flaw::Mutation(Mutation::ConfigGrantsNothing) => Some(
            "a configuration is learned from a leader's messages, which grant the same; kept because it is free",
        ),
        _ => None,
    }
}
