# Kogge's front door; meson does the work. `make help` lists the targets.
SHELL := /bin/sh
BUILD := build/release
MESON_FLAGS := --buildtype=debugoptimized -Dstrip=true
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: all help up down test check differential mutate test-fresh test-images vm-test bench bench-doc bench-gap fuzz e2e fairness floods stress install uninstall format lint clean packages

all: build/kogge ## builds build/kogge

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

packages:
	@tools/install-packages.sh build run

$(BUILD)/build.ninja:
	@tools/install-packages.sh build
	@meson setup $(BUILD) $(MESON_FLAGS) >/dev/null

.PHONY: build/kogge
build/kogge: $(BUILD)/build.ninja
	@ninja -C $(BUILD) src/cmd/kogge | tail -1
	@strip -o build/kogge.new $(BUILD)/src/cmd/kogge && mv build/kogge.new build/kogge

up: packages build/kogge test-images ## a one-node cluster and a demo on it
	@tools/up.sh up

down: ## stops it; PURGE=1 takes everything away
	@PURGE=$(PURGE) tools/up.sh down

test: ## everything that CI runs
	@tools/test.sh all

check: ## unit tests only
	@tools/test.sh check

e2e: build/kogge test-images ## end-to-end tests only
	@tools/test.sh e2e

differential: build/kogge ## compares the API with the recorded answers of a real 1.20 server
	@tools/test.sh differential

mutate: build/kogge ## random objects to a live 1.20 server and to Kogge: PEER_KUBECONFIG=FILE; ARGS="--seed N --cases N --only RE --case N"
	@/usr/bin/python3 tests/differential/mutate.py $(PEER_KUBECONFIG) $(ARGS)

fairness: build/kogge ## leases and /readyz stay quick among hanging, half-open and slow clients; 64 MiB are enough
	@/usr/bin/python3 tests/fairness/fairness.py

floods: build/kogge ## floods of HTTP/2, each against a server in 64 MiB; ARGS="heads": those with that in their names
	@/usr/bin/python3 tests/fairness/floods.py $(ARGS)

stress: build/kogge test-images ## what breaks only under load; PARTS="streams churn jobs", MINUTES=10 for churn, SEED=N
	@/usr/bin/python3 tests/stress/run.py

conformance: build/kogge ## upstream's suite, built before (../shared/conformance), against one node; ARGS="--focus RE"
	@/usr/bin/python3 tests/conformance/run.py $(ARGS)

fuzz: ## every fuzz target for SECONDS each (60)
	@SECONDS_EACH=$${SECONDS_EACH:-60} tools/test.sh fuzz

test-fresh: ## both README commands in new debootstrap roots
	@tools/test-fresh.sh

test-images: ## image archives in build/images/
	@tools/install-packages.sh build run
	@tools/make-images.sh >/dev/null

vm-test: build/kogge test-images ## installed on a Debian with its own kernel, in qemu: systemd, reboots, power cuts; PARTS="…"
	@tools/vm-test.sh $(PARTS)

bench: build/kogge test-images ## measures Kogge, beside PEER_KUBECONFIG where given; build/bench/results.md
	@ninja -C $(BUILD) bench/load bench/cri | tail -1
	@/usr/bin/python3 bench/run.py

bench-gap: build/kogge ## longest times without an acknowledged write, beside the disk's own; MINUTES=10; FILL=0: free memory stays free; TRACE=FOLDER: what the kernel did
	@ninja -C $(BUILD) bench/load | tail -1
	@ONLY=gap /usr/bin/python3 bench/run.py

bench-doc: $(BUILD)/build.ninja ## documents beside jansson, on the objects of bench/corpus
	@tools/install-packages.sh bench
	@meson setup --reconfigure $(BUILD) >/dev/null
	@ninja -C $(BUILD) bench/doc_bench | tail -1
	@$(BUILD)/bench/doc_bench bench/corpus/*.json

install: build/kogge ## program, systemd unit and pages below PREFIX (/usr/local); DESTDIR, UNITDIR
	@tools/install.sh install

uninstall: ## takes those away; pods and data stay (kogge reset)
	@tools/install.sh uninstall

format: ## clang-format over the sources
	@find bench src tests -name '*.[ch]' | xargs clang-format -i

lint: $(BUILD)/build.ninja ## arrows, banned calls, clang-tidy
	@/usr/bin/python3 tools/check_arrows.py
	@git ls-files 'src/*.c' | grep -v _test.c | xargs clang-tidy -p $(BUILD) --quiet

clean: ## removes build/
	@rm -rf build
