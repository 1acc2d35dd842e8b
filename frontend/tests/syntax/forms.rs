//! What holds for a file as a whole: directives, comments, continuations, heredocs, line ends, stages.

use builder_frontend::parser::{MAX_LINE, parse};

use crate::compact::{file, one};

macro_rules! files {
    ($name:ident: $($text:expr => $expected:expr;)+) => {
        #[test]
        fn $name() {
            $(assert_eq!(file($text), $expected, "{:?}", $text);)+
        }
    };
}

files! { directives:
    "# syntax=docker/dockerfile:1 x\n#escape = `\n#\tCheck=skip=all;error=true  \nFROM a" =>
        "#syntax \"docker/dockerfile:1 x\"\n#escape `\n#check \"skip=all;error=true\"\nfrom \"a\"";
    // Anything else ends them.
    "# hello\n# escape=`\nFROM a" => "from \"a\"";
    "\n# escape=`\nFROM a" => "from \"a\"";
    "# other=x\n# escape=`\nFROM a" => "from \"a\"";
    "# escape=\n# syntax=x\nFROM a" => "from \"a\"";
    "FROM a\n# escape=x" => "from \"a\"";
    "\u{FEFF}# escape=`\nFROM a" => "#escape `\nfrom \"a\"";
    "# escape=\\\r\nFROM a\r\n" => "#escape \\\nfrom \"a\"";
    "#!/usr/bin/env builder\n# syntax=x\nFROM a" => "#syntax \"x\"\nfrom \"a\"";
    "# escape=x\nFROM a" => "! invalid escape token 'x' does not match ` or \\ @\"x\"";
    "# escape=``\nFROM a" => "! invalid escape token '``' does not match ` or \\ @\"``\"";
    "# syntax=a\n# SYNTAX=b\nFROM a" => "! only one syntax parser directive can be used @\"SYNTAX\"";
    "# escape=`\n# escape=`\nFROM a" => "! only one escape parser directive can be used @\"escape\"";
    "# check=a\n# check=a\nFROM a" => "! only one check parser directive can be used @\"check\"";
}

files! { stages:
    "ARG a=1\nARG b\nFROM x\nRUN c\nFROM y AS z\nARG a\nUSER d" =>
        "global arg a=\"1\"\nglobal arg b\nfrom \"x\"\n  run \"c\"\nfrom \"y\" as=\"z\"\n  arg a\n  user \"d\"";
    "" => "! file with no instructions @\"\"";
    "\n \n# x\n" => "! file with no instructions @\"\"";
    "\\\n" => "! file with no instructions @\"\"";
    "ARG a" => "! dockerfile contains no stages to build @\"\"";
    "ARG a\nRUN b\nFROM c" => "! no build stage in current context: RUN stands before the first FROM @\"RUN\"";
}

files! { continuations:
    "FROM a\nRUN echo a\\\nb" => "from \"a\"\n  run \"echo ab\"";
    "FROM a\nRUN echo \\\n  b \\  \n  c\nUSER d" => "from \"a\"\n  run \"echo   b   c\"\n  user \"d\"";
    "FR\\\nOM a\\\n:b" => "from \"a:b\"";
    "FROM a\nCOPY --fr\\\nom=b c \\\nd" => "from \"a\"\n  copy from=\"b\" \"c\" -> \"d\"";
    "FROM a\nENV a=\"b\\\n c\" \\\n d=e" => "from \"a\"\n  env a=\"\\\"b c\\\"\" d=\"e\"";
    "FROM a\nCMD [\"a\",\\\n\"b\"]" => "from \"a\"\n  cmd [\"a\", \"b\"]";
    // Comments in between vanish, wherever they start; a # further right does not.
    "FROM a\nRUN b \\\n# c\n  # d \\\n  e # f" => "from \"a\"\n  run \"b   e # f\"";
    "FROM a\nRUN b \\\n\n  c" => "from \"a\"\n  run \"b   c\"\n? NoEmptyContinuation";
    "FROM a\nRUN b \\\n\n \t\n\n  c \\\n\n" => "from \"a\"\n  run \"b   c\"\n? NoEmptyContinuation";
    // A doubled escape is text, and so is one with something after it.
    "FROM a\nRUN b\\\\\nUSER c" => "from \"a\"\n  run \"b\\\\\\\\\"\n  user \"c\"";
    "FROM a\nRUN b\\\\\\\nUSER c" => "from \"a\"\n  run \"b\\\\\\\\\\\\\"\n  user \"c\"";
    "FROM a\nRUN b\\ c" => "from \"a\"\n  run \"b\\\\ c\"";
    "FROM a\nRUN b\\" => "from \"a\"\n  run \"b\"";
    "FROM a\nRUN b \\\n" => "from \"a\"\n  run \"b\"";
    "FROM a\n\\\n  RUN b" => "from \"a\"\n  run \"b\"";
    "FROM a\r\nRUN b \\\r\n  c\r\n# d\r\nUSER e\r\n" => "from \"a\"\n  run \"b   c\"\n  user \"e\"";
}

files! { backtick:
    "# escape=`\nFROM a\nRUN dir c:\\\nCOPY d `\n  e:\\f\\" =>
        "#escape `\nfrom \"a\"\n  run \"dir c:\\\\\"\n  copy \"d\" -> \"e:\\\\f\\\\\"";
    "# escape=`\nFROM a\nENV a=b` c d=\"`\"e\" f=g\\" =>
        "#escape `\nfrom \"a\"\n  env a=\"b` c\" d=\"\\\"`\\\"e\\\"\" f=\"g\\\\\"";
    "# escape=`\nFROM a\nRUN --mount=target=C:\\x b" => "#escape `\nfrom \"a\"\n  run mount(Target=\"C:\\\\x\") \"b\"";
    "FROM a\nENV a=`b c=d" => "from \"a\"\n  env a=\"`b\" c=\"d\"";
}

files! { comments_and_blanks:
    "  # a\n\tFROM b # c\n \n" => "! FROM requires either one or three arguments @\"#\"";
    "  # a\n\tFROM b\n \n   RUN c # d" => "from \"b\"\n  run \"c # d\"";
    "\u{FEFF}FROM b" => "from \"b\"";
}

files! { odd_blanks:
    "\u{a0}# a\n\u{3000}FROM b\n\u{2003}\nRUN c \\\n\u{a0}\n\u{a0}d" => "from \"b\"\n  run \"c \\u{a0}d\"\n? NoEmptyContinuation";
    "FROM\u{a0}b" => "! unknown instruction: FROM\u{a0}b @\"FROM\\u{a0}b\"";
}

files! { heredocs:
    "FROM a\nRUN <<EOF\nb\n\n  # c \\\nEOF\nUSER d" => "from \"a\"\n  run script <<EOF\"b\\n\\n  # c \\\\\\n\"\n  user \"d\"";
    "FROM a\nRUN <<EOF\nEOF" => "from \"a\"\n  run script <<EOF\"\"";
    "FROM a\nRUN <<EOF\n#!/bin/sh\nEOF" => "from \"a\"\n  run program <<EOF\"#!/bin/sh\\n\"";
    "FROM a\nRUN <<-EOF\n\t\tb\n\tEOF\n" => "from \"a\"\n  run script <<-EOF\"b\\n\"";
    "FROM a\nRUN <<'EOF'\n$b\nEOF\nRUN <<\"E F\"\nc\nE F\nRUN <<E\"O\"F\nd\nEOF" =>
        "from \"a\"\n  run script <<'EOF'\"$b\\n\"\n  run script <<'E F'\"c\\n\"\n  run script <<'EOF'\"d\\n\"";
    "FROM a\nRUN cat <<A 3<<B > c && d\n1\nA\n2\nB\nUSER e" =>
        "from \"a\"\n  run \"cat <<A 3<<B > c && d\" with <<A\"1\\n\" 3<<B\"2\\n\"\n  user \"e\"";
    "FROM a\nRUN --mount=target=/b <<EOF python3\nprint(1)\nEOF" =>
        "from \"a\"\n  run mount(Target=\"/b\") \"<<EOF python3\" with <<EOF\"print(1)\\n\"";
    "FROM a\nRUN << EOF\nb\nEOF" => "from \"a\"\n  run script <<EOF\"b\\n\"";
    "FROM a\nRUN <\\\n<EOF\nb\nEOF" => "from \"a\"\n  run script <<EOF\"b\\n\"";
    "FROM a\nRUN b \\\n <<EOF\nc\nEOF" => "from \"a\"\n  run \"b  <<EOF\" with <<EOF\"c\\n\"";
    "FROM a\nCOPY <<x.txt <<'y' z /d/\n$1\nx.txt\n2\ny\nUSER e" =>
        "from \"a\"\n  copy <<x.txt\"$1\\n\" <<'y'\"2\\n\" \"z\" -> \"/d/\"\n  user \"e\"";
    "FROM a\nADD --chmod=755 <<-x /y\n\t1\n\tx" => "from \"a\"\n  add chmod=\"755\" <<-x\"1\\n\" -> \"/y\"";
    "FROM a\r\nRUN <<EOF\r\nb\r\nEOF\r\nUSER c\r\n" => "from \"a\"\n  run script <<EOF\"b\\r\\n\"\n  user \"c\"";
    // None of these is a heredoc.
    "FROM a\nRUN b<<EOF\nUSER c" => "from \"a\"\n  run \"b<<EOF\"\n  user \"c\"";
    "FROM a\nRUN b \"<<EOF\" '<<EOF' \\<<EOF\nUSER c" => "from \"a\"\n  run \"b \\\"<<EOF\\\" '<<EOF' \\\\<<EOF\"\n  user \"c\"";
    "FROM a\nRUN b <<<EOF <<\nUSER c" => "from \"a\"\n  run \"b <<<EOF <<\"\n  user \"c\"";
    "FROM a\nRUN b $((1 << 2)) ${c:-<<d e}\nUSER c" => "from \"a\"\n  run \"b $((1 << 2)) ${c:-<<d e}\"\n  user \"c\"";
    "FROM a\nRUN it's <<EOF\nUSER c" => "from \"a\"\n  run \"it's <<EOF\"\n  user \"c\"";
    "FROM a\nRUN [\"b\", \"<<EOF\"]\nCMD <<EOF\nUSER c" =>
        "from \"a\"\n  run [\"b\", \"<<EOF\"]\n  cmd \"<<EOF\"\n  user \"c\"";
    "FROM a\nRUN <<EOF\nb\n EOF" => "! unterminated heredoc @\"<<EOF\"";
    "FROM a\nRUN <<A <<B\nA\nA" => "! unterminated heredoc @\"<<B\"";
    "FROM a\nCOPY b <<EOF\nEOF" => "! COPY cannot accept a heredoc as a destination @\"<<EOF\"";
}

#[test]
fn line_length() {
    let longest = |extra: usize| format!("FROM a\nRUN {}\n", "x".repeat(MAX_LINE - 4 + extra));
    assert!(parse(&longest(0)).is_ok());
    let error = parse(&longest(1)).unwrap_err();
    assert_eq!(error.to_string(), "dockerfile line greater than max allowed size of 65535");
    assert_eq!(error.span, 7..7 + MAX_LINE + 1);
    assert!(parse(&format!("FROM a\nRUN <<E\n{}\nE\n", "x".repeat(MAX_LINE + 1))).is_err());
    // Many short lines may add up to more.
    assert!(parse(&format!("FROM a\nRUN {}b", "xxxxxxxxx \\\n".repeat(10_000))).is_ok());
}

#[test]
fn comments_describe() {
    let text = "# foo sets foo\nARG foo=bar\n\n# base defines first stage\nFROM busybox AS base\n# this is irrelevant\n\
                ARG foo\n# bar defines bar\n# baz is something else\nARG bar baz=123\n# qux no\n#\n# more\nARG qux\n";
    let file = parse(text).unwrap();
    assert_eq!(file.global_args[0].description("foo"), Some("sets foo"));
    assert_eq!(file.stages[0].from.description("base"), Some("defines first stage"));
    let instructions = &file.stages[0].instructions;
    assert_eq!(instructions[0].description("foo"), None);
    assert_eq!(instructions[1].description("bar"), Some("defines bar"));
    assert_eq!(instructions[1].description("baz"), Some("is something else"));
    assert_eq!(instructions[2].description("qux"), None);
    assert_eq!(file.comments.len(), 8);
    assert!(file.comments.iter().all(|comment| text[comment.span.clone()].starts_with('#')));
}

#[test]
fn what_the_shell_gets() {
    for (text, expected) in [
        ("RUN a", Some("a")),
        ("RUN [\"a\"]", None),
        ("RUN <<-E\n\ta\n\tE", Some("a\n")),
        ("RUN <<E\n#!a\nE", None),
        ("RUN <<-E\n\t#!a\nE", None),
        ("RUN <<-E b <<F\n\ta\n\tE\nc\nF", Some("<<-E b <<F\n\ta\nE\nc\nF")),
    ] {
        let instruction = builder_frontend::parser::parse_instruction(text).unwrap();
        let builder_frontend::ast::Command::Run(run) = instruction.command else { panic!("{text}") };
        assert_eq!(run.command.shell_text().as_deref(), expected, "{text}");
    }
}

#[test]
fn spans_of_instructions() {
    let text = "FROM a\n\n  RUN b \\\n  # x\n  c\nCOPY <<E /d\n1\nE\nUSER e\n";
    let file = parse(text).unwrap();
    let spans: Vec<&str> =
        file.stages[0].instructions.iter().map(|instruction| &text[instruction.span.clone()]).collect();
    assert_eq!(spans, ["RUN b \\\n  # x\n  c", "COPY <<E /d\n1\nE", "USER e"]);
    let texts: Vec<&str> = file.stages[0].instructions.iter().map(|item| item.text.as_str()).collect();
    assert_eq!(texts, ["RUN b   c", "COPY <<E /d", "USER e"]);
    assert_eq!(&text[file.stages[0].instructions[1].text.span.clone()], "COPY <<E /d");
}

#[test]
fn words_know_where_their_parts_are() {
    let text = "FROM a\nWORKDIR /x/$y\nENV a=b\\\n$c";
    let file = parse(text).unwrap();
    let instructions = &file.stages[0].instructions;
    let builder_frontend::ast::Command::Workdir(path) = &instructions[0].command else { panic!() };
    assert_eq!(&text[path.sub_span(3..5)], "$y");
    // With a continuation inside, the whole word has to do.
    let builder_frontend::ast::Command::Env(env) = &instructions[1].command else { panic!() };
    assert_eq!(env.items[0].value.as_str(), "b$c");
    assert_eq!(&text[env.items[0].value.sub_span(1..3)], "b\\\n$c");
}

#[test]
fn single_instructions_name_themselves() {
    let error = builder_frontend::parser::parse_instruction("RNU a\nb").unwrap_err();
    assert_eq!(error.to_string(), "in `RNU a`: unknown instruction: RNU");
    assert_eq!(one("# escape=`\n\nCMD a \\\n b"), "cmd \"a  b\"");
}
