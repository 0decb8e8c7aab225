//! Scripts on the formats that Redis brings along: `cjson`, `cmsgpack`, `struct`, `bit`.

use crate::random::Random;
use crate::scripts::{number, scalar, text};

/// `cjson`.
pub fn json(random: &mut Random, depth: usize) -> String {
    let deeper = depth.saturating_sub(1);
    match random.below(6) {
        0..=1 => format!("cjson.encode({})", plain(random, deeper + 1)),
        2..=3 => format!(
            "cjson.decode({})",
            random.line(&[
                "'[1,2,3]'",
                "'{\"a\":1}'",
                "'null'",
                "'true'",
                "'\"x\"'",
                "'1.5'",
                "'[1,null,3]'",
                "'{\"a\":{\"b\":[]}}'",
                "'[]'",
                "'{}'",
                "'{'",
                "''",
                "'nul'",
                "'[1,]'",
                "'\"\\\\u00e4\\\\n\"'",
                "'1e400'",
                "'-0'",
                "'[1 2]'",
                "'{\"a\" 1}'",
                "'\"\\\\x\"'",
                "'0x10'",
                "' [ 1 , 2 ] '",
                "'123456789012345678'",
                "ARGV[1]",
                "'[[[[1]]]]'",
                "'\"abc'",
                "'{1:2}'",
                "'01'",
                "'Infinity'",
                "'NaN'",
            ])
        ),
        4 => format!(
            "cjson.encode(cjson.decode({}))",
            random.line(&[
                "'[1,null]'",
                "'{\"a\":[]}'",
                "'[{}]'",
                "'\"\\\\/\"'",
                "'1e3'",
                "'[true,false]'"
            ])
        ),
        _ => random
            .line(&[
                "cjson.encode({1, nil, 3})",
                "cjson.encode({[1] = 1, [4] = 2})",
                "cjson.encode({[100] = 1})",
                "cjson.encode()",
                "cjson.encode(cjson.null)",
                "cjson.decode('null') == cjson.null",
                "cjson.encode(1/0)",
                "cjson.encode(0/0)",
                "cjson.encode(function() end)",
                "cjson.encode({[true] = 1})",
                "cjson.encode('\\0\\127\\255\"/')",
                "cjson._NAME",
                "cjson._VERSION",
                "cjson.encode({[1.5] = 'x'})",
                "cjson.decode(1)",
                "cjson.decode({})",
                "cjson.encode(1, 2)",
                "pcall(cjson.encode, {{{{{{1}}}}}})",
            ])
            .into(),
    }
}

/// A value without functions of Redis in it, for formats.
fn plain(random: &mut Random, depth: usize) -> String {
    match random.below(8) {
        0 if depth > 0 => format!(
            "{{{}}}",
            (0..random.below(4))
                .map(|_| plain(random, depth - 1))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        1 if depth > 0 => format!("{{a = {}}}", plain(random, depth - 1)),
        2 if depth > 0 => format!(
            "{{[{}] = {}}}",
            random.between(-1, 12),
            plain(random, depth - 1)
        ),
        3 => random.line(&["nil", "true", "false"]).into(),
        4..=5 => number(random),
        _ => text(random),
    }
}

/// `cmsgpack`.
pub fn msgpack(random: &mut Random, depth: usize) -> String {
    let one = plain(random, depth.max(1));
    match random.below(6) {
        0..=1 => format!("cmsgpack.pack({one})"),
        2 => format!("cmsgpack.pack({one}, {})", plain(random, 1)),
        3 => format!("{{cmsgpack.unpack(cmsgpack.pack({one}, 7))}}"),
        4 => format!(
            "{{cmsgpack.{}}}",
            random.line(&[
                "unpack_one('\\1\\2\\3')",
                "unpack_limit('\\1\\2\\3', 2)",
                "unpack_one('\\1\\2', 1)",
                "unpack_limit('\\1', 1, 5)",
                "unpack('')",
                "unpack(ARGV[1])",
                "unpack('\\147\\1\\2')",
                "unpack('\\217')",
                "pack()",
                "unpack(1)"
            ])
        ),
        _ => format!(
            "{{cmsgpack.unpack('\\{}\\{}\\{}\\{}\\{}')}}",
            random.below(256),
            random.below(256),
            random.below(256),
            random.below(256),
            random.below(256)
        ),
    }
}

/// `struct`.
pub fn packed(random: &mut Random) -> String {
    const FORMATS: &[&str] = &[
        "'>I2'", "'<I4'", "'b'", "'B'", "'h'", "'H'", "'l'", "'L'", "'i3'", "'>i8'", "'d'", "'f'",
        "'>d'", "'s'", "'c3'", "'c0'", "'Bc0'", "'!4bi4'", "'x'", "'bxb'", "'i99'", "'z'", "''",
        "'I'", "'T'", "'=I2'", "' I1 '", "'c'", "'!i'", "'!64i'",
    ];
    let format = FORMATS[random.below(FORMATS.len())];
    let arg = scalar(random);
    match random.below(4) {
        0 => format!("struct.pack({format}, {arg}, {})", scalar(random)),
        1 => format!(
            "{{struct.unpack({format}, {}, {})}}",
            text(random),
            random.between(-1, 3)
        ),
        2 => format!("struct.size({format})"),
        _ => format!("{{struct.unpack({format}, struct.pack({format}, {arg}))}}"),
    }
}

/// `bit`.
pub fn bits(random: &mut Random) -> String {
    let (one, two) = (number(random), number(random));
    match random.below(10) {
        0 => format!("bit.band({one}, {two})"),
        1 => format!("bit.bor({one}, {two})"),
        2 => format!("bit.bxor({one}, {two}, 255)"),
        3 => format!("bit.bnot({one})"),
        4 => format!("bit.lshift({one}, {})", random.between(-2, 40)),
        5 => format!("bit.rshift({one}, {})", random.between(-2, 40)),
        6 => format!("bit.arshift({one}, {})", random.between(0, 33)),
        7 => format!("bit.tohex({one}, {})", random.between(-9, 9)),
        8 => {
            format!("{{bit.tobit({one}), bit.bswap({two}), bit.rol({one}, 3), bit.ror({one}, 3)}}")
        }
        _ => random
            .line(&[
                "bit.band()",
                "bit.band('x')",
                "bit.tohex()",
                "bit.band({})",
                "bit.tobit('12')",
                "bit.tohex(1, {})",
            ])
            .into(),
    }
}
