#!/bin/sh
# Runs the tests: test.sh all|check|differential|e2e|fuzz|network|tsan. The last line is "N passed, N failed", before it stands the evidence of
# what failed, short enough for a reader who sees the end of this output and nothing else; each suite's log is in build/logs/.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1
logs=build/logs
mkdir -p $logs
evidence=$logs/evidence
: >$evidence
passed=0 failed=0
jobs=$(nproc)
seconds=${SECONDS_EACH:-5}
patience=10 # times a test's limit, which is to end what hangs and not to judge a busy machine

heading() { printf '\n== %s\n' "$*"; }

count() { # name, passed, failed, log, its lines that tell most (a pattern)
	passed=$((passed + $2)) failed=$((failed + $3))
	printf '%-22s %s passed, %s failed\n' "$1" "$2" "$3"
	[ "$3" != 0 ] || return 0
	lines=$(grep -aE "${5:-(FAIL|ERROR|error:|Error|SUMMARY|TIMEOUT)}" "$4" | sed 's/^evidence: //' | cut -c1-300 | head -20)
	printf '%s: %s failed, from %s:\n%s\n' "$1" "$3" "$4" "${lines:-$(tail -15 "$4")}" >>$evidence
}

need() { # build dir, meson flags…: configures it once
	dir=$1; shift
	[ -e "$dir/build.ninja" ] || meson setup "$dir" "$@" >"$logs/setup.log" 2>&1 || { cat "$logs/setup.log"; return 1; }
}

# name, build dir, suites and tests…
meson_tests() {
	name=$1 dir=$2; shift 2
	log=$logs/$name.log
	if ! ninja -C "$dir" -j "$jobs" >"$log" 2>&1; then
		count "$name" 0 1 "$log"
		return
	fi
	meson test -C "$dir" --no-rebuild --print-errorlogs --timeout-multiplier "$patience" "$@" >"$log" 2>&1
	ok=$(sed -n 's/^Ok: *//p' "$log" | tail -1)
	bad=$(awk '/^(Fail|Timeout|Unexpected Pass): */ { n += $NF } END { print n + 0 }' "$log")
	[ "${ok:-0}" -gt 0 ] || bad=$((bad + 1))
	count "$name" "${ok:-0}" "$bad" "$log"
}

unit() {
	need build/release --buildtype=debugoptimized -Dstrip=true && meson_tests unit build/release --suite unit
}

sanitizers() {
	need build/asan --buildtype=debug -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false &&
		ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 meson_tests asan build/asan --suite unit
}

# Real links, nft tables and DNS, in network namespaces of their own.
network() {
	need build/release --buildtype=debugoptimized -Dstrip=true && meson_tests network build/release --suite root
}

# Where threads meet. Not the simulation: it is one thread whose fibers switch stacks, which ThreadSanitizer cannot follow and which
# cannot race. The base-task test, which has a little of both, passes and stays.
threads() {
	need build/tsan --buildtype=debug -Doptimization=1 -Db_sanitize=thread -Db_lundef=false &&
		TSAN_OPTIONS=exitcode=66:second_deadlock_stack=1 meson_tests tsan build/tsan --suite unit \
			api api-race api-read cache store store-sqlite informer client-wire client-remote net_crowd net_http net_http_body net_stream net_tls net_grpc \
			base-clock base-crew base-err base-fiber base-log base-map base-queue base-str base-task
}

fuzz() {
	export FUZZ_SECONDS="$seconds"
	{ [ -e build/fuzz/build.ninja ] || CC=clang meson setup build/fuzz --buildtype=debug -Doptimization=1 -Dfuzz=true -Db_lundef=false >$logs/setup.log 2>&1; } &&
		meson configure build/fuzz -Dfuzz_seconds="$seconds" >>$logs/setup.log 2>&1 &&
		meson_tests fuzz build/fuzz --suite fuzz
}

# The simulated cluster: some seeds, the same trace at -O0 and -O2, and planted bugs that it must find.
sim() {
	need build/release --buildtype=debugoptimized -Dstrip=true && meson_tests sim build/release --suite sim || return
	for what in same bugs; do
		log=$logs/sim-$what.log
		/usr/bin/python3 tests/sim/check.py $what build/release >"$log" 2>&1
		line=$(tail -1 "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed$' || echo "0 passed, 1 failed")
		count "sim-$what" "${line%% passed*}" "$(echo "$line" | sed 's/.*passed, //; s/ failed//')" "$log"
	done
}

# Our answers against those that a real API server gave (tests/differential/run.py record).
differential() {
	log=$logs/differential.log
	/usr/bin/python3 tests/differential/kogge.py >"$log" 2>&1 </dev/null
	line=$(tail -1 "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed$' || echo "0 passed, 1 failed")
	count differential "${line%% passed*}" "$(echo "$line" | sed 's/.*passed, //; s/ failed//')" "$log" "^(CHANGED|DIFFERS|UNUSED|   )|Error"
}

e2e() {
	log=$logs/e2e.log
	/usr/bin/python3 -m pytest -q -rA --no-header -p no:cacheprovider tests/e2e >"$log" 2>&1 </dev/null
	ok=$(grep -cE '^PASSED ' "$log")
	bad=$(grep -cE '^(FAILED|ERROR) ' "$log")
	[ "$ok" -gt 0 ] || bad=$((bad + 1))
	grep -E '^(SKIPPED |figures: )' "$log"
	count e2e "$ok" "$bad" "$log" "^evidence: "
}

tools/install-packages.sh build run test || exit 1
case $1 in
all)
	heading "build"
	make -s build/kogge test-images || { echo "0 passed, 1 failed"; exit 1; }
	heading "tests"
	unit; sim; network; differential; sanitizers; threads; fuzz; e2e
	;;
check) unit; sim ;;
e2e) e2e ;;
fuzz) fuzz ;;
tsan) threads ;;
differential) differential ;;
network) network ;;
*) echo "usage: test.sh all|check|differential|e2e|fuzz|network|tsan" >&2; exit 2 ;;
esac
[ ! -s $evidence ] || { heading "what failed"; head -40 $evidence; }
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
