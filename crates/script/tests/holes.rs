//! What an attacker would try: each known hole of the vendored Lua 5.1.5, and each way to run for ever, to take all
//! memory, or to leave something behind for the next script.

mod host;

use host::{Map, attack, run, run_on, text};
use resp::Protocol;
use script::{Engine, Outcome, Request, SCRIPT_BYTES_MAX, Script, ScriptError, Stop};

#[test]
fn nothing_is_collected_while_something_is_parsed() {
    // Breaks if the parser's own string could be freed under it (CVE-2025-49844): with a collector that is driven as
    // hard as can be, thousands of loads of texts with many strings must come out right.
    let script = "
        local t = {}
        for i = 1, 3000 do
          local words = {}
          for j = 1, 50 do words[j] = 'v' .. i .. '_' .. j end
          local source = 'local ' .. table.concat(words, ',') .. ' = 1 return \"' .. words[50] .. '\"'
          t[i % 7] = words
          local f = assert(loadstring(source, '=' .. string.rep('n', i % 90)))
          if f() ~= 'v' .. i .. '_50' then return i end
        end
        return 'right'";
    assert_eq!(text(&run(script)), "$5\r\nright\r\n");
}

#[test]
fn unpack_counts_without_overflow() {
    // Breaks if the count of results wraps (CVE-2025-46817): the original writes beyond its stack.
    for range in [
        "-1, 2147483647",
        "0, 2147483647",
        "-2147483648, 2147483647",
        "1, 8000000",
    ] {
        let got = text(&run(&format!("return {{pcall(unpack, {{0}}, {range})}}")));
        assert!(got.contains("too many results to unpack"), "{range}: {got}");
    }
    assert_eq!(text(&run("return #{unpack({}, 1, 7900)}")), ":0\r\n");
    assert_eq!(
        text(&run(
            "local t = {} for i = 1, 7900 do t[i] = i end return #{unpack(t)}"
        )),
        ":7900\r\n"
    );
    assert_eq!(
        text(&run("return {unpack({1, 2, 3}, 2)}")),
        "*2\r\n:2\r\n:3\r\n"
    );
    assert_eq!(text(&run("return {unpack({1, 2}, 2, 1)}")), "*0\r\n");
}

#[test]
fn metatables_of_basic_types_cannot_be_written() {
    // Breaks if a script could change what strings do for the scripts after it (CVE-2025-46818).
    for attempt in [
        "getmetatable('').__index = function() return 1 end",
        "getmetatable('').__add = 1",
        "rawset(getmetatable(''), '__index', 1)",
        "getmetatable('').__index.upper = 1",
        "rawset(getmetatable('').__index, 'upper', 1)",
        "table.insert(getmetatable(''), 1)",
        "setmetatable(getmetatable(''), {})",
        "setmetatable('', {})",
        "string.upper = nil",
        "getmetatable(_G).__index = nil",
        "rawset(getmetatable(_G), '__index', 1)",
    ] {
        let engine = Engine::default();
        let (outcome, map) = run_on(&engine, attempt, Map::default());
        assert!(
            matches!(outcome, Outcome::Failed(_)),
            "{attempt}: {}",
            text(&outcome)
        );
        let (outcome, _) = run_on(&engine, "return ('x'):upper()", map);
        assert_eq!(text(&outcome), "$1\r\nX\r\n", "after {attempt}");
    }
}

#[test]
fn long_brackets_and_long_scripts_are_bounded() {
    // Breaks if the lexer is given more than it can count (CVE-2025-46819).
    let script = format!("return [{}[x]{}]", "=".repeat(100_000), "=".repeat(100_000));
    assert_eq!(text(&run(&script)), "$1\r\nx\r\n");
    let open = format!("return [{}", "=".repeat(100_000));
    assert!(text(&run(&open)).starts_with("-ERR Error compiling script"));
    let long = vec![b' '; SCRIPT_BYTES_MAX + 1];
    assert_eq!(
        Script::new(&long).unwrap_err(),
        ScriptError::TooLong(SCRIPT_BYTES_MAX + 1)
    );
    let got = text(&attack("return {loadstring(string.rep('=', 2000000))}"));
    assert_eq!(got, "*0\r\n");
    let deep = "return {loadstring('return ' .. string.rep('(', 100000) .. '1' .. string.rep(')', 100000))}";
    assert_eq!(text(&attack(deep)), "*0\r\n");
}

#[test]
fn bytecode_neither_comes_in_nor_goes_out() {
    // Breaks if a script could run instructions that no parser made.
    assert!(text(&run("return string.dump(function() end)")).contains("unable to dump"));
    let header = "return {loadstring('\\27Lua\\81\\0\\1\\4\\8\\4\\8\\0')}";
    assert_eq!(text(&run(header)), "*0\r\n");
    let reader =
        "local n = 0 return {load(function() n = n + 1 if n == 1 then return '\\27Lua' end end)}";
    assert_eq!(text(&run(reader)), "*0\r\n");
}

#[test]
fn nothing_of_the_outside_is_within_reach() {
    // Breaks if a script could read a file, start a process, or look into the state.
    for name in [
        "io", "debug", "package", "require", "module", "dofile", "loadfile", "print", "newproxy",
        "getfenv", "setfenv", "jit", "ffi",
    ] {
        let got = text(&run(&format!("return {name}")));
        assert!(got.contains("nonexistent global variable"), "{name}: {got}");
    }
    assert_eq!(
        text(&run(
            "local t = {} for k in pairs(os) do t[#t + 1] = k end return t"
        )),
        "*1\r\n$5\r\nclock\r\n"
    );
}

#[test]
fn a_script_that_never_ends_is_stopped() {
    // Breaks if any of these could hold its thread for ever, or catch its own end.
    let patterns = "string.rep('a', 40000), string.rep('a-', 12) .. 'b'";
    for endless in [
        "while true do end".to_owned(),
        "while true do pcall(function() while true do end end) end".to_owned(),
        "while true do pcall(error, 'x') end".to_owned(),
        "while true do xpcall(function() while true do end end, function() while true do end end) end".to_owned(),
        "local function f() return f() end f()".to_owned(),
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end".to_owned(),
        "while true do local co = coroutine.create(function() while true do end end) coroutine.resume(co) end".to_owned(),
        "while true do pcall(coroutine.wrap(function() while true do end end)) end".to_owned(),
        format!("return string.find({patterns})"),
        format!("return string.match({patterns})"),
        format!("while true do pcall(string.find, {patterns}) end"),
        format!("for _ in string.gmatch({patterns}) do end"),
        format!("return string.gsub({patterns}, '')"),
        "local t = {} for i = 1, 3000 do t[i] = i % 7 end while true do table.sort(t) end".to_owned(),
        "table.sort({1, 2, 3, 4, 5}, function() while true do end end)".to_owned(),
        "local t = {} table.insert(t, -2147483647, 1)".to_owned(),
        "string.gsub('x', 'x', function() while true do end end)".to_owned(),
        "setmetatable({}, {__index = function() while true do end end}).x()".to_owned(),
        "load(function() while true do end end)".to_owned(),
        "load(function() return ' ' end) while true do end".to_owned(),
        "while true do redis.pcall('get', 'x') end".to_owned(),
        "while true do cjson.decode('[]') end".to_owned(),
        "local t = {1} for i = 1, 60 do t = {t, t} end return cjson.encode(t)".to_owned(),
        "local t = {1} for i = 1, 60 do t = {t, t} end return t".to_owned(),
        "local t = {1} for i = 1, 14 do t = {t, t, t, t, t, t, t, t} end return cmsgpack.pack(t)".to_owned(),
    ] {
        let begun = std::time::Instant::now();
        let outcome = attack(&endless);
        assert!(matches!(outcome, Outcome::Stopped(_)), "{endless}: {}", text(&outcome));
        assert!(begun.elapsed().as_secs() < 30, "{endless}: {:?}", begun.elapsed());
    }
}

#[test]
fn memory_is_bounded() {
    // Breaks if a script could take more than it may, or go on after it has tried.
    for greedy in [
        "local s = 'x' while true do s = s .. s end",
        "local s = 'x' while true do pcall(function() s = s .. s end) end",
        "local t = {} while true do t[#t + 1] = {} end",
        "return string.rep('x', 2000000000)",
        "return string.rep(string.rep('x', 1000000), 1000000)",
        "return pcall(string.rep, 'x', 2000000000)",
        "local t = {} for i = 1, 100 do t[i] = string.rep('x', 100000) end return table.concat(t, string.rep('y', 1000000))",
        "return string.gsub(string.rep('x', 100000), 'x', string.rep('y', 10000))",
        "return string.format('%s%s', string.rep('x', 9000000), string.rep('x', 9000000))",
        "return struct.pack(string.rep('c1000000', 100), string.rep('x', 1000000))",
        "local s = string.rep('x', 4000000) return {s, s, s, s, s, s, s, s, s, s}",
        "local s = string.rep('x', 4000000) return cjson.encode({s, s, s, s, s, s, s, s, s, s})",
    ] {
        let outcome = attack(greedy);
        let is_refused = matches!(outcome, Outcome::Stopped(Stop::Memory));
        let is_error = text(&outcome).starts_with("-ERR user_script:1: bad argument");
        assert!(is_refused || is_error, "{greedy}: {:.80}", text(&outcome));
    }
}

#[test]
fn what_one_script_does_no_other_sees() {
    // Breaks if scripts could speak to each other, or break each other, through what they share.
    let engine = Engine::default();
    for attempt in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "redis.call = nil",
        "rawset(redis, 'call', nil)",
        "table.insert(redis, 1)",
        "table.insert(string, 1, 2)",
        "table.sort(redis)",
        "table.remove(redis, 1)",
        "cjson.encode_number_precision(3) cjson.encode_sparse_array(true)",
        "math.randomseed(7)",
        "redis.setresp(3)",
        "setmetatable(_G, {__index = function() return 1 end})",
        "setmetatable(redis, nil)",
        "KEYS[1] = 'other' ARGV = 1",
        "local t = next(_G) pcall(rawset, _G, t, 1)",
        "for k, v in pairs(_G) do if type(v) == 'table' then pcall(rawset, v, 'x', 1) end end",
        "string.gsub('x', 'x', string)",
        "error(redis)",
        "return redis",
        "pcall(error, _G)",
        "error({err = _G})",
    ] {
        let (_, map) = run_on(&engine, attempt, Map::default());
        let after = "
            if rawget(_G, 'x') or rawget(redis, 'x') or #redis > 0 or #string > 0 then return 'left' end
            local n = 0 for _ in pairs(string) do n = n + 1 end
            return {type(redis.call), cjson.encode(1 / 3), tostring(math.random()), KEYS[1], ARGV[1], n, tostring(redis.call('get', 'no'))}";
        let (outcome, _) = run_on(&engine, after, map);
        let wanted = "*7\r\n$8\r\nfunction\r\n$16\r\n0.33333333333333\r\n$16\r\n0.17082803611217\r\n$2\r\nk1\r\n$2\r\na1\r\n:15\r\n$5\r\nfalse\r\n";
        assert_eq!(text(&outcome), wanted, "after {attempt}");
    }
}

#[test]
fn what_a_stopped_script_left_is_gone() {
    // Breaks if a state went on that was stopped in the middle.
    let engine = Engine::default();
    let map = Map {
        looks: Some(10),
        ..Map::default()
    };
    let (outcome, _) = run_on(&engine, "while true do end", map);
    assert_eq!(outcome, Outcome::Stopped(Stop::Timeout));
    assert_eq!(
        text(&run_on(&engine, "return 1", Map::default()).0),
        ":1\r\n"
    );
}

#[test]
fn many_threads_run_scripts_at_once() {
    // Breaks if two runs shared a state.
    let engine = Engine::default();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..50 {
                    let source = format!("local s = 0 for i = 1, 100 do s = s + {worker} end return s + ARGV[1] * {round}");
                    let script = Script::new(source.as_bytes()).unwrap();
                    let request = Request {
                        script: &script,
                        keys: &[],
                        args: &[b"2"],
                        protocol: Protocol::Resp2,
                    };
                    let (outcome, _) = engine.run(&request, Map::default());
                    assert_eq!(text(&outcome), format!(":{}\r\n", 100 * worker + 2 * round));
                }
            });
        }
    });
}

#[test]
fn a_reply_that_found_no_stack_is_not_the_next_ones() {
    // Breaks if a command's reply that could not be handed over, so deep in calls, is handed to a later call that runs none.
    let script = "
        local function deep(n)
          if n == 0 then redis.call('types') return end
          pcall(deep, n - 1)
        end
        for n = 150, 250 do
          deep(n)
          local ok, problem = pcall(redis.call)
          if ok then return 'stale at ' .. n end
          if not problem:find('at least one argument', 1, true) then return problem end
          local reply = redis.pcall('get', 'none')
          if reply ~= false then return 'stale at ' .. n end
        end
        return 'right'";
    assert_eq!(text(&run(script)), "$5\r\nright\r\n");
}

#[test]
fn arguments_of_a_call_count_as_memory() {
    // Breaks if one string, given a thousand times, is copied a thousand times beyond any bound.
    let script = "
        local t, s = {}, ('x'):rep(1000000)
        for n = 1, 1000 do t[n] = s end
        pcall(redis.call, 'set', unpack(t))
        return redis.pcall('set', 1, unpack(t))";
    assert_eq!(attack(script), Outcome::Stopped(Stop::Memory));
}
