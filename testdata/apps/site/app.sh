# What run.sh does with this application.

check_build() { must_have 'Pages +\|'; }
check() {
    serve
    get /
    must_have '<title>Notes of a gardener</title>'
    must_have 'What the frost left.*The first beans'
    get /posts/spring/
    must_have '<td>14 April</td>'
    get /nothing
    must_have 'Nothing grows here'
    stop
    builder_run sh -c 'ls /site /tmp/hugo_cache /www/.hugo_build.lock' || true
    must_lack 'config.toml'
    must_have '/www/.hugo_build.lock: No such file'
    # The files alone.
    build --target files -o "$work/public"
    [ -f "$work/public/posts/autumn/index.html" ] || fail 'the site as a directory'
    [ ! -e "$context/.hugo_build.lock" ] || fail 'the context stays as it is'
    ok 'the site as a directory'
}

change_says='one post changes: the site is made again, nothing is installed'
change() { sed -i 's/Leeks and kale do not mind/Leeks and chard do not mind/' content/posts/autumn.md; }
changed=('[build 1/1] RUN' '[files 1/1] COPY' '[web 2/4] COPY --from=files' '[web 3/4] COPY' '[web 4/4] RUN')
check_change() {
    serve
    get /posts/autumn/
    must_have 'Leeks and chard'
    stop
}
