//! Tables that all scripts share and none can write: a script holds an empty table in front of each, which reads from
//! the real one and refuses to be written. What writes without asking a table (`rawset`, `table.insert`, …) asks here.

use super::raise::{fail, plain};
use mlua::{Lua, Table, Value};

const READ_ONLY: &str = "Attempt to modify a readonly table";

/// The shared tables.
#[derive(Clone)]
pub(crate) struct Shared {
    /// From what a script holds to what is behind it.
    real_of: Table,
}

impl Shared {
    pub fn new(lua: &Lua) -> mlua::Result<Shared> {
        Ok(Shared {
            real_of: lua.create_table()?,
        })
    }

    /// What a script may hold of `real`.
    pub fn seal(&self, lua: &Lua, real: Table) -> mlua::Result<Table> {
        let front = lua.create_table()?;
        let guard = lua.create_table()?;
        guard.raw_set("__index", real.clone())?;
        let refuse = |lua: &Lua, _: Value| -> mlua::Result<()> { Err(fail(lua, READ_ONLY)) };
        guard.raw_set("__newindex", lua.create_function(refuse)?)?;
        // A script that asks for the guard gets an empty table that it cannot write either.
        let locked = lua.create_table()?;
        let lock = lua.create_table()?;
        lock.raw_set("__newindex", lua.create_function(refuse)?)?;
        lock.raw_set("__metatable", false)?;
        locked.set_metatable(Some(lock))?;
        guard.raw_set("__metatable", locked.clone())?;
        front.set_metatable(Some(guard))?;
        self.real_of.raw_set(locked, lua.create_table()?)?;
        self.real_of.raw_set(front.clone(), real)?;
        Ok(front)
    }

    /// What is behind a shared table; none if it is a script's own.
    pub fn real(&self, table: &Table) -> mlua::Result<Option<Table>> {
        match table.has_metatable() {
            true => self.real_of.raw_get(table),
            false => Ok(None),
        }
    }

    /// # Errors
    /// The table is a shared one.
    pub fn may_write(&self, table: &Table) -> mlua::Result<()> {
        match self.real(table)? {
            Some(_) => Err(plain(READ_ONLY)),
            None => Ok(()),
        }
    }

    /// What scripts hold of the shared tables, as keys: all empty.
    pub fn fronts(&self) -> &Table {
        &self.real_of
    }
}
