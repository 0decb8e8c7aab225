//! Scripts and the replies that redis-server 7.0.15 gave to them, byte by byte (`testdata/redis.txt`: script, `=> ` and
//! the reply, `----` between two).

mod host;

use host::{Map, run_on, text};
use resp::Protocol;
use script::{Engine, Outcome, Request, Script};

/// A reply as the file has it.
fn shown(reply: &[u8]) -> String {
    let show = |byte: &u8| match byte {
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\\' => "\\x5c".to_owned(),
        32..=126 => char::from(*byte).to_string(),
        other => format!("\\x{other:02x}"),
    };
    reply.iter().map(show).collect()
}

#[test]
fn replies_are_those_of_redis() {
    // Breaks if a script that runs on Redis gets another answer here.
    let engine = Engine::default();
    let mut wrong = Vec::new();
    for case in include_str!("testdata/redis.txt").split("\n----\n") {
        let (source, wanted) = case.rsplit_once("\n=> ").expect("a script and its reply");
        let got = match Script::new(source.as_bytes()) {
            Err(error) => format!("-{error}\\r\\n"),
            Ok(script) => {
                let request = Request {
                    script: &script,
                    keys: &[b"k1", b"k2"],
                    args: &[b"a1"],
                    protocol: Protocol::Resp2,
                };
                match engine.run(&request, Map::default()).0 {
                    Outcome::Replied(reply) | Outcome::Failed(reply) => shown(&reply),
                    Outcome::Stopped(stop) => format!("{stop:?}"),
                }
            }
        };
        if got != wanted.trim_end() {
            wrong.push(format!(
                "{source}\n  redis {}\n  here  {got}",
                wanted.trim_end()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn types_of_resp3_reach_the_script() {
    // Breaks if a command's map, set, double … lost its form on the way in.
    let source = "local t = redis.call('types')
        return {t[1].map.a == nil, t[2].set ~= nil, tostring(t[3].double), t[4], t[5].big_number, t[6].verbatim_string.string, type(t[7])}";
    let (outcome, _) = run_on(&Engine::default(), source, Map::default());
    assert_eq!(
        text(&outcome),
        "*7\r\n:1\r\n:1\r\n$3\r\n1.5\r\n:1\r\n$2\r\n12\r\n$2\r\nhi\r\n$3\r\nnil\r\n"
    );
}

#[test]
fn what_a_script_returns_is_written_in_the_client_s_protocol() {
    // Breaks if a RESP3 client got RESP2's forms.
    let script = Script::new(b"redis.setresp(3) return {true, false, {double = 1.5}, {map = {a = 1}}, {set = {b = true}}, cjson.null, {big_number = '12'}}").unwrap();
    let request = Request {
        script: &script,
        keys: &[],
        args: &[],
        protocol: Protocol::Resp3,
    };
    let (outcome, _) = Engine::default().run(&request, Map::default());
    assert_eq!(
        text(&outcome),
        "*7\r\n#t\r\n#f\r\n,1.5\r\n%1\r\n$1\r\na\r\n:1\r\n~1\r\n$1\r\nb\r\n_\r\n(12\r\n"
    );
}

#[test]
fn forms_that_are_none_are_written_as_redis_writes_them() {
    // Breaks if a script could end the process, or the connection's protocol, with a number that is none or a format that has
    // not three letters.
    let script = Script::new(b"return {{big_number = '1\\r\\n2'}, {big_number = 'x'}, {verbatim_string = {format = '\\195\\164', string = 'a'}}, {verbatim_string = {format = '\\255long', string = 'b'}}, {verbatim_string = {format = '', string = 'c'}}, {double = 1/0}}").unwrap();
    let request = Request {
        script: &script,
        keys: &[],
        args: &[],
        protocol: Protocol::Resp3,
    };
    let (Outcome::Replied(reply), _) = Engine::default().run(&request, Map::default()) else {
        panic!("it ends by itself");
    };
    assert_eq!(
        reply,
        b"*6\r\n(1  2\r\n(x\r\n=5\r\n\xc3\xa4 :a\r\n=5\r\n\xfflo:b\r\n=5\r\n   :c\r\n,inf\r\n"
    );
}

#[test]
fn commands_and_log_reach_the_host() {
    // Breaks if a script's commands or log lines got lost.
    let source = "redis.call('set', KEYS[1], ARGV[1]) redis.log(redis.LOG_WARNING, 'a', 1) return os.clock() > 1";
    let (outcome, map) = run_on(&Engine::default(), source, Map::default());
    assert_eq!(text(&outcome), ":1\r\n");
    assert_eq!(map.keys[&b"k1"[..]], b"a1");
    assert_eq!(map.log, ["Warning a 1"]);
}
