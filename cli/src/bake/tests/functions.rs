use super::{check, check_errors};

#[test]
fn text() {
    check(&[
        (r#"upper("aé")"#, "\"AÉ\""),
        (r#"lower("AbC")"#, "\"abc\""),
        (r#"title("hello big world")"#, "\"Hello Big World\""),
        (r#"trim("xxabcxx", "x")"#, "\"abc\""),
        (r#"trimprefix("v1.2", "v")"#, "\"1.2\""),
        (r#"trimsuffix("a.git", ".git")"#, "\"a\""),
        (r#"trimspace("  a ")"#, "\"a\""),
        (r#"chomp("a\n\n")"#, "\"a\""),
        (r#"indent(2, "a\nb")"#, "\"a\\n  b\""),
        (r#"replace("1.2.3", ".", "-")"#, "\"1-2-3\""),
        (r#"split(",", "a,b,")"#, r#"["a","b",""]"#),
        (r#"join("-", ["a", 1], [true])"#, "\"a-1-true\""),
        (r#"strlen("aé")"#, "2"),
        (r#"substr("hello", 1, 3)"#, "\"ell\""),
        (r#"substr("hello", -3, -1)"#, "\"llo\""),
        (r#"substr("hello", 3, 99)"#, "\"lo\""),
        (r#"reverse("abc")"#, "\"cba\""),
        (r#"sort(["b", "a", "C"])"#, r#"["C","a","b"]"#),
        (r#"sanitize("app/1.2 x")"#, "\"app_1_2_x\""),
        (r#"basename("/a/b.txt")"#, "\"b.txt\""),
        (r#"basename("")"#, "\".\""),
        (r#"dirname("/a/b/../c.txt")"#, "\"/a\""),
        (r#"dirname("c.txt")"#, "\".\""),
        (r#"format("%s-%d-%05.2f-%q-%v", "a", 3, 2.5, "x", [1])"#, r#""a-3-02.50-\"x\"-[1]""#),
        (
            r#"format("%-4s|%4s|%x|%X|%b|%o|%%|%t", "a", "b", 255, 255, 5, 8, true)"#,
            "\"a   |   b|ff|FF|101|10|%|true\"",
        ),
        (r#"format("%+d %e %[1]d", 1234, 1234.5)"#, "\"+1234 1.234500e+03 1234\""),
        (r#"formatlist("%s:%s", ["a", "b"], "x")"#, r#"["a:x","b:x"]"#),
    ]);
    check_errors(&[
        (r#"format("%d")"#, "format: there is no value for the verb `%d`"),
        (r#"format("%z", 1)"#, "there is no verb `%z`"),
        (r#"format("x", 1)"#, "there are 1 values for 0 verbs"),
        ("upper()", "upper: it takes 1 argument, not 0"),
        (r#"uper("x")"#, "there is no function `uper`"),
    ]);
}

#[test]
fn numbers() {
    check(&[
        ("absolute(-2.5)", "2.5"),
        ("add(1, 2)", "3"),
        ("subtract(1, 2)", "-1"),
        ("multiply(2, 3)", "6"),
        ("divide(6, 4)", "1.5"),
        ("modulo(7, 4)", "3"),
        ("negate(2)", "-2"),
        ("ceil(1.2)", "2"),
        ("floor(-1.2)", "-2"),
        ("int(1.9)", "1"),
        ("log(8, 2)", "3"),
        ("max(1, 5, 3)", "5"),
        ("min([4, 2, 8]...)", "2"),
        ("pow(2, 64)", "18446744073709551616"),
        ("signum(-5)", "-1"),
        ("parseint(\"ff\", 16)", "255"),
        ("and(true, false)", "false"),
        ("or(true, false)", "true"),
        ("not(true)", "false"),
        ("equal(1, 1)", "true"),
        ("notequal(1, 2)", "true"),
        ("lessthan(1, 2)", "true"),
        ("greaterthanorequalto(1, 2)", "false"),
    ]);
    check_errors(&[("parseint(\"zz\", 10)", "is not a whole number in base 10"), ("divide(1, 0)", "divides by zero")]);
}

#[test]
fn lists_and_objects() {
    check(&[
        ("length([1, 2])", "2"),
        ("length({a = 1})", "1"),
        ("element([\"a\", \"b\"], 3)", "\"b\""),
        ("index([\"a\", \"b\"], 1)", "\"b\""),
        ("hasindex([1], 0)", "true"),
        ("hasindex({a = 1}, \"b\")", "false"),
        ("indexof([\"a\", \"b\"], \"b\")", "1"),
        ("contains([1, 2], 2)", "true"),
        ("concat([1], [2, 3])", "[1,2,3]"),
        ("coalesce(null, \"a\")", "\"a\""),
        ("coalescelist([], [1])", "[1]"),
        ("compact([\"a\", \"\", \"b\"])", r#"["a","b"]"#),
        ("distinct([1, 2, 1])", "[1,2]"),
        ("chunklist([1, 2, 3], 2)", "[[1,2],[3]]"),
        ("flatten([[1], [2, [3]]])", "[1,2,3]"),
        ("keys({b = 1, a = 2})", r#"["a","b"]"#),
        ("values({b = 1, a = 2})", "[2,1]"),
        ("lookup({a = 1}, \"b\", 5)", "5"),
        ("merge({a = 1, b = 1}, {b = 2})", r#"{"a":1,"b":2}"#),
        ("range(3)", "[0,1,2]"),
        ("range(1, 10, 4)", "[1,5,9]"),
        ("range(3, 0)", "[3,2,1]"),
        ("reverselist([1, 2])", "[2,1]"),
        ("slice([1, 2, 3, 4], 1, 3)", "[2,3]"),
        ("zipmap([\"a\", \"b\"], [1, 2])", r#"{"a":1,"b":2}"#),
        ("setunion([\"b\", \"a\"], [\"c\", \"a\"])", r#"["a","b","c"]"#),
        ("setintersection([1, 2], [2, 3])", "[2]"),
        ("setsubtract([1, 2], [2])", "[1]"),
        ("setsymmetricdifference([1, 2], [2, 3])", "[1,3]"),
        ("setproduct([\"a\", \"b\"], [1, 2])", r#"[["a",1],["a",2],["b",1],["b",2]]"#),
        ("sethaselement([1], 1)", "true"),
    ]);
    check_errors(&[
        ("element([], 0)", "the list is empty"),
        ("range(5000)", "at most 1024"),
        ("range(0, 5, -1)", "do not lead from 0 to 5"),
        ("slice([1], 0, 5)", "there is no 0 to 5"),
        ("lookup({}, \"a\")", "has no `a`"),
        ("length(\"abc\")", "strlen is for strings"),
    ]);
}

#[test]
fn encodings_and_hashes() {
    check(&[
        (r#"base64encode("hi")"#, "\"aGk=\""),
        (r#"base64decode("aGk=")"#, "\"hi\""),
        (r#"urlencode("a b/c&d")"#, "\"a+b%2Fc%26d\""),
        (r#"jsondecode("{\"a\": [1, null]}")"#, r#"{"a":[1,null]}"#),
        (r#"jsonencode({a = [1, "x"]})"#, r#""{\"a\":[1,\"x\"]}""#),
        (r#"csvdecode("a,b\n1,\"2,3\"\n")"#, r#"[{"a":"1","b":"2,3"}]"#),
        (r#"md5("a")"#, "\"0cc175b9c0f1b6a831c399e269772661\""),
        (r#"sha1("a")"#, "\"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8\""),
        (r#"substr(sha256("a"), 0, 16)"#, "\"ca978112ca1bbdca\""),
        (r#"substr(sha512("a"), 0, 16)"#, "\"1f40fc92da241694\""),
        (r#"uuidv5("dns", "example.com")"#, "\"cfbff0d1-9375-5685-968c-48ce8b15ae17\""),
        ("strlen(uuidv4())", "36"),
    ]);
    check_errors(&[("bcrypt(\"x\")", "`bcrypt` is not supported"), ("base64decode(\"!\")", "this is not base64")]);
}

#[test]
fn patterns_times_and_networks() {
    check(&[
        (r#"regex("[a-z]+", "12ab34")"#, "\"ab\""),
        (r#"regex("(\\d+)\\.(\\d+)", "v1.22")"#, r#"["1","22"]"#),
        (r#"regex("(?P<major>\\d+)", "v1.22")"#, r#"{"major":"1"}"#),
        (r#"regexall("\\d", "a1b2")"#, r#"["1","2"]"#),
        (r#"regex_replace("darwin/arm64", "^(darwin)", "linux")"#, "\"linux/arm64\""),
        (r#"regex_replace("a-b", "(\\w)-(\\w)", "$2-$1")"#, "\"b-a\""),
        (r#"formatdate("YYYY-MM-DD hh:mm:ss", "2030-01-31T23:59:07Z")"#, "\"2030-01-31 23:59:07\""),
        (
            r#"formatdate("EEEE, D MMM YY 'at' H:mmaa ZZZ", "2030-01-31T13:05:00+02:00")"#,
            "\"Thursday, 31 Jan 30 at 1:05pm +0200\"",
        ),
        (r#"timeadd("2030-01-31T23:30:00Z", "1h30m")"#, "\"2030-02-01T01:00:00Z\""),
        (r#"timeadd("2030-01-31T00:00:10+01:00", "-10.5s")"#, "\"2030-01-30T23:59:59+01:00\""),
        ("strlen(timestamp())", "20"),
        (r#"cidrhost("10.12.112.0/20", 16)"#, "\"10.12.112.16\""),
        (r#"cidrhost("10.12.112.0/20", -1)"#, "\"10.12.127.255\""),
        (r#"cidrhost("fd00:fd12::/64", 2)"#, "\"fd00:fd12::2\""),
        (r#"cidrnetmask("172.16.0.0/12")"#, "\"255.240.0.0\""),
        (r#"cidrsubnet("172.16.0.0/12", 4, 2)"#, "\"172.18.0.0/16\""),
        (r#"cidrsubnet("fd00::/48", 16, 5)"#, "\"fd00:0:0:5::/64\""),
        (r#"cidrsubnets("10.1.0.0/16", 4, 4, 8)"#, r#"["10.1.0.0/20","10.1.16.0/20","10.1.32.0/24"]"#),
    ]);
    check_errors(&[
        (r#"regex("(", "x")"#, "is not a regular expression"),
        (r#"regex("a", "x")"#, "does not match"),
        (r#"formatdate("QQ", "2030-01-31T00:00:00Z")"#, "`QQ` means nothing"),
        (r#"timeadd("soon", "1h")"#, "is not a time"),
        (r#"timeadd("2030-01-31T00:00:00Z", "1 hour")"#, "is not a duration"),
        (r#"cidrhost("10.0.0.0/30", 9)"#, "has no host 9"),
        (r#"cidrsubnet("10.0.0.0/30", 4, 0)"#, "can't be extended"),
    ]);
}
