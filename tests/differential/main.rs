//! The same seeded stream of commands to Redis and to Torc.
fn main() {}
