# What run.sh does with this application.

check_build() { must_have 'Successfully installed .*flask-3'; must_have '^#[0-9]+ [0-9.]+ OK$'; }
check() {
    serve
    get /health
    must_have '^ok$'
    get /quotes/0
    must_have 'that&#39;s not what ships are built for'
    get /quotes
    must_have '"author":"Seneca"'
    get /quotes/3
    must_have ' 404 NOT FOUND'
    stop
    builder_run sh -c 'id -un; tail -n 1 /usr/share/doc/quotes/tests.log; ls /root/.cache /tmp/requirements.txt' || true
    must_have '^quotes$'
    must_have '^OK$'
    must_have "/tmp/requirements.txt': No such file"
}

change_says='a quote changes: the packages stay, the tests run again'
change() { sed -i 's/A ship in port is safe/A ship in harbour is safe/' src/quotes/sayings.py; }
changed=(
    '[test 2/4] COPY src src' '[test 3/4] COPY tests tests' '[test 4/4] RUN'
    '[service 4/5] COPY --chown' '[service 5/5] COPY --from=test'
)
check_change() {
    serve
    get /quotes/0
    must_have 'A ship in harbour'
    stop
    # One package more: pip runs again, apt does not.
    echo 'itsdangerous==2.2.0' >> "$context/requirements.txt"
    build
    must_have 'Successfully installed .*itsdangerous-2\.2\.0'
    steps DONE > "$work/steps"
    mv "$work/steps" "$work/output"
    must_have '^\[dependencies 3/3\] RUN'
    must_lack 'apt-get'
}
