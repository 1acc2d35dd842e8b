#!/usr/bin/env bash
# Builds and runs the applications in this folder as their users would. Run by `make test-apps`, which brings what this
# needs:
#
#   testdata/apps/run.sh BUILDER TARGET [APP]...
#
# BUILDER is the binary; below TARGET are the tarballs of the base images (TARGET/base). Each application is built, run
# and looked at; built again, where nothing may run; and built with one line changed, where only that may run which
# `changed` of its app.sh names. Everything that this makes goes into TARGET/apps and is removed at the end, unless
# KEEP=1.
#
# What this machine needs to reach the package registries is passed on when it is there: proxies, PIP_INDEX_URL, npm's
# and cargo's configuration (as secrets), certificates that were added to the system's.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 BUILDER TARGET [APP]..." >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "$0: builder runs as root; run this with sudo" >&2; exit 1; }
binary=$(realpath "$1")
target=$(realpath "$2")
source=$(realpath "$(dirname "$0")")
shift 2
apps=("$@")
[ $# -gt 0 ] || apps=(c site python rust node)

work=$target/apps
export BUILDER_ROOT=$work/store
PATH=$(dirname "$binary"):$PATH

rm -rf --one-file-system "$work"
mkdir -p "$work"
service=
finish() {
    status=$?
    [ -z "$service" ] || kill "$service" 2> /dev/null || true
    if [ "$status" -ne 0 ]; then
        printf '\nFailed at: %s\n' "$step" >&2
        tail -n 40 "$work/output" >&2 || true
    fi
    if [ -n "${KEEP:-}" ]; then
        printf '\nKept: BUILDER_ROOT=%s\n' "$BUILDER_ROOT"
    else
        rm -rf --one-file-system "$work"
    fi
}
step=setup
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

passed=0
heading() { step="$app: $1"; printf '%s\n' "$step"; }
ok() { passed=$((passed + 1)); printf '  ok: %s\n' "$1"; }
fail() { printf '  not ok: %s\n' "$1" >&2; exit 1; }
must_have() { grep --quiet --extended-regexp -- "$1" "$work/output" || fail "expected in the output: $1"; ok "$1"; }
must_lack() { ! grep --extended-regexp -- "$1" "$work/output" || fail "not expected in the output: $1"; ok "not: $1"; }

# What this machine was told about the network.
settings=()
for name in {http,https,no,all}_proxy {HTTP,HTTPS,NO,ALL}_PROXY PIP_INDEX_URL; do
    [ -z "${!name:-}" ] || settings+=(--build-arg "$name")
done
secret() { [ ! -s "$2" ] || settings+=(--secret "id=$1,src=$2"); }
secret npmrc "${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}"
secret cargo-config "${CARGO_HOME:-$HOME/.cargo}/config.toml"

build() { builder build --progress=plain -t "test-$app" "${settings[@]}" "$@" "$context" > "$work/output" 2>&1; }
# Runs a command in the image, its output for must_have.
builder_run() { builder run --rm "test-$app" "$@" > "$work/output" 2>&1; }
# Names of steps that ran, or that were cached, from the last build's plain progress.
steps() {
    awk -v end="$1" '
        $1 !~ /^#[0-9]+$/ { next }
        $2 ~ /^\[/ && !($1 in name) { name[$1] = substr($0, length($1) + 2) }
        $2 == end && name[$1] != "" && name[$1] !~ /^\[internal\]/ { print name[$1] }' "$work/output"
}

# Starts the image's service on a port that is free and waits until it answers.
serve() {
    while port=$((20000 + RANDOM % 20000)); (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do :; done
    builder run --rm -e "PORT=$port" "test-$app" > "$work/service.log" 2>&1 &
    service=$!
    local _
    for _ in {1..150}; do
        if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then return; fi
        kill -0 "$service" 2> /dev/null || break
        sleep 0.2
    done
    cat "$work/service.log" >&2
    fail 'the service answers'
}
# Asks it for a path: status line, headers and body are what must_have sees.
get() {
    exec 3<> "/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
    tr -d '\r\000' <&3 > "$work/output"
    exec 3>&-
}
# Ends it as its image wants it; a process that is the first of its container and has no handler does not hear that.
stop() {
    local signal _
    signal=$(builder inspect "test-$app" | jq --raw-output '.[0].Config.StopSignal // "SIGTERM"')
    kill -s "${signal#SIG}" "$service"
    for _ in {1..15}; do
        kill -0 "$service" 2> /dev/null || break
        sleep 0.2
    done
    kill -KILL "$service" 2> /dev/null || true
    wait "$service" 2> /dev/null || true
    service=
}

app=base
heading 'base images'
builder import "$target/base/busybox.tar" busybox --change 'CMD ["sh"]' > "$work/output" 2>&1
builder import "$target/base/debian-bookworm.tar" debian:bookworm --change 'CMD ["bash"]' > "$work/output" 2>&1
# Authorities that this machine trusts besides the distribution's: whoever is between it and the registries.
if compgen -G '/usr/local/share/ca-certificates/*.crt' > /dev/null; then
    builder build --progress=plain -t debian:bookworm -f - /usr/local/share/ca-certificates > "$work/output" 2>&1 <<EOF
FROM debian:bookworm
COPY *.crt /usr/local/share/ca-certificates/
RUN update-ca-certificates
CMD ["bash"]
EOF
fi

for app in "${apps[@]}"; do
    # shellcheck source=/dev/null
    . "$source/$app/app.sh"
    context=$work/$app
    rm -rf "$context"
    cp -R "$source/$app" "$context"
    rm "$context/app.sh"

    heading 'the first build'
    build
    must_lack 'warnings? found'
    check_build

    heading 'what it does'
    check

    heading 'the same build again, all files as if written just now'
    find "$context" -type f -exec touch {} +
    build
    [ -z "$(steps DONE)" ] || fail "nothing runs, but these did: $(steps DONE)"
    ok 'all cached'

    heading "$change_says"
    (cd "$context" && change)
    build
    ran=$(steps DONE)
    while IFS= read -r line; do
        for expected in "${changed[@]}"; do [[ $line != "$expected"* ]] || continue 2; done
        fail "runs again without need: $line"
    done <<< "$ran"
    for expected in "${changed[@]}"; do
        [[ $'\n'$ran == *$'\n'"$expected"* ]] || fail "does not run again: $expected"
        ok "again: $expected"
    done
    check_change
done
printf '\n%d passed, 0 failed\n' "$passed"
