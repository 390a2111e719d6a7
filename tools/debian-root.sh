# Debian roots for tests, sourced by test-fresh.sh and vm-test.sh: one is made by debootstrap and kept, the tests work in copies.
# Mirrors and proxies are those of this machine's apt, read when the script runs.
# Needs $top.
suite=bookworm
roots=$top/build/fresh

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

# What this machine's apt calls the source of a suite: "URI component", a line each.
sources_of() {
	apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(RELEASE)|$(REPO_URI)|$(COMPONENT)' |
		awk -F'|' -v suite="$1" '$1 == "Packages" && $2 == "Debian" && $3 == suite { print $4, $5 }' | sort -u
}

apt_settings() { apt-config dump | grep -E '^Acquire::(http|https|Check-[A-Za-z-]*|Languages)(::| )' || true; }

# Long commands say every 15 seconds that they go on; all they print goes to a log.
progress() { # log, what, command…
	log=$1 what=$2 started=$(date +%s); shift 2
	"$@" >>"$log" 2>&1 </dev/null &
	job=$!
	while kill -0 $job 2>/dev/null; do
		sleep 1
		now=$(($(date +%s) - started))
		[ $((now % 15)) != 0 ] || say "  … $what: $now s, $(tail -1 "$log" | tr -cd '[:print:]' | cut -c 1-90)"
	done
	code=0
	wait $job || code=$?
	say "$what: $(($(date +%s) - started)) s$([ $code = 0 ] || echo ", failed ($code); the log: $log")"
	return $code
}

base_root() {
	[ ! -e "$roots/base/.complete" ] || return 0
	command -v debootstrap >/dev/null || "$top/tools/install-packages.sh" test || return 1
	mirror=$(sources_of $suite | awk '{ print $1; exit }')
	[ -n "$mirror" ] || { say "this machine's apt knows no source of Debian $suite: apt-get update may help"; return 1; }
	rm -rf "$roots/base"
	mkdir -p "$roots"
	progress "$logs/debootstrap.log" "debootstrap $suite" debootstrap --variant=minbase --include=make,sudo,ca-certificates \
		$suite "$roots/base" "$mirror" && touch "$roots/base/.complete"
}

# A copy of the base that may use apt as this machine does.
new_root() { # folder
	base_root || return 1
	remove_root "$1"
	cp -a "$roots/base" "$1" || return 1
	for name in $suite $suite-updates $suite-security; do
		sources_of $name | awk -v name=$name '{ parts[$1] = parts[$1] " " $2 } END { for (uri in parts) print "deb", uri, name parts[uri] }'
	done >"$1/etc/apt/sources.list"
	apt_settings >"$1/etc/apt/apt.conf.d/90machine"
	cat /etc/resolv.conf >"$1/etc/resolv.conf"
}

# A clone of HEAD in /src/kogge of a root.
give_sources() { # folder
	mkdir -p "$1/src" || return 1
	git clone -q --no-hardlinks "$top" "$1/src/kogge" || return 1
	[ ! -d "$top/../shared" ] || cp -a "$top/../shared" "$1/src/shared"
}

remove_root() { [ ! -d "$1" ] || rm -rf --one-file-system "$1"; }
