# What run.sh does with this application.

check_build() { must_have 'added [0-9]+ packages'; must_have 'modules transformed'; }
check() {
    serve
    get /
    must_have '<title>Tide table</title>'
    script=$(grep --only-matching --extended-regexp '/assets/index-[A-Za-z0-9_-]+\.js' "$work/output" | head -n 1)
    get "$script"
    must_have '^Cache-Control: public, max-age=31536000, immutable'
    must_have 'Tides of the harbour'
    get /any/page
    must_have '<div id="root">'
    stop
    builder_run sh -c 'ls /app /root/.npmrc' || true
    must_have "/app': No such file"
    must_have "/root/.npmrc': No such file"
}

change_says='one line of a component changes: no package is installed'
change() { sed -i 's/Tides of the harbour/Tides of the bay/' src/App.tsx; }
changed=('[build 1/2] COPY . .' '[build 2/2] RUN' '[web 5/5] COPY --from=build')
check_change() {
    serve
    get /
    get "$(grep --only-matching --extended-regexp '/assets/index-[A-Za-z0-9_-]+\.js' "$work/output" | head -n 1)"
    must_have 'Tides of the bay'
    stop
}
