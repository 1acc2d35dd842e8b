#!/usr/bin/env bash
# Shows builder at work on the program in this folder. Run by `make demo`, which brings what this needs:
#
#   testdata/demo/run.sh BUILDER TARGET
#
# BUILDER is the binary; below TARGET are the tarballs of the base images (TARGET/base). Everything that this makes goes
# into TARGET/demo and is removed at the end, unless KEEP=1.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: $0 BUILDER TARGET" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "$0: builder runs as root; run this with sudo" >&2; exit 1; }
binary=$(realpath "$1")
target=$(realpath "$2")
source=$(realpath "$(dirname "$0")")
suite=bookworm

demo=$target/demo
context=$demo/context
export BUILDER_ROOT=$demo/store
PATH=$(dirname "$binary"):$PATH

rm -rf --one-file-system "$demo"
mkdir -p "$demo"
finish() {
    status=$?
    if [ "$status" -ne 0 ]; then printf '\nThe demo failed at: %s\n' "$step" >&2; fi
    if [ -n "${KEEP:-}" ]; then
        printf '\nKept: BUILDER_ROOT=%s\n' "$BUILDER_ROOT"
    else
        rm -rf --one-file-system "$demo"
    fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

bold='' plain='' faint=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m' faint=$'\e[2m'; fi
number=0
heading() {
    number=$((number + 1))
    step="$number. $1"
    printf '\n%s%s%s\n' "$bold" "$step" "$plain"
}
say() { printf '%s%s%s\n' "$faint" "$*" "$plain"; }
# Shows a command, then runs it; the output is kept in $demo/output for `must_have`.
run() {
    local word words=
    for word in "${@//$target/$(basename "$target")}"; do
        # Quoted where a shell would need it.
        if [[ $word == *[!A-Za-z0-9_./:=@,-]* ]]; then word="'$word'"; fi
        words+=" $word"
    done
    printf '%s$%s%s\n' "$bold" "$words" "$plain"
    "$@" 2>&1 | tee "$demo/output"
}
must_have() { grep --quiet --extended-regexp -- "$1" "$demo/output" || { echo "expected in this output: $1" >&2; exit 1; }; }
must_lack() { ! grep --extended-regexp -- "$1" "$demo/output" || { echo "not expected in this output: $1" >&2; exit 1; }; }
build() { run builder build --progress=plain -t tally "$@" "$context"; }

heading 'Base images'
say "A store of its own, in $BUILDER_ROOT; two tarballs of root file systems become the images that the FROM lines name."
run builder import "$target/base/busybox.tar" busybox --change 'CMD ["sh"]'
run builder import "$target/base/debian-$suite.tar" "debian:$suite" --change 'CMD ["bash"]'
run builder images

heading 'The first build'
say 'The compiler is installed and the program compiled in Debian; what ships is busybox and one static binary.'
cp -R "$source" "$context"
build

heading 'Run it'
run builder run --rm tally
must_have '14  the'
run builder run --rm tally --top 3 two-cities.txt
must_have '14  the'

heading 'The same build again: everything is cached'
build
must_have 'CACHED'
# No step said anything, so none ran.
must_lack '^#[0-9]+ [0-9]+\.[0-9]+ '

heading 'A comment changes: the compiler runs, gives the same bytes, and what follows stays cached'
sed -i 's|^static const char greeting|/* Shown above the words. */\n&|' "$context/src/tally.c"
build --explain
must_have 'RUN make .* ran '
must_have 'COPY --from=build .* cached'

heading 'One line changes: builder says why each step runs again'
sed -i 's|The most frequent words are:|Most frequent:|' "$context/src/tally.c"
build --explain
must_have 'src/tally\.c'
must_have 'COPY --from=build .* ran '
must_have 'COPY --from=check .* cached'
run builder run --rm tally
must_have 'Most frequent:'

heading 'An image as a file, for every other tool'
run builder save --format oci -o "$demo/tally.tar" tally
run ls -sh "$demo/tally.tar"
say 'skopeo reads it:'
run skopeo inspect --format '{{.Architecture}} {{.Os}}, {{len .Layers}} layers, labels {{.Labels}}' "oci-archive:$demo/tally.tar"
must_have 'tally'

heading 'What is in the store'
run builder images
run builder cache graph tally

heading 'Done'
