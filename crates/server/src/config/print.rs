//! `--print-config`: the configuration in effect as a file that `--config` reads back to the same.

use std::fmt::Write;

use node::settings::OutputBufferLimits;

use super::options::{OPTIONS, Opt, Shape};
use super::{Config, MaxmemorySource};

/// Columns of a comment.
const COMMENT_WIDTH: usize = 100;

pub(super) fn config_text(config: &Config) -> String {
    let mut text = String::from(
        "# The configuration of a Torc node, as it is in effect; use it with: torc --config FILE\n",
    );
    let mut group = None;
    for option in OPTIONS {
        if group != Some(option.group) {
            group = Some(option.group);
            put(&mut text, format_args!("\n# {}\n", option.group.heading()));
        }
        put(&mut text, format_args!("\n{}", comment(option, config)));
        let value = toml_value(option, &value_text(option, config));
        put(&mut text, format_args!("{} = {value}\n", option.name));
    }
    text
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes any text");
}

/// What the option is, in lines of a readable width.
fn comment(option: &Opt, config: &Config) -> String {
    let mut words = format!("{}.", option.help);
    if option.name == "maxmemory" && config.maxmemory_source == MaxmemorySource::Automatic {
        let now = config.settings.maxmemory_bytes;
        put(&mut words, format_args!(" That is {now} bytes here."));
    }
    if !option.default.is_empty() {
        put(&mut words, format_args!(" Default: {}", option.default));
    }
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in words.split(' ') {
        if line.len() + 1 + word.len() > COMMENT_WIDTH {
            put(&mut lines, format_args!("{line}\n"));
            line = String::from("#");
        }
        put(&mut line, format_args!(" {word}"));
    }
    put(&mut lines, format_args!("{line}\n"));
    lines
}

/// The value as somebody would write it.
fn value_text(option: &Opt, config: &Config) -> String {
    let settings = &config.settings;
    let value = settings
        .get(option.name)
        .expect("every option is a setting");
    match (option.name, option.shape) {
        ("maxmemory", _) if config.maxmemory_source == MaxmemorySource::Automatic => "0".into(),
        ("client-output-buffer-limit", _) => limits_text(&settings.client_output_buffer_limit),
        (_, Shape::Memory) => match value.parse() {
            Ok(bytes) => memory_text(bytes),
            Err(_) => value,
        },
        (_, Shape::Word(_) | Shape::Words(_) | Shape::YesNo | Shape::Secret) => value,
    }
}

/// A number stands bare, everything else quoted. What only looks like a number (`007`) is text.
fn toml_value(option: &Opt, value: &str) -> String {
    let is_number = value.parse::<i64>().is_ok_and(|n| n.to_string() == value);
    match option.shape {
        Shape::Word(_) | Shape::Memory if is_number => value.into(),
        _ => toml::Value::String(value.into()).to_string(),
    }
}

fn limits_text(limits: &OutputBufferLimits) -> String {
    let classes = [
        ("normal", limits.normal),
        ("replica", limits.replica),
        ("pubsub", limits.pubsub),
    ];
    let classes = classes.map(|(class, limit)| {
        let (hard, soft) = (memory_text(limit.hard_bytes), memory_text(limit.soft_bytes));
        format!("{class} {hard} {soft} {}", limit.soft_seconds)
    });
    classes.join(" ")
}

/// An amount in the largest of Redis's units that gives a whole number: 536870912 is `512mb`.
pub(crate) fn memory_text(bytes: u64) -> String {
    let units = [("gb", 1u64 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];
    for (unit, size) in units {
        if bytes != 0 && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}
