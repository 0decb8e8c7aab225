use super::*;
use mlua::MultiValue;

/// Answers by the first argument.
struct Echo;

impl Callee for Echo {
    fn call(&mut self, _: &Lua, arguments: &[Argument<'_>], text: &mut Vec<u8>) -> Answer {
        match arguments {
            [Argument::Text(b"text"), Argument::Text(rest)] => {
                text.extend_from_slice(rest);
                Answer::Text
            }
            [Argument::Text(b"field"), Argument::Text(rest)] => {
                text.extend_from_slice(rest);
                Answer::Field("ok")
            }
            [Argument::Text(b"number"), Argument::Number(number)] => Answer::Number(number + 1.0),
            [Argument::Text(b"false")] => Answer::False,
            [Argument::Text(b"panic")] => panic!("on purpose"),
            _ => Answer::Otherwise,
        }
    }
}

/// A state with `f`, which answers or counts its arguments or raises.
fn state() -> (Lua, Stack) {
    let lua = Lua::new();
    let mut stack = Stack::new(&lua).unwrap();
    let otherwise = lua
        .create_function(|_, values: MultiValue| match values.len() {
            0 => Err(mlua::Error::runtime("nothing given")),
            count => Ok((count, "otherwise")),
        })
        .unwrap();
    let f = stack.function(Box::new(Echo), &otherwise).unwrap();
    lua.globals().raw_set("f", f).unwrap();
    (lua, stack)
}

fn run(lua: &Lua, stack: &Stack, source: &str) -> Result<String, String> {
    let function = lua.load(source).into_function().unwrap();
    let handler = lua.create_function(|_, value: Value| Ok(value)).unwrap();
    let show = |returned: Returned<'_>| match returned {
        Returned::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Returned::Other(Value::Error(error)) => error.to_string(),
        other => format!("{other:?}"),
    };
    stack
        .run(&function, &handler, |ended| match ended {
            Ok(returned) => Ok(show(returned)),
            Err(returned) => Err(show(returned)),
        })
        .unwrap()
}

#[test]
fn calls_and_answers_of_every_kind() {
    // An argument or an answer that is taken for another makes a script see another's data.
    let (lua, stack) = state();
    for (source, wanted) in [
        ("return f('text', 'a\\0b')", "a\0b"),
        ("return f('text', '')", ""),
        ("return f('field', 'x').ok", "x"),
        ("return f('number', 2)", "Number(3.0)"),
        ("return f('false')", "Boolean(false)"),
        ("return (select(2, f('other', 1, {})))", "otherwise"),
        ("return f('other', 1, {}, nil, nil)", "Number(5.0)"),
        ("return", "Nil"),
        ("return true", "Boolean(true)"),
    ] {
        assert_eq!(run(&lua, &stack, source).as_deref(), Ok(wanted), "{source}");
    }
    let many =
        "local t = {} for n = 1, 200 do t[n] = f('text', tostring(n)) end return table.concat(t)";
    assert_eq!(run(&lua, &stack, many).unwrap().len(), 492);
    let threads = "return coroutine.wrap(function() return f('text', 'thread') end)()";
    assert_eq!(run(&lua, &stack, threads).unwrap(), "thread");
}

#[test]
fn errors_are_raised_and_leave_the_stack_as_it_was() {
    // A place too many on the stack for each error fills it within a day.
    let (lua, stack) = state();
    for _ in 0..20_000 {
        assert_eq!(run(&lua, &stack, "error('x', 0)"), Err("x".to_owned()));
    }
    let raised = run(&lua, &stack, "return f()").unwrap_err();
    assert!(raised.contains("nothing given"), "{raised}");
    let caught = "local ok = pcall(f) return tostring(ok)";
    assert_eq!(run(&lua, &stack, caught).unwrap(), "false");
}

#[test]
fn memory_that_runs_out_in_an_answer_is_an_error() {
    // It is a jump over Rust's frames: what they own would leak, or the process end.
    let (lua, stack) = state();
    lua.set_memory_limit(lua.used_memory() + (1 << 20)).unwrap();
    let fill = "local t, s = {}, ('x'):rep(10000) \
                for n = 1, 10000 do t[n] = f('text', n .. s) .. n end";
    let ended = run(&lua, &stack, fill);
    assert_eq!(ended, Err("not enough memory".to_owned()));
}

#[test]
fn a_panic_goes_on_outside_of_lua() {
    // A panic that a script's pcall swallows is a bug that nobody hears of; one that unwinds through C ends the process.
    let (lua, stack) = state();
    for source in ["f('panic')", "pcall(f, 'panic') f('text', 'x')"] {
        let caught = catch_unwind(AssertUnwindSafe(|| run(&lua, &stack, source)));
        let panic = caught.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
        assert_eq!(run(&lua, &stack, "return f('text', 'y')").unwrap(), "y");
    }
}

#[test]
fn a_list_is_set_whatever_the_bound() {
    // Keys that do not arrive, or a bound that stays lifted.
    let (lua, stack) = state();
    let limit = lua.used_memory() + 1000;
    lua.set_memory_limit(limit).unwrap();
    let item = [b'x'; 5000];
    stack
        .set_list(&lua.globals(), "KEYS", &[b"a", b"", &item])
        .unwrap();
    assert_eq!(lua.set_memory_limit(0).unwrap(), limit);
    let keys: Vec<mlua::LuaString> = lua.globals().raw_get("KEYS").unwrap();
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    assert_eq!(keys, [b"a".to_vec(), b"".to_vec(), item.to_vec()]);
}
