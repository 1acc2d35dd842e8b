#!/bin/sh
# Writes the root file system of Debian SUITE to OUT, a tarball, with debootstrap. Needs root and the network.
#
#   testdata/base/debian.sh OUT.tar [SUITE] && builder import OUT.tar debian:SUITE
#
# What this machine's apt was told about proxies and about the clock, the apt of the image is told too, since it works
# in the same place. DEBIAN_MIRROR names another mirror than debootstrap's own.
set -eu

[ $# -eq 1 ] || [ $# -eq 2 ] || { echo "usage: $0 OUT.tar [SUITE]" >&2; exit 2; }
out=$1
suite=${2:-bookworm}
[ "$(id -u)" -eq 0 ] || { echo "$0: debootstrap needs root; run this with sudo" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "$0: install debootstrap: apt-get install debootstrap" >&2; exit 1; }

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
root=$work/root

# debootstrap mounts /proc in there. In a mount namespace of its own, nothing of that can stay behind.
if ! unshare --mount --propagation private \
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$work/log" 2>&1
then
    tail -n 20 "$work/log" >&2
    echo "$0: debootstrap failed" >&2
    exit 1
fi

# What a base image does not need: downloaded packages, lists that age, logs.
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
    "$root"/var/log/*.log "$root"/var/log/apt "$root"/etc/hostname "$root"/etc/resolv.conf
# No service starts while packages are installed, and nobody is asked.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
if command -v apt-config >/dev/null; then
    apt-config dump | grep -Ei '^Acquire::(Check-(Valid-Until|Date)|(http|https)::Proxy) ' \
        > "$root/etc/apt/apt.conf.d/90this-machine" || rm -f "$root/etc/apt/apt.conf.d/90this-machine"
fi

tar --create --file "$work/root.tar" --directory "$root" --sort=name --numeric-owner --xattrs --xattrs-include='*' \
    --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' .
mv "$work/root.tar" "$out"
