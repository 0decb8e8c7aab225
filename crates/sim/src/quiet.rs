//! Keeps a panic inside a run from printing, and remembers what it said: for the simulator it is a finding like others.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// Puts the hook in, once for the process. Panics outside of runs print as ever.
pub(crate) fn silence_panics_of_runs() {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_RUN.get() {
                usual(info);
                return;
            }
            let said = info.payload_as_str().unwrap_or("no message");
            let place = info.location().map_or(String::new(), |at| {
                format!(" at {}:{}", at.file(), at.line())
            });
            LAST.set(format!("panic: {said}{place}"));
        }));
    });
}

/// Runs something of which panics do not print.
pub(crate) fn during<T>(what: impl FnOnce() -> T) -> T {
    IN_RUN.set(true);
    let result = what();
    IN_RUN.set(false);
    result
}

/// What the last panic of a run said.
pub(crate) fn last_panic() -> String {
    LAST.take()
}
