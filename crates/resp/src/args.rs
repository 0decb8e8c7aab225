//! The arguments of one request: places in a buffer, not copies of it.

use std::fmt;

/// The place of one argument in a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Bytes in the argument.
    pub len: u32,
}

impl Span {
    #[inline]
    fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &buffer[start..start + self.len as usize]
    }
}

/// The arguments of one request, borrowed from the buffer that they arrived in. Index 0 is the
/// command's name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Arguments at `spans` of `buffer`. Every span must lie within the buffer; one that does not
    /// panics when it is read.
    #[inline]
    pub fn new(buffer: &'a [u8], spans: &'a [Span]) -> Self {
        Args { buffer, spans }
    }

    /// How many arguments, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no argument at all, which no scanned request is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`. Panics at or beyond `len()`: arity is checked before arguments are read, so
    /// that is a bug of the caller and not of the client.
    #[inline]
    pub fn get(&self, i: usize) -> &'a [u8] {
        self.spans[i].of(self.buffer)
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let buffer = self.buffer;
        self.spans.iter().map(move |span| span.of(buffer))
    }

    /// The arguments from index `first` on. Panics if `first` is beyond `len()`.
    #[inline]
    pub fn from(&self, first: usize) -> Args<'a> {
        Args::new(self.buffer, &self.spans[first..])
    }

    /// The places of the arguments in [`buffer`](Self::buffer).
    #[inline]
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// The bytes that the spans point into; it holds more than these arguments.
    #[inline]
    pub fn buffer(&self) -> &'a [u8] {
        self.buffer
    }

    /// A copy that outlives the buffer, of exactly the arguments' size. Two allocations.
    pub fn to_owned(&self) -> OwnedArgs {
        OwnedArgs::collect(self.iter())
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.iter()
                    .map(|argument| argument.escape_ascii().to_string()),
            )
            .finish()
    }
}

/// Arguments equal if they are the same bytes, wherever they lie.
impl PartialEq for Args<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Args<'_> {}

/// Arguments with their own memory: what is queued between `MULTI` and `EXEC`, and what logs and
/// tests hold. Nothing of the read buffer is kept alive by it.
#[derive(Clone)]
pub struct OwnedArgs {
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl OwnedArgs {
    /// A copy of these arguments, the command's name first. Panics if they exceed 4 GiB together,
    /// which is beyond what the scanner lets a request be.
    pub fn from_slices(arguments: &[&[u8]]) -> Self {
        Self::collect(arguments.iter().copied())
    }

    /// The arguments, borrowed.
    #[inline]
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// Heap bytes held, without the allocator's own overhead.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.spans)
    }

    fn collect<'a>(arguments: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Self {
        let bytes_count = arguments.clone().map(<[u8]>::len).sum();
        assert!(
            u32::try_from(bytes_count).is_ok(),
            "arguments beyond 4 GiB have no span"
        );
        let mut bytes = Vec::with_capacity(bytes_count);
        let mut spans = Vec::with_capacity(arguments.len());
        for argument in arguments {
            spans.push(Span {
                start: bytes.len() as u32,
                len: argument.len() as u32,
            });
            bytes.extend_from_slice(argument);
        }
        OwnedArgs {
            bytes: bytes.into_boxed_slice(),
            spans: spans.into_boxed_slice(),
        }
    }
}

/// Arguments that are put together one by one, in memory that is used again for the next ones.
#[derive(Clone, Debug, Default)]
pub struct ArgsBuffer {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl ArgsBuffer {
    /// Begins anew. Memory beyond `kept_bytes_max` is given back.
    pub fn clear(&mut self, kept_bytes_max: usize) {
        self.bytes.clear();
        self.spans.clear();
        self.bytes.shrink_to(kept_bytes_max);
        self.spans.shrink_to(kept_bytes_max / size_of::<Span>());
    }

    /// Adds an argument. Panics if they exceed 4 GiB together, which the caller bounds.
    pub fn push(&mut self, argument: &[u8]) {
        self.bytes.extend_from_slice(argument);
        let fits = "arguments beyond 4 GiB have no span";
        let end = u32::try_from(self.bytes.len()).expect(fits);
        let len = argument.len() as u32;
        let start = end - len;
        self.spans.push(Span { start, len });
    }

    /// Bytes of them together.
    pub fn bytes_count(&self) -> usize {
        self.bytes.len()
    }

    /// The arguments, borrowed.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}

impl fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.args().fmt(f)
    }
}

impl PartialEq for OwnedArgs {
    fn eq(&self, other: &Self) -> bool {
        self.args() == other.args()
    }
}

impl Eq for OwnedArgs {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_arguments_are_the_borrowed_ones() {
        // Breaks if spans of a copy point at other bytes than those of the original.
        let buffer = b"..SET...key..";
        let spans = [
            Span { start: 2, len: 3 },
            Span { start: 8, len: 3 },
            Span { start: 0, len: 0 },
        ];
        let args = Args::new(buffer, &spans);
        assert_eq!(args.iter().collect::<Vec<_>>(), [&b"SET"[..], b"key", b""]);
        let owned = args.to_owned();
        assert_eq!(owned.args(), args);
        assert_eq!(owned, OwnedArgs::from_slices(&[b"SET", b"key", b""]));
        assert_eq!(owned.heap_bytes(), 6 + 3 * 8);
        assert_eq!(args.from(1).get(0), b"key");
        assert_eq!(args.from(3).len(), 0);
        assert_eq!(format!("{owned:?}"), r#"["SET", "key", ""]"#);
    }

    #[test]
    fn a_buffer_holds_what_was_pushed_since_it_was_cleared() {
        // Breaks if an argument of the last request shows up in the next, or a large one keeps its memory.
        let mut buffer = ArgsBuffer::default();
        for arguments in [&[&b"SET"[..], b"key", b"value"][..], &[b"GET", b""], &[]] {
            buffer.clear(64);
            for argument in arguments {
                buffer.push(argument);
            }
            assert!(buffer.args().iter().eq(arguments.iter().copied()));
        }
        buffer.push(&[0; 10_000]);
        buffer.clear(64);
        assert!(buffer.bytes.capacity() < 10_000);
    }

    #[test]
    #[should_panic]
    fn reading_beyond_the_last_argument_is_a_bug() {
        // Breaks if a missing argument could be read as some other bytes of the buffer.
        OwnedArgs::from_slices(&[b"GET"]).args().get(1);
    }
}
