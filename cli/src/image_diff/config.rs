//! The configs of two images, setting by setting.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A setting that is not the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    /// `Cmd`, `Env.PATH`, `Labels.maintainer`.
    pub(crate) name: String,
    /// What it was, if it was set.
    pub(crate) before: Option<Value>,
    /// What it is, if it is set.
    pub(crate) after: Option<Value>,
}

/// What differs, sorted by name. Layers and history are no settings; the time of creation is one.
pub(crate) fn settings(before: &Value, after: &Value) -> Vec<Setting> {
    let (mut before, after) = (flat(before), flat(after));
    let mut settings = Vec::new();
    for (name, after) in after {
        let before = before.remove(&name);
        if before.as_ref() != Some(&after) {
            settings.push(Setting { name, before, after: Some(after) });
        }
    }
    settings.extend(before.into_iter().map(|(name, before)| Setting { name, before: Some(before), after: None }));
    settings.sort_by(|one, other| one.name.cmp(&other.name));
    settings
}

/// Each setting under its name; variables and maps one by one. What is empty is not set.
fn flat(config: &Value) -> BTreeMap<String, Value> {
    let mut settings = BTreeMap::new();
    for (key, name) in [
        ("architecture", "Architecture"),
        ("os", "Os"),
        ("variant", "Variant"),
        ("author", "Author"),
        ("created", "Created"),
    ] {
        settings.insert(name.to_owned(), config[key].clone());
    }
    for (key, value) in config["config"].as_object().unwrap_or(&Map::new()) {
        match (key.as_str(), value) {
            ("Env", Value::Array(variables)) => {
                for variable in variables.iter().filter_map(Value::as_str) {
                    let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                    settings.insert(format!("Env.{name}"), Value::from(format!("{name}={value}")));
                }
            }
            (_, Value::Object(map)) if key != "Healthcheck" => {
                for (name, value) in map {
                    // `ExposedPorts` and `Volumes` are sets.
                    let is_member = value.as_object().is_some_and(Map::is_empty);
                    let value = if is_member { Value::from(name.as_str()) } else { value.clone() };
                    settings.insert(format!("{key}.{name}"), value);
                }
            }
            _ => drop(settings.insert(key.clone(), value.clone())),
        }
    }
    settings.retain(|name, value| name.starts_with("Labels.") || is_set(value));
    settings
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_compared_one_by_one() {
        let before = json!({
            "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/bin", "A=1", "GONE="], "Cmd": ["sh"], "Labels": { "a": "1", "b": "2" }, "User": "",
                "ExposedPorts": { "80/tcp": {} }, "Healthcheck": { "Test": ["NONE"] },
            },
        });
        let after = json!({
            "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/bin", "A=2", "NEW=x=y"], "Cmd": ["sh", "-c"], "Labels": { "a": "1", "c": "" },
                "ExposedPorts": { "80/tcp": {}, "443/tcp": {} }, "Healthcheck": { "Test": ["NONE"] },
            },
        });
        let found: Vec<String> = settings(&before, &after)
            .into_iter()
            .map(|setting| {
                let text = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
                format!("{} {} {}", setting.name, text(setting.before), text(setting.after))
            })
            .collect();
        assert_eq!(
            found,
            [
                r#"Cmd ["sh"] ["sh","-c"]"#,
                r#"Env.A "A=1" "A=2""#,
                r#"Env.GONE "GONE=" -"#,
                r#"Env.NEW - "NEW=x=y""#,
                r#"ExposedPorts.443/tcp - "443/tcp""#,
                r#"Labels.b "2" -"#,
                r#"Labels.c - """#,
            ]
        );
        assert_eq!(settings(&before, &before), []);
    }
}
