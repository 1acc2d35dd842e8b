use serde_json::json;

use super::Bake;

/// The argument `x` of the target, with these variables outside.
#[track_caller]
fn x(text: &str, environment: &[(&str, &str)]) -> Result<serde_json::Value, String> {
    let mut bake = Bake::hcl(text);
    for (name, value) in environment {
        bake = bake.env(name, value);
    }
    bake.run().map(|value| value["target"]["default"]["args"]["x"].clone()).map_err(|error| error.message)
}

const TARGET: &str = "\ntarget \"default\" { args = { x = X } }\n";

#[test]
fn the_environment_wins_over_the_default() {
    let table: [(&str, &[(&str, &str)], serde_json::Value); 12] = [
        (r#"variable "X" { default = "a" }"#, &[], json!("a")),
        (r#"variable "X" { default = "a" }"#, &[("X", "b")], json!("b")),
        (r#"variable "X" { default = "a" }"#, &[("X", "")], json!("")),
        (r#"variable "X" {}"#, &[], json!("")),
        (r#"variable "X" {}"#, &[("X", "b")], json!("b")),
        (r#"variable "X" { default = null }"#, &[], json!(null)),
        (r#"variable "X" { default = null }"#, &[("X", "b")], json!("b")),
        (r#"variable "X" { default = 3 }"#, &[("X", "5.1")], json!("5.1")),
        (r#"variable "X" { default = true }"#, &[("X", "0")], json!("false")),
        (r#"X = "attribute""#, &[("X", "b")], json!("attribute")),
        ("variable \"X\" { default = \"a\" }\nX = \"b\"", &[], json!("b")),
        (
            r#"variable "X" { default = upper("${Y}-x") }
            variable "Y" { default = "y" }"#,
            &[("Y", "z")],
            json!("Z-X"),
        ),
    ];
    for (text, environment, expected) in table {
        assert_eq!(x(&format!("{text}{TARGET}"), environment).unwrap(), expected, "{text} {environment:?}");
    }
}

#[test]
fn types_are_kept() {
    let encoded = "\ntarget \"default\" { args = { x = jsonencode(X) } }\n";
    let table: [(&str, &[(&str, &str)], serde_json::Value); 16] = [
        ("type = string\n default = 5", &[], json!("\"5\"")),
        ("type = number", &[], json!("null")),
        ("type = number", &[("X", "7")], json!("7")),
        ("type = bool", &[("X", "t")], json!("true")),
        ("type = any\n default = null", &[("X", "7")], json!("\"7\"")),
        ("type = list(string)\n default = [\"a\"]", &[], json!("[\"a\"]")),
        ("type = list(string)", &[("X", "a,\"b,c\"")], json!("[\"a\",\"b,c\"]")),
        ("type = list(number)", &[("X", "1,2")], json!("[1,2]")),
        ("type = set(string)", &[("X", "b,a,b")], json!("[\"a\",\"b\"]")),
        ("type = tuple([string, number])", &[("X", "a,2")], json!("[\"a\",2]")),
        ("type = map(number)", &[("X", "a:1,b:2")], json!("{\"a\":1,\"b\":2}")),
        ("type = object({a = string})", &[("X_JSON", "{\"a\": 1}")], json!("{\"a\":\"1\"}")),
        ("type = list(number)", &[("X", "1"), ("X_JSON", "[3, 4]")], json!("[3,4]")),
        ("type = list(object({a = number}))", &[("X_JSON", "[{\"a\": \"1\"}]")], json!("[{\"a\":1}]")),
        ("type = string", &[("X_JSON", "\"q\"")], json!("\"q\"")),
        ("default = \"a\"", &[("X_JSON", "\"q\"")], json!("\"a\"")),
    ];
    for (body, environment, expected) in table {
        let text = format!("variable \"X\" {{\n{body}\n}}{encoded}");
        assert_eq!(x(&text, environment).unwrap(), expected, "{body} {environment:?}");
    }
}

#[test]
fn a_variable_of_that_name_is_no_json() {
    let text = "variable \"X\" { type = list(number) }\nvariable \"X_JSON\" { type = list(number) }";
    let error = x(&format!("{text}{TARGET}"), &[("X", "[1,2]"), ("X_JSON", "[3,4]")]).unwrap_err();
    assert!(error.contains("failed to convert") && error.contains("from CSV"), "{error}");
}

#[test]
fn wrong_values_are_named() {
    let table: [(&str, &[(&str, &str)], &str); 12] = [
        ("default = 1", &[("X", "NaN")], "failed to parse X as number"),
        ("default = true", &[("X", "maybe")], "failed to parse X as bool"),
        ("default = [1]", &[("X", "2")], "unsupported type list for variable X"),
        ("type = number\n default = \"a\"", &[], "invalid type for the X default value: a number is needed here"),
        ("type = list(number)", &[("X", "a")], "failed to convert X to list(number) from CSV"),
        ("type = list(number)", &[("X_JSON", "{")], "failed to convert X_JSON to list(number) from JSON"),
        ("type = object({a = string})", &[("X", "b:1")], "unsupported type object({a = string})"),
        ("type = list(list(number))", &[("X", "1")], "unsupported type list(list(number))"),
        ("type = map(number)", &[("X", "a:1:1")], "expected one k/v pair"),
        ("type = object({a = string})\n default = {b = 1}", &[], "the member `a`"),
        ("type = lst(string)", &[], "this is not a valid type"),
        ("defualt = 1", &[], "a variable has no attribute `defualt`"),
    ];
    for (body, environment, expected) in table {
        let error = x(&format!("variable \"X\" {{\n{body}\n}}{TARGET}"), environment).unwrap_err();
        assert!(error.contains(expected), "{body}: {error}");
    }
}

#[test]
fn validations_hold() {
    let text = r#"
variable "X" {
  default = ""
  validation {
    condition = X != ""
    error_message = "X is required."
  }
  validation {
    condition = strlen(X) > 4 || OTHER
    error_message = "${X} must be longer than 4 characters."
  }
}
variable "OTHER" { default = false }
"#;
    let text = format!("{text}{TARGET}");
    assert_eq!(x(&text, &[]).unwrap_err(), "X is required.");
    assert_eq!(x(&text, &[("X", "bar")]).unwrap_err(), "bar must be longer than 4 characters.");
    assert_eq!(x(&text, &[("X", "bar"), ("OTHER", "1")]).unwrap(), json!("bar"));
    assert_eq!(x(&text, &[("X", "barbar")]).unwrap(), json!("barbar"));
}

#[test]
fn built_in_variables() {
    let value = x("target \"default\" { args = { x = \"${BAKE_CMD_CONTEXT} ${BAKE_LOCAL_PLATFORM}\" } }", &[]).unwrap();
    assert!(value.as_str().unwrap().starts_with("cwd:// linux/"), "{value}");
}

#[test]
fn circles_are_found() {
    for (text, expected) in [
        ("variable \"X\" { default = Y }\nvariable \"Y\" { default = X }", "variable cycle not allowed"),
        ("X = X", "variable cycle not allowed: X → X"),
        (
            "X = f(1)\nfunction \"f\" { \n params = [a]\n result = g(a)\n}\nfunction \"g\" {\n params = [a]\n result = f(a)\n}",
            "function cycle not allowed",
        ),
        (
            "X = target.a.context\ntarget \"a\" {\n context = target.a.dockerfile\n dockerfile = target.a.context\n}",
            "reference cycle not allowed",
        ),
    ] {
        let error = x(&format!("{text}{TARGET}"), &[]).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let chain: String = (0..2000).map(|n| format!("V{n} = V{}\n", n + 1)).collect();
    let error = x(&format!("{chain}V2000 = 1\nX = V0{TARGET}"), &[]).unwrap_err();
    assert!(error.contains("more than 200 steps"), "{error}");
}
