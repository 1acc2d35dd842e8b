//! The ports of `EXPOSE`: `port[-port][/protocol]`, and the `[ip:][hostport:]` in front that Docker has always let pass.

use std::net::IpAddr;

/// A word is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a port: {reason}")]
pub struct PortError {
    /// The word.
    pub word: String,
    /// What is wrong.
    pub reason: String,
}

/// A range of ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    protocol: &'static str,
    first: u16,
    last: u16,
}

/// The ports that one word names.
pub(crate) fn parse(word: &str) -> Result<Ports, PortError> {
    let wrong = |reason: String| PortError { word: word.to_owned(), reason };
    let (front, port) = word.rsplit_once(':').map_or((None, word), |(front, port)| (Some(front), port));
    let (ports, protocol) = port.split_once('/').unwrap_or((port, ""));
    let protocol = match protocol.to_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        other => return Err(wrong(format!("invalid proto: {other} (`tcp`, `udp` and `sctp` are known)"))),
    };
    let (first, last) = range(ports).map_err(wrong)?;
    if let Some(front) = front {
        let (address, host) = front.rsplit_once(':').map_or((None, front), |(ip, host)| (Some(ip), host));
        if let Some(address) = address {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            if bare.parse::<IpAddr>().is_err() && !bare.is_empty() {
                return Err(wrong(format!("`{address}` is no IP address")));
            }
        }
        if !host.is_empty() {
            let (host_first, host_last) = range(host).map_err(wrong)?;
            if last - first != host_last - host_first && first != last {
                return Err(wrong("the two ranges differ in length".to_owned()));
            }
        }
    }
    Ok(Ports { protocol, first, last })
}

/// All ports of all ranges as `80/tcp`, each once, sorted as text, as BuildKit writes them into the history. However often
/// they are named, there are no more than there are numbers.
pub(crate) fn list(ranges: &[Ports]) -> Vec<String> {
    let mut known: Vec<(&str, Vec<bool>)> = Vec::new();
    let mut ports = Vec::new();
    for range in ranges {
        let at = known.iter().position(|(protocol, _)| *protocol == range.protocol).unwrap_or_else(|| {
            known.push((range.protocol, vec![false; 1 << 16]));
            known.len() - 1
        });
        for port in range.first..=range.last {
            if !std::mem::replace(&mut known[at].1[usize::from(port)], true) {
                ports.push(format!("{port}/{}", range.protocol));
            }
        }
    }
    ports.sort_unstable();
    ports
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().ok_or("a port is a number from 0 to 65535")
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err("the range ends before it begins".to_owned());
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let table: [(&str, &[&str]); 10] = [
            ("80", &["80/tcp"]),
            ("80/udp", &["80/udp"]),
            ("80/TCP", &["80/tcp"]),
            ("80/", &["80/tcp"]),
            ("0", &["0/tcp"]),
            ("65535/sctp", &["65535/sctp"]),
            ("80-82", &["80/tcp", "81/tcp", "82/tcp"]),
            ("8080:80", &["80/tcp"]),
            ("127.0.0.1:8080:80/udp", &["80/udp"]),
            ("[::1]:8000-9000:80", &["80/tcp"]),
        ];
        for (word, expected) in table {
            assert_eq!(list(&[parse(word).unwrap()]), expected, "{word}");
        }
    }

    #[test]
    fn ports_are_sorted_and_come_once() {
        let named = |words: &[&str]| list(&words.iter().map(|word| parse(word).unwrap()).collect::<Vec<_>>());
        let ports = named(&["443", "80-82", "53/udp", "80", "81-83", "443/udp", "443"]);
        assert_eq!(ports, ["443/tcp", "443/udp", "53/udp", "80/tcp", "81/tcp", "82/tcp", "83/tcp"]);
        assert_eq!(named(&["2375", "5000", "1234/udp"]), ["1234/udp", "2375/tcp", "5000/tcp"]);
        assert_eq!(named(&["1-65535/sctp"; 100]).len(), 65_535);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        let words = [
            "",
            "a",
            "80/x",
            "65536",
            "-1",
            "+80",
            "82-80",
            "80-81-82",
            "/tcp",
            "80-",
            "x:80",
            "1.2.3:1:80",
            "1-3:5-6",
        ];
        for word in words {
            assert!(parse(word).is_err(), "{word}");
        }
    }
}
