use super::Bake;

#[test]
fn mistakes_are_underlined() {
    let table = [
        (
            Bake::hcl("target \"default\" {\n  tagss = [\"a\"]\n}\n"),
            r#"
error: a target has no attribute `tagss`
 --> docker-bake.hcl:2:3
  |
2 |   tagss = ["a"]
  |   ^^^^^
  |
  = help: did you mean `tags`?
"#,
        ),
        (
            Bake::hcl("target \"default\" {\n  tags = [\"app:${VERSIO}\"]\n}\nvariable \"VERSION\" {}\n"),
            r#"
error: there is no variable `VERSIO`
 --> docker-bake.hcl:2:18
  |
2 |   tags = ["app:${VERSIO}"]
  |                  ^^^^^^
  |
  = help: did you mean `VERSION`?
"#,
        ),
        (
            Bake::json("{\"target\": {\"default\": {\"tags\": [1, [2]]}}}\n"),
            r#"
error: `tags`: a string is needed here, not a list
 --> docker-bake.json:1:33
  |
1 | {"target": {"default": {"tags": [1, [2]]}}}
  |                                 ^^^^^^^^
"#,
        ),
        (
            Bake::hcl("target \"default\" {\n  tags = [\"a\"\n"),
            r#"
error: expected `]`
 --> docker-bake.hcl:2:14
  |
2 |   tags = ["a"
  |              ^
"#,
        ),
    ];
    for (bake, expected) in table {
        assert_eq!(bake.fails(), expected.trim_matches('\n'));
    }
}

#[test]
fn messages() {
    for (text, expected) in [
        ("target \"a b\" {}", "\"a b\" can't be the name of a target"),
        ("target {}", "`target` has one name"),
        ("targt \"a\" {}", "there is no block `targt`"),
        ("target \"default\" { name = \"x\" }", "`name` requires a `matrix`"),
        ("group \"default\" {\n matrix = {}\n targets = []\n}", "`matrix` is not supported for groups"),
        ("group \"default\" {}", "the group `default` has no `targets`"),
        ("target \"default\" { matrix = [1] }", "a matrix is an object of lists"),
        ("target \"default\" { matrix = { a = 1 } }", "the axis `a` of the matrix is not a list"),
        ("target \"default\" { matrix = { a = [1, 2] } }", "two targets of the matrix have the name \"default\""),
        ("target \"default\" {\n args {\n a = 1\n }\n}", "there is no block `args` in a target"),
        ("target \"default\" { tags = \"x\" }", "`tags`: a list is needed here"),
        ("target \"default\" { no-cache = 5 }", "`no-cache`: true or false is needed here"),
        ("target \"default\" { args = [1] }", "`args`: an object is needed here"),
        ("target \"default\" { secret = [\"ident=x\"] }", "a secret has no `ident`"),
        ("target \"default\" { output = [\"dest=x,tar=true\"] }", "type is required"),
        ("target \"default\" { inherits = [\"gone\"] }", "failed to find target gone"),
        ("target \"default\" { contexts = { a = \"target:default\" } }", "target default cannot link to itself"),
        (
            "target \"default\" { contexts = { a = \"target:b\" } }\ntarget \"b\" { contexts = { a = \"target:default\" } }",
            "infinite loop from b to default",
        ),
        ("target \"default\" { contexts = { a = \"target:gone\" } }", "failed to find target gone"),
        ("target \"default\" { tags = [target.gone.context] }", "there is no target `gone` to refer to"),
        ("target \"default\" { tags = [target.default.tgs] }", "a target has no attribute `tgs`"),
        ("function \"f\" { params = [a] }\ntarget \"default\" {}", "the function `f` has no `result`"),
        (
            "function \"f\" {\n params = [\"a b\", 1]\n result = 1\n }\ntarget \"default\" {}",
            "a parameter is a plain name",
        ),
        ("x = 1\n", "failed to find target default"),
        ("target \"app\" {}\n", "failed to find target default"),
    ] {
        let drawn = Bake::hcl(text).fails();
        assert!(drawn.contains(expected), "{text}\n{drawn}");
    }
    assert!(Bake::hcl("target \"app\" {}").fails().contains("name one of app, or a group `default`"));
    assert!(Bake::hcl("target \"app\" {}").target("ap").fails().contains("did you mean `app`?"));
    assert!(Bake::hcl("").target("x*").fails().contains("could not find any target matching 'x*'"));
    for (text, expected) in [
        ("[1]", "a bake file in JSON is an object"),
        ("{\"target\": 1}", "here must be an object"),
        ("{\"target\": {\"a\": {\"tags\": [\"x\",]}}}", "expected a value"),
        ("{\"a\" 1}", "expected `:`"),
        ("{\"a\": tru}", "`tru` is not a JSON value"),
        ("{\"a\": \"x}", "this string has no end"),
        ("{} x", "expected the end of the file"),
    ] {
        let drawn = Bake::json(text).fails();
        assert!(drawn.contains(expected), "{text}\n{drawn}");
    }
}

#[test]
fn what_goes_too_far_is_refused() {
    let deep = |count: usize| format!("{}1{}", "[".repeat(count), "]".repeat(count));
    let nested: String = (0..150).map(|n| format!("V{n} = [[[[[V{}]]]]]\n", n + 1)).collect();
    let inherits: String = (0..5000).map(|n| format!("target \"t{n}\" {{ inherits = [\"t{}\"] }}\n", n + 1)).collect();
    let uses: String =
        (0..5000).map(|n| format!("target \"t{n}\" {{ contexts = {{ c = \"target:t{}\" }} }}\n", n + 1)).collect();
    let groups: String = (0..5000).map(|n| format!("group \"t{n}\" {{ targets = [\"t{}\"] }}\n", n + 1)).collect();
    for (bake, expected) in [
        (Bake::hcl(&format!("target \"default\" {{ tags = {} }}", deep(5000))), "at most 64 nested levels"),
        (Bake::hcl(&format!("{nested}V150 = 1\ntarget \"default\" {{}}")), "expressions are nested too deeply"),
        (Bake::json(&format!("{{\"a\": {}}}", deep(5000))), "nested too deeply"),
        (Bake::hcl(&format!("{inherits}target \"t5000\" {{}}")).target("t0"), "over more than 100 steps"),
        (Bake::hcl(&format!("{uses}target \"t5000\" {{}}")).target("t0"), "over more than 100 steps"),
        (Bake::hcl(&format!("{groups}target \"t5000\" {{}}")).target("t0"), "over more than 100 steps"),
        (Bake::hcl("target \"default\" { matrix = { a = range(1000), b = range(1000) } }"), "more than 10000 targets"),
        (
            Bake::compose(&format!("services: {{a: {{build: \"{}x{}\"}}}}", "${A:-".repeat(5000), "}".repeat(5000))),
            "variables are nested too deeply",
        ),
        (Bake::compose(&deep(5000)), "not valid YAML"),
    ] {
        let drawn = bake.fails();
        assert!(drawn.contains(expected), "{expected}: {}", &drawn[..drawn.len().min(300)]);
    }
    // A hundred ways lead down, and every target is looked at once.
    let diamond: String = (0..60)
        .map(|n| {
            let (next, names) =
                (n + 1, "inherits = [\"a1\", \"b1\"]\n contexts = { x = \"target:a1\", y = \"target:b1\" }");
            let names = names.replace("a1", &format!("a{next}")).replace("b1", &format!("b{next}"));
            format!("target \"a{n}\" {{\n{names}\n}}\ntarget \"b{n}\" {{\n{names}\n}}\n")
        })
        .collect();
    Bake::hcl(&format!("{diamond}target \"a60\" {{}}\ntarget \"b60\" {{}}")).target("a0").ok();
}
