//! The options of `type=s3` and `type=gha`.

use builder_image::registry::Secret;
use builder_image::remote_cache::{GhaPlace, S3Access, S3Place};
use builder_solver::address::{redact, redact_text};

use super::spec::Options;

/// The name of a cache in a bucket when none is said.
const NAME: &str = "builder";
/// The scope of a cache of GitHub Actions when none is said.
const SCOPE: &str = "builder";

/// What `type=s3` takes.
pub(super) const S3: [&str; 12] = [
    "bucket",
    "region",
    "name",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "endpoint_url",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "upload_parallelism",
];

/// What `type=gha` takes.
pub(super) const GHA: [&str; 4] = ["scope", "url", "url_v2", "token"];

/// Keys whose values nobody may read.
const SECRET: [&str; 2] = ["secret_access_key=", "token="];

/// A text of the command line as it may be shown: without access keys.
pub(super) fn concealed(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    // The names are read in any case, and so they are found.
    let begin = |rest: &str| {
        let lower = rest.to_ascii_lowercase();
        SECRET.iter().filter_map(|key| lower.find(key).map(|at| at + key.len())).min()
    };
    while let Some((before, after)) = begin(rest).and_then(|at| rest.split_at_checked(at)) {
        shown.push_str(before);
        let end = after.find([',', '"', '\n']).unwrap_or(after.len());
        if end > 0 {
            shown.push_str("***");
        }
        rest = &after[end..];
    }
    redact_text(&(shown + rest))
}

/// A cache in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct S3Cache {
    pub(super) place: S3Place,
    pub(super) name: String,
    pub(super) access: S3Access,
    pub(super) parallel: Option<usize>,
}

/// A cache of GitHub Actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GhaCache {
    pub(super) place: GhaPlace,
    pub(super) scope: String,
}

pub(super) fn s3(options: &mut Options) -> Result<S3Cache, String> {
    let bucket = options.take("bucket").or_else(|| variable("AWS_BUCKET")).ok_or("type=s3 needs bucket=")?;
    let mut place = S3Place::new(bucket);
    place.region = options.take("region");
    place.endpoint = options.take("endpoint_url");
    if let Some(url) = place.endpoint.as_ref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://"))
    {
        return Err(format!("endpoint_url takes a URL that begins with http:// or https://, not `{url}`"));
    }
    // The place is remembered with the layers, and shown.
    if place.endpoint.as_ref().is_some_and(|url| redact(url) != *url) {
        return Err("endpoint_url takes no password: give access_key_id= and secret_access_key=".to_owned());
    }
    place.path_style = options.truth("use_path_style")?.unwrap_or(false);
    for (key, part) in [
        ("prefix", &mut place.prefix),
        ("blobs_prefix", &mut place.blobs_prefix),
        ("manifests_prefix", &mut place.manifests_prefix),
    ] {
        if let Some(text) = options.take(key) {
            *part = text;
        }
    }
    let access = S3Access {
        key_id: options.take("access_key_id"),
        key: options.take("secret_access_key").map(Secret::new),
        token: options.take("session_token").map(Secret::new),
    };
    if access.key_id.is_some() != access.key.is_some() {
        return Err("access_key_id and secret_access_key belong together".to_owned());
    }
    let parallel = options.take("upload_parallelism").map(|text| match text.parse() {
        Ok(number @ 1..=64) => Ok(number),
        _ => Err(format!("upload_parallelism takes 1 to 64, not `{text}`")),
    });
    let name = options.take("name").unwrap_or_else(|| NAME.to_owned());
    Ok(S3Cache { place, name, access, parallel: parallel.transpose()? })
}

pub(super) fn gha(options: &mut Options) -> Result<GhaCache, String> {
    let given = [
        ("ACTIONS_RUNTIME_TOKEN", options.take("token")),
        ("ACTIONS_CACHE_URL", options.take("url")),
        ("ACTIONS_RESULTS_URL", options.take("url_v2")),
    ];
    // An address that is given says the version; the environment's says it only where none is given.
    let says_address = given.iter().skip(1).any(|(_, value)| value.is_some());
    let place = GhaPlace::from_environment(|name| {
        let known = given.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.clone());
        match name {
            "ACTIONS_RUNTIME_TOKEN" => known.or_else(|| variable(name)),
            _ if says_address => known,
            _ => variable(name),
        }
    })?;
    Ok(GhaCache { place, scope: options.take("scope").unwrap_or_else(|| SCOPE.to_owned()) })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::build::shared::spec::{Place, cache_from, cache_to};

    #[test]
    fn keys_are_not_shown() {
        for (text, shown) in [
            ("type=s3,bucket=b", "type=s3,bucket=b"),
            ("type=s3,Secret_Access_Key=a/b=,name=n", "type=s3,Secret_Access_Key=***,name=n"),
            ("type=s3,session_token=é,\"secret_access_key=b\"", "type=s3,session_token=***,\"secret_access_key=***\""),
            ("type=s3,endpoint_url=http://u:p@h", "type=s3,endpoint_url=http://u:xxxxx@h"),
            ("type=gha,token=,token=t", "type=gha,token=,token=***"),
        ] {
            assert_eq!(super::concealed(text), shown);
        }
    }

    #[test]
    fn buckets_are_read() {
        let text = "type=s3,bucket=b,region=eu-1,name=app,prefix=p/,endpoint_url=http://127.0.0.1:1,use_path_style=true,\
                    access_key_id=id,secret_access_key=hidden";
        let places = cache_from(text).expect("it is complete");
        let [Place::S3(cache)] = places.as_slice() else { panic!("{places:?}") };
        assert_eq!((cache.name.as_str(), cache.place.prefix.as_str(), cache.place.path_style), ("app", "p/", true));
        assert!(!format!("{places:?} {}", places[0]).contains("hidden"));
        for (text, says) in [
            ("type=s3,bucket=b,endpoint_url=host", "begins with http"),
            ("type=s3,bucket=b,endpoint_url=https://id:key@host", "takes no password"),
            ("type=s3,bucket=b,access_key_id=id", "belong together"),
            ("type=s3,bucket=b,touch_refresh=24h", "takes no `touch_refresh`"),
            ("type=s3,bucket=b,use_path_style=maybe", "true or false"),
        ] {
            let error = cache_from(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = cache_to("type=s3,bucket=b,upload_parallelism=0").expect_err("none is too few");
        assert!(error.contains("1 to 64"), "{error}");
    }

    #[test]
    fn jobs_are_read() {
        let places = cache_from("type=gha,scope=main,url_v2=http://127.0.0.1:1/,token=hidden").expect("it is complete");
        let [Place::Gha(cache)] = places.as_slice() else { panic!("{places:?}") };
        assert!(cache.place.v2 && cache.scope == "main");
        assert!(!format!("{places:?} {}", places[0]).contains("hidden"));
    }
}
