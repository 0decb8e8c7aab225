//! What a process says that is told to join a cluster and is not let in, and that the cluster goes on; nodes that come back at
//! other addresses.

use crate::until;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;
use torc_tests::{Cluster, Kind, Server, Value, free_port};

/// How long a process may take to give up: it hopes for a while where hope makes sense.
const END_WAIT_MAX: Duration = Duration::from_secs(30);
/// The peer port is the client port and this.
const PEER_PORT_OFFSET: u16 = 10_000;
/// Starts a process that is to join `address`, expects that it ends and names all of `words`.
fn refused(address: &str, flags: &[&str], words: &[&str]) {
    let flags = [&["--join", address], flags].concat();
    let mut server = Server::spawn(Kind::Tested, free_port(), &flags);
    let code = server.exit_code(END_WAIT_MAX);
    let log = server.log();
    assert!(
        code.is_some_and(|code| code > 0),
        "{flags:?}: {code:?}\n{log}"
    );
    for word in words {
        assert!(log.contains(word), "{flags:?}: no {word:?} in\n{log}");
    }
    assert!(
        !log.contains("panicked"),
        "{flags:?}: a panic is no message\n{log}"
    );
}

#[test]
fn who_cannot_join_says_why_and_harms_nobody() {
    // Fails when a process that may not join hangs without a word, founds a cluster of its own, or stops the other.
    if Server::tests_redis() {
        return; // Clusters of Redis are made otherwise.
    }
    let cluster = Cluster::start_with(1, &["--cluster-secret", "sesame"]);
    let address = format!("127.0.0.1:{}", cluster.port(1));
    refused(
        &address,
        &["--cluster-secret", "mellon"],
        &[&address, "secret"],
    );
    refused(&address, &[], &[&address, "secret"]);
    refused("127.0.0.1", &[], &["is not HOST:PORT"]);
    let own = free_port();
    let mut server = Server::spawn(Kind::Tested, own, &["--join", &format!("127.0.0.1:{own}")]);
    assert!(server.exit_code(END_WAIT_MAX).is_some_and(|code| code > 0));
    assert!(
        server.log().contains("names no node but this one"),
        "{}",
        server.log()
    );
    assert_eq!(cluster.client(1).ask("SET k v"), Value::simple("OK"));
    cluster.wait_until_whole();
}

#[test]
fn an_address_that_does_not_answer_is_asked_until_it_does() {
    // Fails when a node gives up because it was started first, waits without a word, or serves clients meanwhile as if it
    // were a cluster.
    if Server::tests_redis() {
        return; // Clusters of Redis are made otherwise.
    }
    let (first, second) = (free_port(), free_port());
    let address = format!("127.0.0.1:{first}");
    let joiner = Server::spawn(Kind::Tested, second, &["--join", &address]);
    until("a line about the address", || {
        let log = joiner.log();
        log.contains("trying again") && log.contains(&address)
    });
    // Whoever takes the connection and says nothing is not waited for for ever.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, first + PEER_PORT_OFFSET));
    let silent = silent.expect("nobody has that port");
    let taken = silent.accept().expect("it tries again");
    drop((taken, silent));
    let founder = Server::spawn(Kind::Tested, first, &[]);
    until("both in one cluster", || {
        torc_tests::Client::connect(second).is_ok_and(|mut client| {
            client
                .ask("CLUSTER INFO")
                .text()
                .contains("cluster_known_nodes:2")
        })
    });
    assert_eq!(founder.client().ask("SET k v"), Value::simple("OK"));
    assert_eq!(joiner.client().ask("GET k"), Value::bulk("v"));
}

/// Starts a node that keeps its log in `directory`, at any port, and waits until it answers.
fn start_durable(directory: &Path, more: &[&str]) -> Server {
    let directory = directory.to_str().expect("a plain path");
    let flags = ["--appendonly", "yes", "--dir", directory];
    Server::start_with(Kind::Tested, &[&flags, more].concat())
}

/// Whether a node sees all shards led, and three nodes alive.
fn is_whole(server: &Server) -> bool {
    let status: serde_json::Value = match server.client().ask("TORC STATUS") {
        Value::Bulk(json) => serde_json::from_slice(&json).expect("JSON"),
        other => panic!("{other:?}"),
    };
    let nodes = status["nodes"].as_array().expect("a list");
    let alive = nodes.iter().filter(|node| node["alive"] == true).count();
    alive == 3 && status["shards_without_leader"] == 0 && status["groups_short"] == 0
}

#[test]
fn nodes_that_come_back_elsewhere_say_where_they_are() {
    // Fails when nodes whose ports changed while all were down stay apart for good: who knows only where the others were
    // hears them, and cannot answer.
    if Server::tests_redis() {
        return; // Clusters of Redis are made otherwise.
    }
    let directories = [(); 3].map(|()| tempfile::tempdir().expect("a directory can be made"));
    let mut servers: Vec<Server> = Vec::new();
    for directory in &directories {
        let join = servers
            .first()
            .map(|first| format!("127.0.0.1:{}", first.port()));
        let join = join.as_ref().map(|address| ["--join", address]);
        let join = join.as_ref().map_or(&[][..], |flags| &flags[..]);
        servers.push(start_durable(directory.path(), join));
    }
    until("three nodes in one cluster", || {
        servers.iter().all(is_whole)
    });
    assert_eq!(servers[0].client().ask("SET k v"), Value::simple("OK"));
    let stays = servers[0].port();
    let former: Vec<u16> = servers.iter().map(Server::port).collect();
    servers.clear();
    // One comes back where all look for it: the others reach it, and it reaches nobody.
    let first = directories[0].path().to_str().expect("a plain path");
    let flags = ["--appendonly", "yes", "--dir", first];
    let mut first = Server::spawn(Kind::Tested, stays, &flags);
    first.wait_until_ready().expect("its port is free");
    servers.push(first);
    for directory in &directories[1..] {
        let server = start_durable(directory.path(), &[]);
        assert!(!former.contains(&server.port()), "it is elsewhere");
        servers.push(server);
    }
    until("the cluster again", || servers.iter().all(is_whole));
    for server in &servers {
        assert_eq!(server.client().ask("GET k"), Value::bulk("v"));
    }
}
