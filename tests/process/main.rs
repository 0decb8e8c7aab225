//! Tests against a started server process: errors in Redis's own words, clients that misbehave,
//! starting and stopping.

mod startup;
