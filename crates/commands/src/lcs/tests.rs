use super::*;
use crate::testing::Harness;
use proptest::prelude::*;
use resp::Protocol;

#[test]
fn the_subsequence_its_length_and_its_runs() {
    // Breaks if the answer's form or its places differ from Redis's documented example.
    let mut h = Harness::with_caches(2);
    h.run("MSET key1 ohmytext key2 mynewtext");
    assert_eq!(h.run("LCS key1 key2"), "$6\r\nmytext\r\n");
    assert_eq!(h.run("LCS key1 key2 len"), ":6\r\n");
    let text_run = "*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n";
    let my_run = "*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n";
    assert_eq!(
        h.run("LCS key1 key2 IDX"),
        format!("*4\r\n$7\r\nmatches\r\n*2\r\n{text_run}{my_run}$3\r\nlen\r\n:6\r\n")
    );
    assert_eq!(
        h.run("LCS key1 key2 IDX MINMATCHLEN 4"),
        format!("*4\r\n$7\r\nmatches\r\n*1\r\n{text_run}$3\r\nlen\r\n:6\r\n")
    );
    h.protocol = Protocol::Resp3;
    assert_eq!(
        h.run("LCS key1 key2 IDX MINMATCHLEN 3 WITHMATCHLEN"),
        "%2\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n\
         $3\r\nlen\r\n:6\r\n"
    );
}

#[test]
fn missing_strings_have_nothing_in_common() {
    // Breaks if a missing key is not an empty string.
    let mut h = Harness::new();
    h.run("SET a abc");
    assert_eq!(h.run("LCS a none"), "$0\r\n\r\n");
    assert_eq!(h.all_events(), "keymiss none");
    assert_eq!(h.run("LCS none a LEN"), ":0\r\n");
    assert_eq!(
        h.run("LCS none none IDX"),
        "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n"
    );
}

#[test]
fn options_that_make_no_sense_are_refused() {
    // Breaks if a mistake is taken, or told in other words than Redis's.
    let mut h = Harness::new();
    let both = "-ERR If you want both the length and indexes, please just use IDX.\r\n";
    assert_eq!(h.run("LCS a b IDX LEN"), both);
    assert_eq!(h.run("LCS a b FOO"), "-ERR syntax error\r\n");
    assert_eq!(h.run("LCS a b MINMATCHLEN"), "-ERR syntax error\r\n");
    assert_eq!(
        h.run("LCS a b MINMATCHLEN x"),
        "-ERR value is not an integer or out of range\r\n"
    );
}

#[test]
fn work_is_bounded() {
    // Breaks if two long strings can keep a shard busy for hours, or Redis's bound is not met exactly.
    assert!(check_size(11_584, 11_584).is_ok());
    assert!(check_size(11_585, 11_585).is_err());
    assert!(check_size(STRING_BYTES_MAX, STRING_BYTES_MAX).is_err());
    assert!(check_size(STRING_BYTES_MAX / 4 - 1, 0).is_ok());
    assert!(check_size(STRING_BYTES_MAX / 4, 0).is_err());
}

/// The length by its definition, over the whole table.
fn naive(first: &[u8], second: &[u8]) -> u32 {
    let mut table = vec![vec![0; second.len() + 1]; first.len() + 1];
    for i in 1..=first.len() {
        for j in 1..=second.len() {
            table[i][j] = if first[i - 1] == second[j - 1] {
                table[i - 1][j - 1] + 1
            } else {
                std::cmp::max(table[i - 1][j], table[i][j - 1])
            };
        }
    }
    table[first.len()][second.len()]
}

proptest! {
    #[test]
    fn runs_are_a_longest_common_subsequence(
        first in proptest::collection::vec(0u8..4, 0..30),
        second in proptest::collection::vec(0u8..4, 0..30),
    ) {
        // Breaks if the way back through the table loses a byte or goes through unequal ones.
        let (length, ways) = solve(&first, &second, Ways::Remember);
        prop_assert_eq!(length, naive(&first, &second));
        prop_assert_eq!(solve(&first, &second, Ways::Forget).0, length);
        let runs = ways.runs(&first, &second);
        prop_assert_eq!(runs.iter().map(|run| run.len).sum::<usize>(), length as usize);
        let (mut first_end, mut second_end) = (first.len(), second.len());
        for run in &runs {
            prop_assert!(run.first + run.len <= first_end);
            prop_assert!(run.second + run.len <= second_end);
            prop_assert_eq!(
                &first[run.first..run.first + run.len],
                &second[run.second..run.second + run.len]
            );
            (first_end, second_end) = (run.first, run.second);
        }
    }
}
