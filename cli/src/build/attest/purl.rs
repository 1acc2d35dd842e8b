//! Package URLs of images.

use builder_frontend::platform::Platform;
use builder_image::Reference;
use builder_image::sbom::escaped;

/// An image as `pkg:docker/…` or `pkg:oci/…`, as BuildKit names them. Nothing for what is no name.
pub(super) fn image(kind: &str, name: &str, platform: &Platform) -> Option<String> {
    let reference: Reference = name.parse().ok()?;
    let path: Vec<String> = reference.familiar_name().split('/').map(escaped).collect();
    let mut text = format!("pkg:{kind}/{}", path.join("/"));
    if let Some(tag) = reference.tag() {
        text.push('@');
        text.push_str(&escaped(tag.as_str()));
    }
    let digest = reference.digest().map(|digest| format!("digest={}&", escaped(&digest.to_string())));
    Some(format!("{text}?{}platform={}", digest.unwrap_or_default(), escaped(&platform.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_urls() {
        let platform: Platform = "linux/arm64".parse().expect("a platform");
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("debian:12", "pkg:docker/debian@12?platform=linux%2Farm64".to_owned()),
            ("docker.io/library/app", "pkg:docker/app@latest?platform=linux%2Farm64".to_owned()),
            ("host:5000/a/b:c", "pkg:docker/host:5000/a/b@c?platform=linux%2Farm64".to_owned()),
            (&format!("a@{digest}"), format!("pkg:docker/a?digest={digest}&platform=linux%2Farm64")),
        ] {
            assert_eq!(image("docker", name, &platform), Some(expected), "{name}");
        }
        assert_eq!(image("docker", "not a name", &platform), None);
    }
}
