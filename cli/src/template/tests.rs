//! What Go's `text/template` prints for the same templates and data.

use serde_json::{Value, json};

use super::{Listing, Template};

fn data() -> Value {
    json!({
        "ID": "4ee4dc6b2d9d",
        "Name": "app",
        "Empty": "",
        "Zero": 0,
        "Number": 42,
        "Float": 1.5,
        "Yes": true,
        "No": false,
        "Null": null,
        "List": ["a", "b", "c"],
        "None": [],
        "Numbers": [1, 2, 3],
        "Labels": { "b": "2", "a": "1", "com.example-x": "y" },
        "Deep": { "Config": { "Cmd": ["sh", "-c"], "Env": ["A=1", "B=2"] } },
        "People": [{ "Name": "Ada", "Age": 36 }, { "Name": "Alan", "Age": 41 }],
    })
}

fn render(template: &str) -> Result<String, String> {
    Template::parse(template).and_then(|template| template.execute(&data())).map_err(|error| error.to_string())
}

/// Each line: a template and what comes of it.
macro_rules! renders {
    ($($name:ident { $($template:literal => $expected:literal,)* })*) => {$(
        #[test]
        fn $name() {
            $(assert_eq!(render($template).as_deref(), Ok($expected), "{}", $template);)*
        }
    )*};
}

renders! {
    values_are_printed {
        "" => "",
        "plain } text {" => "plain } text {",
        "{{.ID}}" => "4ee4dc6b2d9d",
        "<{{ .Name }}>" => "<app>",
        "{{.Number}} {{.Float}} {{.Yes}} {{.Null}}" => "42 1.5 true <no value>",
        "{{.List}} {{.None}} {{.Labels}}" => "[a b c] [] map[a:1 b:2 com.example-x:y]",
        "{{.Deep.Config.Cmd}}" => "[sh -c]",
        "{{.Deep.Nothing}} {{.Deep.Nothing.More}}" => "<no value> <no value>",
        "{{$.Name}} {{$}}" => "app map[Deep:map[Config:map[Cmd:[sh -c] Env:[A=1 B=2]]] Empty: Float:1.5 ID:4ee4dc6b2d9d Labels:map[a:1 b:2 com.example-x:y] List:[a b c] Name:app No:false None:[] Null:<nil> Number:42 Numbers:[1 2 3] People:[map[Age:36 Name:Ada] map[Age:41 Name:Alan]] Yes:true Zero:0]",
        "{{(index .People 1).Name}}" => "Alan",
    }
    literals_are_values {
        r#"{{"a\tb\"\u00e9\x41\101"}} {{`raw\n`}}"# => "a\tb\"éAA raw\\n",
        "{{1}} {{-2}} {{0x1F}} {{0b11}} {{0o17}} {{017}} {{1_000}} {{1.5}} {{1e3}} {{1e21}} {{0.00001}}" => "1 -2 31 3 15 15 1000 1.5 1000 1e+21 1e-05",
        "{{'a'}} {{'\\n'}} {{true}} {{false}}" => "97 10 true false",
        r#"{{"}}"}}"# => "}}",
    }
    blanks_and_comments_go {
        "a  {{- .Name -}}  b" => "aappb",
        "a {{- /* no */ -}} b" => "ab",
        "a{{/* {{no}} */}}b" => "ab",
        "{{- 3}} {{-3}}" => "3 -3",
        "a\n{{- \"x\"}}\n b" => "ax\n b",
        "{{3 -}} \n\t x" => "3x",
    }
    conditions_choose {
        "{{if .Yes}}y{{else}}n{{end}}{{if .No}}y{{else}}n{{end}}" => "yn",
        "{{if .Zero}}y{{end}}{{if .Empty}}y{{end}}{{if .None}}y{{end}}{{if .Null}}y{{end}}" => "",
        "{{if .No}}1{{else if .Yes}}2{{else}}3{{end}}" => "2",
        "{{if .No}}1{{else if .Zero}}2{{else}}3{{end}}" => "3",
        "{{with .Deep.Config}}{{.Cmd}} {{$.Name}}{{end}}" => "[sh -c] app",
        "{{with .Null}}x{{else}}{{.Name}}{{end}}" => "app",
        "{{with .Null}}x{{else with .Name}}{{.}}{{end}}" => "app",
        "{{with $x := .Name}}{{$x}}{{.}}{{end}}" => "appapp",
        "{{if and .Yes .Name}}y{{end}}{{if or .No .Zero}}y{{end}}{{if not .No}}y{{end}}" => "yy",
        "{{and 1 0 2}} {{or 0 \"x\" 2}} {{or 0 \"\"}}" => "0 x ",
    }
    ranges_go_through {
        "{{range .List}}{{.}},{{end}}" => "a,b,c,",
        "{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}" => "0=a 1=b 2=c ",
        "{{range $e := .List}}{{$e}}{{end}}" => "abc",
        "{{range $k, $v := .Labels}}{{$k}}:{{$v}};{{end}}" => "a:1;b:2;com.example-x:y;",
        "{{range .None}}x{{else}}empty{{end}}" => "empty",
        "{{range .Null}}x{{else}}nothing{{end}}" => "nothing",
        "{{range .People}}{{.Name}}{{if gt .Age 40}}!{{end}} {{end}}" => "Ada Alan! ",
        "{{range .List}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}" => "ac",
        "{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}" => "a",
        "{{range 3}}{{.}}{{end}}" => "012",
        "{{range $i, $p := .People}}{{if $i}}, {{end}}{{$p.Name}}{{end}}" => "Ada, Alan",
        "{{range .List}}{{range $.Numbers}}{{.}}{{end}} {{end}}" => "123 123 123 ",
    }
    variables_are_kept {
        "{{$x := 1}}{{$x}}" => "1",
        "{{$x := 1}}{{if .Yes}}{{$x = 2}}{{end}}{{$x}}" => "2",
        "{{$x := 1}}{{if .Yes}}{{$x := 2}}{{$x}}{{end}}{{$x}}" => "21",
        "{{$n := 0}}{{range .Numbers}}{{$n = .}}{{end}}{{$n}}" => "3",
        "{{$p := index .People 0}}{{$p.Name}}" => "Ada",
    }
    functions_are_dockers {
        "{{json .List}} {{json .Name}} {{json .Null}} {{json .Labels}}" => r#"["a","b","c"] "app" null {"b":"2","a":"1","com.example-x":"y"}"#,
        "{{json \"<&>\"}}" => "\"<&>\"",
        "{{upper .Name}} {{.Name | upper | lower}} {{title \"two words-x o'neil\"}}" => "APP app Two Words-X O'Neil",
        "{{join .List \", \"}} {{join .None \",\"}}." => "a, b, c .",
        "{{split \"a:b:c\" \":\"}} {{index (split \"a:b\" \":\") 1}}" => "[a b c] b",
        "{{truncate .ID 4}} {{truncate .Name 9}} <{{pad .Name 1 2}}>" => "4ee4 app < app  >",
    }
    functions_are_gos {
        "{{len .List}} {{len .Name}} {{len .Labels}}" => "3 3 3",
        "{{index .List 1}} {{index .Labels \"a\"}} {{index .Labels \"com.example-x\"}} {{index .Labels \"no\"}}" => "b 1 y <no value>",
        "{{index .Deep \"Config\" \"Env\" 1}}" => "B=2",
        "{{slice .ID 0 5}} {{slice .ID 10}} {{slice .List 1 3}}" => "4ee4d 9d [b c]",
        "{{print 1 2 \"a\" 3 4}} {{println .Name 1}}" => "1 2a3 4 app 1\n",
        "{{eq .Name \"app\"}} {{eq 1 2 3 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}" => "true true true true true true false",
        "{{eq .Null nil}} {{eq .Yes true}}" => "true true",
        "{{html \"<a>&\"}} {{urlquery \"a b/c\"}}" => "&lt;a&gt;&amp; a+b%2Fc",
        "{{not (eq .Name \"x\")}}" => "true",
        "{{.Name | printf \"%s-%s\" \"x\"}}" => "x-app",
        "{{.Labels.a}}{{.Labels \"com.example-x\"}}{{.Labels \"none\"}}" => "1y",
    }
    printf_is_gos {
        "{{printf \"%s %q %d %v\" .Name .Name .Number .Yes}}" => "app \"app\" 42 true",
        "{{printf \"%5d|%-5d|%05d|%+d|%x|%X|%o|%b|%c\" 42 42 42 42 255 255 8 5 65}}" => "   42|42   |00042|+42|ff|FF|10|101|A",
        "{{printf \"%10s|%-10s|%.2s|%x\" \"abc\" \"abc\" \"abc\" \"abc\"}}" => "       abc|abc       |ab|616263",
        "{{printf \"%f %.2f %e %g %t %%\" 1.5 1.5 1500.0 1.5 true}}" => "1.500000 1.50 1.500000e+03 1.5 true %",
        "{{printf \"%v %s %q\" .List .List .List}}" => "[a b c] [a b c] [\"a\" \"b\" \"c\"]",
        "{{printf \"%d\" \"x\"}} {{printf \"%s\" 5}} {{printf \"%d\"}} {{printf \"x\" 1}}" => "%!d(string=x) %!s(int=5) %!d(MISSING) x%!(EXTRA int=1)",
        "{{printf \"%*d\" 5 42}} {{printf \"%!\"}} {{printf \"%\"}}" => "   42 %!!(MISSING) %!(NOVERB)",
        "{{printf \"%T %T\" \"a\" 1}}" => "string int",
    }
}

#[test]
fn errors_say_where_and_what() {
    let deep = "(".repeat(100);
    for (template, expected) in [
        ("{{", "template:1:1: this action is not closed"),
        ("ab {{.Name", "template:1:4: this action is not closed"),
        ("{{.Name}", "template:1:8: `}` has no meaning here"),
        ("{{}}", "template:1:3: a value is missing"),
        ("{{.Nme}}", "template:1:3: there is no field `Nme`"),
        ("x\n {{.Nme}}", "template:2:4: there is no field `Nme`"),
        ("{{uper .Name}}", "template:1:3: there is no function `uper`"),
        ("{{if .Yes}}", "template:1:3: this is not closed"),
        ("{{end}}", "template:1:3: there is nothing for this `end` to close"),
        ("{{else}}", "template:1:3: there is no `if`, `with` or `range` for this `else`"),
        ("{{if .Yes}}{{else}}{{else}}{{end}}", "template:1:22: this is the second `else`"),
        ("{{$x}}", "template:1:3: the variable `$x` is not defined"),
        ("{{if .Yes}}{{$x := 1}}{{end}}{{$x}}", "template:1:32: the variable `$x` is not defined"),
        ("{{break}}", "template:1:3: `break` stands in no `range`"),
        ("{{\"abc}}", "template:1:3: this text is not closed"),
        ("{{\"a\\qc\"}}", "template:1:5: this is no escape of Go's"),
        ("{{1a}}", "template:1:3: `1a` is no number"),
        ("{{.Name | .List}}", "template:1:11: `.List` is a list and takes no arguments"),
        ("{{.Name | \"x\"}}", "template:1:11: what stands behind `|` must be a function"),
        ("{{\"x\" .Name}}", "template:1:3: this is no function and takes no arguments"),
        ("{{.Name.More}}", "template:1:8: a text has no field `More`"),
        ("{{index .List 9}}", "template:1:3: a list of 3 has no element 9"),
        ("{{upper .List}}", "template:1:3: `upper` needs a text and got a list"),
        ("{{upper}}", "template:1:3: `upper` takes 1 arguments and got 0"),
        ("{{lt 1 \"a\"}}", "template:1:3: a number and a text can't be compared"),
        ("{{range .Name}}{{end}}", "template:1:9: a text can't be gone through"),
        ("{{template \"x\"}}", "template:1:3: `template` is not supported here"),
        ("{{printf \"%99999d\" 1}}", "template:1:3: `printf` makes fields of at most 4096 characters"),
        ("{{/* x }}", "template:1:1: this comment is not closed"),
        (&format!("{{{{{deep}1}}}}"), "template:1:67: more than 64 levels are nested"),
    ] {
        let error = render(template).expect_err(template);
        assert_eq!(error, expected, "{template}");
    }
}

#[test]
fn what_takes_too_long_is_stopped() {
    let nested = "{{range 9999999}}{{range 9999999}}{{end}}{{end}}";
    let error = render(nested).expect_err("bounded");
    assert!(error.ends_with("the template takes too many steps"), "{error}");
    let doubling = format!("{{{{$x := \"0123456789\"}}}}{}{{{{$x}}}}", "{{$x = print $x $x}}".repeat(40));
    let error = render(&doubling).expect_err("bounded");
    assert!(error.ends_with("the template makes more text than is allowed"), "{error}");
}

#[test]
fn rows_are_listed() {
    const HEADERS: &[(&str, &str)] = &[("ID", "IMAGE ID"), ("Name", "NAME"), ("Labels", "LABELS")];
    let rows = [
        json!({ "ID": "1", "Name": "short", "Labels": {} }),
        json!({ "ID": "2", "Name": "much longer name", "Labels": { "x.a-b": "v" } }),
    ];
    for (format, expected) in [
        (None, "NAME               IMAGE ID\nshort              1\nmuch longer name   2\n"),
        (Some("table"), "NAME               IMAGE ID\nshort              1\nmuch longer name   2\n"),
        (Some(r"table {{.ID}}\t{{upper .Name}}"), "IMAGE ID   NAME\n1          SHORT\n2          MUCH LONGER NAME\n"),
        (Some(r#"table {{.ID}}\t{{.Labels "x.a-b"}}"#), "IMAGE ID   a b\n1\n2          v\n"),
        (Some("{{.ID}}: {{.Name}}"), "1: short\n2: much longer name\n"),
        (
            Some("json"),
            "{\"ID\":\"1\",\"Name\":\"short\",\"Labels\":{}}\n{\"ID\":\"2\",\"Name\":\"much longer name\",\"Labels\":{\"x.a-b\":\"v\"}}\n",
        ),
    ] {
        let listing = Listing::parse(format, "{{.Name}}\t{{.ID}}").expect("a format");
        assert_eq!(listing.render(HEADERS, &rows).expect("rows"), expected, "{format:?}");
    }
    let wrong = Listing::parse(Some("{{.Nam}}"), "")
        .expect("a format")
        .render(HEADERS, &rows)
        .expect_err("no field")
        .to_string();
    assert!(wrong.contains("--format:1:3") && wrong.contains("is `.Name` meant?"), "{wrong}");
}
