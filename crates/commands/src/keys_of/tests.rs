use super::*;
use crate::check;
use resp::OwnedArgs;

/// The keys of a command in words, each with what is done to it, as COMMAND GETKEYSANDFLAGS answers.
fn keys(command: &str) -> String {
    let words: Vec<&[u8]> = command
        .split(' ')
        .map(|word| word.trim_matches('\'').as_bytes())
        .collect();
    let owned = OwnedArgs::from_slices(&words);
    let args = owned.args();
    let row = check(args).expect(command);
    let with_access = keys_with_access(row, args);
    let mut positions = KeyPositions::new();
    assert_eq!(
        keys_of(row, args, &mut positions).is_err(),
        with_access.is_err()
    );
    let Ok(with_access) = with_access else {
        return "error".to_owned();
    };
    assert!(positions.iter().eq(with_access.iter().map(|(at, _)| at)));
    let keys = with_access.iter().map(|(position, access)| {
        let names: Vec<_> = access.names().collect();
        let key = String::from_utf8_lossy(args.get(*position));
        format!("{key} {}", names.join("+"))
    });
    keys.collect::<Vec<_>>().join(", ")
}

#[test]
fn keys_are_where_redis_finds_them() {
    // Breaks if a command is routed by something that is not its key, or runs without a key's shard.
    let cases = [
        ("ping", ""),
        ("publish c m", ""),
        ("subscribe a b", ""),
        ("client list", ""),
        ("watch a b c", "a RO, b RO, c RO"),
        ("hset k f v", "k RW+update"),
        ("blpop a b 0", "a RW+access+delete, b RW+access+delete"),
        ("xgroup create k g 0", "k RW+insert"),
        ("eval s 0", ""),
        ("eval s 1 k a", "k RW+access+update"),
        ("eval s 2 a", "error"),
        ("eval s x", "error"),
        ("eval s -1 a", "error"),
        ("eval s 9223372036854775807 a", "error"),
        (
            "zunionstore d 2 a b",
            "d OW+update, a RO+access, b RO+access",
        ),
        ("zunionstore d 2 a", "error"),
        ("xread streams a b c 1 2", "a RO+access, b RO+access"),
        ("xread count 3 streams a 1", "a RO+access"),
        ("xread count 3 block 1", ""),
        (
            "xreadgroup group streams c count 1 streams s 1",
            "s RO+access",
        ),
        (
            "georadius k 1 2 3 m store x storedist y",
            "k RO+access, x OW+update, y OW+update",
        ),
        ("georadius k 1 2 3 m store", "k RO+access"),
        (
            "sort k store a limit 0 1 store b",
            "k RO+access, b OW+update",
        ),
        ("sort k store store desc", "k RO+access, store OW+update"),
        (
            "sort k desc store limit store a",
            "k RO+access, a OW+update",
        ),
        ("migrate h 1 k 0 100", "k RW+access+delete"),
    ];
    for (command, expected) in cases {
        assert_eq!(keys(command), expected, "{command}");
    }
}
