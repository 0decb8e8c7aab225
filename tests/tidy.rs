//! The tree's own rules, held by a test: crate edges, what stands at the top level, file sizes,
//! marks left open, and that only `server` touches the outside world.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates a crate may use: the table of ARCHITECTURE.md. A crate that is not in it is
/// refused, so that a new one gets its row first.
const EDGES: &[(&str, &[&str])] = &[
    ("resp", &[]),
    ("placement", &[]),
    ("prefetch", &[]),
    ("cache", &["prefetch"]),
    ("paxos", &[]),
    ("txn", &["placement"]),
    ("commands", &["resp", "cache"]),
    ("luastack", &[]),
    ("script", &["resp", "luastack"]),
    (
        "node",
        &[
            "resp",
            "commands",
            "placement",
            "cache",
            "paxos",
            "txn",
            "script",
        ],
    ),
    ("admin", &["node"]),
    ("sim", &["node", "paxos", "resp"]),
    ("server", &["resp", "node", "admin"]),
];

/// Everything that may stand at the top of the tree, dotfiles aside.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "ARCHITECTURE.md",
    "crates",
    "tests",
    "bench",
    "scripts",
];

/// Lines that a source file may have at most.
const FILE_LINES_MAX: usize = 700;

/// Crates that set their own lints, and the one file of each that may hold `unsafe`.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("luastack", "crates/luastack/src/lib.rs"),
    ("prefetch", "crates/prefetch/src/lib.rs"),
];

/// What only `server`, and the shell of the simulator, may name: sockets, files, threads, clocks, the environment, random sources.
const OUTSIDE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "Instant",
    "SystemTime",
    "rand::",
    "getrandom",
    "tokio",
];

/// Marks that say that something is unfinished. Written in halves so that this file has none.
const OPEN_MARKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ign", "ore"),
    concat!("dbg", "!("),
];

#[test]
fn crates_use_only_the_crates_below_them() {
    // Fails when a manifest gains an edge that the table does not have: the layers would rot.
    let table: BTreeMap<&str, BTreeSet<&str>> = EDGES
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    let mut wrong = Vec::new();
    for manifest in manifests() {
        let text = fs::read_to_string(&manifest).expect("a manifest is readable");
        let parsed: toml::Table = text.parse().expect("a manifest is TOML");
        let name = parsed["package"]["name"]
            .as_str()
            .expect("a package has a name")
            .to_owned();
        let Some(allowed) = table.get(name.as_str()) else {
            wrong.push(format!("{name} has no row in the table of edges"));
            continue;
        };
        for used in dependencies(&parsed) {
            if table.contains_key(used.as_str()) && !allowed.contains(used.as_str()) {
                wrong.push(format!("{name} -> {used}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "edges that the table does not allow: {wrong:#?}"
    );
}

#[test]
fn versions_stand_once_in_the_root_manifest() {
    // Fails when a crate names a version of its own: two versions of one dependency would creep in.
    let mut wrong = Vec::new();
    for manifest in manifests().into_iter().chain([
        root().join("tests/Cargo.toml"),
        root().join("bench/Cargo.toml"),
    ]) {
        let parsed: toml::Table = fs::read_to_string(&manifest)
            .expect("a manifest is readable")
            .parse()
            .expect("a manifest is TOML");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(entries) = parsed.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, value) in entries {
                let inherits = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                if !inherits {
                    wrong.push(format!("{}: {name}", manifest.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "take these from the workspace: {wrong:#?}"
    );
}

#[test]
fn nothing_else_stands_at_the_top_level() {
    // Fails when a file is dropped at the top of the tree instead of where it belongs.
    let files = tracked_files();
    let tops: BTreeSet<&str> = files
        .iter()
        .map(|file| file.split('/').next().expect("a path has a first part"))
        .collect();
    let extra: Vec<&&str> = tops
        .iter()
        .filter(|top| !top.starts_with('.') && !TOP_LEVEL.contains(*top))
        .collect();
    assert!(extra.is_empty(), "move these: {extra:?}");
}

#[test]
fn no_source_file_is_too_long() {
    // Fails when a file outgrows what a reader holds in mind: split it by role.
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            long.push(format!("{path}: {lines} lines"));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_left_open() {
    // Fails when an unfinished spot or a test that never runs is committed.
    let mut open = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if OPEN_MARKS.iter().any(|mark| line.contains(mark)) {
                open.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(open.is_empty(), "{open:#?}");
}

#[test]
fn only_the_server_crate_touches_the_outside_world() {
    // Fails when a pure crate reads a clock or opens a file: the simulator could not drive it.
    let mut outside = Vec::new();
    for (path, text) in sources() {
        let pure = path.starts_with("crates/")
            && path.ends_with(".rs")
            && path.contains("/src/")
            && !path.starts_with("crates/server/")
            && path != "crates/sim/src/main.rs" // The shell of the simulator, which is a tool.
            && !is_test_file(&path);
        if !pure {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("#[cfg(test)]") {
                break; // Tests stand last in a file.
            }
            let code = line.split("//").next().expect("a split has a first part");
            if OUTSIDE.iter().any(|word| names(code, word)) {
                outside.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        outside.is_empty(),
        "only crates/server may use these: {outside:#?}"
    );
}

#[test]
fn unsafe_code_stays_forbidden() {
    // Fails when a package leaves the workspace's lints: `unsafe` could come in unseen.
    let root_manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml"))
        .expect("readable")
        .parse()
        .expect("TOML");
    assert_eq!(
        root_manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
    for manifest in manifests() {
        let parsed: toml::Table = fs::read_to_string(&manifest)
            .expect("readable")
            .parse()
            .expect("TOML");
        let name = parsed["package"]["name"].as_str().unwrap_or_default();
        let lints = &parsed["lints"];
        if UNSAFE_FILES.iter().any(|(exempt, _)| *exempt == name) {
            // Its own lints: refused everywhere but where a line allows it by name.
            assert_eq!(
                lints["rust"]["unsafe_code"].as_str(),
                Some("deny"),
                "{name}"
            );
            let documented = &lints["clippy"]["undocumented_unsafe_blocks"];
            assert_eq!(documented.as_str(), Some("deny"), "{name}");
            continue;
        }
        let inherits = lints.get("workspace").and_then(toml::Value::as_bool);
        assert_eq!(
            inherits,
            Some(true),
            "{} does not take the workspace's lints",
            manifest.display()
        );
    }
    let allowance = concat!("allow(unsafe", "_code)");
    for (path, text) in sources() {
        let allowed = usize::from(UNSAFE_FILES.iter().any(|(_, file)| *file == path));
        assert!(
            text.matches(allowance).count() <= allowed,
            "{path} allows unsafe code"
        );
    }
}

/// Whether `code` names `word` as a whole path segment ("Instant" is not "Instantly").
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joins(before) && (word.ends_with(':') || !joins(after))
    })
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("_tests.rs")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package stands in the tree")
        .to_path_buf()
}

fn manifests() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join("crates"))
        .expect("there are crates")
        .map(|entry| {
            entry
                .expect("a folder is readable")
                .path()
                .join("Cargo.toml")
        })
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    assert!(
        !found.is_empty(),
        "no crate was found: this test would check nothing"
    );
    found
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|section| manifest.get(section).and_then(toml::Value::as_table))
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// The files that git tracks, and those it would take.
fn tracked_files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git can be run");
    assert!(output.status.success(), "this test needs a git checkout");
    let text = String::from_utf8(output.stdout).expect("our paths are plain");
    text.lines()
        .filter(|path| root().join(path).exists())
        .map(str::to_owned)
        .collect()
}

/// Our source files with their text: code in any language, scripts and manifests.
fn sources() -> Vec<(String, String)> {
    let ends = [".rs", ".py", ".java", ".js", ".mjs", ".go", ".sh", ".toml"];
    let found: Vec<(String, String)> = tracked_files()
        .into_iter()
        .filter(|path| ends.iter().any(|end| path.ends_with(end)) || path.starts_with("scripts/"))
        .filter_map(|path| {
            fs::read_to_string(root().join(&path))
                .ok()
                .map(|text| (path, text))
        })
        .collect();
    assert!(
        found.len() > 10,
        "the sources were not found: this test would check nothing"
    );
    found
}
