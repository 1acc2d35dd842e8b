//! Points in time, in RFC 3339.

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::{Function, exactly};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("formatdate", 2, |a| written(&a[0].to_text()?, &Moment::parse(&a[1].to_text()?)?).map(Value::String)),
    exactly("timeadd", 2, |a| {
        let (moment, text) = (Moment::parse(&a[0].to_text()?)?, a[1].to_text()?);
        let span = duration(&text).ok_or_else(|| {
            BakeError::new(format!("{text:?} is not a duration")).help("write it like \"1h30m\" or \"-10s\"")
        })?;
        let later = moment.time.checked_add(span).map_err(|_| BakeError::new("there is no such time"))?;
        written("YYYY-MM-DD'T'hh:mm:ssZ", &Moment { time: later, ..moment }).map(Value::String)
    }),
    exactly("timestamp", 0, |_| {
        let now = Offset::UTC.to_datetime(Timestamp::now());
        written("YYYY-MM-DD'T'hh:mm:ssZ", &Moment { time: now, offset: Offset::UTC }).map(Value::String)
    }),
];

/// The time of a place, and how far that is from UTC.
#[derive(Debug, Clone, Copy)]
struct Moment {
    time: DateTime,
    offset: Offset,
}

impl Moment {
    fn parse(text: &str) -> BakeResult<Self> {
        let wrong = || {
            BakeError::new(format!("{text:?} is not a time")).help("write it like \"2030-01-31T23:59:59Z\" (RFC 3339)")
        };
        let pieces = Pieces::parse(text).map_err(|_| wrong())?;
        let (Some(time), Some(offset)) = (pieces.time(), pieces.to_numeric_offset()) else { return Err(wrong()) };
        Ok(Self { time: pieces.date().to_datetime(time), offset })
    }
}

/// A duration as Go writes it: `1h15m30.5s`, with a sign if it is negative.
fn duration(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { -1.0 } else { 1.0 }, rest),
        None => (1.0, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ms", 1e-3), ("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        seconds += number * factor;
    }
    if text.is_empty() { None } else { SignedDuration::try_from_secs_f64(sign * seconds).ok() }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The time by a pattern: runs of one letter stand for a part of it, text in `'` for itself.
fn written(pattern: &str, moment: &Moment) -> BakeResult<String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (literal, length) = quoted(rest).ok_or_else(|| BakeError::new("a `'` of the pattern has no end"))?;
            text.push_str(&literal);
            rest = &rest[length..];
        } else if first.is_ascii_alphabetic() {
            let length = rest.len() - rest.trim_start_matches(first).len();
            let (run, after) = rest.split_at(length);
            let part = part(run, moment);
            text.push_str(&part.ok_or_else(|| {
                BakeError::new(format!("`{run}` means nothing in a date pattern")).help("put text between two `'`")
            })?);
            rest = after;
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(text)
}

/// Text between two `'`, in which `''` is one `'`, and how long that is in the pattern.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut literal = String::new();
    let mut at = 1;
    loop {
        let end = at + text[at..].find('\'')?;
        literal.push_str(&text[at..end]);
        at = end + 1;
        if !text[at..].starts_with('\'') {
            return Some((literal, at));
        }
        literal.push('\'');
        at += 1;
    }
}

fn part(run: &str, moment: &Moment) -> Option<String> {
    let time = moment.time;
    let month = MONTHS[time.month() as usize - 1];
    let day = DAYS[time.weekday().to_monday_zero_offset() as usize];
    let half = (time.hour() + 11) % 12 + 1;
    Some(match run {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year() % 100),
        "MMMM" => month.to_owned(),
        "MMM" => month[..3].to_owned(),
        "MM" => format!("{:02}", time.month()),
        "M" => time.month().to_string(),
        "DD" => format!("{:02}", time.day()),
        "D" => time.day().to_string(),
        "EEEE" => day.to_owned(),
        "EEE" => day[..3].to_owned(),
        "hh" => format!("{:02}", time.hour()),
        "h" => time.hour().to_string(),
        "HH" => format!("{half:02}"),
        "H" => half.to_string(),
        "AA" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "aa" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "ZZZ" if moment.offset == Offset::UTC => "UTC".to_owned(),
        "Z" if moment.offset == Offset::UTC => "Z".to_owned(),
        "ZZZZZ" | "Z" => zone(moment.offset, ":"),
        "ZZZZ" | "ZZZ" => zone(moment.offset, ""),
        _ => return None,
    })
}

fn zone(offset: Offset, separator: &str) -> String {
    let seconds = offset.seconds();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}
