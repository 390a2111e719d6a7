#!/bin/sh
# make up: starts a one-node cluster and the demo on it. make down: stops it; PURGE=1 takes everything away.
# usage: up.sh up|down
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
data=${DATA:-/var/lib/kogge}
port=${PORT:-6443}
kogge=$top/build/kogge
log=/var/log/kogge.log
unit=/run/systemd/system/kogge.service

[ "$(id -u)" = 0 ] || { echo "make $1 needs root: sudo make $1" >&2; exit 1; }
has_systemd() { [ -d /run/systemd/system ] && systemctl is-system-running >/dev/null 2>&1 || [ "$(cat /proc/1/comm)" = systemd ]; }
find_kubectl() { command -v kubectl || echo "$top/build/kubectl-1.20/usr/bin/kubectl"; }
kc() { "$(find_kubectl)" --kubeconfig "$data/admin.kubeconfig" --cache-dir "$data/kubectl-cache" "$@"; }
server_pid() { cat "$data/supervisor.pid" 2>/dev/null || true; }
is_running() { pid=$(server_pid); [ -n "$pid" ] && [ -d "/proc/$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q 'kogge server'; }

wait_for() { # what, seconds, command…
	what=$1 left=$(($2 * 10)); shift 2
	printf '%s ' "$what"
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ $left -gt 0 ] || { echo "did not come; the log: $log"; tail -5 "$log" 2>/dev/null || journalctl -u kogge -n 5 --no-pager; exit 1; }
		[ $((left % 10)) != 0 ] || printf .
		sleep 0.1
	done
	echo ok
}

start() {
	if is_running; then
		echo "kogge runs already (pid $(server_pid))"
		return
	fi
	if has_systemd; then
		sed "s,@BINDIR@/kogge server,$kogge server --data-dir $data --port $port,; s,@DOCDIR@,$top/docs," "$top/deploy/kogge.service" >$unit
		systemctl daemon-reload
		systemctl start kogge
	else
		setsid "$kogge" server --data-dir "$data" --port "$port" >>$log 2>&1 </dev/null &
	fi
}

# The caller's home and name, also behind sudo.
as_caller() {
	if [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
		home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
		HOME=$home KUBECONFIG= "$@"
		[ ! -d "$home/.kube" ] || chown -R "$SUDO_USER:" "$home/.kube"
	else
		"$@"
	fi
}

up() {
	mkdir -p "$data/images"
	cp "$top"/build/images/*.tar "$data/images/"
	start
	wait_for "API server" 30 kc get --raw /readyz
	wait_for "node" 60 kc wait --for=condition=Ready node --all --timeout=1s
	as_caller "$kogge" kubeconfig --data-dir "$data"
	[ -x "$(command -v kubectl)" ] || ln -sf "$(find_kubectl)" /usr/local/bin/kubectl
	kc apply -f "$top/deploy/demo.yaml"
	wait_for "demo" 120 kc rollout status deployment/web --timeout=1s
	address=$(kc get service web -o 'jsonpath={.spec.clusterIP}')
	printf 'http://%s/ says: ' "$address"
	curl -sS --noproxy '*' --max-time 5 --retry 3 --retry-connrefused "http://$address/"
	cat <<-TXT

		Kogge runs. What next:
		  kubectl get pods -o wide
		  kubectl scale deployment web --replicas=5
		  kubectl set image deployment web web=web:v2 && kubectl rollout status deployment web
		  kubectl rollout undo deployment web
		  $kogge status
		Stop it with make down (pods go on); make down PURGE=1 takes everything away.
	TXT
}

down() {
	if has_systemd && systemctl cat kogge >/dev/null 2>&1; then
		systemctl stop kogge
	elif is_running; then
		pid=$(server_pid)
		kill "$pid"
		wait_for "stopping" 30 sh -c "! [ -d /proc/$pid ]"
	else
		echo "kogge does not run"
	fi
	[ "${PURGE:-}" = 1 ] || return 0
	[ ! -e "$data/admin.kubeconfig" ] || as_caller "$kogge" kubeconfig --remove --data-dir "$data"
	[ ! -d "$data" ] || "$kogge" reset --data-dir "$data" --force
	if [ -e $unit ]; then
		rm -f $unit
		systemctl daemon-reload
	fi
	rm -f $log
	[ "$(readlink /usr/local/bin/kubectl 2>/dev/null)" != "$top/build/kubectl-1.20/usr/bin/kubectl" ] || rm -f /usr/local/bin/kubectl
}

"$1"
