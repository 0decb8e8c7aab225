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
