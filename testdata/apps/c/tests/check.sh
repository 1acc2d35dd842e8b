#!/bin/sh
# Tries the program: tests/check.sh PROGRAM
set -eu
notes=$1
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
export NOTES_FILE="$dir/notes.db"

is() { [ "$2" = "$3" ] || { echo "not ok: $1: $2"; exit 1; }; echo "ok: $1"; }
is 'nothing yet' "$("$notes" list)" 'no notes yet'
is 'the first' "$("$notes" add buy some milk)" 'note 1'
is 'the second' "$("$notes" add 'call "home"')" 'note 2'
is 'both' "$("$notes" list)" "$(printf '  1  buy some milk\n  2  call "home"')"
is 'one' "$("$notes" find milk)" '  1  buy some milk'
is 'none' "$("$notes" find tea)" 'no notes yet'
status=0; "$notes" 2> /dev/null || status=$?
is 'wrong use' "$status" 2
