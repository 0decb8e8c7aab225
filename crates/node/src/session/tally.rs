//! What is told of requests that ran: counters, errors, SLOWLOG, LATENCY, and the client's face.

use super::{Replies, Session, Turn};
use crate::latency::LatencyEvent;
use crate::monitor;
use commands::{Flags, Row};
use resp::{Args, Mark, Output};
use std::sync::atomic::Ordering;

/// A SLOWLOG threshold below this times every command alone; above it the commands that Redis flags as fast are
/// not timed one by one.
pub(super) const SLOWLOG_PRECISE_US: i64 = 1000;

impl Session {
    /// Counts a plain command; equal ones in a row are added up and told once.
    #[inline]
    pub(super) fn count(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        mark: Mark,
        output: &mut Output,
    ) {
        match &mut self.tally {
            Some((same, count)) if std::ptr::eq(*same, row) => *count += 1,
            _ => {
                self.flush_tally(turn, 0);
                self.tally = Some((row, 1));
            }
        }
        if output.since(mark) == Some(b'-') {
            self.note_error(turn, Some(row), mark, output);
        }
    }

    pub(super) fn flush_tally(&mut self, turn: Turn<'_>, each_us: u64) {
        if let Some((row, count)) = self.tally.take() {
            turn.node
                .stats
                .ran(self.client.id, row.id(), count, each_us * count);
            self.client
                .last_row
                .store(row.id() as u32, Ordering::Relaxed);
        }
    }

    /// Counts an error reply written since `mark`.
    pub(super) fn note_error(
        &mut self,
        turn: Turn<'_>,
        row: Option<&'static Row>,
        mark: Mark,
        output: &mut Output,
    ) {
        if output.since(mark) != Some(b'-') {
            return;
        }
        if let Some(row) = row {
            turn.node.stats.failed(self.client.id, row.id());
        }
        turn.node.stats.error(&output.tail_since(mark)[1..]);
    }

    /// SLOWLOG and LATENCY of a command that was timed alone.
    pub(super) fn timed(
        &mut self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
        took_us: u64,
    ) {
        // Not the turn's: a CONFIG SET counts for itself.
        let settings = turn.node.settings.load();
        let threshold_us = settings.slowlog_log_slower_than_us;
        if threshold_us >= 0
            && took_us >= threshold_us as u64
            && !row.flags.has(Flags::SKIP_SLOWLOG)
        {
            let name = self.client.facts.lock().name.clone();
            let hidden = monitor::without_secrets(row, args);
            let args = hidden.as_ref().map_or(args, |hidden| hidden.args());
            let wall_s = turn.node.host.wall_us() / 1_000_000;
            turn.node
                .slowlog
                .add(args, took_us, wall_s, &self.client.addr, &name);
        }
        let threshold_ms = settings.latency_monitor_threshold_ms;
        if threshold_ms > 0 && took_us / 1000 >= threshold_ms {
            let fast = row.flags.has(Flags::FAST);
            let event = if fast {
                LatencyEvent::FastCommand
            } else {
                LatencyEvent::Command
            };
            turn.node
                .latency
                .add(event, took_us / 1000, turn.node.host.wall_us() / 1_000_000);
        }
    }

    /// CLIENT REPLY OFF and SKIP drop what was written since `mark`. `before` is the mode that the command began
    /// under: EXEC's own reply is not dropped by what is inside it.
    pub(super) fn finish_reply(&mut self, before: Replies, mark: Mark, output: &mut Output) {
        if before == Replies::On && self.replies == Replies::On {
            return;
        }
        if before != Replies::On && self.replies != Replies::On {
            output.rewind(mark);
            if let Some(holes) = &mut self.holes {
                holes.hide_request();
            }
        }
        self.end_reply();
    }

    /// The running command is over, which is what CLIENT REPLY SKIP counts.
    pub(super) fn end_reply(&mut self) {
        self.replies = match self.replies {
            Replies::SkipNext => Replies::Skip,
            Replies::Skip => Replies::On,
            Replies::On | Replies::Off => self.replies,
        };
        self.replan();
    }

    /// Tells the counters and the client's face of the requests that ran; returns the time.
    pub(super) fn after_batch(&mut self, turn: Turn<'_>, requests: u64) -> u64 {
        let end_us = turn.node.host.monotonic_us();
        let took_us = end_us - turn.now.monotonic_us;
        self.flush_tally(turn, took_us / requests.max(1));
        self.client.active_us.store(end_us, Ordering::Relaxed);
        self.client.db.store(self.db, Ordering::Relaxed);
        end_us
    }
}
