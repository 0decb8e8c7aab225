//! Lua scripts: what they return and how they fail, drawn from templates over the conversion table and the libraries.
//!
//! Every key that a script touches is declared, since Torc refuses others. No script shows an address, a time, a draw or an
//! order that two builds of Lua need not share, none asks for what only later Redis has (`os`).

use crate::generate::{Case, Words};
use crate::random::Random;
use crate::script_formats::{bits, json, msgpack, packed};
use crate::vocabulary::{key, value};

/// A script and its SHA1: EVALSHA needs one that it can name.
const NAMED: &[(&str, &str)] = &[
    ("return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"),
    (
        "return redis.call('get',KEYS[1])",
        "fd758d1589d044dd850a6f05d52f2eefd27f033f",
    ),
    ("return ARGV", "4cf2342858f27cba86b2b790280b0ba54885a7d0"),
];

/// One command on scripts.
pub fn case(random: &mut Random) -> Case {
    match random.below(100) {
        0..=4 => Words::of("SCRIPT").and(named_line(random).as_str()).exact(),
        5..=8 => {
            let (source, _) = *random.pick(NAMED);
            Words::of("SCRIPT LOAD").with(source).exact()
        }
        9..=14 => {
            let (_, sha) = *random.pick(NAMED);
            let sha = match random.below(4) {
                0 => sha.to_ascii_uppercase(),
                _ => sha.to_owned(),
            };
            let name = random.line(&["EVALSHA", "EVALSHA_RO"]);
            called(random, Words::of(name).with(sha))
        }
        15..=18 => {
            let source = body(random);
            Words::of("SCRIPT LOAD").with(source).exact()
        }
        19..=24 => {
            let source = body(random);
            called(random, Words::of("EVAL_RO").with(source))
        }
        _ => {
            let source = body(random);
            called(random, Words::of("EVAL").with(source))
        }
    }
}

fn named_line(random: &mut Random) -> String {
    let (_, one) = *random.pick(NAMED);
    let (_, other) = *random.pick(NAMED);
    match random.below(6) {
        0 => "FLUSH".into(),
        1 => random
            .line(&["FLUSH SYNC", "FLUSH async", "FLUSH x", "FLUSH SYNC x"])
            .into(),
        2 => "KILL".into(),
        _ => format!("EXISTS {one} {other} x"),
    }
}

/// Two keys and three arguments, or a count that does not fit.
fn called(random: &mut Random, words: Words) -> Case {
    let count = match random.below(40) {
        0 => random.word(&["3", "4", "-1", "x", "", "1.0", "99999999999999999999", "6"]),
        1 => b"0".to_vec(),
        _ => b"2".to_vec(),
    };
    let words = words.with(count).with(key(random)).with(key(random));
    let args: Vec<Vec<u8>> = vec![value(random), number(random).into_bytes(), value(random)];
    words.all(args).exact()
}

/// A whole script.
fn body(random: &mut Random) -> String {
    match random.below(30) {
        0..=11 => format!("return {}", any(random, 3)),
        12..=13 => format!("\nlocal x = {}\n\nreturn {}", any(random, 2), any(random, 2)),
        14..=17 => {
            let lines = "\n".repeat(random.below(3));
            let (first, second) = (command(random), command(random));
            format!("{lines}redis.call({first})\n return redis.call({second})")
        }
        18..=19 => format!("{}{}", "\n".repeat(random.below(3)), failing(random)),
        20 => format!("redis.setresp({})\nreturn redis.call({})", random.line(&["3", "2", "3", "4", "'x'", ""]), command(random)),
        21 => format!("redis.setresp(3) return {}", any(random, 2)),
        22 => format!(
            "#!lua{}\nreturn {}",
            random.line(&["", " flags=no-writes", " flags=", " flags=x", " flags=allow-oom,no-writes", " x=1", "\n"]),
            any(random, 2)
        ),
        23 => format!("#!lua flags=no-writes\nreturn redis.call({})", command(random)),
        24 => random
            .line(&[
                "return return",
                "x = 1",
                "return nosuch",
                "return nosuch.field",
                "print(1) return 2",
                "local a <const> = 1",
                "return 1 +",
                "goto x",
                "return '\\",
                "function f() return 1 end return f()",
                "KEYS = nil return 1",
                "redis.x = 1 return redis.x",
                "local t = setmetatable({}, {__index = function(t, k) return k end}) return t.abc",
                "return rawget(_G, 'x')",
                "rawset(_G, 'x', 1) return x",
                "_G.x = 1",
                "string.x = 1",
                "setmetatable(_G, nil)",
                "return getmetatable('').__index == string",
                "return {#KEYS, #ARGV, KEYS[3], ARGV[4]}",
                "for i = 1, 3 do redis.call('append', KEYS[1], i) end return redis.call('get', KEYS[1])",
                "local s = 0 for i = 1, 100 do s = s + i end return s",
                "return #!",
                "",
                "  ",
                "-- only a comment",
                "return",
                "return 1, 2, 3",
                "return loadstring('return 1+1')()",
                "return load(function() return nil end)",
                "return pcall(loadstring, 'x x')",
                "return {loadstring('x x')}",
                "return dofile",
                "return type(newproxy)",
                "return require",
                "return redis.REDIS_VERSION_NUM > 0",
                "return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING}",
                "return redis.log(redis.LOG_DEBUG, 'x')",
                "return redis.log('x')",
                "return redis.log(9, 'x')",
                "return redis.breakpoint()",
                "return redis.replicate_commands()",
                "return redis.set_repl(redis.REPL_ALL)",
                "return redis.set_repl(99)",
                "return redis.acl_check_cmd('get', KEYS[1])",
            ])
            .to_owned(),
        25 => format!("return {{pcall(function() return {} end)}}", any(random, 2)),
        26 => format!("local r = redis.pcall({}) if type(r) == 'table' then return {{r.err, r.ok}} end return r", command(random)),
        27 => format!("return {{redis.pcall({}), redis.pcall({})}}", command(random), command(random)),
        28 => format!("local t = {} local n = 0 for k, v in pairs(t) do n = n + 1 end return n", table(random, 2)),
        _ => format!("local f = {} return {{f, type(f), tostring(f) == tostring(f)}}", scalar(random)),
    }
}

/// An expression of any kind.
fn any(random: &mut Random, depth: usize) -> String {
    match random.below(20) {
        0..=3 => scalar(random),
        4..=7 if depth > 0 => table(random, depth),
        8 => format!("redis.pcall({})", command(random)),
        9 => format!("redis.call({})", command(random)),
        10 => reply_form(random),
        11..=13 => strings(random),
        14 => numbers(random),
        15..=16 => json(random, depth),
        17 => msgpack(random, depth),
        18 => packed(random),
        _ => bits(random),
    }
}

/// A number.
pub fn number(random: &mut Random) -> String {
    match random.below(8) {
        0..=2 => random.between(-20, 300).to_string(),
        3 => format!("{}.{}", random.between(-9, 9), random.below(1000)),
        4 => random
            .line(&[
                "2147483647",
                "2147483648",
                "-2147483649",
                "4294967296",
                "9007199254740991",
                "9007199254740993",
                "1e15",
                "1e17",
                "123456789012345678",
                "9223372036854775807",
                "-9223372036854775808",
                "1e18",
            ])
            .to_owned(),
        5 => random
            .line(&[
                "0.1",
                "3.99",
                "-3.99",
                "1e-5",
                "1e100",
                "-0",
                "0.5",
                "1.5e3",
                "0x10",
                "100000000000000",
                "1e14",
                "3.0",
            ])
            .to_owned(),
        _ => random.between(-100_000, 100_000).to_string(),
    }
}

/// A string, mostly.
pub fn text(random: &mut Random) -> String {
    match random.below(10) {
        0 => "ARGV[1]".into(),
        1 => "ARGV[2]".into(),
        2 => "KEYS[1]".into(),
        3 => "ARGV[3]".into(),
        4 => random
            .line(&[
                "''",
                "'\\0\\255\\r\\n'",
                "'\\195\\164'",
                "'a\\0b'",
                "'10'",
                "' 7 '",
                "'0x1f'",
                "'1e3'",
                "'nan'",
                "'-'",
            ])
            .to_owned(),
        5 => "redis.sha1hex(ARGV[1])".into(),
        6 => format!("tostring({})", number(random)),
        _ => random
            .line(&[
                "'abc'",
                "'hello world'",
                "'a,b,,c'",
                "[[x]]",
                "'%d'",
                "'OK'",
                "'ERR x'",
                "\"it's\"",
                "'/'",
                "'\\\\'",
            ])
            .to_owned(),
    }
}

/// Anything but a table.
pub fn scalar(random: &mut Random) -> String {
    match random.below(8) {
        0 => random.line(&["nil", "true", "false"]).into(),
        1..=3 => number(random),
        4 => format!(
            "({} {} {})",
            number(random),
            random.line(&["+", "-", "*", "/", "%"]),
            number(random)
        ),
        _ => text(random),
    }
}

fn table(random: &mut Random, depth: usize) -> String {
    let members = random.below(5);
    let list: Vec<String> = (0..members)
        .map(|_| match random.below(6) {
            0 => "nil".into(),
            1 => "false".into(),
            _ => any(random, depth - 1),
        })
        .collect();
    match random.below(10) {
        0 => format!("{{{}, x = 1}}", list.join(", ")),
        1 => format!("{{[{}] = {}}}", number(random), scalar(random)),
        2 => reply_form(random),
        _ => format!("{{{}}}", list.join(", ")),
    }
}

/// Tables that mean something in a reply.
fn reply_form(random: &mut Random) -> String {
    let inner = scalar(random);
    match random.below(16) {
        0 => format!("{{ok = {inner}}}"),
        1 => format!("{{err = {inner}}}"),
        2 => format!("{{err = {}, ok = {}}}", text(random), text(random)),
        3 => format!("redis.error_reply({inner})"),
        4 => format!("redis.status_reply({inner})"),
        5 => random
            .line(&[
                "redis.error_reply()",
                "redis.status_reply()",
                "redis.error_reply('a', 'b')",
                "redis.error_reply('-MY own')",
                "redis.error_reply('MY own')",
                "redis.error_reply('plain')",
                "redis.error_reply('')",
                "redis.error_reply('a\\r\\nb')",
                "redis.status_reply('a\\r\\nb')",
                "redis.sha1hex()",
                "redis.sha1hex(1)",
                "redis.sha1hex('')",
                "redis.sha1hex('a', 'b')",
                "redis.sha1hex(nil)",
                "redis.sha1hex({})",
            ])
            .into(),
        6 => format!("{{double = {}}}", number(random)),
        7 => format!("{{map = {{a = {inner}}}}}"),
        8 => "{set = {a = true}}".into(),
        9 => format!(
            "{{big_number = {}}}",
            random.line(&["'123'", "'-1'", "'1\\r\\n2'", "1"])
        ),
        10 => format!(
            "{{verbatim_string = {{format = {}, string = {}}}}}",
            random.line(&["'txt'", "'mkd'", "'x'"]),
            text(random)
        ),
        11 => format!("{{double = {inner}}}"),
        12 => format!("{{map = {inner}}}"),
        13 => format!("{{set = {inner}}}"),
        14 => "{err = 'MY own', ignore_error_stats_update = true}".into(),
        _ => format!("{{ok = 'fine', {inner}}}"),
    }
}

/// The arguments of `redis.call`.
fn command(random: &mut Random) -> String {
    let at = random.line(&["KEYS[1]", "KEYS[1]", "KEYS[2]"]);
    match random.below(26) {
        0..=2 => format!("'get', {at}"),
        3 => format!("'set', {at}, {}", text(random)),
        4 => format!("'set', {at}, {}", number(random)),
        5 => format!("'incr', {at}"),
        6 => format!("'incrby', {at}, {}", scalar(random)),
        7 => format!("'append', {at}, {}", text(random)),
        8 => "'mget', KEYS[1], KEYS[2]".into(),
        9 => format!("'del', {at}"),
        10 => format!("'exists', {at}"),
        11 => format!("'strlen', {at}"),
        12 => format!("'getrange', {at}, {}, {}", number(random), number(random)),
        13 => format!("'type', {at}"),
        14 => format!("'ttl', {at}"),
        15 => format!("'set', {at}, 'v', 'NX', 'GET'"),
        16 => "'mset', KEYS[1], '1', KEYS[2], '2'".into(),
        17 => random
            .line(&[
                "",
                "'nosuch'",
                "'get'",
                "'GET', KEYS[1], 'x'",
                "nil",
                "{}",
                "'get', {}",
                "'get', nil",
                "'get', true",
                "1",
                "'multi'",
                "'subscribe', 'x'",
                "'eval', 'return 1', '0'",
                "'watch', KEYS[1]",
                "'set', KEYS[1]",
                "'exec'",
                "'debug', 'sleep', '1'",
                "'auth', 'x'",
                "'wait', '0', '0'",
                "function() end",
            ])
            .into(),
        18 => "'ping'".into(),
        19 => format!("'echo', {}", text(random)),
        20 => "'incrbyfloat', KEYS[1], '1.5'".into(),
        21 => format!("'setrange', {at}, '2', {}", text(random)),
        22 => format!("'getdel', {at}"),
        23 => format!("'bitcount', {at}"),
        24 => format!("'persist', {at}"),
        _ => "'rename', KEYS[1], KEYS[2]".into(),
    }
}

/// What ends in an error.
fn failing(random: &mut Random) -> String {
    match random.below(16) {
        // A table without an `err` ends redis-server 7.0.
        0 => format!(
            "error({})",
            random.line(&["5", "nil", "true", "{err = 'MY own', x = 1}", "1.5", ""])
        ),
        1 => format!("error({})", text(random)),
        2 => format!("error({}, {})", text(random), random.line(&["0", "1", "2"])),
        3 => format!(
            "return redis.call({})",
            random.line(&["'nosuch', 'x'", "'get'", "'incr', KEYS[1], 1", "'get', {}"])
        ),
        4 => "redis.call('set', KEYS[1], 'text')\nreturn redis.call('incr', KEYS[1])".into(),
        5 => "local r = redis.pcall('incr', 'x', 'y')\nreturn r".into(),
        6 => "return redis.pcall('nosuch')['err']".into(),
        7 => "local t = nil\nreturn t.x".into(),
        8 => "return 1 + {}".into(),
        9 => "return 'a' < 1".into(),
        10 => "return #5".into(),
        11 => "return ('x')()".into(),
        12 => "error({err = 'MY table'})".into(),
        13 => "error(redis.error_reply('MY made'))".into(),
        14 => format!(
            "local ok, e = pcall(redis.call, {}) return {{ok, type(e), e}}",
            command(random)
        ),
        _ => format!(
            "assert({}, {})",
            random.line(&["false", "nil", "1"]),
            text(random)
        ),
    }
}

fn strings(random: &mut Random) -> String {
    let (one, two) = (text(random), text(random));
    match random.below(22) {
        0 => format!("string.len({one})"),
        1 => format!(
            "string.sub({one}, {}, {})",
            random.between(-5, 5),
            random.between(-5, 5)
        ),
        2 => format!("string.upper({one}) .. string.lower({two})"),
        3 => format!("string.rep({one}, {})", random.between(-1, 5)),
        4 => format!("string.reverse({one})"),
        5 => format!("{{string.byte({one}, 1, -1)}}"),
        6 => format!(
            "string.char({}, {})",
            random.below(256),
            random.between(0, 300)
        ),
        7 => format!(
            "{{string.find({one}, {}, {})}}",
            pattern(random),
            random.between(-3, 4)
        ),
        8 => format!("{{string.find({one}, {two}, 1, true)}}"),
        9 => format!("{{string.match({one}, {})}}", pattern(random)),
        10 => format!(
            "{{string.gsub({one}, {}, {})}}",
            pattern(random),
            random.line(&[
                "'x'",
                "'%0%0'",
                "'%1'",
                "{a = 'b'}",
                "string.upper",
                "'%'",
                "'%9'"
            ])
        ),
        11..=14 => format!(
            "string.format({}, {}, {})",
            random.line(&[
                "'%d'",
                "'%5d|%-5d'",
                "'%s %s'",
                "'%q'",
                "'%x %X'",
                "'%g'",
                "'%.3f'",
                "'%e'",
                "'%c'",
                "'%i'",
                "'%u'",
                "'%o'",
                "'%5s|'",
                "'%-5s|'",
                "'%.2s'",
                "'%%'",
                "'%'",
                "'%y'",
                "'%a'",
                "'%10.4f|'",
                "'%+d'",
                "'%05d'",
                "'%.14g'",
                "'%.17g'",
                "'%#x'",
            ]),
            scalar(random),
            scalar(random)
        ),
        15 => format!("{one} .. {}", scalar(random)),
        16 => format!("#({one})"),
        17 => format!("tonumber({one})"),
        18 => format!("tonumber({one}, {})", random.between(1, 37)),
        19 => format!("{one} == {two}"),
        20 => format!("{one} < {two}"),
        _ => format!(
            "(function() local n = 0 for w in string.gmatch({one}, {}) do n = n + 1 end return n end)()",
            pattern(random)
        ),
    }
}

fn pattern(random: &mut Random) -> &'static str {
    const PATTERNS: &[&str] = &[
        "'.'",
        "'%a+'",
        "'(%w)(%w)'",
        "'[^,]*'",
        "'^a'",
        "'c$'",
        "'()'",
        "'%d*'",
        "'l+'",
        "'o?'",
        "'.-o'",
        "'[a-f]'",
        "'%'",
        "'['",
        "'(a'",
        "'%b()'",
        "'%f[%w]'",
        "'%1'",
        "''",
        "'%z'",
        "'[%s%p]'",
        "'(%a+) (%a+)'",
    ];
    PATTERNS[random.below(PATTERNS.len())]
}

fn numbers(random: &mut Random) -> String {
    let (one, two) = (number(random), number(random));
    match random.below(20) {
        0 => format!("math.floor({one})"),
        1 => format!("math.ceil({one})"),
        2 => format!("tostring(math.fmod({one}, {two}))"),
        3 => format!("tostring(math.max({one}, {two}))"),
        4 => format!("tostring({one} % {two})"),
        5 => format!("tostring({one} / {two})"),
        6 => format!("tostring({one} * {two})"),
        7 => format!("tostring(math.sqrt(math.abs({one})))"),
        8 => format!("{{math.modf({one})}}"),
        9 => format!("{{math.frexp({one})}}"),
        10 => "tostring(math.huge) .. tostring(-math.huge)".into(),
        11 => "tostring(math.pi)".into(),
        12 => format!("tostring({one}) .. ''"),
        13 => format!("{one} .. ''"),
        14 => format!("select('#', {one}, nil, {two}, nil)"),
        15 => format!("{{select({}, 'a', 'b', 'c')}}", random.between(-3, 3)),
        16 => format!("{{unpack({{1, 2, 3}}, {}, {})}}", random.between(0, 4), random.between(0, 5)),
        17 => format!("table.concat({{1, 'b', {one}}}, {})", text(random)),
        18 => "(function() local t = {3, 1, 2} table.sort(t) table.insert(t, 9) table.insert(t, 1, 8) table.remove(t) return t end)()".into(),
        _ => "math.random(1)".into(),
    }
}
