use super::*;
use resp::{Output, OwnedArgs, Protocol};
use std::io::IoSlice;

/// The reply to a request under `protocol`, its line breaks as spaces.
fn reply_of(protocol: Protocol, request: &str, answer: fn(Args<'_>, &mut Reply<'_>)) -> String {
    let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
    let owned = OwnedArgs::from_slices(&words);
    let mut output = Output::new();
    answer(owned.args(), &mut Reply::new(&mut output, protocol));
    let mut slices = [IoSlice::new(&[]); 64];
    let count = output.io_slices(&mut slices);
    let bytes: Vec<u8> = slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    assert_eq!(bytes.len(), output.len(), "a reply of more than 64 pieces");
    String::from_utf8(bytes).unwrap().replace("\r\n", " ")
}

fn resp2(request: &str) -> String {
    reply_of(Protocol::Resp2, request, command)
}

fn resp3(request: &str) -> String {
    reply_of(Protocol::Resp3, request, command)
}

#[test]
fn info_is_what_drivers_parse() {
    // Breaks if redis-py, Lettuce or go-redis cannot read COMMAND INFO; both are redis-server 7.0.15's own.
    assert_eq!(
        resp3("COMMAND INFO nosuch get"),
        "*2 _ *10 $3 get :2 ~2 +readonly +fast :1 :1 :1 ~3 +@read +@string +@fast ~0 ~1 %3 $5 flags ~2 +RO \
         +access $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :1 $9 find_keys %2 $4 type \
         $5 range $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 ~0 "
    );
    assert_eq!(
        resp2("COMMAND INFO client|KILL nosuch"),
        "*2 *10 $11 client|kill :-3 *4 +admin +noscript +loading +stale :0 :0 :0 *4 +@admin +@slow \
         +@dangerous +@connection *0 *0 *0 $-1 "
    );
}

#[test]
fn every_command_that_runs_is_told_of_and_no_other() {
    // Breaks if a client that asks before it uses a command is told of one that answers an error.
    let count = built().count();
    for request in ["COMMAND", "COMMAND INFO"] {
        assert!(resp2(request).starts_with(&format!("*{count} ")));
    }
    assert_eq!(resp2("COMMAND COUNT"), format!(":{count} "));
    assert!(resp3("COMMAND DOCS").starts_with(&format!("%{count} ")));
    assert_eq!(resp2("COMMAND INFO geoadd"), "*1 $-1 ");
    assert_eq!(resp2("COMMAND DOCS geoadd nosuch"), "*0 ");
    assert_eq!(resp2("COMMAND LIST FILTERBY ACLCAT geo"), "*0 ");
}

#[test]
fn docs_are_maps_of_maps() {
    // Breaks if redis-cli finds no hints in COMMAND DOCS.
    assert_eq!(
        resp3("COMMAND DOCS config|get"),
        "%1 $10 config|get %5 $7 summary $39 Answers the settings whose names match. $5 since $5 2.0.0 \
         $5 group $6 server $10 complexity $20 O(N) in the patterns $9 arguments *1 %4 $4 name $9 parameter \
         $4 type $5 block $5 flags ~1 +multiple $9 arguments *1 %2 $4 name $9 parameter $4 type $6 string "
    );
    let expire = resp2("COMMAND DOCS expire");
    assert!(expire.contains(" $4 name $3 key $4 type $3 key $14 key_spec_index :0 "));
    assert!(expire.contains(" $4 name $2 nx $4 type $10 pure-token $5 token $2 NX "));
    assert!(
        resp2("COMMAND DOCS substr").contains(" $9 doc_flags *1 +deprecated $16 deprecated_since ")
    );
}

#[test]
fn lists_are_filtered() {
    // Breaks if a filter is taken for another, or a wrong one for none.
    assert_eq!(resp2("COMMAND LIST FILTERBY module x"), "*0 ");
    assert_eq!(resp2("COMMAND LIST filterby ACLCAT nosuch"), "*0 ");
    assert_eq!(
        resp2("COMMAND LIST filterby aclcat Transaction"),
        "*5 $5 multi $4 exec $7 discard $5 watch $7 unwatch "
    );
    assert_eq!(
        resp2("COMMAND LIST FILTERBY pattern CLIENT|I*"),
        "*2 $9 client|id $11 client|info "
    );
    for request in [
        "COMMAND LIST nosuch",
        "COMMAND LIST FILTERBY",
        "COMMAND LIST FILTERBY ACLCAT",
        "COMMAND LIST FILTERBY ACLCAT a b",
        "COMMAND LIST FILTERBY nosuch a",
    ] {
        assert_eq!(resp2(request), "-ERR syntax error ", "{request}");
    }
}

#[test]
fn keys_are_answered_as_redis_answers_them() {
    // Breaks if a cluster client that asks the server for keys sends a command to the wrong node.
    let cases = [
        ("GETKEYS mset a 1 b", "*2 $1 a $1 b "),
        ("GETKEYS eval s 0 x", "*0 "),
        ("GETKEYS eval s x x", "*0 "),
        (
            "GETKEYS zunionstore d 0 a",
            "-ERR Invalid arguments specified for command ",
        ),
        (
            "GETKEYS xread a b c",
            "-ERR Invalid arguments specified for command ",
        ),
        ("GETKEYS nosuch a", "-ERR Invalid command specified "),
        ("GETKEYS client nosuch", "-ERR Invalid command specified "),
        (
            "GETKEYS client list",
            "-ERR The command has no key arguments ",
        ),
        (
            "GETKEYS publish c m",
            "-ERR The command has no key arguments ",
        ),
        (
            "GETKEYS copy a",
            "-ERR Invalid number of arguments specified for command ",
        ),
        ("GETKEYSANDFLAGS set a b", "*1 *2 $1 a *2 +OW +update "),
        (
            "GETKEYSANDFLAGS set a b Get",
            "*1 *2 $1 a *3 +RW +access +update ",
        ),
        (
            "GETKEYSANDFLAGS sort k by x get y store d STORE e",
            "*2 *2 $1 k *2 +RO +access *2 $1 e *2 +OW +update ",
        ),
        (
            "GETKEYSANDFLAGS sort k limit store a b",
            "*1 *2 $1 k *2 +RO +access ",
        ),
        ("GETKEYSANDFLAGS sort k store", "*1 *2 $1 k *2 +RO +access "),
    ];
    for (request, expected) in cases {
        assert_eq!(resp2(&format!("COMMAND {request}")), expected, "{request}");
    }
}

#[test]
fn categories_are_listed() {
    // Breaks if ACL CAT refuses what Redis answers.
    let cat = |request| reply_of(Protocol::Resp2, request, categories);
    assert!(cat("ACL CAT").starts_with("*21 $8 keyspace $4 read $5 write "));
    assert_eq!(
        cat("ACL CAT transaction"),
        "*5 $5 multi $4 exec $7 discard $5 watch $7 unwatch "
    );
    assert_eq!(cat("ACL CAT nosuch"), "-ERR Unknown category 'nosuch' ");
    assert_eq!(
        cat("ACL CAT a b"),
        "-ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP. "
    );
}

#[test]
fn help_tells_each_subcommand() {
    // Breaks if HELP has another shape than people and tools know, or leaves a subcommand out.
    let help = resp2("COMMAND HELP");
    assert!(help.starts_with(
        "*15 +COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are: +COUNT +    Counts the commands. "
    ));
    assert!(help.ends_with("+HELP +    Prints this help. +INFO [command-name [command-name ...]] +    Describes commands. +LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>] +    Lists the names of commands. "), "{help}");
}
