//! Which proxy a URL is fetched through: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in either case.

use super::url;

/// Where clouds tell their machines who they are.
const METADATA: &str = "169.254.169.254";

/// The proxy for a URL. This machine itself is never asked through one, and neither is the address at which a cloud
/// gives it keys: that is another one for each machine.
pub(super) fn of(url: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let either = |name: &str| {
        let value = variable(name).or_else(|| variable(&name.to_uppercase()));
        value.filter(|value| !value.trim().is_empty())
    };
    let (host, authority) = (url::host(url)?, url::authority(url)?);
    if url::is_loopback(host)
        || host == METADATA
        || either("no_proxy").is_some_and(|list| is_exempt(host, authority, &list))
    {
        return None;
    }
    let scheme = url.split_once("://")?.0.to_ascii_lowercase();
    either(&format!("{scheme}_proxy")).or_else(|| either("all_proxy"))
}

/// An entry of `no_proxy` is a host with all hosts below it, an address, or `*`; a port narrows it.
fn is_exempt(host: &str, authority: &str, list: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" || entry == authority.to_ascii_lowercase() {
            return true;
        }
        let name = entry.trim_start_matches("*.").trim_start_matches('.');
        host == name || host.strip_suffix(name).is_some_and(|front| front.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_chosen_by_scheme_and_host() {
        let all: &[_] =
            &[("https_proxy", "s"), ("HTTP_PROXY", "h"), ("no_proxy", "example.com, .corp,10.0.0.1,host:81")];
        let few: &[_] = &[("ALL_PROXY", "a"), ("https_proxy", ""), ("NO_PROXY", "*.internal")];
        let table = [
            (all, "https://host/", Some("s")),
            (all, "http://host/", Some("h")),
            (all, "http://host:81/", None),
            (all, "https://example.com/", None),
            (all, "https://www.EXAMPLE.com/", None),
            (all, "https://notexample.com/", Some("s")),
            (all, "https://a.corp:443/", None),
            (all, "http://10.0.0.1/", None),
            (all, "http://127.0.0.1:8000/", None),
            (all, "http://localhost/", None),
            (all, "http://169.254.169.254/latest/api/token", None),
            (few, "https://host/", Some("a")),
            (few, "https://host.internal/", None),
        ];
        for (environment, url, proxy) in table {
            let variable =
                |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(of(url, variable).as_deref(), proxy, "{url}");
        }
    }
}
