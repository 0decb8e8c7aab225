//! What is printed at start: a few lines that a person can read.

use crate::config::{Config, MaxmemorySource, print::memory_text};
use node::settings::policy_name;
use std::fmt::Write;
use std::net::SocketAddr;

/// The banner of a node that listens on `addresses`.
pub fn banner(config: &Config, addresses: &[SocketAddr]) -> String {
    let settings = &config.settings;
    let mut text = String::new();
    let _ = writeln!(text, "Torc {}", env!("CARGO_PKG_VERSION"));
    let listed: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let _ = writeln!(text, "  clients    {}", listed.join(", "));
    let source = match config.maxmemory_source {
        MaxmemorySource::Configured => "",
        MaxmemorySource::Automatic => ", 60 % of this machine's; set it with --maxmemory",
    };
    let _ = writeln!(
        text,
        "  memory     {} ({}{source})",
        memory_text(settings.maxmemory_bytes),
        policy_name(settings.maxmemory_policy)
    );
    let _ = writeln!(text, "  shards     {}", settings.shards);
    let _ = writeln!(
        text,
        "  password   {}",
        if settings.requirepass.is_empty() {
            "none"
        } else {
            "set"
        }
    );
    let port = addresses.first().map_or(settings.port, SocketAddr::port);
    let _ = writeln!(text, "  try it     redis-cli -p {port} ping");
    let _ = writeln!(text, "  stop it    Ctrl-C");
    text
}
