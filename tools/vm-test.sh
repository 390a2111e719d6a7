#!/bin/bash
# make vm-test: Kogge as it is installed, on a Debian 12 with a kernel, cgroup v2 and systemd of its own, in qemu. The last line is
# "N passed, N failed"; where /dev/kvm does not open it says so and is content.
# usage: vm-test.sh [part…]      as root; the parts: see tests/vm/run.py
#
# The disk is made once, from packages alone, and kept in build/vm/; each run works on layers above it. What is tested is what
# `make install` puts into a folder: it goes into the machine as a tar on a disk of its own.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
logs=$top/build/logs
vm=$top/build/vm
cd "$top" || exit 1
. tools/debian-root.sh

guest_packages() { awk '$1 == "guest" || $1 == "run" || $1 == "lib" { print $2 }' "$top/tools/packages.txt"; }

in_root() { # root, command…: with /proc, for the scripts of packages
	root=$1; shift
	unshare --mount --pid --fork sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" \
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

install_guest() { # root; a chroot must not start services, the machine that it becomes does
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" && chmod +x "$1/usr/sbin/policy-rc.d" &&
		in_root "$1" apt-get -qq update &&
		in_root "$1" apt-get -qq install --no-install-recommends -y $(guest_packages) &&
		in_root "$1" apt-get clean && rm "$1/usr/sbin/policy-rc.d"
}

# Qemu's own network: this address, and nothing beyond the machine that runs it. The match is as broad as people write it.
configure_guest() { # root
	echo kogge-vm >"$1/etc/hostname"
	printf '127.0.0.1 localhost\n10.0.2.15 kogge-vm\n' >"$1/etc/hosts"
	echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$1/etc/fstab"
	printf '[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' >"$1/etc/systemd/network/80-vm.network"
	echo nameserver 127.0.0.1 >"$1/etc/resolv.conf"
	: >"$1/etc/machine-id"
	in_root "$1" systemctl -q enable systemd-networkd
}

# Complete only under its last name, which tells from what it was made.
base_disk() {
	key=$({ guest_packages; declare -f in_root install_guest configure_guest base_disk; } | sha256sum | cut -c 1-16)
	disk=$vm/base-$key
	[ ! -e "$disk" ] || return 0
	rm -rf "$vm"/base-*
	root=$roots/vm
	new_root "$root" && progress "$logs/vm-disk.log" "packages of the virtual machine" install_guest "$root" && configure_guest "$root" &&
		mkdir "$disk.new" && cp "$root"/boot/vmlinuz-* "$disk.new/vmlinuz" && cp "$root"/boot/initrd.img-* "$disk.new/initrd" &&
		progress "$logs/vm-disk.log" "its disk" /sbin/mkfs.ext4 -q -d "$root" "$disk.new/root.raw" 8G && mv "$disk.new" "$disk"
	code=$?
	remove_root "$root"
	return $code
}

# What `make install` makes, with images and the demo beside it.
payload() {
	rm -rf "$vm/payload"
	mkdir -p "$vm/payload/var/lib/kogge/images" "$vm/payload/root" &&
		DESTDIR=$vm/payload PREFIX=/usr/local tools/install.sh install >>"$logs/vm-disk.log" &&
		cp build/images/*.tar "$vm/payload/var/lib/kogge/images/" && cp deploy/demo.yaml "$vm/payload/root/" &&
		tar -C "$vm/payload" --owner=0 --group=0 --numeric-owner -cf "$vm/payload.tar" .
}

if [ "${VM_ACCEL:-auto}" != tcg ] && ! { : <>/dev/kvm; } 2>/dev/null; then
	echo "vm-test: skipped, /dev/kvm does not open here (VM_ACCEL=tcg runs it in software, slowly)"
	exit 0
fi
[ "$(id -u)" = 0 ] || { echo "make vm-test needs root for the disk: sudo make vm-test" >&2; exit 1; }
mkdir -p "$logs" "$roots" "$vm"
exec 9>"$vm/lock"
flock -n 9 || { echo "vm-test: another one runs in $vm" >&2; exit 1; }
# an interrupted run leaves no half-made root; the virtual machine ends with its test
trap 'remove_root "$roots/vm"; rm -rf "$vm"/base-*.new "$vm"/run-* "$vm/payload"' EXIT
trap 'exit 1' INT TERM
tools/install-packages.sh vm && base_disk && payload || { echo "0 passed, 1 failed"; exit 1; }
/usr/bin/python3 tests/vm/run.py "$disk" "$vm/payload.tar" "$@"
