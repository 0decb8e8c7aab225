//! Commands over several shards.

use crate::testing::{Client, node};

#[test]
fn a_key_without_a_value_is_refused_whatever_the_shards() {
    // Breaks if MSET is cut into its shards' parts before it is known to be whole: the last part would have none.
    let (node, _) = node();
    let mut client = Client::new(&node);
    for request in ["MSET a 1 b", "MSET a 1 b 2 c", "MSET {x}a 1 {x}b"] {
        assert_eq!(
            client.run(request),
            "-ERR wrong number of arguments for 'mset' command"
        );
    }
    assert_eq!(
        client.run("MSETNX a 1 b"),
        "-ERR wrong number of arguments for 'msetnx' command"
    );
    assert_eq!(
        client.pipeline(&["MULTI", "MSET a 1 b", "EXEC"]),
        "+OK +QUEUED *1 -ERR wrong number of arguments for 'mset' command"
    );
    assert_eq!(client.run("DBSIZE"), ":0");
    assert_eq!(client.run("MSET a 1 b 2 c 3 d 4"), "+OK");
    assert_eq!(client.run("MGET a b c d"), "*4 $1 1 $1 2 $1 3 $1 4");
    assert_eq!(client.run("DEL a b c nothing"), ":3");
}

#[test]
fn what_is_told_of_several_shards_is_told_in_the_order_of_the_keys() {
    // Breaks if events or invalidations come in the order of the shards: nobody could foresee it.
    let (node, _) = node();
    let mut writer = Client::new(&node);
    let mut reader = Client::new(&node);
    let mut listener = Client::new(&node);
    let keys = "d c b a h g f e";
    writer.run("CONFIG SET notify-keyspace-events Eg$");
    assert!(reader.run("HELLO 3").starts_with("%7"));
    assert_eq!(reader.run("CLIENT TRACKING ON"), "+OK");
    reader.run(&format!("MGET {keys}"));
    listener.run("PSUBSCRIBE *");
    let pairs: String = keys.split(' ').map(|key| format!(" {key} 1")).collect();
    let told = |name: &str| -> String {
        let lines: Vec<String> = keys
            .split(' ')
            .map(|key| format!("*4 $8 pmessage $1 * ${} {name} $1 {key}", name.len()))
            .collect();
        lines.join(" ")
    };
    assert_eq!(writer.run(&format!("MSET{pairs}")), "+OK");
    assert_eq!(listener.poll(), told("__keyevent@0__:set"));
    let invalidated: Vec<String> = keys
        .split(' ')
        .map(|key| format!(">2 $10 invalidate *1 $1 {key}"))
        .collect();
    assert_eq!(reader.poll(), invalidated.join(" "));
    assert_eq!(writer.run(&format!("DEL {keys} nothing")), ":8");
    assert_eq!(listener.poll(), told("__keyevent@0__:del"));
}
