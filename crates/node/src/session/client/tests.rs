//! CLIENT and its subcommands, client-side caching among them.

use crate::session::Step;
use crate::testing::{Client, node};

#[test]
fn a_reader_hears_once_of_a_change() {
    // Breaks if a cached value goes stale unheard, or if a client is told of keys that it did not read since.
    let (node, _) = node();
    let (mut reader, mut writer) = (Client::new(&node), Client::new(&node));
    reader.run("HELLO 3");
    assert_eq!(reader.run("CLIENT TRACKING ON"), "+OK");
    reader.run("MGET a b");
    writer.run("MSET a 1 b 2 c 3");
    let heard = reader.poll();
    assert!(heard.contains(">2 $10 invalidate *1 $1 a"), "{heard}");
    assert!(heard.contains(">2 $10 invalidate *1 $1 b"), "{heard}");
    assert!(!heard.contains("$1 c"), "{heard}");
    writer.run("SET a 2");
    assert_eq!(reader.poll(), "");
    reader.run("GET a");
    writer.run("FLUSHALL");
    assert_eq!(reader.poll(), ">2 $10 invalidate _");
}

#[test]
fn an_own_change_is_told_behind_its_reply() {
    // Breaks if an invalidation lands inside the replies of a pipeline out of order.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    assert_eq!(
        client.pipeline(&["GET a", "SET a 5", "PING"]),
        "_ +OK >2 $10 invalidate *1 $1 a +PONG"
    );
    client.pipeline(&["CLIENT TRACKING OFF", "CLIENT TRACKING ON NOLOOP"]);
    assert_eq!(client.pipeline(&["GET a", "SET a 6"]), "$1 5 +OK");
}

#[test]
fn client_caching_holds_for_one_command_or_transaction() {
    // Breaks if OPTIN goes on tracking after the command that was meant.
    let (node, _) = node();
    let (mut reader, mut writer) = (Client::new(&node), Client::new(&node));
    reader.pipeline(&["HELLO 3", "CLIENT TRACKING ON OPTIN"]);
    reader.pipeline(&["CLIENT CACHING YES", "GET a", "GET b"]);
    writer.pipeline(&["SET a 1", "SET b 1"]);
    assert_eq!(reader.poll(), ">2 $10 invalidate *1 $1 a");
    reader.pipeline(&["CLIENT CACHING YES", "MULTI", "GET a", "GET b", "EXEC"]);
    writer.pipeline(&["SET a 1", "SET b 1"]);
    assert_eq!(
        reader.poll(),
        ">2 $10 invalidate *1 $1 a >2 $10 invalidate *1 $1 b"
    );
}

#[test]
fn broadcast_prefixes_add_up_and_may_not_overlap() {
    // Breaks if a second CLIENT TRACKING forgets the first one's prefixes, or a key is told twice.
    let (node, _) = node();
    let (mut reader, mut writer) = (Client::new(&node), Client::new(&node));
    reader.pipeline(&["HELLO 3", "CLIENT TRACKING ON BCAST PREFIX foo"]);
    assert_eq!(
        reader.run("CLIENT TRACKING ON BCAST PREFIX foobar"),
        "-ERR Prefix 'foobar' overlaps with an existing prefix 'foo'. Prefixes for a single client must not overlap."
    );
    assert_eq!(reader.run("CLIENT TRACKING ON BCAST PREFIX bar"), "+OK");
    assert_eq!(
        reader.run("CLIENT TRACKINGINFO"),
        "%3 $5 flags ~2 $2 on $5 bcast $8 redirect :0 $8 prefixes *2 $3 bar $3 foo"
    );
    writer.pipeline(&["SET food 1", "SET zoo 1"]);
    assert_eq!(reader.poll(), ">2 $10 invalidate *1 $4 food");
}

#[test]
fn a_redirection_ends_with_its_target() {
    // Breaks if a client whose invalidations go nowhere is not told so.
    let (node, _) = node();
    let (mut reader, mut writer) = (Client::new(&node), Client::new(&node));
    let mut target = Client::new(&node);
    target.run("SUBSCRIBE __redis__:invalidate");
    assert_eq!(
        reader.run("CLIENT TRACKING ON REDIRECT 99"),
        "-ERR The client ID you want redirect to does not exist"
    );
    reader.run("CLIENT TRACKING ON REDIRECT 3");
    reader.run("GET a");
    writer.run("SET a 1");
    assert_eq!(
        target.poll(),
        "*3 $7 message $20 __redis__:invalidate *1 $1 a"
    );
    drop(target);
    reader.pipeline(&["HELLO 3", "GET a"]);
    writer.run("SET a 1");
    assert_eq!(reader.poll(), ">2 $21 tracking-redir-broken :3");
    assert!(
        reader
            .run("CLIENT TRACKINGINFO")
            .contains("broken_redirect")
    );
}

#[test]
fn replies_are_dropped_as_asked() {
    // Breaks if CLIENT REPLY drops a reply too many or too few: all that follow would be taken for others.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(
        client.pipeline(&["CLIENT REPLY SKIP", "PING a", "PING b"]),
        "$1 b"
    );
    let off = ["CLIENT REPLY OFF", "PING a", "CLIENT REPLY ON", "PING b"];
    assert_eq!(client.pipeline(&off), "+OK $1 b");
    let inside = ["MULTI", "CLIENT REPLY SKIP", "EXEC", "PING a", "PING b"];
    assert_eq!(client.pipeline(&inside), "+OK +QUEUED *1 $1 b");
    assert_eq!(
        client.pipeline(&["CLIENT REPLY OFF", "SUBSCRIBE x"]),
        "*3 $9 subscribe $1 x :1"
    );
    let mut client = Client::new(&node);
    let skipped = ["CLIENT REPLY SKIP", "SUBSCRIBE x", "PING"];
    assert_eq!(
        client.pipeline(&skipped),
        "*3 $9 subscribe $1 x :1 *2 $4 pong $0"
    );
    let mut client = Client::new(&node);
    let queued = ["CLIENT REPLY OFF", "MULTI", "SUBSCRIBE x", "DISCARD"];
    assert_eq!(client.pipeline(&queued), "");
}

#[test]
fn what_a_script_reads_is_tracked_for_its_caller() {
    // Breaks if a client that caches what its scripts answer never hears that it changed.
    let (node, _) = node();
    let (mut reader, mut writer) = (Client::new(&node), Client::new(&node));
    reader.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    for eval in ["EVAL", "EVAL_RO"] {
        let eval = format!("{eval} \"return redis.call('get',KEYS[1])\" 1 a");
        for lines in [vec![eval.as_str()], vec!["MULTI", &eval, "EXEC"]] {
            reader.pipeline(&lines);
            writer.run("SET a 1");
            assert_eq!(reader.poll(), ">2 $10 invalidate *1 $1 a", "{lines:?}");
            writer.run("SET a 2");
            assert_eq!(reader.poll(), "", "{lines:?}");
        }
    }
    reader.pipeline(&["CLIENT TRACKING OFF", "CLIENT TRACKING ON OPTIN"]);
    reader.run("EVAL \"return redis.call('get',KEYS[1])\" 1 a");
    writer.run("SET a 1");
    assert_eq!(reader.poll(), "");
}

#[test]
fn what_a_read_that_may_wait_read_is_tracked() {
    // Breaks if XREAD BLOCK answers what never goes stale, or if a wait keeps the news of other keys back.
    let (node, _) = node();
    let (mut reader, mut writer) = (Client::new(&node), Client::new(&node));
    writer.run("XADD s 1 a b");
    reader.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    reader.run("XREAD BLOCK 1000 STREAMS s 0");
    writer.run("XADD s 2 a b");
    assert_eq!(reader.poll(), ">2 $10 invalidate *1 $1 s");
    reader.pipeline(&["GET a", "XREAD BLOCK 1000 STREAMS s 2"]);
    writer.run("SET a 1");
    assert_eq!(reader.poll(), ">2 $10 invalidate *1 $1 a");
    writer.run("XADD s 3 a b");
    let woken = reader.poll();
    assert!(woken.contains("invalidate *1 $1 s"), "{woken}");
    assert!(woken.contains("$3 3-0"), "{woken}");
    writer.run("XADD s 4 a b");
    assert_eq!(reader.poll(), ">2 $10 invalidate *1 $1 s");
}

#[test]
fn a_pause_holds_back_what_it_says() {
    // Breaks if a write gets through a pause, or a read is held back by one of writes.
    let (node, clock) = node();
    let (mut boss, mut client) = (Client::new(&node), Client::new(&node));
    assert_eq!(boss.run("CLIENT PAUSE 1000 WRITE"), "+OK");
    assert_eq!(client.run("GET a"), "$-1");
    assert_eq!(
        client.run("SET a"),
        "-ERR wrong number of arguments for 'set' command"
    );
    assert_eq!(client.run("SET a 1"), "");
    assert!(matches!(client.step, Step::Wait { until_us: Some(_) }));
    assert!(boss.run("INFO clients").contains("blocked_clients:1"));
    assert_eq!(boss.run("GET a"), "$-1");
    clock.advance_ms(1000);
    assert_eq!(client.poll(), "+OK");
    assert!(boss.run("INFO clients").contains("blocked_clients:0"));
    boss.run("CLIENT PAUSE 1000");
    assert_eq!(client.run("GET a"), "");
    assert_eq!(boss.run("CLIENT UNPAUSE"), "+OK");
    assert_eq!(client.poll(), "$1 1");
}

#[test]
fn kill_finds_its_victims() {
    // Breaks if CLIENT KILL ends another connection than the one that is named.
    let (node, _) = node();
    let (mut client, other) = (Client::new(&node), Client::new(&node));
    assert_eq!(client.run("CLIENT KILL 1.2.3.4:5"), "-ERR No such client");
    assert_eq!(client.run("CLIENT KILL ID 99"), ":0");
    assert_eq!(client.run("CLIENT KILL TYPE pubsub"), ":0");
    assert_eq!(client.run("CLIENT KILL ID 1"), ":0", "itself is skipped");
    assert_eq!(client.run("CLIENT KILL ADDR 127.0.0.1:10002"), ":1");
    assert!(other.session.client.wants_attention());
    assert_eq!(client.run("CLIENT KILL ID 1 SKIPME no"), ":1");
    assert_eq!(client.step, Step::Close);
}

#[test]
fn names_are_words() {
    // Breaks if a name or a library's name can forge a line of CLIENT LIST.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let refused = "-ERR Client names cannot contain spaces, newlines or special characters.";
    assert_eq!(client.run("CLIENT SETNAME \"a b\""), refused);
    assert_eq!(client.run("CLIENT SETNAME \"a\\nb\""), refused);
    assert_eq!(client.run("CLIENT SETNAME me"), "+OK");
    assert_eq!(
        client.run("CLIENT SETINFO LIB-NAME \"a b\""),
        "-ERR lib-name cannot contain spaces, newlines or special characters."
    );
    client.run("CLIENT SETINFO lib-ver 1.2");
    let line = client.run("CLIENT INFO");
    assert!(line.contains(" name=me "), "{line}");
    assert!(line.contains(" cmd=client|info "), "{line}");
    assert!(line.contains(" lib-name= lib-ver=1.2"), "{line}");
}
