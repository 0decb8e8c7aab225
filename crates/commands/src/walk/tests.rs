use super::*;
use cache::{Expiry, Key, Pin};
use proptest::prelude::*;
use resp::OwnedArgs;
use std::collections::BTreeSet;

const SEED: u64 = 3;

/// Shards that hold the keys `0..keys_count` of database 0, each in the shard of its number's remainder.
fn shards(shards_count: u32, keys_count: u32) -> Vec<Cache> {
    let mut shards: Vec<Cache> = (0..shards_count).map(|_| Cache::new(SEED)).collect();
    for number in 0..keys_count {
        put(&mut shards, number, Expiry::Never);
    }
    shards
}

fn put(shards: &mut [Cache], number: u32, expiry: Expiry) {
    let name = number.to_string();
    let shard = number as usize % shards.len();
    let key = Key::new(SEED, 0, name.as_bytes());
    shards[shard].put(key, b"v", expiry, Pin::Unpinned);
}

fn scan(shards: &[Cache], arguments: &[&[u8]]) -> (u64, Vec<Vec<u8>>) {
    let mut words = vec![&b"SCAN"[..]];
    words.extend_from_slice(arguments);
    let owned = OwnedArgs::from_slices(&words);
    let options = ScanOptions::parse(owned.args()).expect("the test's options are right");
    let mut walk = Walk::scan(options, 0, shards.len() as u32);
    finish(&mut walk, shards);
    let keys = walk.found().iter().map(<[u8]>::to_vec).collect();
    (walk.next_cursor(), keys)
}

/// Takes all steps and returns how many they were.
fn finish(walk: &mut Walk<'_>, shards: &[Cache]) -> usize {
    let mut steps = 0;
    while let Some(shard) = walk.shard() {
        walk.step(&shards[shard as usize]);
        steps += 1;
    }
    steps
}

fn parse(arguments: &[&[u8]]) -> Result<(Cursor, usize), &'static str> {
    let mut words = vec![&b"SCAN"[..]];
    words.extend_from_slice(arguments);
    let owned = OwnedArgs::from_slices(&words);
    ScanOptions::parse(owned.args()).map(|options| (options.cursor, options.count))
}

#[test]
fn cursors_survive_clients_that_count_in_doubles() {
    // Breaks if a cursor is not kept by a client whose numbers are doubles, or does not come back.
    let last = Cursor {
        shard: SHARDS_MAX - 1,
        position: u32::MAX,
    };
    assert_eq!(last.encode() as f64 as u64, last.encode());
    assert!(last.encode() < 1 << 53);
    assert_eq!(Cursor::decode(last.encode()), last);
    assert_eq!(Cursor::START.encode(), 0);
    let example = Cursor {
        shard: 2,
        position: 7,
    };
    assert_eq!(example.encode(), 8_589_934_599);
}

#[test]
fn arguments_are_read_in_redis_words() {
    // Breaks if SCAN takes what Redis refuses or says so otherwise.
    let beyond = u64::MAX.to_string() + "0";
    assert_eq!(parse(&[b"0"]), Ok((Cursor::START, 10)));
    assert_eq!(
        parse(&[b"0", b"count", b"7", b"COUNT", b"8"]),
        Ok((Cursor::START, 8))
    );
    for bad in [&b"x"[..], b"-1", b" 1", b"1 ", b"", beyond.as_bytes()] {
        assert_eq!(parse(&[bad, b"FOO"]), Err("ERR invalid cursor"));
    }
    assert_eq!(parse(&[b"0", b"COUNT", b"x"]), Err(NOT_INTEGER));
    for options in [
        &[&b"FOO"[..]][..],
        &[b"MATCH"],
        &[b"FOO", b"1"],
        &[b"COUNT", b"0"],
        &[b"COUNT", b"-1"],
        &[b"MATCH", b"a", b"TYPE"],
    ] {
        let words = [&[&b"0"[..]], options].concat();
        assert_eq!(parse(&words), Err(SYNTAX));
    }
}

#[test]
fn a_full_scan_returns_every_key_once() {
    // Breaks if a walk skips keys at the borders of steps or shards, or never ends.
    let shards = shards(5, 3000);
    for count in [&b"1"[..], b"10", b"600", b"100000"] {
        let (mut cursor, mut keys) = (0u64, Vec::new());
        loop {
            let (next, found) = scan(&shards, &[cursor.to_string().as_bytes(), b"COUNT", count]);
            keys.extend(found);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(keys.len(), 3000);
        let distinct: BTreeSet<_> = keys.into_iter().collect();
        assert_eq!(distinct.len(), 3000);
    }
}

#[test]
fn a_call_looks_at_about_as_many_as_it_says() {
    // Breaks if COUNT is ignored, or a step holds a shard for longer than it may.
    let shards = shards(2, 5000);
    let (cursor, keys) = scan(&shards, &[b"0"]);
    assert!((10..20).contains(&keys.len()), "{}", keys.len());
    assert_ne!(cursor, 0);
    let (cursor, keys) = scan(&shards, &[b"0", b"COUNT", b"9223372036854775807"]);
    assert_eq!((cursor, keys.len()), (0, 5000));
    let mut walk = Walk::keys(b"*", 0, 2);
    let steps = finish(&mut walk, &shards);
    assert!(steps >= 5000 / STEPS_MAX, "{steps}");
    assert_eq!(walk.found().len(), 5000);
}

#[test]
fn empty_databases_end_at_once() {
    // Breaks if a client must ask again and again for nothing, or a foreign cursor is an error.
    let shards = shards(64, 0);
    assert_eq!(scan(&shards, &[b"0"]), (0, Vec::new()));
    let beyond = Cursor {
        shard: 64,
        position: 0,
    };
    let beyond = beyond.encode().to_string();
    assert_eq!(scan(&shards, &[beyond.as_bytes()]), (0, Vec::new()));
    let max = u64::MAX.to_string();
    assert_eq!(scan(&shards, &[max.as_bytes()]), (0, Vec::new()));
}

#[test]
fn expired_and_filtered_keys_are_looked_at_without_being_returned() {
    // Breaks if a walk returns what does not exist, or one that finds nothing is endless or unbounded.
    let mut shards = shards(1, 0);
    for number in 0..2000 {
        put(&mut shards, number, Expiry::At(1000));
    }
    put(&mut shards, 5000, Expiry::Never);
    shards[0].set_now(1000);
    let mut walk = Walk::keys(b"*", 0, 1);
    finish(&mut walk, &shards);
    assert_eq!(walk.found().iter().collect::<Vec<_>>(), [b"5000"]);
    let all = &b"100000"[..];
    assert_eq!(
        scan(&shards, &[b"0", b"COUNT", all, b"TYPE", b"String"])
            .1
            .len(),
        1
    );
    assert_eq!(
        scan(&shards, &[b"0", b"COUNT", all, b"TYPE", b"list"])
            .1
            .len(),
        0
    );
    assert_eq!(
        scan(&shards, &[b"0", b"COUNT", all, b"TYPE", b"foo"])
            .1
            .len(),
        0
    );
    assert_eq!(
        scan(&shards, &[b"0", b"COUNT", all, b"MATCH", b"5?0*"])
            .1
            .len(),
        1
    );
    assert_eq!(
        scan(&shards, &[b"0", b"COUNT", all, b"MATCH", b"6*"])
            .1
            .len(),
        0
    );
    assert_eq!(
        scan(
            &shards,
            &[b"0", b"COUNT", all, b"MATCH", b"6*", b"MATCH", b"*"]
        )
        .1
        .len(),
        1
    );
}

#[test]
fn replies_have_the_shape_of_redis() {
    // Breaks if a client cannot read the cursor or the keys.
    let shards = shards(1, 1);
    let owned = OwnedArgs::from_slices(&[b"SCAN", b"0"]);
    let options = ScanOptions::parse(owned.args()).unwrap();
    let mut walk = Walk::scan(options, 0, 1);
    finish(&mut walk, &shards);
    let mut output = resp::Output::new();
    let mut reply = Reply::new(&mut output, resp::Protocol::Resp2);
    walk.reply_scan(&mut reply);
    walk.reply_keys(&mut reply);
    let expected = b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\n0\r\n*1\r\n$1\r\n0\r\n";
    assert_eq!(output.tail_mut(), expected);
}

#[test]
fn lots_fall_in_proportion() {
    // Breaks if a shard's keys are drawn more often than its part of all keys, or one is never asked.
    let lens = [100, 0, 300, 600];
    let mut firsts = [0; 4];
    for turn in 0..1000u64 {
        let order: Vec<usize> = shards_by_lot(&lens, turn * (u64::MAX / 1000)).collect();
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 3);
        firsts[order[0]] += 1;
    }
    assert!((95..=105).contains(&firsts[0]), "{firsts:?}");
    assert_eq!(firsts[1], 0);
    assert!((295..=305).contains(&firsts[2]), "{firsts:?}");
    assert_eq!(shards_by_lot(&[0, 0], 5).count(), 0);
    assert_eq!(shards_by_lot(&[], 5).count(), 0);
    assert_eq!(shards_by_lot(&[1], u64::MAX).collect::<Vec<_>>(), [0]);
}

#[test]
fn draws_within_a_shard_do_not_follow_from_the_shard() {
    // Breaks if two uses of one draw are bound together, so that some keys are never drawn: here the
    // upper half of the first draws must meet both halves of the second.
    let upper = (0..1000u64).map(|turn| u64::MAX / 2 + turn * (u64::MAX / 4000));
    let high = upper
        .filter(|draw| draw_within(*draw) > u64::MAX / 2)
        .count();
    assert!((400..600).contains(&high), "{high}");
}

proptest! {
    #[test]
    fn keys_that_stay_are_seen(
        shards_count in 1u32..5,
        count in 1usize..50,
        churn in proptest::collection::vec((any::<bool>(), 1000u32..3000), 0..400),
    ) {
        // Breaks if keys that are there from the first to the last call can be missed while others
        // come and go between the calls.
        let mut shards = shards(shards_count, 200);
        let mut seen = BTreeSet::new();
        let (mut cursor, mut churn) = (0u64, churn.into_iter());
        loop {
            let words = [cursor.to_string(), "COUNT".to_owned(), count.to_string()];
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            let (next, found) = scan(&shards, &words);
            seen.extend(found);
            for (adds, number) in churn.by_ref().take(20) {
                if adds {
                    put(&mut shards, number, Expiry::Never);
                } else {
                    let name = number.to_string();
                    let shard = number as usize % shards.len();
                    shards[shard].remove(Key::new(SEED, 0, name.as_bytes()));
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        for number in 0..200u32 {
            prop_assert!(seen.contains(number.to_string().as_bytes()));
        }
    }
}

proptest! {
    #[test]
    fn a_step_elsewhere_is_as_good_as_one_here(
        count in 1usize..1500,
        start in any::<u32>(),
        pattern in prop::option::of("[0-9*?]{1,3}"),
        type_name in prop::option::of("string|hash"),
    ) {
        // Breaks if SCAN skipped or doubled keys of shards that another node leads.
        let shards = shards(3, 2000);
        let options = || ScanOptions {
            cursor: Cursor { shard: 0, position: start },
            count,
            filter: Filter {
                is_lock: false,
                pattern: pattern.as_ref().map(|pattern| Cow::Borrowed(pattern.as_bytes())),
                type_name: type_name.as_ref().map(|name| Cow::Borrowed(name.as_bytes())),
            },
        };
        let mut here = Walk::scan(options(), 0, 3);
        finish(&mut here, &shards);
        let mut elsewhere = Walk::scan(options(), 0, 3);
        while let Some(shard) = elsewhere.shard() {
            let arguments = elsewhere.question().into_arguments();
            let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
            let args = OwnedArgs::from_slices(&arguments);
            let mut output = resp::Output::new();
            let mut reply = Reply::new(&mut output, resp::Protocol::Resp2);
            answer_step(&shards[shard as usize], 0, args.args(), &mut reply);
            prop_assert!(elsewhere.take_answer(output.tail_mut()));
        }
        prop_assert_eq!(here.next_cursor(), elsewhere.next_cursor());
        prop_assert!(here.found().iter().eq(elsewhere.found().iter()));
    }
}

#[test]
fn an_answer_of_no_such_form_changes_nothing() {
    // Breaks if an error from another node ended a walk as if all had been seen.
    let mut walk = Walk::keys(b"*", 0, 3);
    for answer in [
        &b"-CLUSTERDOWN no\r\n"[..],
        b"*1\r\n:3\r\n",
        b"*2\r\n:-2\r\n:0\r\n",
        b"",
    ] {
        assert!(!walk.take_answer(answer));
        assert_eq!((walk.shard(), walk.next_cursor()), (Some(0), 0));
    }
}
