//! `--call=METHOD[,format=json][,ignorestatus]`.

use std::str::FromStr;

/// What to find out about a Dockerfile instead of building it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Nothing: build it.
    Build,
    /// What is probably not meant.
    Check,
    /// What a target can be given.
    Outline,
    /// What can be built.
    Targets,
    /// Which methods there are.
    Describe,
}

/// A question about a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallRequest {
    pub(crate) method: Method,
    /// Answer in JSON.
    pub(crate) json: bool,
    /// Succeed whatever a check finds.
    pub(crate) ignore_status: bool,
}

/// The methods by name; `lint` is what buildx calls `check` inside.
const METHODS: [(&str, Method); 6] = [
    ("build", Method::Build),
    ("check", Method::Check),
    ("lint", Method::Check),
    ("outline", Method::Outline),
    ("targets", Method::Targets),
    ("subrequests.describe", Method::Describe),
];

impl CallRequest {
    /// `--check`.
    pub(crate) fn check() -> Self {
        Self { method: Method::Check, json: false, ignore_status: false }
    }

    /// The method's name.
    pub(crate) fn name(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self.method).map_or("build", |(name, _)| name)
    }
}

impl FromStr for CallRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut request = Self { json: false, ignore_status: false, ..Self::check() };
        let mut method = None;
        for field in text.split(',') {
            let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
            match (key, value) {
                ("format", Some("json")) => request.json = true,
                ("format", Some("" | "text")) => request.json = false,
                ("format", Some(other)) => return Err(format!("the format `{other}` is not known; `json` is")),
                ("ignorestatus", None | Some("true" | "1")) => request.ignore_status = true,
                ("ignorestatus", Some("false" | "0")) => request.ignore_status = false,
                ("ignorestatus", Some(other)) => return Err(format!("ignorestatus is `{other}`, not true or false")),
                (name, None) if method.is_none() => {
                    let found = METHODS.iter().find(|(known, _)| *known == name);
                    let unknown = || {
                        format!(
                            "there is no method `{name}`; there are build, check, outline, targets, subrequests.describe"
                        )
                    };
                    method = Some(found.ok_or_else(unknown)?.1);
                }
                _ => return Err(format!("`{field}` is not known; write METHOD[,format=json][,ignorestatus]")),
            }
        }
        request.method = method.ok_or("no method is named: write METHOD[,format=json][,ignorestatus]")?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        for (text, method, json, ignore_status) in [
            ("check", Method::Check, false, false),
            ("lint", Method::Check, false, false),
            ("build", Method::Build, false, false),
            ("outline,format=json", Method::Outline, true, false),
            ("format=json,targets", Method::Targets, true, false),
            ("check,ignorestatus", Method::Check, false, true),
            ("check,ignorestatus=true,format=json", Method::Check, true, true),
            ("check,ignorestatus=false", Method::Check, false, false),
            ("subrequests.describe", Method::Describe, false, false),
        ] {
            assert_eq!(text.parse(), Ok(CallRequest { method, json, ignore_status }), "{text}");
        }
        for wrong in
            ["", "nothing", "check,outline", "check,format=xml", "check,ignorestatus=maybe", "format=json", "check,a=b"]
        {
            assert!(wrong.parse::<CallRequest>().is_err(), "{wrong}");
        }
    }
}
