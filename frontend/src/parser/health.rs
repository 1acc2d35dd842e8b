//! `HEALTHCHECK` and the durations in it.

use std::time::Duration;

use crate::ast::{CommandLine, HealthOptions, Healthcheck, Spanned, Word};
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::flags::{Known, Takes};
use crate::parser::grammar::{self, Rule};
use crate::parser::instruction::Arguments;
use crate::suggest;

const FLAGS: Known = &[
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

/// Reads a `HEALTHCHECK`.
pub(super) fn healthcheck(mut arguments: Arguments<'_>) -> Result<Healthcheck, ParseError> {
    let mut flags = arguments.flags(FLAGS)?;
    let Some(kind) = arguments.pairs.next().map(|pair| arguments.line.word(&pair)) else {
        return Err(arguments.wrong("requires at least one argument").expected("`NONE` or `CMD command`"));
    };
    match kind.value.to_ascii_uppercase().as_str() {
        "NONE" => {
            if arguments.is_empty() {
                Ok(Healthcheck::None)
            } else {
                Err(arguments.wrong("NONE takes no arguments"))
            }
        }
        "CMD" => {
            let test = match arguments.command()? {
                Some(CommandLine::Exec(words)) if words.is_empty() => None,
                test => test,
            };
            let Some(test) = test else {
                let message = "Missing command after HEALTHCHECK CMD".to_owned();
                return Err(ParseError::new(ParseErrorKind::Arguments(message), kind.span).expected("a command"));
            };
            let options = HealthOptions {
                interval: interval("interval", flags.value("interval"))?,
                timeout: interval("timeout", flags.value("timeout"))?,
                start_period: interval("start-period", flags.value("start-period"))?,
                start_interval: interval("start-interval", flags.value("start-interval"))?,
                retries: flags.value("retries").filter(|word| !word.value.is_empty()).map(retries).transpose()?,
            };
            Ok(Healthcheck::Check { options, test })
        }
        _ => {
            let message = format!("Unknown type {:?} in HEALTHCHECK (try CMD)", kind.value.to_ascii_uppercase());
            Err(ParseError::new(ParseErrorKind::Arguments(message), kind.span)
                .suggest(suggest::nearest(&kind.value, &["CMD", "NONE"])))
        }
    }
}

fn interval(name: &str, word: Option<Word>) -> Result<Option<Spanned<Duration>>, ParseError> {
    let Some(Word { value, span }) = word.filter(|word| !word.value.is_empty()) else { return Ok(None) };
    let invalid = |message: String| ParseError::new(ParseErrorKind::InvalidFlagValue(message), span.clone());
    let Some((negative, duration)) = parse_duration(&value) else {
        return Err(invalid(format!("invalid duration {value:?}")).expected("a duration such as `30s` or `1m30s`"));
    };
    if !duration.is_zero() && (negative || duration < Duration::from_millis(1)) {
        return Err(invalid(format!("Interval {name:?} cannot be less than 1ms")));
    }
    Ok(Some(Spanned::new(duration, span)))
}

fn retries(word: Word) -> Result<Spanned<u32>, ParseError> {
    match word.value.parse::<i32>() {
        Ok(count) if count >= 0 => Ok(Spanned::new(count.unsigned_abs(), word.span)),
        Ok(count) => {
            let message = format!("--retries cannot be negative ({count})");
            Err(ParseError::new(ParseErrorKind::InvalidFlagValue(message), word.span))
        }
        Err(_) => {
            let message = format!("invalid value for --retries: {}", word.value);
            Err(ParseError::new(ParseErrorKind::InvalidFlagValue(message), word.span).expected("a whole number"))
        }
    }
}

/// Go's `time.ParseDuration`: the sign, and how long. `None` when it is no duration or does not fit in 63 bits of
/// nanoseconds.
fn parse_duration(text: &str) -> Option<(bool, Duration)> {
    let mut negative = false;
    let mut nanoseconds: u128 = 0;
    for pair in grammar::parse(Rule::duration, text).ok()? {
        match pair.as_rule() {
            Rule::duration_sign => negative = pair.as_str() == "-",
            Rule::duration_part => {
                let mut parts = pair.into_inner();
                let number = parts.next()?.as_str();
                let unit: u128 = match parts.next()?.as_str() {
                    "ns" => 1,
                    "us" | "µs" | "μs" => 1_000,
                    "ms" => 1_000_000,
                    "s" => 1_000_000_000,
                    "m" => 60_000_000_000,
                    _ => 3_600_000_000_000,
                };
                let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
                let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
                let fraction = fraction.get(..18).unwrap_or(fraction);
                let (mut part, mut divisor) = (0_u128, 1_u128);
                for digit in fraction.bytes() {
                    part = part * 10 + u128::from(digit - b'0');
                    divisor *= 10;
                }
                nanoseconds = nanoseconds.checked_add(whole.checked_mul(unit)?)?.checked_add(part * unit / divisor)?;
            }
            _ => {}
        }
    }
    let nanoseconds = u64::try_from(i64::try_from(nanoseconds).ok()?).ok()?;
    Some((negative, Duration::from_nanos(nanoseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some((false, 0))),
            ("5s", Some((false, 5_000_000_000))),
            ("+5s", Some((false, 5_000_000_000))),
            ("-1.5h", Some((true, 5_400_000_000_000))),
            ("1m30s", Some((false, 90_000_000_000))),
            ("100ms", Some((false, 100_000_000))),
            ("2.000001ms", Some((false, 2_000_001))),
            ("5.s", Some((false, 5_000_000_000))),
            (".5s", Some((false, 500_000_000))),
            ("3µs", Some((false, 3_000))),
            ("3us2ns", Some((false, 3_002))),
            ("0.1234567890123456789s", Some((false, 123_456_789))),
            ("9223372036s", Some((false, 9_223_372_036_000_000_000))),
            ("9223372037s", None),
            ("99999999999999999999999999999999999999999s", None),
            ("", None),
            ("5", None),
            ("5x", None),
            ("s", None),
            (".s", None),
            ("5s ", None),
            ("1,5s", None),
        ] {
            let expected = expected.map(|(negative, nanoseconds)| (negative, Duration::from_nanos(nanoseconds)));
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }
}
