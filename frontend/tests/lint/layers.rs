//! The experimental checks of our own.

use crate::support::{found, options, report};

fn rules(body: &str) -> Vec<String> {
    found(&format!("# check=skip=all;experimental=all\nFROM base\n{body}"))
        .iter()
        .map(|found| found.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn they_are_silent_unless_asked_for() {
    let text = "FROM base\nRUN apt-get update\nCOPY .env /\nCOPY . .\nRUN npm ci\n";
    assert!(found(text).is_empty(), "{:?}", found(text));
    let asked = format!("# check=experimental=SecretInLayer\n{text}");
    assert_eq!(found(&asked).len(), 1, "{:?}", found(&asked));
    let one = "FROM base\n# check=experimental=AptGetUpdateAlone\nRUN apt-get update\nRUN apt-get update\n";
    assert_eq!(found(one).len(), 1, "{:?}", found(one));
}

#[test]
fn an_update_of_its_own() {
    for (run, alone) in [
        ("RUN apt-get update", true),
        ("RUN apt update -qq", true),
        ("RUN set -eux; apt-get -y update && rm -rf /tmp/x", true),
        ("RUN [\"apt-get\", \"update\"]", true),
        ("RUN <<EOF\napt-get update\nEOF", true),
        ("RUN echo deb x > /etc/apt/sources.list.d/x.list && apt-get update", true),
        ("RUN apt-get update && apt-get install -y git", false),
        ("RUN apt-get update && \\\n    apt-get install -y git", false),
        ("RUN apt-get update; apt-get upgrade -y", false),
        ("RUN apt-get update && ./install.sh", false),
        ("RUN --mount=type=cache,target=/var/lib/apt apt-get update", false),
        ("RUN apt-get install -y git", false),
        ("RUN echo apt-get update", false),
    ] {
        let expected: &[&str] = if alone { &["3 AptGetUpdateAlone"] } else { &[] };
        assert_eq!(rules(&format!("{run}\n")), expected, "{run}");
    }
}

#[test]
fn files_with_credentials() {
    for (copy, secret) in [
        ("COPY .env /app/", true),
        ("COPY a b id_rsa /root/.ssh/", true),
        ("ADD .npmrc /root/", true),
        ("COPY --from=build /root/.ssh/id_ed25519 /", true),
        ("ARG f=.netrc\nCOPY $f /", true),
        ("COPY .env.example /app/.env", false),
        ("COPY id_rsa.pub /", false),
        ("COPY <<.env /\nA=1\n.env", false),
        ("RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm run x", false),
    ] {
        assert_eq!(!rules(&format!("{copy}\n")).is_empty(), secret, "{copy}");
    }
}

#[test]
fn copies_that_a_later_one_replaces() {
    for (body, expected) in [
        ("COPY a/app.conf /etc/app.conf\nCOPY b/app.conf /etc/app.conf\n", 3),
        ("COPY a/app.conf /etc/\nCOPY b/app.conf /etc/\n", 3),
        ("COPY <<EOF /etc/a\n1\nEOF\nCOPY <<EOF /etc/a\n2\nEOF\n", 3),
        ("COPY <<a.sh <<b.sh /x/\n1\na.sh\n2\nb.sh\nCOPY a.sh b.sh /x/\n", 3),
        ("WORKDIR /app\nCOPY package.json ./\nCOPY . .\n", 4),
        ("WORKDIR /app\nCOPY src/a.c src/\nCOPY src src\n", 4),
        ("COPY --from=x /o/a.txt /a.txt\nCOPY a.txt /a.txt\n", 3),
        // Somebody may have used it.
        ("WORKDIR /app\nCOPY package.json ./\nRUN npm --version\nCOPY . .\n", 0),
        // Not the same files.
        ("COPY a.conf /etc/\nCOPY b.conf /etc/\n", 0),
        ("COPY a.conf /etc\nCOPY b.conf /etc\n", 0),
        ("COPY a /app\nCOPY b /app\n", 0),
        ("COPY a.txt b.txt /x/\nCOPY a.txt /x/\n", 0),
        ("COPY *.txt /x/\nCOPY *.txt /x/\n", 0),
        ("COPY a.txt /x/\nCOPY --exclude=a.txt . /x/\n", 0),
        ("COPY --from=x package.json /\nCOPY . /\n", 0),
        ("WORKDIR /app\nCOPY other/package.json ./\nCOPY . .\n", 0),
    ] {
        let expected = if expected == 0 { vec![] } else { vec![format!("{expected} CopyOverwritten")] };
        let mut rules = rules(body);
        rules.retain(|rule| rule.ends_with("CopyOverwritten"));
        assert_eq!(rules, expected, "{body}");
    }
    // Another stage may want the first one.
    let text = "# check=experimental=all\nFROM base AS a\nCOPY a.txt /a.txt\nFROM a\nCOPY b.txt /a.txt\n";
    assert!(found(text).is_empty(), "{:?}", found(text));
}

#[test]
fn the_context_before_the_dependencies() {
    for (body, wrong) in [
        ("COPY . .\nRUN npm ci\n", true),
        ("COPY . /app\nRUN cd /app && pip install -r requirements.txt\n", true),
        ("COPY ./ ./\nRUN go mod download && go build ./...\n", true),
        ("COPY . .\nRUN cargo build --release\n", true),
        ("COPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm run build\n", false),
        ("COPY go.mod .\nRUN go mod download\nCOPY . .\nRUN go build ./...\n", false),
        ("COPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci\n", false),
        ("COPY src .\nRUN npm ci\n", false),
        ("COPY --from=x . .\nRUN npm ci\n", false),
        ("COPY . .\nRUN pip install flask\n", false),
    ] {
        let mut rules = rules(body);
        rules.retain(|rule| rule.ends_with("CopyBeforeDependencyInstall"));
        assert_eq!(rules, if wrong { &["3 CopyBeforeDependencyInstall"][..] } else { &[] }, "{body}");
    }
    let text = "# check=experimental=all\nFROM base AS deps\nCOPY go.mod go.sum /app/\nRUN go mod download\nFROM deps\n\
                COPY . .\nRUN go build ./...\n";
    assert!(found(text).is_empty(), "{:?}", found(text));
    let text = "# check=experimental=all\nFROM base\nCOPY . .\nRUN npm ci && npm run build\n";
    let report = report(text, &options(&[]), false);
    assert_eq!(&text[report.findings[0].focus.clone()], ".");
    assert_eq!(
        report.findings[0].message,
        "COPY of the whole context before \"npm ci\" makes every edit install the dependencies again"
    );
}
