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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
        other => return Err(wrong(format!("`{other}` is no protocol; `tcp`, `udp` and `sctp` are"))),
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

/// All ports of all ranges as `80/tcp`, each once, sorted as text. Ranges are joined first, so that many overlapping
/// ones cost nothing.
pub(crate) fn list(mut ranges: Vec<Ports>) -> Vec<String> {
    ranges.sort_unstable();
    let mut joined: Vec<Ports> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.protocol == range.protocol && range.first <= last.last => {
                last.last = last.last.max(range.last);
            }
            _ => joined.push(range),
        }
    }
    let ports = joined.iter().flat_map(|range| (range.first..=range.last).map(|port| (port, range.protocol)));
    let mut ports: Vec<String> = ports.map(|(port, protocol)| format!("{port}/{protocol}")).collect();
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
            assert_eq!(list(vec![parse(word).unwrap()]), expected, "{word}");
        }
    }

    #[test]
    fn ranges_are_joined() {
        let ranges = ["443", "80-82", "81-90/udp", "80", "82-83", "443", "0-65535/sctp", "1-65535/sctp"];
        let ports = list(ranges.iter().map(|word| parse(word).unwrap()).collect());
        assert_eq!(ports.len(), 65_536 + 10 + 5);
        let tcp: Vec<&String> = ports.iter().filter(|port| port.ends_with("tcp") && !port.ends_with("sctp")).collect();
        assert_eq!(tcp, ["443/tcp", "80/tcp", "81/tcp", "82/tcp", "83/tcp"]);
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
