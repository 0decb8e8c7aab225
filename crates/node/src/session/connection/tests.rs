//! PING, ECHO, SELECT, HELLO, AUTH, RESET, QUIT.

use crate::session::Step;
use crate::testing::{Client, node, node_with};

#[test]
fn ping_and_echo_answer_in_both_protocols() {
    // Breaks if a session answers its simplest commands otherwise than Redis.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(client.run("PING"), "+PONG");
    assert_eq!(client.run("ping hello"), "$5 hello");
    assert_eq!(client.run("ECHO \"a b\""), "$3 a b");
    assert_eq!(
        client.run("PING a b"),
        "-ERR wrong number of arguments for 'ping' command"
    );
    assert!(client.run("HELLO 3").starts_with("%7 $6 server $5 redis"));
    assert_eq!(client.run("GET nothing"), "_");
}

#[test]
fn select_takes_the_numbers_of_databases_alone() {
    // Breaks if a connection ends in a database that is not there, or keys of one are seen in another.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(client.run("SET a 1"), "+OK");
    assert_eq!(client.run("SELECT 15"), "+OK");
    assert_eq!(client.run("GET a"), "$-1");
    assert_eq!(client.run("SELECT 16"), "-ERR DB index is out of range");
    assert_eq!(client.run("SELECT -1"), "-ERR DB index is out of range");
    assert_eq!(
        client.run("SELECT x"),
        "-ERR value is not an integer or out of range"
    );
}

#[test]
fn a_select_holds_for_the_rest_of_its_pipeline() {
    // Breaks if what is worked out for a whole pipeline ahead uses the database before the SELECT.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(
        client.pipeline(&[
            "SET a 0", "SELECT 1", "SET a 1", "GET a", "SELECT 0", "GET a", "SELECT 1", "GET a"
        ]),
        "+OK +OK +OK $1 1 +OK $1 0 +OK $1 1"
    );
}

#[test]
fn a_password_is_asked_for_before_anything_else() {
    // Breaks if a stranger gets at data, or the right password does not let in.
    let (node, _) = node_with(|settings| settings.requirepass = "secret".into());
    let mut client = Client::new(&node);
    assert_eq!(client.run("GET a"), "-NOAUTH Authentication required.");
    assert_eq!(
        client.run("AUTH wrong"),
        "-WRONGPASS invalid username-password pair or user is disabled."
    );
    assert_eq!(client.run("AUTH default secret"), "+OK");
    assert_eq!(client.run("GET a"), "$-1");
    assert_eq!(client.run("RESET"), "+RESET");
    assert_eq!(client.run("GET a"), "-NOAUTH Authentication required.");
    assert!(
        client
            .run("HELLO 3 AUTH default secret SETNAME me")
            .starts_with("%7 ")
    );
    assert_eq!(client.run("CLIENT GETNAME"), "$2 me");
}

#[test]
fn quit_answers_and_closes() {
    // Breaks if requests behind a QUIT are still run.
    let (node, _) = node();
    let mut client = Client::new(&node);
    assert_eq!(client.pipeline(&["QUIT", "SET a 1"]), "+OK");
    assert_eq!(client.step, Step::Close);
    assert_eq!(Client::new(&node).run("GET a"), "$-1");
}

#[test]
fn what_others_push_arrives_without_a_request() {
    // Breaks if a push waits for the next request of its receiver.
    let (node, clock) = node();
    let (mut subscriber, mut publisher) = (Client::new(&node), Client::new(&node));
    subscriber.run("SUBSCRIBE news");
    assert_eq!(publisher.run("PUBLISH news hello"), ":1");
    assert_eq!(subscriber.poll(), "*3 $7 message $4 news $5 hello");
    clock.advance_ms(5_000);
    assert!(publisher.run("CLIENT LIST").contains(" idle=5 "));
}
