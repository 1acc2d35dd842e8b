# What run.sh does with this application.

check_build() { must_have 'Compiling serde_json'; must_have 'test result: ok. 2 passed'; }
check() {
    builder_run 1984 MMXXVI
    must_have '^1984 is MCMLXXXIV$'
    must_have '^2026 is MMXXVI$'
    builder_run --json 4
    must_have '^\[\{"arabic":4,"roman":"IV"\}\]$'
    builder_run 4000 && fail 'there is an error'
    must_have 'the Romans had no way to write 4000'
    builder run --rm --entrypoint ls "test-$app" -A /app /usr/local/cargo > "$work/output" 2>&1 || true
    must_have "/app': No such file"
}

change_says='one line changes: cargo compiles the workspace alone'
change() { sed -i 's/{arabic} is {roman}/{arabic} = {roman}/' crates/roman-cli/src/main.rs; }
changed=('[build 1/1] RUN' '[final 2/2] COPY')
check_change() {
    must_have 'Compiling roman-cli'
    must_lack 'Compiling serde'
    must_lack 'Downloaded'
    builder_run 14
    must_have '^14 = XIV$'
}
