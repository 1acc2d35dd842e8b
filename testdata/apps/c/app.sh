# What run.sh does with this application.

check_build() { must_have 'ok: both'; must_have 'Misses: +3'; }
check() {
    builder_run
    must_have '^no notes yet$'
    builder_run version
    must_have '^notes 1\.0$'
    builder run --rm --entrypoint sh "test-$app" -c 'notes add water the plants && notes find plants' > "$work/output" 2>&1
    must_have '^  1  water the plants$'
    builder run --rm --entrypoint sh "test-$app" -c 'cat /usr/share/doc/notes/check.log; ls /ccache' > "$work/output" 2>&1 || true
    must_have '^ok: wrong use$'
    must_have 'No such file'
}

change_says='one file changes: ccache compiles one and has the others; the log of the tests is the same, so its copy stays'
change() { sed -i 's/no notes yet/nothing to remember/' src/main.c tests/check.sh; }
changed=('[build 1/2] COPY . .' '[build 2/2] RUN' '[check 1/1] RUN make check' '[stage-3 5/5] COPY --from=build')
check_change() {
    # What the compiler was asked for: three objects and the link.
    must_have 'Hits: +2'
    must_have 'Misses: +1'
    builder_run
    must_have '^nothing to remember$'
}
