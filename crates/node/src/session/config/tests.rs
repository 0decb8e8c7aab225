//! CONFIG.

use crate::testing::{Client, node};

#[test]
fn settings_are_named_as_asked_for() {
    // Breaks if a client does not find the name that it asked for in the reply, or finds a setting twice.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(client.run("CONFIG GET TIMEOUT"), "*2 $7 TIMEOUT $1 0");
    assert_eq!(client.run("CONFIG GET Time[o]ut"), "*2 $7 timeout $1 0");
    assert_eq!(
        client.run("CONFIG GET TIMEOUT timeout time*"),
        "*2 $7 TIMEOUT $1 0"
    );
    assert_eq!(client.run("CONFIG GET nosuch"), "*0");
}

#[test]
fn pairs_are_taken_whole_or_not_at_all() {
    // Breaks if a CONFIG SET with a name too many changes something, or is answered otherwise than by Redis.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(
        client.run("CONFIG SET timeout 5 maxclients"),
        "-ERR syntax error"
    );
    assert_eq!(client.run("CONFIG GET timeout"), "*2 $7 timeout $1 0");
    assert_eq!(client.run("CONFIG SET timeout 5 maxclients 20"), "+OK");
    assert_eq!(client.run("CONFIG GET timeout"), "*2 $7 timeout $1 5");
}
