use super::{check, check_errors};

#[test]
fn literals_and_operators() {
    check(&[
        ("null", "null"),
        ("[1, \"a\", true, null, 1.5, {a = 1, \"b\" : 2}]", r#"[1,"a",true,null,1.5,{"a":1,"b":2}]"#),
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("(1 + 2) * 3", "9"),
        ("7 % 3", "1"),
        ("-3 + 1", "-2"),
        ("1 / 4", "0.25"),
        ("\"2\" + 3", "5"),
        ("0.1 + 0.5", "0.6"),
        ("9007199254740993 + 1", "9007199254740994"),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3", "true"),
        ("1 == 1.0", "true"),
        ("\"1\" == 1", "false"),
        ("[1, 2] == [1, 2]", "true"),
        ("null == null", "true"),
        ("!true || \"true\"", "true"),
        ("true ? \"a\" : \"b\"", "\"a\""),
        ("false ? 1 : false ? 2 : 3", "3"),
    ]);
    check_errors(&[
        ("1 / 0", "divides by zero"),
        ("\"a\" + 1", "a number is needed here, not the string \"a\""),
        ("[] && true", "true or false is needed here"),
        ("null + 1", "a number is needed here, not null"),
    ]);
}

#[test]
fn templates() {
    check(&[
        (r#""a${1 + 1}b""#, "\"a2b\""),
        (r#""${[1]}""#, "[1]"),
        (r#""${true}x""#, "\"truex\""),
        (r#""a $${b} %%{c}""#, r#""a ${b} %{c}""#),
        (r#""a\tb\n\"q\" \\ \u00e9""#, r#""a\tb\n\"q\" \\ é""#),
        (r#""%{ if 1 < 2 }yes%{ else }no%{ endif }""#, "\"yes\""),
        (r#""%{ if false }yes%{ endif }.""#, "\".\""),
        (r#""%{ for x in ["a", "b"] }<${x}>%{ endfor }""#, "\"<a><b>\""),
        (r#""%{ for k, v in {a = 1} }${k}=${v}%{ endfor }""#, "\"a=1\""),
        (r#""  ${~ "x" ~}  .""#, "\"x.\""),
        (r#""a %{~ if true ~} b %{~ endif ~} c""#, "\"abc\""),
        ("<<EOT\nline ${1 + 1}\n  two\nEOT\n", "\"line 2\\n  two\\n\""),
        ("<<-EOT\n    a\n      b\n    EOT\n", "\"a\\n  b\\n\""),
    ]);
    check_errors(&[
        (r#""a${null}""#, "a string is needed here, not null"),
        (r#""a${[1]}""#, "a string is needed here, not a list"),
    ]);
}

#[test]
fn steps_into_values() {
    check(&[
        ("[1, 2][1]", "2"),
        ("[1, 2].0", "1"),
        ("[1, 2][\"1\"]", "2"),
        ("{a = {b = [5]}}.a.b[0]", "5"),
        ("{a = 1}[\"a\"]", "1"),
        ("[{a = 1}, {a = 2}][*].a", "[1,2]"),
        ("[{a = [1]}, {a = [2]}].*.a", "[[1],[2]]"),
        ("[{a = [1]}, {a = [2]}][*].a[0]", "[1,2]"),
        ("[{a = [1]}, {a = [2]}].*.a[0]", "[1]"),
        ("{a = 1}[*].a", "[1]"),
        ("null[*]", "[]"),
    ]);
    check_errors(&[
        ("[1][3]", "there is no element 3: the list has only element 0"),
        ("{alpha = 1}.alhpa", "there is no `alhpa` in this object"),
        ("null.a", "there is no `a` in null"),
        ("1.a", ""),
    ]);
}

#[test]
fn comprehensions() {
    check(&[
        ("[for x in [1, 2, 3] : x * 2 if x != 2]", "[2,6]"),
        ("[for i, x in [\"a\", \"b\"] : \"${i}${x}\"]", r#"["0a","1b"]"#),
        ("[for k, v in {b = 1, a = 2} : \"${k}${v}\"]", r#"["a2","b1"]"#),
        ("{for x in [\"a\", \"b\"] : x => upper(x)}", r#"{"a":"A","b":"B"}"#),
        ("{for x in [\"a1\", \"b1\", \"a2\"] : substr(x, 0, 1) => x...}", r#"{"a":["a1","a2"],"b":["b1"]}"#),
        ("[for x in [[1, 2], [3]] : [for y in x : y + 1]]", "[[2,3],[4]]"),
    ]);
    check_errors(&[
        ("{for x in [1, 1] : \"k\" => x}", "the key \"k\" comes up twice"),
        ("[for x in 5 : x]", "`for` goes through a list or an object, not number"),
    ]);
}

#[test]
fn what_sees_expressions() {
    check(&[
        ("try(nothing.x, [][0], 3)", "3"),
        ("can(1 / 0)", "false"),
        ("can(1)", "true"),
        ("convert([\"1\", 2], list(number))", "[1,2]"),
        ("convert({a = 1}, map(string))", r#"{"a":"1"}"#),
        ("convert([\"b\", \"a\", \"b\"], set(string))", r#"["a","b"]"#),
        ("convert({a = 1, b = 2}, object({a = string, c = optional(string)}))", r#"{"a":"1","c":null}"#),
    ]);
    check_errors(&[
        ("try([][0])", "none of the arguments of `try` has a value"),
        ("convert(\"x\", number)", "a number is needed here"),
        ("convert([], number)", "a number is needed here"),
        ("convert(1, nonsense)", "this is not a valid type"),
    ]);
}
