//! How far a group has come: its count of entries read, and how many are left for it. Both can be told only where no
//! entry was removed by itself ahead of the group (Redis 7.0: `XINFO GROUPS`, "lag").

use cache::{Group, Stream, StreamId};

/// Whether an entry from `id` on, and behind the first one, was removed by itself, as far as is known.
fn has_gap_from(stream: &Stream, id: StreamId) -> bool {
    let deleted = stream.max_deleted_id();
    deleted > StreamId::MIN && !stream.is_empty() && stream.first_id() <= deleted && id <= deleted
}

/// How many entries there have been ever up to `id`; none if it cannot be told.
pub(crate) fn entries_up_to(stream: &Stream, id: StreamId) -> Option<u64> {
    let added = stream.entries_added();
    if added == 0 {
        return Some(0);
    }
    if stream.is_empty() && id < stream.last_id() || id == stream.last_id() {
        return Some(added);
    }
    let first = stream.first_id();
    let deleted = stream.max_deleted_id();
    if id > stream.last_id() || deleted > StreamId::MIN && deleted >= first {
        return None;
    }
    let before_first = added.checked_sub(stream.len() as u64)?;
    match id.cmp(&first) {
        std::cmp::Ordering::Less => Some(before_first),
        std::cmp::Ordering::Equal => Some(before_first + 1),
        std::cmp::Ordering::Greater => None,
    }
}

/// A group's count of entries read when the entry of this id is handed out, `before` being its count so far.
pub(super) fn count_with(stream: &Stream, before: Option<u64>, id: StreamId) -> Option<u64> {
    match before {
        Some(before) if !has_gap_from(stream, id) => Some(before.saturating_add(1)),
        before if stream.entries_added() == 0 => before,
        _ => entries_up_to(stream, id),
    }
}

/// How many entries are left for a group; none if it cannot be told.
pub(super) fn lag(stream: &Stream, group: &Group) -> Option<i64> {
    let added = stream.entries_added();
    if added == 0 {
        return Some(0);
    }
    let read = match group.entries_read() {
        Some(read) if !has_gap_from(stream, group.last_id()) => read,
        _ => entries_up_to(stream, group.last_id())?,
    };
    Some((added as i64).wrapping_sub(read as i64))
}
