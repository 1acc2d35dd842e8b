#!/usr/bin/env bash
# Lays out the inputs that fuzzing begins with: fuzz/corpus/TARGET gets what seeds/TARGET holds, the Dockerfiles of
# testdata, and tars that the usual tools write. What the fuzzer found before stays.
set -euo pipefail
cd "$(dirname "$0")"

for target in grammar plan expand ignore wildcard tar mount reference address; do
    mkdir -p "corpus/$target"
    if [ -d "seeds/$target" ]; then cp "seeds/$target"/* "corpus/$target/"; fi
done
cp seeds/grammar/* corpus/plan/
while IFS= read -r -d '' dockerfile; do
    name=${dockerfile#../testdata/}
    cp "$dockerfile" "corpus/grammar/${name//\//-}"
    cp "$dockerfile" "corpus/plan/${name//\//-}"
done < <(find ../testdata -name '*Dockerfile*' -type f -print0)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/dir/$(printf 'long%.0s' {1..40})"
echo text > "$work/root/file"
ln -s file "$work/root/link"
ln "$work/root/file" "$work/root/hard"
mkfifo "$work/root/pipe"
echo x > "$work/root/dir/$(printf 'long%.0s' {1..40})/file"
truncate --size 64K "$work/root/sparse"
printf middle | dd of="$work/root/sparse" bs=1 seek=33333 conv=notrunc status=none
echo é > "$work/root/é"
# The byte in front: whether the fuzz target mends checksums.
seed() { { printf '\1'; cat; } > "corpus/tar/$1"; }
pack() { tar --create --directory "$work/root" --sort=name --owner=0 --group=0 --mtime=@0 --blocking-factor=1 "$@" .; }
pack --format=ustar --exclude='long*' | seed ustar
pack --format=v7 --exclude='long*' --exclude=pipe | seed v7
pack --format=gnu | seed gnu
pack --format=gnu --sparse | seed gnu-sparse
pack --format=posix --pax-option=delete=atime,delete=ctime | seed pax
for version in 0.0 0.1 1.0; do
    pack --format=posix --sparse --sparse-version=$version | seed pax-sparse-$version
done
for tool in gzip bzip2 xz zstd; do
    if command -v $tool > /dev/null; then pack --format=ustar --exclude=sparse --exclude='long*' | $tool | seed $tool; fi
done
