//! Image configs, as far as we must understand them. Whatever else is in one is kept as it is.

use builder_cache::DiffId;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::platform::Platform;

/// The largest config that is accepted.
pub(crate) const CONFIG_LIMIT: u64 = 8 << 20;

/// What we read in a config.
#[derive(Debug, Deserialize)]
pub(crate) struct ConfigView {
    #[serde(flatten)]
    pub(crate) platform: Platform,
    #[serde(default)]
    created: Option<String>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<DiffId>>,
}

impl ConfigView {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(crate) fn diff_ids(&self) -> &[DiffId] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    /// When the image was made, to the second as annotations have it.
    pub(crate) fn created_text(&self) -> Option<String> {
        let time = self.created.as_deref()?.parse::<jiff::Timestamp>().ok()?;
        jiff::Timestamp::from_second(time.as_second()).ok().map(|time| time.to_string())
    }

    /// When the image was made, in milliseconds since the epoch; 0 when it does not tell.
    pub(crate) fn created_ms(&self) -> i64 {
        created_ms(self.created.as_deref())
    }
}

pub(crate) fn created_ms(created: Option<&str>) -> i64 {
    created.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_millisecond)
}

/// The bytes of a config whose layers are these. The order of its fields stays; `rootfs` comes last if it is new.
pub(crate) fn with_layers(config: &Map<String, Value>, diff_ids: &[DiffId]) -> Vec<u8> {
    let mut config = config.clone();
    let ids: Vec<Value> = diff_ids.iter().map(|id| Value::String(id.to_string())).collect();
    let rootfs = [("type".to_owned(), "layers".into()), ("diff_ids".to_owned(), Value::Array(ids))];
    config.insert("rootfs".to_owned(), Value::Object(rootfs.into_iter().collect()));
    Value::Object(config).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_keeps_its_fields_and_their_order() {
        let config = serde_json::from_str(
            r#"{"os":"linux","x":{"b":1,"a":2},"rootfs":{"type":"layers"},"architecture":"amd64"}"#,
        );
        let id = DiffId::of(b"");
        let bytes = with_layers(&config.unwrap(), &[id]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let rootfs = format!(r#""rootfs":{{"type":"layers","diff_ids":["{id}"]}}"#);
        assert_eq!(text, format!(r#"{{"os":"linux","x":{{"b":1,"a":2}},{rootfs},"architecture":"amd64"}}"#));
        let view = ConfigView::parse(&bytes).unwrap();
        assert_eq!(view.diff_ids(), [id]);
        assert_eq!(view.created_ms(), 0);
        assert_eq!(view.platform.to_string(), "linux/amd64");
    }

    #[test]
    fn times_are_read() {
        assert_eq!(created_ms(Some("1970-01-01T00:00:01.5Z")), 1500);
        assert_eq!(created_ms(Some("2024-02-03T04:05:06.123456789+01:00")), 1_706_929_506_123);
        assert_eq!(created_ms(Some("yesterday")), 0);
    }
}
