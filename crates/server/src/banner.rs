//! What is printed at start: a few lines that a person can read.

use crate::config::{Config, MaxmemorySource};
use node::settings::policy_name;
use std::fmt::Write;
use std::net::SocketAddr;

/// The banner of a node that listens on `addresses`.
pub fn banner(config: &Config, addresses: &[SocketAddr]) -> String {
    let settings = &config.settings;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Torc {}, process {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    let listed: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let source = match config.maxmemory_source {
        MaxmemorySource::Configured => "",
        MaxmemorySource::Automatic => "; 60 % of this machine's, set it with --maxmemory",
    };
    let memory = format!(
        "{} ({}{source})",
        human_bytes(settings.maxmemory_bytes),
        policy_name(settings.maxmemory_policy)
    );
    let password = match (
        settings.requirepass.is_empty(),
        settings.bind_is_loopback() || settings.protected_mode,
    ) {
        (false, _) => "set",
        (true, true) => "none, so only this machine may connect",
        (true, false) => "none, and anybody may connect",
    };
    let port = addresses.first().map_or(settings.port, SocketAddr::port);
    let rows = [
        ("clients", listed.join(", ")),
        ("memory", memory),
        ("shards", settings.shards.to_string()),
        ("password", password.into()),
        ("try it", format!("redis-cli -p {port} ping")),
        ("stop it", "Ctrl-C".into()),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<10}{value}");
    }
    text
}

/// An amount as a person reads it: 15140000000 is `14.1 GiB`.
fn human_bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        if bytes >= 1 << shift {
            let amount = bytes as f64 / (1u64 << shift) as f64;
            let text = format!("{amount:.1}");
            return format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text));
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        // Breaks if a person has to count digits.
        assert_eq!(human_bytes(15_140_000_000), "14.1 GiB");
        assert_eq!(human_bytes(2 << 30), "2 GiB");
        assert_eq!(human_bytes(512 << 20), "512 MiB");
        assert_eq!(human_bytes(100_000_000), "95.4 MiB");
        assert_eq!(human_bytes(1000), "1000 bytes");
    }
}
