#!/bin/sh
# Writes the root file system of a small base image to OUT, a tarball, from the static busybox of this machine.
#
#   testdata/base/busybox.sh OUT.tar && builder import OUT.tar busybox
#
# Needs no root. The same busybox gives the same bytes.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT.tar" >&2; exit 2; }
out=$1

busybox=
for candidate in /bin/busybox /usr/bin/busybox /bin/busybox.static /usr/bin/busybox.static; do
    [ -x "$candidate" ] || continue
    # A dynamic one could not run alone in an image.
    case $(LC_ALL=C ldd "$candidate" 2>&1) in
        *"not a dynamic"* | *"statically linked"* | *"Not a valid dynamic"*) busybox=$candidate; break ;;
    esac
done
[ -n "$busybox" ] || { echo "$0: no static busybox on this machine; install it: apt-get install busybox-static" >&2; exit 1; }

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
root=$work/root

umask 022
mkdir -p "$root/bin" "$root/dev" "$root/etc" "$root/home" "$root/proc" "$root/root" "$root/sys" "$root/tmp" \
    "$root/usr/bin" "$root/usr/sbin" "$root/var/tmp" "$root/var/spool"
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 700 "$root/root"
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
"$busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
ln -s ../../bin/env "$root/usr/bin/env"

cat > "$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
END
cat > "$root/etc/group" <<'END'
root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
users:x:100:
nogroup:x:65534:
END
echo 'passwd: files
group: files
hosts: files dns' > "$root/etc/nsswitch.conf"

tar --create --file "$work/root.tar" --directory "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
mv "$work/root.tar" "$out"
