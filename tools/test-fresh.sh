#!/bin/bash
# make test-fresh: both README commands in two new Debian roots, each in namespaces of its own. The last line is "N passed, N failed".
# usage: test-fresh.sh [up] [test]      as root; without words both
#
# Inside a root this script runs again: `inside`, see the end. Only packages are fetched with the machine's network; everything else
# happens in a network of the root's own, which has a link that leads nowhere.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
logs=$top/build/logs
cd "$top" || exit 1
. tools/debian-root.sh
passed=0 failed=0

result() { # code, what
	if [ "$1" = 0 ]; then passed=$((passed + 1)) word=ok; else failed=$((failed + 1)) word=FAILED; fi
	printf '%-6s %s\n' $word "$2"
}

# ---- namespaces ------------------------------------------------------------------------------------------------------

hierarchies() { awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/self/mounts; }

# This process moves to a cgroup of the root's own in each hierarchy, so that its namespace shows only what is below.
own_cgroups() { # name
	me=$BASHPID
	hierarchies | while read -r folder; do
		mkdir -p "$folder/$1" || exit 1
		for file in cpuset.mems cpuset.cpus; do
			[ ! -e "$folder/$1/$file" ] || [ -e "$folder/cgroup.controllers" ] || cat "$folder/$file" >"$folder/$1/$file"
		done
		echo $me >"$folder/$1/cgroup.procs" || exit 1
	done
}

# Version 2 wants no processes where controllers are handed on: in the namespace, this process moves one down.
leave_top() { # name
	hierarchies | while read -r folder; do
		[ ! -e "$folder/cgroup.controllers" ] || { mkdir "$folder/$1/init" && echo $$ >"$folder/$1/init/cgroup.procs"; }
	done
}

remove_cgroups() { # name; what was killed with the namespace may take a moment to be gone
	hierarchies | while read -r folder; do
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			[ -d "$folder/$1" ] || break
			find "$folder/$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.3
		done
	done
}

mount_cgroups() { # root; version 1 beside 2 as on this machine
	awk '$3 ~ /^cgroup2?$/ || ($3 == "tmpfs" && $2 == "/sys/fs/cgroup") { print $2, $3, $4 }' /proc/self/mounts | while read -r folder type options; do
		mkdir -p "$1$folder"
		options=$(echo "$options" | tr , '\n' | grep -vE '^(rw|ro|nosuid|nodev|noexec|relatime|nsdelegate|memory_recursiveprot)$' | paste -sd, -)
		mount -t "$type" ${options:+-o "$options"} "$type" "$1$folder" || exit 1
		[ -e "$1$folder/cgroup.controllers" ] || continue
		for controller in $(cat "$1$folder/cgroup.controllers"); do echo "+$controller" >"$1$folder/cgroup.subtree_control"; done
	done
}

mount_dev() { # root
	mount -t tmpfs -o mode=755 tmpfs "$1/dev" || return 1
	mkdir "$1/dev/pts" "$1/dev/shm" "$1/dev/mqueue"
	for name in null zero full random urandom tty fuse kmsg net/tun; do
		[ -c "/dev/$name" ] || continue
		mkdir -p "$(dirname "$1/dev/$name")"
		mknod -m 666 "$1/dev/$name" c $((0x$(stat -c %t "/dev/$name"))) $((0x$(stat -c %T "/dev/$name")))
	done
	mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$1/dev/pts" && mount -t tmpfs tmpfs "$1/dev/shm" || return 1
	ln -s pts/ptmx "$1/dev/ptmx"
	ln -s /proc/self/fd "$1/dev/fd"
	for fd in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${fd%:*}" "$1/dev/${fd#*:}"; done
}

own_network() {
	ip link set lo up && ip link add eth0 type veth peer name nowhere && ip link set nowhere up && ip address add 192.0.2.10/24 dev eth0 && ip link set eth0 up &&
		ip route add default via 192.0.2.1
}

# Runs as the first process of new namespaces: goes into the root and becomes the command.
become() { # root, network, command…
	root=$1 network=$2; shift 2
	mount --make-rprivate / && mount --bind "$root" "$root" && mount -t proc proc "$root/proc" && mount -t sysfs sysfs "$root/sys" || exit 1
	mount -t tmpfs -o mode=755 tmpfs "$root/run" && mkdir -m 1777 "$root/run/lock" && mount_dev "$root" && mount_cgroups "$root" || exit 1
	if [ "$network" = own ]; then
		own_network || exit 1
		echo nameserver 127.0.0.1 >"$root/etc/resolv.conf" # refuses at once; the machine's would time out from here
	fi
	hostname "fresh-$(basename "$root")"
	printf '127.0.0.1 localhost fresh-%s\n' "$(basename "$root")" >"$root/etc/hosts"
	[ "$network" != machine ] || grep -v localhost /etc/hosts >>"$root/etc/hosts"
	cd "$root" && mkdir -p .old && pivot_root . .old && umount -l /.old && rmdir /.old || exit 1
	cd / && exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 "$@"
}

enter() { # root, own|machine network, command…
	name=kogge-fresh-$$-$(basename "$1")
	net=$([ "$2" = machine ] || echo --net)
	(
		own_cgroups "$name" && exec unshare --cgroup "$top/tools/test-fresh.sh" leave "$name" \
			unshare --mount --pid --fork --kill-child --uts --ipc $net "$top/tools/test-fresh.sh" become "$@"
	)
	code=$?
	remove_cgroups "$name"
	return $code
}

# ---- the two roots ---------------------------------------------------------------------------------------------------

root_up() {
	log=$logs/fresh-up.log
	: >"$log"
	new_root "$roots/up" && give_sources "$roots/up" && progress "$log" "root up: packages" enter "$roots/up" machine make -C /src/kogge packages
	result $? "packages of make up install"
	progress "$log" "root up: make up, make down" enter "$roots/up" own /src/kogge/tools/test-fresh.sh inside
	grep -aE '^(ok|FAILED) ' "$log" >"$log.results"
	while read -r word what; do result "$([ "$word" = ok ] && echo 0 || echo 1)" "$what"; done <"$log.results"
	[ -s "$log.results" ] || result 1 "make up: nothing was checked"
	! grep -q ^FAILED "$log.results" && [ -s "$log.results" ] || tail -40 "$log" | sed 's/^/   /'
	rm -f "$log.results"
	remove_root "$roots/up"
}

root_test() {
	log=$logs/fresh-test.log
	: >"$log"
	new_root "$roots/test" && give_sources "$roots/test" &&
		progress "$log" "root test: packages" enter "$roots/test" machine sh -c '/src/kogge/tools/install-packages.sh build run test'
	result $? "packages of make test install"
	progress "$log" "root test: sudo make test" enter "$roots/test" own sh -c 'cd /src/kogge && sudo make test'
	code=$?
	last=$(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1)
	echo "$last" | grep -qE '^[1-9][0-9]* passed, 0 failed$' || code=1
	rm -rf "$logs/fresh-test"
	cp -a "$roots/test/src/kogge/build/logs" "$logs/fresh-test" 2>/dev/null
	result $code "sudo make test: ${last:-ended before its last line}"
	[ $code = 0 ] || tail -60 "$log" | sed 's/^/   /'
	remove_root "$roots/test"
}

# ---- inside ----------------------------------------------------------------------------------------------------------

old_kubeconfig="apiVersion: v1
kind: Config
# a comment of its owner
clusters:
- {name: other, cluster: {server: 'https://192.0.2.7:6443'}}
users:
- {name: me, user: {token: abc}}
contexts:
- {name: other, context: {cluster: other, user: me}}
current-context: other"

as_dev() { su dev -c "cd /src/kogge && $*"; }

check() { # what, command…
	what=$1; shift
	if "$@"; then echo "ok $what"; else echo "FAILED $what"; fi
}

pods_outlive_down() { as_dev sudo make down && cat /proc/[0-9]*/comm 2>/dev/null | grep -qx web; }

has_backup() { cat /home/dev/.kube/config.before-kogge-* | diff - /tmp/old-config; }

# In the first root, as root: a user `dev` who may use sudo types what the README says.
inside() {
	useradd -m -s /bin/bash dev
	echo 'dev ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dev
	mkdir /home/dev/.kube
	echo "$old_kubeconfig" | tee /tmp/old-config >/home/dev/.kube/config
	chown -R dev: /home/dev/.kube /src/kogge
	/src/kogge/tests/residue snapshot >/tmp/before

	as_dev sudo make up >/tmp/up.log 2>&1
	check "sudo make up ends well" [ $? = 0 ]
	cat /tmp/up.log
	check "the demo answers over HTTP through its Service" grep -qE '^http://10\.96\.[0-9.]+/ says: .+' /tmp/up.log
	check "make up says what to type next" grep -q 'kubectl scale deployment web' /tmp/up.log
	check "a kubectl is on the path" as_dev command -v kubectl
	check "the caller's current context is kogge" [ "$(as_dev kubectl config current-context)" = kogge ]
	check "the caller's other context is kept" as_dev kubectl config get-contexts other
	check "the old kubeconfig has a backup" has_backup
	check "the caller's kubectl sees three pods" [ "$(as_dev kubectl get pods -o name | grep -c '^pod/web-')" = 3 ]
	check "sudo make up again is fine" as_dev sudo make up
	check "sudo make down leaves pods running" pods_outlive_down
	check "sudo make up after it" as_dev sudo make up
	check "sudo make down PURGE=1" as_dev sudo make down PURGE=1
	check "sudo make down with nothing to stop" as_dev sudo make down
	check "the kubeconfig is as it was" diff /tmp/old-config /home/dev/.kube/config

	/src/kogge/tests/residue snapshot >/tmp/after
	check "nothing is left (tests/residue)" /src/kogge/tests/residue compare /tmp/before /tmp/after
}

case ${1:-} in
leave) leave_top "$2" && shift 2 && exec "$@" ;;
become) shift; become "$@" ;;
inside) inside; exit 0 ;;
esac
[ "$(id -u)" = 0 ] || { echo "make test-fresh needs root: sudo make test-fresh" >&2; exit 1; }
mkdir -p "$logs" "$roots"
# an interrupted run ends its namespace first: the first process takes all others along
clean_up() {
	[ -z "${job:-}" ] || { pkill -KILL -P "$job" || true; kill "$job" && wait "$job"; } 2>/dev/null
	for one in up test; do
		remove_cgroups "kogge-fresh-$$-$one"
		remove_root "$roots/$one"
	done
}
trap clean_up EXIT
trap 'exit 1' INT TERM
for part in ${*:-up test}; do
	case $part in
	up) root_up ;;
	test) root_test ;;
	*) echo "usage: test-fresh.sh [up] [test]" >&2; exit 2 ;;
	esac
done
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
