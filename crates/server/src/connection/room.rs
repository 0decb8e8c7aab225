//! How much a read of the socket may bring: the room at the end of a connection's buffer.
//!
//! A pipeline should arrive with one read, for each read has replies of its own that go out with a write of their
//! own; a long argument should be moved seldom. What it does not know: the socket, requests.

use bytes::BytesMut;

/// Room that a read finds at first; grows with what arrives.
pub(super) const READ_BYTES_MIN: usize = 1 << 10;
/// Room that a read finds at most, unless a long argument is arriving.
pub(super) const READ_BYTES_MAX: usize = 64 << 10;
/// Of a long argument that arrives, so many bytes are followed by room for up to [`BELIEVED_FACTOR`] times as many.
/// Room is address space: the system gives memory for what comes.
const BELIEVED_BYTES_MIN: usize = 4 << 20;
pub(super) const BELIEVED_FACTOR: usize = 8;

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

    /// Room for a long argument of which at most `arrived` bytes came: up to its end once so much came that its
    /// length may be believed, else for as much as came. So what a client's word makes us reserve is bounded by what
    /// it has sent, and the bytes are moved a few times only.
    fn long(&self, arrived: usize) -> usize {
        let believed = match arrived {
            BELIEVED_BYTES_MIN.. => arrived.saturating_mul(BELIEVED_FACTOR),
            _ => arrived,
        };
        self.missing_bytes.min(believed)
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
        // Breaks if the length alone reserves memory, if the last step overshoots, so that the buffer can never
        // be the value, or if the bytes are moved with every read.
        const VALUE_BYTES: usize = 400 << 20;
        let (mut room, mut buffer) = (Room::new(), BytesMut::new());
        let (mut moves, mut arrived) = (0, 0);
        while arrived < VALUE_BYTES {
            let before = buffer.capacity();
            room.missing_bytes = VALUE_BYTES - arrived;
            room.make(&mut buffer);
            assert!(buffer.capacity() <= (BELIEVED_FACTOR + 1) * arrived.max(READ_BYTES_MAX));
            moves += usize::from(buffer.capacity() != before);
            // As if a whole quarter of the room came at once; at the end, all of it.
            let free = buffer.capacity() - arrived;
            let read = free
                .div_ceil(4)
                .max(64 << 10)
                .min(free)
                .min(VALUE_BYTES - arrived);
            arrived += read;
            buffer.resize(arrived, b'x');
            room.on_read(&buffer);
        }
        assert!(moves <= 20, "moved {moves} times");
        assert!(buffer.capacity() <= VALUE_BYTES + VALUE_BYTES / 8);
    }
}
