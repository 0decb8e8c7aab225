//! How much a read of the socket may bring: the room at the end of a connection's buffer.
//!
//! A pipeline should arrive with one read, for each read has replies of its own that go out with a write of their
//! own; a long argument should be moved seldom. What it does not know: the socket, requests.

use bytes::BytesMut;

/// Room that a read finds at first; grows with what arrives.
pub(super) const READ_BYTES_MIN: usize = 1 << 10;
/// Room that a read finds at most, unless a long argument is arriving.
pub(super) const READ_BYTES_MAX: usize = 64 << 10;
/// Once so many bytes of a long argument came, and a part of it that is not less than one in [`BELIEVED_FACTOR`], it
/// gets room up to its end. Room is address space: the system gives memory for what comes.
const BELIEVED_BYTES_MIN: usize = 4 << 20;
pub(super) const BELIEVED_FACTOR: usize = 16;

/// The room that reads of one connection find.
pub(super) struct Room {
    /// What a read should find: twice as much once one was filled, up to [`READ_BYTES_MAX`].
    read_bytes: usize,
    /// Bytes that are missing to the end of the argument that is arriving, by the client's word; 0 if unknown.
    pub(super) missing_bytes: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Room {
            read_bytes: READ_BYTES_MIN,
            missing_bytes: 0,
        }
    }

    /// What a read into a buffer without memory should find, bytes.
    pub(super) fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// Forgets what was learned of the client's reads.
    pub(super) fn forget(&mut self) {
        self.read_bytes = READ_BYTES_MIN;
    }

    /// Makes room for the next read.
    pub(super) fn make(&self, buffer: &mut BytesMut) {
        let held = buffer.len();
        if held == 0 {
            // Where the buffer is large enough, this leads back to its front, which is still in the CPU's caches.
            buffer.reserve(self.read_bytes);
            return;
        }
        let room = buffer.capacity() - held;
        let least = self.missing_bytes.min(READ_BYTES_MAX);
        if room < least.max(self.read_bytes / 2) {
            let usual = self.read_bytes - held.min(self.read_bytes / 2);
            buffer.reserve(usual.max(self.long(held)));
        }
    }

    /// Takes note of what a read left in the buffer.
    pub(super) fn on_read(&mut self, buffer: &BytesMut) {
        if buffer.len() == buffer.capacity() {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
    }

    /// Room for a long argument of which at most `arrived` bytes came: up to its end once its length may be believed,
    /// else for as much as came. So what a client's word makes us reserve is bounded by what it has sent, and the
    /// one move of many bytes, onto memory that the system must clear first, is not made.
    fn long(&self, arrived: usize) -> usize {
        let believed = arrived >= BELIEVED_BYTES_MIN
            && arrived.saturating_mul(BELIEVED_FACTOR) >= self.missing_bytes;
        match believed {
            // And room behind it: for the two bytes that end it, the whole would be moved.
            true => self.missing_bytes + READ_BYTES_MAX,
            false => self.missing_bytes.min(arrived),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one batch of `bytes` that has arrived as a whole, and runs it; how many reads it took.
    fn reads_of(bytes: usize, room: &mut Room, buffer: &mut BytesMut) -> usize {
        let mut left = bytes;
        let mut reads = 0;
        while left > 0 {
            room.make(buffer);
            let read = left.min(buffer.capacity() - buffer.len());
            buffer.resize(buffer.len() + read, b'x');
            room.on_read(buffer);
            left -= read;
            reads += 1;
        }
        bytes::Buf::advance(buffer, bytes);
        reads
    }

    #[test]
    fn batches_of_any_size_soon_come_with_one_read() {
        // Breaks if the room stays small although every read fills it: a pipeline of 16 SETs of 1 KiB came with five
        // reads and five replies, which took longer than all else about it.
        for bytes in [30, 700, 1500, 5_000, 17_104, 20_000, 33_000, 60_000] {
            let (mut room, mut buffer) = (Room::new(), BytesMut::new());
            for _ in 0..8 {
                reads_of(bytes, &mut room, &mut buffer);
            }
            for _ in 0..100 {
                assert_eq!(reads_of(bytes, &mut room, &mut buffer), 1, "{bytes}");
            }
            assert!(buffer.capacity() <= READ_BYTES_MAX.min(4 * bytes.max(READ_BYTES_MIN)));
        }
    }

    #[test]
    fn a_rest_in_the_buffer_does_not_make_it_grow() {
        // Breaks if the room is added to what is held each time, and an endless stream of requests takes ever more.
        let (mut room, mut buffer) = (Room::new(), BytesMut::new());
        for _ in 0..1000 {
            room.make(&mut buffer);
            buffer.resize(buffer.capacity(), b'x');
            room.on_read(&buffer);
            let run = buffer.len() / 1069 * 1069;
            bytes::Buf::advance(&mut buffer, run);
            assert!(buffer.capacity() <= 2 * READ_BYTES_MAX);
        }
        room.make(&mut buffer);
        assert!(buffer.capacity() - buffer.len() >= READ_BYTES_MAX / 2);
    }

    #[test]
    fn a_long_argument_gets_room_up_to_its_end_once_a_part_is_there() {
        // Breaks if the length alone reserves memory, or if many bytes are moved: a SET of 400 MiB spent most of its
        // time in faults of fresh memory that they were moved to.
        const VALUE_BYTES: usize = 400 << 20;
        let (mut room, mut buffer) = (Room::new(), BytesMut::new());
        let (mut moves, mut moved_bytes, mut arrived) = (0, 0, 0);
        // The line's end belongs to it, but the client's word may be of the value alone.
        let end = VALUE_BYTES + 2;
        while arrived < end {
            let before = buffer.capacity();
            room.missing_bytes = VALUE_BYTES.saturating_sub(arrived);
            room.make(&mut buffer);
            assert!(buffer.capacity() <= (BELIEVED_FACTOR + 1) * arrived.max(READ_BYTES_MAX));
            if buffer.capacity() != before {
                moves += 1;
                moved_bytes += arrived;
            }
            // As a socket brings it: some, and at most what there is room for.
            let read = (256 << 10).min(buffer.capacity() - arrived);
            arrived += read.min(end - arrived);
            buffer.resize(arrived, b'x');
            room.on_read(&buffer);
        }
        assert!(moves <= 24, "moved {moves} times");
        assert!(moved_bytes <= VALUE_BYTES / 6, "{moved_bytes} bytes");
        assert!(buffer.capacity() <= VALUE_BYTES + VALUE_BYTES / 8);
    }
}
