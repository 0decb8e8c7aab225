use proptest::prelude::*;

use super::*;

/// All pending bytes, gathered through slices of which few fit at a time.
fn drained(mut output: Output, slices_max: usize, written_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !output.is_empty() {
        let mut slices = vec![IoSlice::new(&[]); slices_max];
        let filled = output.io_slices(&mut slices);
        assert!(filled > 0, "pending bytes are in some slice");
        let mut written = 0;
        for slice in &slices[..filled] {
            assert!(!slice.is_empty());
            let taken = slice.len().min(written_max - written);
            bytes.extend_from_slice(&slice[..taken]);
            written += taken;
        }
        let left = output.len() - written;
        output.advance(written);
        assert_eq!(output.len(), left);
    }
    bytes
}

#[test]
fn chunks_keep_their_place() {
    // Breaks if a large value's bytes leave before its length header.
    let mut output = Output::new();
    output.tail_mut().extend_from_slice(b"ab");
    output.push_shared(Bytes::from_static(b"CDE"));
    output.push_shared(Bytes::new());
    output.tail_mut().extend_from_slice(b"f");
    assert_eq!(output.len(), 6);
    let mut slices = [IoSlice::new(&[]); 4];
    let filled = output.io_slices(&mut slices);
    let slices: Vec<&[u8]> = slices[..filled].iter().map(|slice| &**slice).collect();
    assert_eq!(slices, [&b"ab"[..], b"CDE", b"f"]);
}

#[test]
fn what_follows_a_mark_can_be_dropped() {
    // Breaks if CLIENT REPLY OFF lets a reply through, or takes an earlier one with it.
    let mut output = Output::new();
    output.tail_mut().extend_from_slice(b"ab");
    output.push_shared(Bytes::from_static(b"CDE"));
    output.advance(4);
    let mark = output.mark();
    assert_eq!(output.since(mark), None);
    output.push_shared(Bytes::from_static(b"GH"));
    assert_eq!(output.since(mark), Some(b'G'));
    output.tail_mut().extend_from_slice(b"-ERR");
    output.rewind(mark);
    assert_eq!((output.len(), output.since(mark)), (1, None));
    output.tail_mut().extend_from_slice(b"-ERR");
    assert_eq!(output.since(mark), Some(b'-'));
    assert_eq!(drained(output, 9, 9), b"E-ERR");
}

#[test]
fn a_mark_outlives_what_was_written_before_it() {
    // Breaks if a mark that was taken before a write to the socket points elsewhere after it.
    let mut output = Output::new();
    output.push_shared(Bytes::from_static(b"ABC"));
    output.tail_mut().extend_from_slice(b"d");
    let mark = output.mark();
    output.tail_mut().extend_from_slice(b"e");
    output.push_shared(Bytes::from_static(b"FGH"));
    output.advance(4);
    assert_eq!(output.since(mark), Some(b'e'));
    output.rewind(mark);
    assert!(output.is_empty());
    assert_eq!(output.since(mark), None);
}

#[test]
fn memory_is_given_back() {
    // Breaks if one large reply makes a connection large for ever.
    let mut output = Output::new();
    output.tail_mut().resize(1 << 20, b'x');
    output.shrink();
    assert!(output.memory_bytes() >= 1 << 20, "pending bytes stay");
    output.advance((1 << 20) - 1);
    output.shrink();
    assert_eq!(output.len(), 1);
    output.advance(1);
    output.shrink();
    assert!(output.memory_bytes() <= KEPT_BYTES_MAX);
}

#[test]
#[should_panic(expected = "more written")]
fn more_cannot_be_written_than_is_pending() {
    // Breaks if a wrong count silently drops the replies that come next.
    let mut output = Output::new();
    output.tail_mut().push(b'x');
    output.advance(2);
}

#[derive(Clone, Debug)]
enum Step {
    Tail(Vec<u8>),
    Shared(Vec<u8>),
    Advance(prop::sample::Index),
    MarkAndRewind(Vec<u8>),
    Append(Vec<Step>),
    Shrink,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..9);
    let step = prop_oneof![
        bytes().prop_map(Step::Tail),
        Just(Step::Tail(vec![b'l'; 70_000])),
        bytes().prop_map(Step::Shared),
        any::<prop::sample::Index>().prop_map(Step::Advance),
        bytes().prop_map(Step::MarkAndRewind),
        Just(Step::Shrink),
    ];
    step.prop_recursive(2, 40, 8, |inner| {
        prop::collection::vec(inner, 0..8).prop_map(Step::Append)
    })
    .prop_map(|step| vec![step])
    .boxed()
}

/// Does the steps on an output and on a plain vector.
fn run(steps: &[Step], output: &mut Output, model: &mut Vec<u8>) {
    for step in steps {
        match step {
            Step::Tail(bytes) => {
                output.tail_mut().extend_from_slice(bytes);
                model.extend_from_slice(bytes);
            }
            Step::Shared(bytes) => {
                output.push_shared(Bytes::from(bytes.clone()));
                model.extend_from_slice(bytes);
            }
            Step::Advance(index) => {
                let written = index.index(output.len() + 1);
                output.advance(written);
                model.drain(..written);
            }
            Step::MarkAndRewind(bytes) => {
                let mark = output.mark();
                output.tail_mut().extend_from_slice(bytes);
                assert_eq!(output.since(mark), bytes.first().copied());
                output.push_shared(Bytes::from(bytes.clone()));
                assert_eq!(output.since(mark), bytes.first().copied());
                output.rewind(mark);
            }
            Step::Append(steps) => {
                let mut other = Output::new();
                let mut other_model = Vec::new();
                run(steps, &mut other, &mut other_model);
                output.append(&mut other);
                model.append(&mut other_model);
                assert!(other.is_empty());
                other.tail_mut().extend_from_slice(b"again");
                output.append(&mut other);
                model.extend_from_slice(b"again");
            }
            Step::Shrink => output.shrink(),
        }
        assert_eq!(output.len(), model.len());
    }
}

proptest! {
    #[test]
    fn every_byte_leaves_once_and_in_order(
        steps in prop::collection::vec(steps(), 0..12),
        slices_max in 1usize..5,
        written_max in 1usize..40_000,
    ) {
        // Breaks if a partial write, a mark or an append loses, doubles or moves bytes.
        let mut output = Output::new();
        let mut model = Vec::new();
        run(&steps.concat(), &mut output, &mut model);
        prop_assert!(drained(output, slices_max, written_max) == model);
    }
}

#[test]
fn what_is_before_a_mark_moves_with_its_chunks() {
    // Breaks if replies that came later were put in the wrong place, or a long value lost its own.
    let mut output = Output::new();
    output.tail_mut().extend_from_slice(b"ab");
    output.push_shared(Bytes::from_static(b"CDE"));
    let first = output.mark();
    output.tail_mut().extend_from_slice(b"f");
    let second = output.mark();
    output.push_shared(Bytes::from_static(b"GH"));
    output.tail_mut().extend_from_slice(b"i");
    let mut to = Output::new();
    output.move_front(first, &mut to);
    to.tail_mut().extend_from_slice(b"-");
    output.move_front(second, &mut to);
    output.move_front(second, &mut to);
    assert_eq!((output.len(), to.len()), (3, 7));
    to.tail_mut().extend_from_slice(b"-");
    output.move_front(output.mark(), &mut to);
    assert!(output.is_empty());
    assert_eq!(drained(to, 2, 3), b"abCDE-f-GHi");
}

#[test]
fn one_piece_holds_all_that_is_pending() {
    // Breaks if a reply that is kept lost its long value, or began with bytes that were written already.
    let mut output = Output::new();
    output.tail_mut().extend_from_slice(b"xab");
    output.advance(1);
    output.push_shared(Bytes::from_static(b"CDE"));
    output.tail_mut().extend_from_slice(b"f");
    assert_eq!(output.into_bytes(), "abCDEf");
    let mut short = Output::new();
    short.tail_mut().extend_from_slice(b"xab");
    short.advance(1);
    assert_eq!(short.into_bytes(), "ab");
}

#[test]
fn pieces_are_what_would_be_written() {
    // Breaks if what lies between two shared chunks were left out, doubled or empty.
    let mut output = Output::new();
    output.tail_mut().extend_from_slice(b"xab");
    output.advance(1);
    let long = Bytes::from_static(b"CDE");
    output.push_shared(long.clone());
    output.push_shared(Bytes::from_static(b"F"));
    output.tail_mut().extend_from_slice(b"g");
    let pieces = output.into_pieces();
    assert_eq!(pieces, ["ab", "CDE", "F", "g"]);
    assert_eq!(pieces[1].as_ptr(), long.as_ptr());
    assert!(Output::new().into_pieces().is_empty());
}
