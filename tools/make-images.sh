#!/bin/sh
# Writes the image archives that demo and tests use to build/images/. No container tool, no network.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
out=$top/build/images
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

busybox=$(command -v busybox-static || command -v busybox)
links=$("$busybox" --list | grep -Evx 'busybox|wget' | sed 's,.*,--link busybox:bin/&,')
gcc -std=gnu17 -O2 -Wall -s -o "$work/wget" "$top/tests/images/wget.c" # with the libraries that it is linked to
wget="--file $work/wget:bin/wget $(ldd "$work/wget" | sed -n 's,^[^/]*/\([^ ]*\) .*,--file /\1:\1,p')"
# shellcheck disable=SC2086
/usr/bin/python3 "$top/tools/image.py" "$out/busybox.tar" docker.io/library/busybox:test --file "$busybox:bin/busybox" $links $wget --cmd sh

gcc -std=gnu17 -O2 -static -s -o "$work/web" "$top/tests/images/web.c"
for version in v1 v2 v3; do
	# shellcheck disable=SC2086
	/usr/bin/python3 "$top/tools/image.py" "$out/web-$version.tar" "docker.io/library/web:$version" --file "$work/web:bin/web" \
		--file "$busybox:bin/busybox" --link busybox:bin/sh $wget --link busybox:bin/timeout --link busybox:bin/cat --env "VERSION=$version" --cmd /bin/web 8080
done
ls -l "$out" | awk 'NR > 1 { print $9, int($5 / 1024) " KiB" }'
