use super::*;
use proptest::prelude::*;

/// The rules written down as they read, with recursion: slow, but plainly right.
fn matches_naively(case: Case, pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'*', rest @ ..], text) => {
            (0..=text.len()).any(|swallowed| matches_naively(case, rest, &text[swallowed..]))
        }
        (_, []) => false,
        (pattern, [byte, text @ ..]) => step(case, pattern, *byte)
            .is_some_and(|bytes| matches_naively(case, &pattern[bytes..], text)),
    }
}

#[test]
fn odd_patterns_match_as_in_redis() {
    // Breaks if KEYS answers other keys than Redis does; every line was asked of redis-server 7.0.15.
    let cases: &[(&str, &str, bool)] = &[
        ("*", "", true),
        ("**", "", false),
        ("", "", true),
        ("?", "", false),
        ("", "a", false),
        ("a*", "a", true),
        ("a**", "a", true),
        ("*a", "ba", true),
        ("*a", "ab", false),
        ("h?llo", "hello", true),
        ("h[ae]llo", "hallo", true),
        ("h[^e]llo", "hello", false),
        ("h[a-b]llo", "hbllo", true),
        ("h[b-a]llo", "hallo", true),
        ("[a", "a", true),
        ("[^", "a", true),
        ("[", "[", false),
        ("[]", "a", false),
        ("[^]", "a", true),
        ("[a-]", "-", false),
        ("[a-]", "a", true),
        ("[a-]", "]", true),
        ("[\\]]", "]", true),
        ("[\\", "\\", true),
        ("\\", "\\", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("a\\", "a\\", true),
        ("[a-", "-", true),
        ("[a-c", "b", true),
        ("*[ab]*c", "xxbyyc", true),
        ("*?", "a", true),
        ("?*?", "a", false),
        ("[!a]", "b", false),
        ("[!a]", "!", true),
    ];
    for (pattern, text, expected) in cases {
        let found = matches(pattern.as_bytes(), text.as_bytes());
        assert_eq!(found, *expected, "{pattern:?} on {text:?}");
    }
    assert!(matches_ignoring_case(b"MAX[A-Z]emor?", b"maxMEMORY"));
    assert!(!matches(b"MAX*", b"maxmemory"));
    assert!(!matches(b"[^c-\xff]", b"]"));
    assert!(matches(b"[c-\xff]", b"]"));
    assert!(!matches(b"[c-\xff]", b"d"));
}

#[test]
fn many_stars_cost_no_more_than_the_product_of_lengths() {
    // Breaks if stars multiply: with a search that tries every way this would outlast the universe.
    let pattern = b"*a".repeat(2_000);
    let pattern = [&pattern[..], b"*b"].concat();
    assert!(!matches(&pattern, &b"a".repeat(4_000)));
}

proptest! {
    #[test]
    fn both_ways_agree(
        pattern in proptest::collection::vec(proptest::sample::select(&b"*?[]^-\\abcA"[..]), 0..10),
        text in proptest::collection::vec(proptest::sample::select(&b"abcA]-\\^"[..]), 1..8),
    ) {
        // Breaks if going back to the last star alone misses a match.
        for case in [Case::Kept, Case::Ignored] {
            prop_assert_eq!(
                matches_in(case, &pattern, &text),
                matches_naively(case, &pattern, &text)
            );
        }
    }
}
