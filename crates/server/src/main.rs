//! The torc binary.

#[allow(dead_code, reason = "the listener that runs by it lands next")]
mod cli;
#[allow(dead_code, reason = "the listener that runs by it lands next")]
mod config;

fn main() {}
