#!/bin/sh
# make install, make uninstall: puts the program, its systemd unit and its pages below PREFIX, or takes away just those.
# usage: install.sh install|uninstall     environment: PREFIX (/usr/local), UNITDIR (PREFIX/lib/systemd/system), DESTDIR (none)
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/usr/local}
unitdir=${UNITDIR:-$prefix/lib/systemd/system}
networkdir=$prefix/lib/systemd/network
rulesdir=$prefix/lib/udev/rules.d
logindir=$prefix/lib/systemd/logind.conf.d
docdir=$prefix/share/doc/kogge
root=${DESTDIR:-}
pages="README.md LICENSE CHANGELOG.md docs/operations.md docs/limits.md"

for dir in "$prefix" "$unitdir"; do
	case $dir in
	*[!A-Za-z0-9/._+-]*) echo "make $1: the unit cannot name $dir; use letters, digits and /._+-" >&2; exit 1 ;;
	/*) ;;
	*) echo "make $1: PREFIX and UNITDIR are whole paths, not $dir" >&2; exit 1 ;;
	esac
done

runs_here() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

read_anew() {
	runs_here || return 0
	systemctl daemon-reload
	! systemctl is-active --quiet systemd-networkd || networkctl reload
	! systemctl is-active --quiet systemd-udevd || udevadm control --reload
	! systemctl is-active --quiet systemd-logind || systemctl kill -s HUP systemd-logind
}

install_files() {
	install -D -m 755 "$top/build/kogge" "$root$prefix/bin/kogge"
	for page in $pages; do install -D -m 644 "$top/$page" "$root$docdir/${page##*/}"; done
	install -d "$root$unitdir"
	sed "s,@BINDIR@,$prefix/bin,; s,@DOCDIR@,$docdir," "$top/deploy/kogge.service" >"$root$unitdir/kogge.service"
	chmod 644 "$root$unitdir/kogge.service"
	install -D -m 644 "$top/deploy/10-kogge.network" "$root$networkdir/10-kogge.network"
	install -D -m 644 "$top/deploy/85-kogge.rules" "$root$rulesdir/85-kogge.rules"
	install -D -m 644 "$top/deploy/85-kogge-logind.conf" "$root$logindir/85-kogge.conf"
	read_anew
	cat <<-TXT
		installed $root$prefix/bin/kogge and $root$unitdir/kogge.service.
		A machine that did not build it needs: apt-get install $(awk '$1 == "lib" { printf "%s ", $2 }' "$top/tools/packages.txt")containerd runc
		What next:
		  kogge check
		  systemctl enable --now kogge      # after an upgrade: systemctl restart kogge, pods go on
		  kogge kubeconfig && kubectl get nodes
	TXT
}

# The data and the pods are not the program's: `kogge reset` takes those away, and needs the program.
uninstall_files() {
	if runs_here && systemctl is-active --quiet kogge; then
		echo "make uninstall: kogge runs; first systemctl disable --now kogge, and kogge reset --force if pods and data shall go, too" >&2
		exit 1
	fi
	rm -f "$root$prefix/bin/kogge" "$root$unitdir/kogge.service" "$root$networkdir/10-kogge.network" "$root$rulesdir/85-kogge.rules" \
		"$root$logindir/85-kogge.conf"
	for page in $pages; do rm -f "$root$docdir/${page##*/}"; done
	[ ! -d "$root$docdir" ] || rmdir --ignore-fail-on-non-empty "$root$docdir"
	read_anew
}

case ${1:-} in
install) install_files ;;
uninstall) uninstall_files ;;
*) echo "usage: install.sh install|uninstall" >&2; exit 2 ;;
esac
