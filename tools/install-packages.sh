#!/bin/sh
# Installs what tools/packages.txt lists for the given purposes: install-packages.sh build run [test]
# Does nothing when all is there. kubectl is special: see need_kubectl.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

missing() {
	for purpose in "$@"; do
		awk -v p="$purpose" '$1 == p { print $2 }' "$top/tools/packages.txt"
	done | while read -r package; do
		[ "$package" = kubernetes-client ] || installed "$package" || echo "$package"
	done
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

# Debian's kubectl; where another package owns /usr/bin/kubectl, or it is not wanted there, unpacked below build/.
need_kubectl() {
	[ -x "$top/build/kubectl-1.20/usr/bin/kubectl" ] && return
	installed kubernetes-client && return
	if command -v kubectl >/dev/null 2>&1; then
		mkdir -p "$top/build/kubectl-1.20"
		(cd "$top/build/kubectl-1.20" && apt download kubernetes-client && dpkg -x kubernetes-client_*.deb .)
	else
		apt install --no-install-recommends -y kubernetes-client >/dev/null
	fi
}

wanted=$(missing "$@")
if [ -n "$wanted" ]; then
	[ "$(id -u)" = 0 ] || { echo "missing packages, and only root may install them:" $wanted >&2; exit 1; }
	echo "installing" $wanted
	# a chroot must not start services; a real machine keeps its own policy
	if [ ! -d /run/systemd/system ] && [ ! -e /usr/sbin/policy-rc.d ]; then
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod +x /usr/sbin/policy-rc.d
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	apt update
	# shellcheck disable=SC2086
	apt install --no-install-recommends -y $wanted >/dev/null
fi
case " $* " in *" run "*) need_kubectl ;; esac
