//! Taking back a write that nobody has seen yet.

use super::Requests;
use super::lane::{Memory, Waiting};
use crate::group::op;

/// What becomes of a write that its client does not wait for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Withdrawn,
    /// It was answered.
    Answered,
    /// The log says.
    Unknown,
}

impl Requests {
    /// Has write `number`, if it was never sent, do nothing: its argument `at`, which must be a number for anything to be done,
    /// becomes none, and nobody is told its reply. Its place it keeps, as numbers follow each other without a gap.
    ///
    /// O(operations of its chunk).
    pub fn withdraw_write(&mut self, number: u64, at: usize) -> Fate {
        let lane = &mut self.writes;
        if !lane.is_open(number) {
            return Fate::Answered;
        }
        let place = lane.place_of(number).expect("what is open has a chunk");
        let chunk = &mut lane.chunks[place];
        let range = chunk.range_from(number);
        let Memory::Open(bytes) = &mut chunk.memory else {
            // Whatever was sent, or is to be sent again, is sealed.
            return Fate::Unknown;
        };
        op::spoil_argument(&mut bytes[range.start..], at);
        if let Waiting::Open { ticket, .. } = &mut lane.waiting[(number - lane.first) as usize] {
            *ticket = None;
        }
        Fate::Withdrawn
    }
}
