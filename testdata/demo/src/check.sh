#!/bin/sh
# Checks the program given as $1; says what it checked.
set -eu
tally=$1

expect() {
    if [ "$2" != "$3" ]; then
        printf 'not ok  %s\n  expected: %s\n  found:    %s\n' "$1" "$2" "$3"
        exit 1
    fi
    printf 'ok  %s\n' "$1"
}

# The Nth of the words, the most frequent first; for 0 the line with the sums.
top() { "$tally" --top "$1" | sed -n "$(($1 ? $1 + 1 : 2))s/^ *//p"; }

# 20,000 words of four letters, no two alike.
many_words() {
    awk 'BEGIN {
        for (word = 0; word < 20000; word++) {
            left = word
            for (letter = 0; letter < 4; letter++) { printf "%c", 97 + left % 26; left = int(left / 26) }
            print ""
        }
    }'
}

expect 'counts a word'              '3  to'  "$(echo 'to be or not to be to' | top 1)"
expect 'orders equals by alphabet'  '2  be'  "$(echo 'be or not to be to' | top 1)"
expect 'folds case'                 '2  sea' "$(echo 'Sea sea' | top 1)"
expect 'parts words at punctuation' '2  a'   "$(echo 'a,b;a' | top 1)"
expect 'takes many words' '20000  words in all, 20000 different ones' "$(many_words | top 0)"
expect 'names a file that is missing' 'tally: nowhere: No such file or directory' "$("$tally" nowhere 2>&1 >/dev/null || true)"
