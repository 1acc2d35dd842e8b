//! Whether a text could name an image: `[host[:port]/]path[:tag][@digest]`.

/// The longest name, host and path together.
const LONGEST: usize = 255;

/// Whether `text` could name an image. Says nothing about whether there is one.
pub(super) fn is_reference(text: &str) -> bool {
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let path_start = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[path_start..].find(':') {
        Some(colon) => (&name[..path_start + colon], Some(&name[path_start + colon + 1..])),
        None => (name, None),
    };
    // An id is not a name.
    let is_id = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => ("", name),
    };
    !is_id
        && name.len() <= LONGEST
        && (host.is_empty() || is_domain(host))
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

/// The first part is a host and not a folder of the default registry.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let is_address = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

/// Lower-case letters and digits; between them one `.`, one or two `_`, or any number of `-`.
fn is_component(part: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    if !ends.iter().all(|end| end.is_some_and(|&b| is_word(b))) {
        return false;
    }
    let mut separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part) && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        let digest = format!("busybox@sha256:{}", "0".repeat(64));
        for good in [
            "scratch",
            "debian:12",
            "library/debian",
            "a/b/c:v1.2-rc_3",
            "localhost/app",
            "localhost:5000/app:1",
            "registry.example.com/team/app",
            "[::1]:5000/app",
            "[2001:db8::1]/app",
            "a__b/c---d.e",
            "Host/app",
            &digest,
        ] {
            assert!(is_reference(good), "{good}");
        }
        let id = "0".repeat(64);
        for bad in [
            "",
            "debian:",
            "busybox:latest:1",
            "/app",
            "app/",
            "a//b",
            "App",
            "a/B",
            "a___b",
            "a..b",
            "-a",
            "a-",
            "a b",
            "$IMAGE",
            "app:-1",
            "app@",
            "app@sha256:abc",
            "[::1/app",
            "host:port/app",
            &id,
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
        assert!(!is_reference(&format!("app:{}", "a".repeat(129))));
        assert!(!is_reference(&"a".repeat(256)));
    }
}
