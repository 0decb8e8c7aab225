//! Takes out one rule after another: the simulator must notice each. `cargo sim mutants` hunts the rare ones too.

use sim::mutants::{Hunt, RARE, all, excuse, hunt};
use std::sync::Mutex;

/// Seeds within which a flaw must be noticed here: seven times what the last of them took when this was written.
const SEEDS_MAX: u64 = 4_000;

#[test]
fn every_rule_taken_out_is_noticed() {
    // Fails when a rule can go unnoticed: the simulator has a hole there, and its silence proves nothing.
    let mut flaws = all();
    flaws.retain(|flaw| excuse(*flaw).is_none() && !RARE.contains(flaw));
    assert!(flaws.len() > 20, "most flaws are hunted here");
    let flaws = Mutex::new(flaws.into_iter());
    let survivors: Mutex<Vec<Hunt>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(flaw) = flaws.lock().expect("no hunt panics").next() else {
                        return;
                    };
                    let found = hunt(flaw, 1, SEEDS_MAX);
                    println!("{found}");
                    if found.is_survivor() {
                        survivors.lock().expect("no hunt panics").push(found);
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().expect("no hunt panics");
    assert!(survivors.is_empty(), "not noticed: {survivors:#?}");
}
