use super::*;
use proptest::prelude::*;
use resp::OwnedArgs;

fn owned(words: &[&str]) -> OwnedArgs {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    OwnedArgs::from_slices(&words)
}

/// What `check` says: the row's full name, or the error.
fn checked(words: &[&str]) -> String {
    let owned = owned(words);
    match check(owned.args()) {
        Ok(row) => row.full_name().into_owned(),
        Err(error) => String::from_utf8(error.text()).unwrap(),
    }
}

#[test]
fn every_command_is_found_in_any_case() {
    // Breaks if the hash of a name depends on the case of its letters, or if two rows share a name.
    for row in commands() {
        let upper = row.name.to_ascii_uppercase();
        for name in [row.name, &upper] {
            let found = lookup(name.as_bytes()).expect(name);
            assert!(std::ptr::eq(found, row), "{name} finds another row");
        }
        assert!(row.name.bytes().all(|b| !b.is_ascii_uppercase()));
        for sub in row.subcommands {
            let upper = sub.name.to_ascii_uppercase();
            let found = lookup_subcommand(row, upper.as_bytes()).expect(sub.name);
            assert!(std::ptr::eq(found, sub), "{upper} of {} twice", row.name);
            assert_eq!(sub.parent().unwrap().name, row.name);
        }
    }
}

#[test]
fn other_names_are_not_found() {
    // Breaks if a look-up accepts a name by its hash, or folds more than the case of letters: `@` and a
    // backquote, `[` and `{` differ in the same bit as `A` and `a`.
    for name in [
        "",
        "g",
        "ge",
        "gett",
        "pin",
        "p\0ng",
        "client|kill",
        "restore\rasking",
        "sort\x7fro",
        "georadius-xymember_ro",
        "georadiusbymemberxro",
    ] {
        assert!(lookup(name.as_bytes()).is_none(), "{name:?}");
    }
    assert!(lookup(&[0xff; 300]).is_none());
}

#[test]
fn numbers_are_dense() {
    // Breaks if two rows share a counter, or a row has none.
    let mut seen = vec![false; rows_count()];
    for row in commands() {
        for row in std::iter::once(row).chain(row.subcommands) {
            assert!(
                !std::mem::replace(&mut seen[row.id()], true),
                "{}",
                row.name
            );
            assert!(std::ptr::eq(row_of(row.id()), row));
        }
    }
    assert!(seen.into_iter().all(|seen| seen));
}

#[test]
fn full_names_name_subcommands() {
    // Breaks if COMMAND INFO client|kill or an ACL rule on it finds nothing.
    let kill = lookup_full_name(b"Client|KILL").unwrap();
    assert_eq!(kill.full_name(), "client|kill");
    assert_eq!(lookup_full_name(b"ping").unwrap().full_name(), "ping");
    assert!(lookup_full_name(b"client|").is_none());
    assert!(lookup_full_name(b"ping|x").is_none());
}

#[test]
fn a_request_is_checked_in_the_words_of_redis() {
    // Breaks if clients that match on these texts do not recognise them.
    let long = "x".repeat(200);
    let cases: &[(&[&str], &str)] = &[
        (&["PING"], "ping"),
        (&["client", "KILL", "1.2.3.4:5"], "client|kill"),
        (&["COMMAND"], "command"),
        (
            &["nosuch"],
            "ERR unknown command 'nosuch', with args beginning with: ",
        ),
        (
            &["no\0such", "a\0b", "c d"],
            "ERR unknown command 'no', with args beginning with: 'a' 'c d' ",
        ),
        (
            &["client"],
            "ERR wrong number of arguments for 'client' command",
        ),
        (
            &["Client", "KILL"],
            "ERR wrong number of arguments for 'client|kill' command",
        ),
        (
            &["Client", "nosuch"],
            "ERR unknown subcommand 'nosuch'. Try CLIENT HELP.",
        ),
        (
            &["hset", "k"],
            "ERR wrong number of arguments for 'hset' command",
        ),
        (
            &["echo", "a", "b"],
            "ERR wrong number of arguments for 'echo' command",
        ),
        (
            &["config", "\0"],
            "ERR unknown subcommand ''. Try CONFIG HELP.",
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(checked(words), *expected, "{words:?}");
    }
    let cut = "x".repeat(128);
    assert_eq!(
        checked(&[&long, &long, "y"]),
        format!("ERR unknown command '{cut}', with args beginning with: '{cut}' ")
    );
    let (a, b) = ("a".repeat(100), "b".repeat(25));
    assert_eq!(
        checked(&["q", &a, &long, "y"]),
        format!(
            "ERR unknown command 'q', with args beginning with: '{a}' '{}' ",
            &long[..25]
        )
    );
    assert_eq!(b.len(), 25);
    assert_eq!(
        checked(&["client", &long]),
        format!("ERR unknown subcommand '{cut}'. Try CLIENT HELP.")
    );
}

#[test]
fn what_is_not_built_says_so() {
    // Breaks if a client of a later command gets an answer that does not name it.
    let row = lookup(b"GEOADD").unwrap();
    assert!(!row.is_built());
    assert_eq!(
        crate::later_error(row),
        "ERR command 'geoadd' is not supported by this version of Torc"
    );
    let sub = lookup_full_name(b"function|load").unwrap();
    assert_eq!(
        crate::later_error(sub),
        "ERR command 'function|load' is not supported by this version of Torc"
    );
}

proptest! {
    #[test]
    fn look_up_agrees_with_a_search(
        name in proptest::sample::select(commands()).prop_map(|row| row.name.as_bytes().to_vec()),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        is_upper in any::<bool>(),
    ) {
        // Breaks if the print of a name forgets a byte, or folds bytes that are no letters.
        let mut name = name;
        if is_upper {
            name.make_ascii_uppercase();
        }
        for (at, bits) in changes {
            let at = at.index(name.len());
            name[at] ^= bits & 0b1010_0001;
        }
        let found = lookup(&name).map(|row| row.name);
        let mut rows = commands().iter();
        let searched = rows.find(|row| row.name.as_bytes().eq_ignore_ascii_case(&name));
        prop_assert_eq!(found, searched.map(|row| row.name));
    }
}
