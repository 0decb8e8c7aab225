use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::client::ReplyDecoder;
use crate::number::DoubleText;
use crate::output::Output;

fn written(tree: &Tree, protocol: Protocol) -> Vec<u8> {
    let mut output = Output::new();
    Reply::new(&mut output, protocol).tree(tree);
    bytes_of(&output)
}

/// The same tree without `redis-protocol`: every level by our own writer.
fn written_by_hand(tree: &Tree, protocol: Protocol) -> Vec<u8> {
    fn write(reply: &mut Reply<'_>, tree: &Tree) {
        match tree {
            Tree::Array(elements) => {
                reply.array(elements.len());
                elements.iter().for_each(|element| write(reply, element));
            }
            Tree::Set(elements) => {
                reply.set(elements.len());
                elements.iter().for_each(|element| write(reply, element));
            }
            Tree::Push(elements) => {
                reply.push(elements.len());
                elements.iter().for_each(|element| write(reply, element));
            }
            Tree::Map(pairs) => {
                reply.map(pairs.len());
                for (key, value) in pairs {
                    write(reply, key);
                    write(reply, value);
                }
            }
            leaf => reply.write_level(leaf, 1),
        }
    }
    let mut output = Output::new();
    write(&mut Reply::new(&mut output, protocol), tree);
    bytes_of(&output)
}

fn bytes_of(output: &Output) -> Vec<u8> {
    let mut slices = vec![std::io::IoSlice::new(&[]); 64];
    let filled = output.io_slices(&mut slices);
    let bytes: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
    assert_eq!(bytes.len(), output.len());
    bytes
}

fn decoded(bytes: &[u8], protocol: Protocol) -> Tree {
    let mut buffer = BytesMut::from(bytes);
    let mut decoder = ReplyDecoder::new(protocol, 1 << 30);
    let tree = decoder.decode(&mut buffer).unwrap().unwrap();
    assert!(buffer.is_empty(), "a reply is one frame");
    tree
}

/// What a client sees of the tree: the fallbacks of RESP2, one null.
fn seen(tree: &Tree, protocol: Protocol) -> Tree {
    let all = |trees: &[Tree]| trees.iter().map(|tree| seen(tree, protocol)).collect();
    match (protocol, tree) {
        (_, Tree::NullArray) => Tree::Null,
        (_, Tree::Array(elements)) => Tree::Array(all(elements)),
        (Protocol::Resp2, Tree::Set(elements) | Tree::Push(elements)) => Tree::Array(all(elements)),
        (Protocol::Resp3, Tree::Set(elements)) => Tree::Set(all(elements)),
        (Protocol::Resp3, Tree::Push(elements)) => Tree::Push(all(elements)),
        (Protocol::Resp2, Tree::Map(pairs)) => Tree::Array(
            pairs
                .iter()
                .flat_map(|(key, value)| [seen(key, protocol), seen(value, protocol)])
                .collect(),
        ),
        (Protocol::Resp3, Tree::Map(pairs)) => Tree::Map(
            pairs
                .iter()
                .map(|(key, value)| (seen(key, protocol), seen(value, protocol)))
                .collect(),
        ),
        (Protocol::Resp2, Tree::Double(value)) => Tree::bulk(&DoubleText::with_17_digits(*value)),
        (Protocol::Resp2, Tree::Boolean(value)) => Tree::Integer(i64::from(*value)),
        (Protocol::Resp2, Tree::BigNumber(bytes) | Tree::Verbatim(bytes)) => {
            Tree::Bulk(bytes.clone())
        }
        (_, other) => other.clone(),
    }
}

fn integers() -> impl Strategy<Value = i64> {
    let near_powers =
        (0u32..19, -2i64..=2, any::<bool>()).prop_map(|(power, near, is_negative)| {
            let value = 10i64.pow(power).saturating_add(near);
            if is_negative { -value } else { value }
        });
    prop_oneof![
        near_powers,
        any::<i64>(),
        (0u32..4).prop_map(|offset| i64::MAX - i64::from(offset)),
        (0u32..4).prop_map(|offset| i64::MIN + i64::from(offset)),
    ]
}

fn leaf() -> impl Strategy<Value = Tree> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..120).prop_map(Bytes::from);
    prop_oneof![
        "[ -~]{0,20}".prop_map(|text| Tree::Simple(Bytes::from(text))),
        "[A-Z]{1,8} [ -~äß]{0,20}".prop_map(|text| Tree::Error(Bytes::from(text))),
        integers().prop_map(Tree::Integer),
        bytes().prop_map(Tree::Bulk),
        Just(Tree::Null),
        Just(Tree::NullArray),
        any::<f64>()
            .prop_filter("NaN equals nothing", |value| !value.is_nan())
            .prop_map(Tree::Double),
        any::<bool>().prop_map(Tree::Boolean),
        "-?[1-9][0-9]{0,30}".prop_map(|digits| Tree::BigNumber(Bytes::from(digits))),
        bytes().prop_map(Tree::Verbatim),
    ]
}

fn trees() -> impl Strategy<Value = Tree> {
    leaf().prop_recursive(5, 60, 12, |inner| {
        let several = || prop::collection::vec(inner.clone(), 0..12);
        let numbered = |i: usize| Tree::bulk(format!("key {i}").as_bytes());
        prop_oneof![
            several().prop_map(Tree::Array),
            several().prop_map(Tree::Push),
            prop::collection::btree_set(any::<i64>(), 0..12)
                .prop_map(|all| Tree::Set(all.into_iter().map(Tree::Integer).collect())),
            several().prop_map(move |all| {
                let keys = (0..).map(numbered);
                Tree::Map(keys.zip(all).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_what_a_client_reads(tree in trees()) {
        // Breaks if a reply's bytes mean something else to a client, or if the two ways of
        // writing one differ: `redis-protocol`'s encoder and ours.
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let bytes = written(&tree, protocol);
            prop_assert_eq!(&bytes, &written_by_hand(&tree, protocol));
            prop_assert_eq!(decoded(&bytes, protocol), seen(&tree, protocol));
        }
    }
}

#[test]
fn integers_at_every_power_of_ten_are_exact() {
    // Breaks if a stray byte follows a number: `redis-protocol` estimates lengths by a logarithm.
    let powers = (0..19).map(|power| 10i64.pow(power));
    let around = powers.flat_map(|power| (-3..=3).map(move |near| power + near));
    let all = around.flat_map(|value| [value, -value]);
    for value in all.chain([i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1]) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let tree = Tree::Array(vec![Tree::Integer(value), Tree::Integer(value)]);
            let expected = format!("*2\r\n:{value}\r\n:{value}\r\n");
            assert_eq!(written(&tree, protocol), expected.as_bytes(), "{value}");
        }
    }
}

#[test]
fn what_redis_protocol_cannot_say_is_said_all_the_same() {
    // Breaks if a reply of this kind is changed, or ends the process, on its way to the client.
    let twice = || {
        vec![
            (Tree::text("a"), Tree::Integer(1)),
            (Tree::text("a"), Tree::Integer(2)),
        ]
    };
    let odd_key = || vec![(Tree::Array(vec![]), Tree::Null)];
    let cases = [
        (
            Tree::Map(twice()),
            "*4\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n:2\r\n",
            "%2\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n:2\r\n",
        ),
        (
            Tree::Map(odd_key()),
            "*2\r\n*0\r\n$-1\r\n",
            "%1\r\n*0\r\n_\r\n",
        ),
        (
            Tree::Set(vec![Tree::Null, Tree::Null]),
            "*2\r\n$-1\r\n$-1\r\n",
            "~2\r\n_\r\n_\r\n",
        ),
        (
            Tree::Set(vec![Tree::Array(vec![])]),
            "*1\r\n*0\r\n",
            "~1\r\n*0\r\n",
        ),
        (
            Tree::Array(vec![Tree::NullArray]),
            "*1\r\n*-1\r\n",
            "*1\r\n_\r\n",
        ),
        (
            Tree::Double(1e300),
            "$23\r\n1.0000000000000001e+300\r\n",
            ",1.0000000000000001e+300\r\n",
        ),
        (Tree::Double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n"),
        (
            Tree::Error(Bytes::from_static(b"ERR a\r\nb")),
            "-ERR a  b\r\n",
            "-ERR a  b\r\n",
        ),
        (
            Tree::Attributed(twice(), Box::new(Tree::Null)),
            "$-1\r\n",
            "|2\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n:2\r\n_\r\n",
        ),
        (
            Tree::Verbatim(Bytes::from_static(b"hi")),
            "$2\r\nhi\r\n",
            "=6\r\ntxt:hi\r\n",
        ),
    ];
    for (tree, resp2, resp3) in cases {
        let as_text = |protocol| String::from_utf8(written(&tree, protocol)).unwrap();
        assert_eq!(as_text(Protocol::Resp2), *resp2, "{tree:?}");
        assert_eq!(as_text(Protocol::Resp3), *resp3, "{tree:?}");
    }
    let not_text = Tree::Error(Bytes::from_static(b"ERR \xff"));
    assert_eq!(written(&not_text, Protocol::Resp3), b"-ERR \xff\r\n");
}

#[test]
fn a_tree_may_be_as_deep_as_a_client_reads() {
    // Breaks if the writer's bound is above the reader's, or a deep tree is cut off.
    let nested = |levels: usize| (1..levels).fold(Tree::Null, |tree, _| Tree::Array(vec![tree]));
    let deepest = nested(TREE_DEPTH_MAX);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        assert_eq!(decoded(&written(&deepest, protocol), protocol), deepest);
    }
    let too_deep =
        std::panic::catch_unwind(|| written(&nested(TREE_DEPTH_MAX + 1), Protocol::Resp3));
    assert!(too_deep.is_err());
}
