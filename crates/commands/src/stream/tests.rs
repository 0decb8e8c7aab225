use crate::testing::run_golden;

#[test]
fn answers_and_events_are_those_of_redis() {
    // Breaks if a reply, an error's text or an event differs from what redis-server 7.0.15 answered.
    run_golden(include_str!("../../testdata/stream.txt"));
}

#[test]
fn groups_answer_as_those_of_redis() {
    // Breaks if a reply, an error's text or an event differs from what redis-server 7.0.15 answered.
    run_golden(include_str!("../../testdata/stream-groups.txt"));
}
