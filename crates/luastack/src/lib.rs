//! Lua's own stack behind safe functions, for what every short script does: hand keys in, call a command, take the
//! result out. `mlua` does each of these by a dozen steps that lock, count references and look for errors, and which
//! together cost more than the script.
//!
//! What it does not know: commands, replies, why a script ends. Whatever is not plain bytes goes the way of `mlua`.
//!
//! What the `unsafe` here rests on:
//! - **Lua's errors are jumps** (`longjmp`) over the frames between. A function of Lua may raise where it allocates and the
//!   memory is bounded, and where it calls Lua. So such functions are called only from [`on_call`], from frames that own
//!   nothing (no value with a destructor is alive in them), or while the memory has no bound ([`Unlimited`]), where `mlua` does
//!   the same: without a bound its allocator never fails.
//! - **Panics do not leave for Lua**: what runs on behalf of a call is caught, and goes on in [`Stack::run`] once Lua has
//!   returned.
//! - **Strings stay** where they are as long as a value on the stack refers to them; a C function's arguments do until it
//!   returns.
//! - **One thread at a time** is in a state: `mlua` locks it, and these functions are called under that lock.
//! - What a call needs beside Lua is in a [`Slot`], which lives as long as the state: the state's own data hold on to it.

#![allow(unsafe_code)]

use mlua::ffi::{self, lua_State};
use mlua::state::RawLua;
use mlua::{FromLua as _, Function, IntoLua as _, Lua, Table, Value, WeakLua};
use smallvec::SmallVec;
use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most strings in a list ([`Stack::set_list`]).
pub const LIST_LEN_MAX: usize = 1000;
/// Most bytes of them together.
pub const LIST_BYTES_MAX: usize = 64 << 10;
/// Places on Lua's stack that a call from outside takes at most.
const PLACES: c_int = 8;
const OWN_ALLOCATOR: &str = "the state has an allocator of its own";

/// One argument of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument<'a> {
    /// A string.
    Text(&'a [u8]),
    /// A number.
    Number(f64),
    /// Anything else.
    Other,
}

/// What a call gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// The text as a string.
    Text,
    /// A table with one field of this name, which is the text.
    Field(&'static str),
    /// A number.
    Number(f64),
    /// `false`
    False,
    /// Whatever the other function gives for the same arguments, or raises.
    Otherwise,
}

/// What is called.
pub trait Callee: Send {
    /// Answers a call; `text` is empty.
    fn call(&mut self, lua: &Lua, arguments: &[Argument<'_>], text: &mut Vec<u8>) -> Answer;
}

/// What a function returned, or raised.
#[derive(Debug)]
pub enum Returned<'a> {
    /// Nothing, or nil.
    Nil,
    /// A truth value.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(&'a [u8]),
    /// Anything else.
    Other(Value),
}

/// What calls of one function need. Invariant: `inner` is touched only by whoever set `is_busy`, until he resets it.
struct Slot {
    is_busy: AtomicBool,
    /// A call panicked, with what is in `inner`.
    has_panicked: AtomicBool,
    inner: UnsafeCell<Inner>,
}

struct Inner {
    lua: WeakLua,
    callee: Box<dyn Callee>,
    text: Vec<u8>,
    /// What a call panicked with, until [`Stack::run`] goes on with it.
    panic: Option<Box<dyn Any + Send>>,
}

const _: () = {
    const fn may_go_to_another_thread<T: Send>() {}
    may_go_to_another_thread::<Inner>();
};

// SAFETY: `inner` is reached by one thread at a time, by its invariant, and what is in it may go from thread to thread.
unsafe impl Sync for Slot {}

/// Holds slots for as long as the state lives: its functions refer to them.
#[derive(Default)]
struct Kept(Vec<Arc<Slot>>);

/// The stack of one state.
pub struct Stack {
    lua: Lua,
    slots: Vec<Arc<Slot>>,
}

impl Stack {
    /// That of `lua`.
    ///
    /// # Errors
    /// No memory.
    pub fn new(lua: &Lua) -> mlua::Result<Stack> {
        // What Lua says if an error's handler fails must be there: it could not be made where that happens.
        lua.set_named_registry_value("luastack", "error in error handling")?;
        lua.set_app_data(Kept::default());
        Ok(Stack {
            lua: lua.clone(),
            slots: Vec::new(),
        })
    }

    /// A function of Lua that `callee` answers, and `otherwise` where it does not.
    ///
    /// # Errors
    /// No memory.
    pub fn function(
        &mut self,
        callee: Box<dyn Callee>,
        otherwise: &Function,
    ) -> mlua::Result<Function> {
        let slot = Arc::new(Slot {
            is_busy: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
            inner: UnsafeCell::new(Inner {
                lua: self.lua.weak(),
                callee,
                text: Vec::new(),
                panic: None,
            }),
        });
        let address = Arc::as_ptr(&slot).cast_mut().cast();
        if let Some(mut kept) = self.lua.app_data_mut::<Kept>() {
            kept.0.push(slot.clone());
        }
        self.slots.push(slot);
        // SAFETY: it runs in a protected call, owns nothing, and leaves one value. The slot lives as long as the state: nobody
        // else can name `Kept` and take it out.
        unsafe {
            self.lua.exec_raw(otherwise, |state| {
                ffi::lua_pushlightuserdata(state, address);
                ffi::lua_insert(state, -2);
                ffi::lua_pushcclosure(state, on_call, 2);
            })
        }
    }

    /// Sets `table[name]` to a list of strings, without regard to the bound on memory and to metatables.
    ///
    /// # Errors
    /// Lua's stack is full.
    ///
    /// # Panics
    /// If they are more than [`LIST_LEN_MAX`] or take more than [`LIST_BYTES_MAX`].
    pub fn set_list(&self, table: &Table, name: &str, list: &[&[u8]]) -> mlua::Result<()> {
        let bytes: usize = list.iter().map(|item| item.len()).sum();
        assert!(list.len() <= LIST_LEN_MAX && bytes <= LIST_BYTES_MAX);
        self.lua.exec_raw_lua(|raw| {
            let _unlimited = self.make_place(raw)?;
            let _top = Top::of(raw);
            let state = raw.state();
            // SAFETY: the memory has no bound, so none of these raises an error; the sizes are far below what Lua refuses. There
            // is place on the stack for all that is pushed.
            unsafe {
                table.push_into_stack(raw)?;
                push_text(state, name.as_bytes());
                ffi::lua_createtable(state, list.len() as c_int, 0);
                for (at, item) in list.iter().enumerate() {
                    push_text(state, item);
                    ffi::lua_rawseti_(state, -2, at as c_int + 1);
                }
                ffi::lua_rawset(state, -3);
            }
            Ok(())
        })
    }

    /// Calls a function without arguments; `handler` is called with what it raises, where it was raised. What came of it goes to
    /// `take`: what the function returned first, or as an error what the handler made of what was raised.
    ///
    /// # Errors
    /// Lua's stack is full.
    ///
    /// # Panics
    /// With what a callee panicked with.
    pub fn run<T>(
        &self,
        function: &Function,
        handler: &Function,
        take: impl FnOnce(Result<Returned<'_>, Returned<'_>>) -> T,
    ) -> mlua::Result<T> {
        self.lua.exec_raw_lua(|raw| {
            let state = raw.state();
            let unlimited = self.make_place(raw)?;
            let top = Top::of(raw);
            // SAFETY: there is place for both, and the memory has no bound.
            unsafe {
                handler.push_into_stack(raw)?;
                function.push_into_stack(raw)?;
            }
            drop(unlimited);
            // SAFETY: the handler and above it the function are on top. What the function raises ends here; the texts that
            // `lua_pcall` itself may need for it are there (Lua's own "not enough memory", and see `Stack::new`). What it leaves is
            // taken from the stack by `top`, on every way out.
            let status = unsafe { ffi::lua_pcall(state, 0, 1, top.top + 1) };
            if let Some(panic) = self.take_panic() {
                resume_unwind(panic);
            }
            // SAFETY: one value is on top, as always after a `lua_pcall` with one result, and stays there until `take` is through.
            let returned = unsafe {
                match ffi::lua_type(state, -1) {
                    ffi::LUA_TNIL => Returned::Nil,
                    ffi::LUA_TBOOLEAN => Returned::Boolean(ffi::lua_toboolean(state, -1) != 0),
                    ffi::LUA_TNUMBER => Returned::Number(ffi::lua_tonumber(state, -1)),
                    ffi::LUA_TSTRING => Returned::Text(text_at(state, -1)),
                    _ => Returned::Other(Value::from_stack(-1, raw)?),
                }
            };
            Ok(take(match status {
                ffi::LUA_OK => Ok(returned),
                _ => Err(returned),
            }))
        })
    }

    /// Sees to [`PLACES`] on the stack, and to memory without a bound for as long as what it gives lives.
    fn make_place(&self, raw: &RawLua) -> mlua::Result<Unlimited<'_>> {
        let unlimited = Unlimited::new(&self.lua);
        // SAFETY: what it allocates cannot fail without a bound.
        let has_place = unsafe { ffi::lua_checkstack(raw.state(), PLACES) != 0 };
        match has_place {
            true => Ok(unlimited),
            false => Err(mlua::Error::StackError),
        }
    }

    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        let has_panicked = |slot: &&Arc<Slot>| slot.has_panicked.load(Ordering::Acquire);
        let slot = self.slots.iter().find(has_panicked)?;
        slot.has_panicked.store(false, Ordering::Release);
        slot.with(|inner| inner.panic.take()).flatten()
    }
}

impl Slot {
    /// With what a call needs, unless one is under way.
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> Option<T> {
        if self.is_busy.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the flag was not set, and is set now.
        let done = act(unsafe { &mut *self.inner.get() });
        self.is_busy.store(false, Ordering::Release);
        Some(done)
    }
}

/// While this lives, a state's memory has no bound: for what is small and made outside of Lua.
pub struct Unlimited<'l> {
    lua: &'l Lua,
    limit: usize,
}

impl Unlimited<'_> {
    /// Begins it.
    pub fn new(lua: &Lua) -> Unlimited<'_> {
        let limit = lua.set_memory_limit(0).expect(OWN_ALLOCATOR);
        Unlimited { lua, limit }
    }
}

impl Drop for Unlimited<'_> {
    fn drop(&mut self) {
        self.lua.set_memory_limit(self.limit).expect(OWN_ALLOCATOR);
    }
}

/// Takes from the stack what is above `top`, in the end.
struct Top {
    state: *mut lua_State,
    top: c_int,
}

impl Top {
    fn of(raw: &RawLua) -> Top {
        let state = raw.state();
        // SAFETY: it only reads.
        let top = unsafe { ffi::lua_gettop(state) };
        Top { state, top }
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // SAFETY: the state lives as long as the frame that made this, under its lock, and nothing below `top` was taken away.
        unsafe {
            ffi::lua_settop(self.state, self.top);
        }
    }
}

/// What is left to do of a call once nothing of Rust is alive any more. The text lies in the slot, which stays busy.
#[derive(Clone, Copy)]
enum Left {
    Push(Answer, *const u8, usize),
    Raise,
    Otherwise,
}

/// The function of Lua behind [`Stack::function`]; its upvalues are the slot and the other function.
///
/// # Safety
/// Called by Lua alone, as the closure that [`Stack::function`] made.
unsafe extern "C-unwind" fn on_call(state: *mut lua_State) -> c_int {
    // SAFETY: the first upvalue is a slot that lives as long as the state. From `answer` on, which raises nothing, this frame
    // owns nothing, so that it may be jumped over; a jump leaves the slot busy, after which all calls go the other way. The
    // text is that of the slot, which nobody changes while it is busy. A C function has 20 places on the stack beside its arguments, at
    // most 3 are taken.
    unsafe {
        let slot = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Slot>();
        match answer(state, &*slot) {
            Left::Push(answer, text, len) => {
                match answer {
                    Answer::Text => ffi::lua_pushlstring_(state, text.cast(), len),
                    Answer::Field(name) => {
                        ffi::lua_createtable(state, 0, 1);
                        push_text(state, name.as_bytes());
                        ffi::lua_pushlstring_(state, text.cast(), len);
                        ffi::lua_rawset(state, -3);
                    }
                    Answer::Number(number) => ffi::lua_pushnumber(state, number),
                    Answer::False => ffi::lua_pushboolean(state, 0),
                    Answer::Otherwise => ffi::lua_pushnil(state),
                }
                (*slot).is_busy.store(false, Ordering::Release);
                1
            }
            Left::Raise => {
                push_text(state, b"a call panicked");
                ffi::lua_error(state)
            }
            Left::Otherwise => {
                let count = ffi::lua_gettop(state);
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
                ffi::lua_insert(state, 1);
                ffi::lua_call(state, count, ffi::LUA_MULTRET);
                ffi::lua_gettop(state)
            }
        }
    }
}

/// Has a call answered. Raises nothing and does not panic; all that it owns is gone when it returns.
///
/// # Safety
/// `state` is that of a C function that runs, with its arguments on the stack.
unsafe fn answer(state: *mut lua_State, slot: &Slot) -> Left {
    if slot.has_panicked.load(Ordering::Acquire) || slot.is_busy.swap(true, Ordering::Acquire) {
        return Left::Otherwise;
    }
    // SAFETY: the flag was not set, and is set now: what is in the slot is this call's until it is reset.
    let inner = unsafe { &mut *slot.inner.get() };
    let answered = catch_unwind(AssertUnwindSafe(|| {
        let mut arguments = SmallVec::<[Argument<'_>; 8]>::new();
        // SAFETY: each is asked for its type before it is read, so that nothing is converted, which could raise an error. The strings
        // stay until the C function returns.
        unsafe {
            for at in 1..=ffi::lua_gettop(state) {
                arguments.push(match ffi::lua_type(state, at) {
                    ffi::LUA_TSTRING => Argument::Text(text_at(state, at)),
                    ffi::LUA_TNUMBER => Argument::Number(ffi::lua_tonumber(state, at)),
                    _ => Argument::Other,
                });
            }
        }
        inner.text.clear();
        let lua = inner.lua.upgrade();
        inner.callee.call(&lua, &arguments, &mut inner.text)
    }));
    let left = match answered {
        Ok(Answer::Otherwise) => Left::Otherwise,
        Ok(answer) => return Left::Push(answer, inner.text.as_ptr(), inner.text.len()),
        Err(panic) => {
            inner.panic = Some(panic);
            slot.has_panicked.store(true, Ordering::Release);
            Left::Raise
        }
    };
    slot.is_busy.store(false, Ordering::Release);
    left
}

/// Pushes a string.
///
/// # Safety
/// There is a place for it, and an error may be raised here or the memory has no bound.
unsafe fn push_text(state: *mut lua_State, text: &[u8]) {
    // SAFETY: the bytes are copied before it returns.
    unsafe { ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len()) }
}

/// The string at a place of the stack.
///
/// # Safety
/// It is a string, and stays on the stack for as long as the slice is used.
unsafe fn text_at<'a>(state: *mut lua_State, at: c_int) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: a string is never empty of an address, and Lua tells its length.
    unsafe {
        let text = ffi::lua_tolstring(state, at, &mut len);
        std::slice::from_raw_parts(text.cast(), len)
    }
}

#[cfg(test)]
mod tests;
