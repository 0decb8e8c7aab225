use super::*;

#[test]
fn chunks_keep_their_place() {
    // Breaks if a large value's bytes leave before its length header.
    let mut output = Output::new();
    output.tail_mut().extend_from_slice(b"ab");
    output.push_shared(Bytes::from_static(b"CDE"));
    output.tail_mut().extend_from_slice(b"f");
    assert_eq!(output.len(), 6);
    let mut slices = [IoSlice::new(&[]); 4];
    let filled = output.io_slices(&mut slices);
    assert_eq!(
        slices[..filled].iter().map(|s| &**s).collect::<Vec<_>>(),
        [&b"ab"[..], b"CDE", b"f"]
    );
}
