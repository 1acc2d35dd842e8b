//! The output of a step on its way to the log. Secrets that the step has as variables are masked: tools like to print
//! their environment.

use builder_solver::{LogStream, VertexLog};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::op::OpError;
use crate::secret::Secret;

/// How much output is passed on at once, at first and when there is much.
const FIRST_CHUNK: usize = 1024;
const LOG_CHUNK: usize = 32 * 1024;

/// Shorter values are no secrets, and would be masked everywhere.
const MIN_HIDDEN: usize = 4;

/// What is shown instead.
const MASK: &[u8] = b"****";

/// Passes on what comes until the other end is closed.
pub(super) async fn pass_on(
    pipe: Option<pipe::Receiver>,
    stream: LogStream,
    log: &VertexLog,
    mut mask: Option<Mask>,
) -> Result<(), OpError> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = Vec::with_capacity(FIRST_CHUNK);
    loop {
        buffer.clear();
        let length = pipe.read_buf(&mut buffer).await.map_err(OpError::Output)?;
        let data = match &mut mask {
            None => buffer.clone(),
            Some(mask) if length == 0 => mask.rest(),
            Some(mask) => mask.replace(&buffer),
        };
        if !data.is_empty() {
            log.write(stream, data).await;
        }
        if length == 0 {
            return Ok(());
        }
        if length == buffer.capacity() {
            buffer.reserve(LOG_CHUNK);
        }
    }
}

/// Replaces values in a stream of bytes, however it is cut into pieces.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    values: Vec<Secret>,
    /// What may be the beginning of a value.
    held: Vec<u8>,
}

impl Mask {
    /// For these values, and for the longer lines of those that have several; nothing when there is none to hide.
    pub(super) fn new(secrets: &[Secret]) -> Option<Self> {
        let mut values = Vec::new();
        for secret in secrets {
            let whole = secret.bytes().trim_ascii_end();
            values.push(whole);
            values.extend(whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end));
        }
        values.retain(|value| value.len() >= MIN_HIDDEN);
        // A longer one hides more.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        let values: Vec<Secret> = values.into_iter().map(|value| Secret::new(value.to_vec())).collect();
        (!values.is_empty()).then(|| Self { values, held: Vec::new() })
    }

    /// As much of what came so far as is sure to be no part of a value.
    fn replace(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        self.take(false)
    }

    /// What is left at the end.
    fn rest(&mut self) -> Vec<u8> {
        self.take(true)
    }

    fn take(&mut self, is_end: bool) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(input.len());
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let rest = &input[at..];
            let candidates = || self.values.iter().map(Secret::bytes).filter(|value| value.first() == Some(&byte));
            // A longer value that may still come keeps a shorter one, which is there, waiting.
            if !is_end && candidates().any(|value| rest.len() < value.len() && value.starts_with(rest)) {
                break;
            }
            if let Some(value) = candidates().find(|value| rest.starts_with(value)) {
                out.extend_from_slice(MASK);
                at += value.len();
            } else {
                out.push(byte);
                at += 1;
            }
        }
        self.held = input.split_off(at);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[&str], pieces: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(text.as_bytes().to_vec())).collect();
        let Some(mut mask) = Mask::new(&secrets) else { return pieces.concat() };
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| mask.replace(piece.as_bytes())).collect();
        out.extend(mask.rest());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_masked_wherever_the_output_is_cut() {
        for (secrets, pieces, expected) in [
            (&["canary"][..], &["a canary sings"][..], "a **** sings"),
            (&["canary\n"], &["can", "ary"], "****"),
            (&["canary"], &["cana", "da canary"], "canada ****"),
            (&["canary"], &["cancanary"], "can****"),
            (&["canary"], &["canar"], "canar"),
            (&["canary", "canary bird"], &["canary", " bird, canary b"], "****, **** b"),
            (&["one-line\nshort\nx"], &["one-line|short|x"], "****|****|x"),
            (&["pw", ""], &["pw"], "pw"),
        ] {
            assert_eq!(masked(secrets, pieces), expected, "{secrets:?} {pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(text in "[abc]{0,60}", cut in 0_usize..60, secret in "[abc]{4,6}", other in "[abc]{4,8}") {
            let cut = cut.min(text.len());
            let secrets = [secret.as_str(), other.as_str()];
            let whole = masked(&secrets, &[&text]);
            prop_assert_eq!(&masked(&secrets, &[&text[..cut], &text[cut..]]), &whole);
            prop_assert!(!whole.contains(&secret));
        }
    }
}
