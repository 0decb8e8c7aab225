use super::*;
use crate::client::Client;
use std::sync::Arc;

/// What `fill` makes of `replies`, as RESP2.
fn filled(fill: Fill, replies: &[&str]) -> String {
    let client = Arc::new(Client::new(1, String::new(), String::new(), 0));
    for (slot, reply) in replies.iter().enumerate() {
        Ticket::new(client.clone(), 0, slot as u32).fill(reply.as_bytes());
    }
    let mut output = Output::new();
    fill.write(&client.slots(), Protocol::Resp2, &mut output);
    let text = String::from_utf8(output.into_bytes().to_vec()).expect("tests write text");
    text.trim_end().replace("\r\n", " ")
}

#[test]
fn parts_are_added_up() {
    // Breaks if DEL over several shards told another count than the keys that went.
    assert_eq!(
        filled(Fill::Sum(0..3), &[":1\r\n", ":0\r\n", ":41\r\n"]),
        ":42"
    );
    assert_eq!(filled(Fill::Sum(1..1), &[]), ":0");
    assert_eq!(filled(Fill::AllOk(0..2), &["+OK\r\n", "+OK\r\n"]), "+OK");
}

#[test]
fn the_first_error_of_the_parts_is_the_reply() {
    // Breaks if a part that failed were hidden by those that went well.
    let replies = [":1\r\n", "-OOM no\r\n", "-TRYAGAIN no\r\n"];
    assert_eq!(filled(Fill::Sum(0..3), &replies), "-OOM no");
    assert_eq!(filled(Fill::AllOk(0..3), &replies), "-OOM no");
    let fill = Fill::Gather {
        parts: 0..3,
        order: [0, 1].into(),
    };
    assert_eq!(filled(fill, &replies), "-OOM no");
}

#[test]
fn elements_come_in_the_order_of_the_keys() {
    // Breaks if MGET gave one key's value for another's.
    let replies = [
        "*2\r\n$1\r\na\r\n$-1\r\n",
        "*3\r\n$2\r\nb1\r\n$2\r\nb2\r\n$2\r\nb3\r\n",
    ];
    let fill = Fill::Gather {
        parts: 0..2,
        order: [1, 0, 1, 1, 0].into(),
    };
    assert_eq!(filled(fill, &replies), "*5 $2 b1 $1 a $2 b2 $2 b3 $-1");
}

#[test]
fn parts_that_make_no_sense_are_an_error() {
    // Breaks if another node's bug could end this one, or leave a client with half a reply.
    let broken = format!("-{BROKEN_PART}");
    assert_eq!(filled(Fill::Sum(0..2), &[":1\r\n", "+x\r\n"]), broken);
    let huge = format!(":{}\r\n", i64::MAX);
    assert_eq!(filled(Fill::Sum(0..2), &[&huge, ":1\r\n"]), broken);
    for reply in ["*1\r\n$1\r\na\r\n", ":1\r\n", ""] {
        let fill = Fill::Gather {
            parts: 0..1,
            order: [0, 0].into(),
        };
        assert_eq!(filled(fill, &[reply]), broken, "{reply:?}");
    }
}

#[test]
fn the_table_of_queued_requests_knows_every_shard() {
    // Breaks if a read did not say which write of its batch it must see, or took another shard's number for it.
    let mut table = QueuedTable::default();
    for round in 1..4u64 {
        let shards: Vec<u32> = (0..100).map(|n| n * (16 * round as u32 + 1)).collect();
        for &shard in &shards {
            assert_eq!(table.get(shard), Queued::default());
            table.get_mut(shard).write = u64::from(shard) + round;
        }
        for &shard in &shards {
            assert_eq!(table.get(shard).write, u64::from(shard) + round);
            assert_eq!(table.get(shard + 1).read, 0);
        }
        table.clear();
    }
    table.get_mut(7).read = 1;
    table.clear();
    assert_eq!(table.places.len(), QueuedTable::PLACES_MIN);
}
