//! Runs a program against a freshly started cluster of three nodes and ends the nodes after it.
//!
//! ```text
//! with-cluster COMMAND [ARGUMENT]…
//! ```
//!
//! In an argument `{port1}` to `{port3}` are replaced by the nodes' client ports, `{cluster1}` to `{cluster3}` by their
//! ports for cluster-aware clients. When the program prints the line `KILL A NODE`, node 1 is killed: it is a client
//! in the middle of its work. Exit code: the program's own; 2 for wrong usage.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use torc_tests::Cluster;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((program, arguments)) = words.split_first() else {
        eprintln!(
            "usage: with-cluster COMMAND [ARGUMENT]…   ({{port1}}, {{cluster1}} … stand for the nodes' ports)"
        );
        return ExitCode::from(2);
    };
    let mut cluster = Cluster::start(3);
    let replaced = arguments.iter().map(|argument| {
        (1..=3).fold(argument.clone(), |text, node| {
            text.replace(&format!("{{port{node}}}"), &cluster.port(node).to_string())
                .replace(
                    &format!("{{cluster{node}}}"),
                    &cluster.cluster_port(node).to_string(),
                )
        })
    });
    let started = Command::new(program)
        .args(replaced)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{program} cannot be run: {error}");
            return ExitCode::from(2);
        }
    };
    let output = child.stdout.take().expect("it was asked to be piped");
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
        if line == "KILL A NODE" {
            cluster.kill(1);
        }
    }
    let status = child.wait();
    let code = status.ok().and_then(|status| status.code()).unwrap_or(1);
    if code != 0 {
        eprintln!("{}", cluster.logs());
    }
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
