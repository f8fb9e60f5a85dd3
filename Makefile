# Everything is built by cargo; this file installs what the machine lacks and names the usual tasks.
# As root, missing Debian packages are installed; for anyone else they are named and make stops.

PREFIX ?= /usr/local
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
SHAREDIR = $(PREFIX)/share/fielato
UNITDIR = $(PREFIX)/lib/systemd/system
BASHDIR = $(PREFIX)/share/bash-completion/completions
ZSHDIR = $(PREFIX)/share/zsh/site-functions
FISHDIR = $(PREFIX)/share/fish/vendor_completions.d

CARGO ?= cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)
FIELATO = $(TARGET)/release/fielato
NEED = tools/need.sh

# clang compiles the BPF program, linux-libc-dev and libbpf-dev have its headers, gcc links.
BUILD = cargo gcc libc6-dev make clang libbpf-dev linux-libc-dev $(CIPHER)
# Intel's AVX-512 cipher: its header, and the library with it. It exists for x86-64 only; without it ring ciphers.
CIPHER = $(if $(filter x86_64,$(shell uname -m)),libipsec-mb-dev)
# What the lab and the tests drive and compare against.
LAB = nftables iptables ipset iproute2 iputils-ping wireguard-tools wireguard-go tcpdump kmod procps

# rustup's place is not on PATH in a non-login shell.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.DEFAULT_GOAL := help
.PHONY: help build run test interop testsuite oracle engines test-day test-vm conformance fuzz faults bench bench-classify bench-tunnel bench-gateway bench-shaping bench-fleet bench-analyse lint docs install uninstall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build target/release/fielato
	@$(NEED) $(BUILD)
	$(CARGO) build --release --locked --package fielato

run: build ## show the whole gateway at work on three machines in namespaces (root)
	@$(NEED) $(LAB)
	$(FIELATO) lab talk

test: ## run every test; those that need root say so when there is none
	@$(NEED) $(BUILD) $(LAB)
	@for peer in wireguard-go boringtun; do tools/wireguard-peers.sh $$peer >/dev/null || true; done
	tools/test.sh

interop: ## our WireGuard device with wireguard-go and boringtun, at length: 2 GB, renewed sessions, a flood (root, minutes)
	@$(NEED) $(BUILD) $(LAB)
	tools/wireguard-peers.sh wireguard-go wireguard-go-debian boringtun
	FIELATO_INTEROP_LONG=1 $(CARGO) test --release --locked --package fielato-io --test interop --test flood -- --nocapture

testsuite: ## run the packet test suite's scripts, ENGINE=userspace, kernel or both (root)
	@$(NEED) $(BUILD) $(LAB)
	@failed=0; for engine in $(or $(filter-out both,$(ENGINE)),userspace kernel); do \
	    echo "engine $$engine"; testsuite/test.sh --engine $$engine || failed=1; \
	done; exit $$failed

oracle: ## compare the engine with the kernel, PACKETS=10000000 for long (root)
	@$(NEED) $(BUILD) $(LAB)
	$(CARGO) run --release --locked --package fielato-oracle --bin oracle -- run \
	    --packets $(or $(PACKETS),1000000) --seed $(or $(SEED),$$(date +%s)000000) \
	    --save tests/oracle/regressions --json $(TARGET)/oracle.json

engines: ## compare the user-space engine with the kernel engine under random policies, PACKETS=5000000 (root)
	@$(NEED) $(BUILD) $(LAB)
	$(CARGO) run --release --locked --package fielato-engines --bin engines -- run \
	    --packets $(or $(PACKETS),5000000) --seed $(or $(SEED),$$(date +%s)000000) \
	    --save tests/engines/regressions --json $(TARGET)/engines.json

test-day: ## 24 simulated hours of 1,000 members with churn: every limit reached, nothing left behind (minutes)
	@$(NEED) $(BUILD)
	FIELATO_DAY=full $(CARGO) test --release --locked --package fielato-gateway --test day -- --nocapture

test-vm: build ## the talk, the units and the kernel tests on Debian's own kernel in a virtual machine
	@$(NEED) $(LAB)
	tools/test-vm.sh

conformance: ## run iptables' own tests, fetched from Debian, against our program and the real one (root)
	@$(NEED) $(BUILD) $(LAB)
	tools/conformance.sh

fuzz: ## run each fuzz target for SECONDS (60); needs a nightly compiler
	@$(NEED) $(BUILD) g++
	tools/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

faults: ## kill the daemon and the store at random moments, over and over (root, minutes)
	@$(NEED) $(BUILD) $(LAB)
	FIELATO_KILL_ROUNDS=$(or $(ROUNDS),200) $(CARGO) test --release --locked --package fielato-store --test kill -- --nocapture
	FIELATO_FAULT_ROUNDS=$(or $(ROUNDS),50) $(CARGO) test --release --locked --package fielato --test faults -- --nocapture
	FIELATO_APPLY_ROUNDS=$(or $(ROUNDS),200) FIELATO_DRILLS=$(or $(ROUNDS),30) \
	    $(CARGO) test --release --locked --package fielato --test applies -- --nocapture

bench: ## measure, and write bench/results/*.json (some with root only; minutes)
	@$(NEED) $(BUILD) $(LAB)
	@echo "bench 1 of 5: the guard in the kernel"
	$(CARGO) bench --locked --package fielato-kernel --bench guard
	@echo "bench 2 of 5: applying a policy"
	$(CARGO) bench --locked --package fielato --bench apply
	@echo "bench 3 of 5: the netfilter engine"
	$(CARGO) bench --locked --package fielato-netfilter --bench engine
	@echo "bench 4 of 5: forwarding, in the kernel and in the engine"
	$(CARGO) bench --locked --package fielato-oracle --bench forward
	@echo "bench 5 of 5: the ciphers"
	$(CARGO) bench --locked --package fielato-io --bench aead

bench-tunnel: ## measure our WireGuard device beside others, OPTIONS=--help (root; minutes)
	@$(NEED) $(BUILD) $(LAB) iperf3 ethtool
	$(CARGO) bench --locked --package fielato --bench tunnel -- $(OPTIONS)

bench-gateway: ## measure what a hub costs per packet, in both engines, OPTIONS=--help (root; minutes)
	@$(NEED) $(BUILD) $(LAB) iperf3
	$(CARGO) bench --locked --package fielato --bench gateway -- $(OPTIONS)

bench-shaping: ## measure whether traffic control keeps its word, in both engines, OPTIONS=--help (root; minutes)
	@$(NEED) $(BUILD) $(LAB)
	$(CARGO) bench --locked --package fielato --bench shaping -- $(OPTIONS)

bench-fleet: ## measure how fast 200 protected hosts follow a change, and what 5,000 cost the hub
	@$(NEED) $(BUILD)
	$(CARGO) bench --locked --package fielato-control --bench fleet

bench-analyse: ## measure what judging a policy of 100,000 rules takes, and a matrix of 1,000 members (a minute)
	@$(NEED) $(BUILD)
	$(CARGO) bench --locked --package fielato-policy --bench analyse -- $(OPTIONS)

bench-classify: ## measure the search among many rules alone (minutes)
	@$(NEED) $(BUILD)
	$(CARGO) bench --locked --package fielato-netfilter --bench classify

lint: ## format, clippy with warnings as errors, crates without input and output kept so
	@$(NEED) $(BUILD)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	tools/sans-io.sh

docs: $(FIELATO) ## write man pages and completions to target/man and target/completions
	rm -rf $(TARGET)/man $(TARGET)/completions
	mkdir -p $(TARGET)/man $(TARGET)/completions
	$(FIELATO) man $(TARGET)/man
	$(FIELATO) completions bash >$(TARGET)/completions/fielato
	$(FIELATO) completions zsh >$(TARGET)/completions/_fielato
	$(FIELATO) completions fish >$(TARGET)/completions/fielato.fish

# Built once, by whoever ran `make build`; root need not have a Rust toolchain to install.
$(FIELATO):
	$(MAKE) build

install: docs ## install program, man pages, completions and unit (PREFIX, DESTDIR)
	install -D -m 755 $(FIELATO) $(DESTDIR)$(BINDIR)/fielato
	ln -sf fielato $(DESTDIR)$(BINDIR)/wireguard-fielato
	install -d $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(UNITDIR)
	install -m 644 $(TARGET)/man/*.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 644 packaging/fielato.toml.5 $(DESTDIR)$(MANDIR)/man5/
	install -D -m 644 docs/fielato.schema.json $(DESTDIR)$(SHAREDIR)/fielato.schema.json
	install -D -m 644 $(TARGET)/completions/fielato $(DESTDIR)$(BASHDIR)/fielato
	install -D -m 644 $(TARGET)/completions/_fielato $(DESTDIR)$(ZSHDIR)/_fielato
	install -D -m 644 $(TARGET)/completions/fielato.fish $(DESTDIR)$(FISHDIR)/fielato.fish
	sed 's|/usr/bin/fielato|$(BINDIR)/fielato|' packaging/fielato.service >$(DESTDIR)$(UNITDIR)/fielato.service
	sed 's|/usr/bin/fielato|$(BINDIR)/fielato|' packaging/fielato-agent.service >$(DESTDIR)$(UNITDIR)/fielato-agent.service
	chmod 644 $(DESTDIR)$(UNITDIR)/fielato.service $(DESTDIR)$(UNITDIR)/fielato-agent.service
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@if [ -z "$(DESTDIR)" ]; then $(NEED) nftables || echo "make: fielato needs nft to run; see above"; fi

uninstall: ## remove what install put there; configuration and keys stay
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl disable --now fielato.service fielato-agent.service || true; fi
	rm -f $(DESTDIR)$(BINDIR)/fielato $(DESTDIR)$(BINDIR)/wireguard-fielato $(DESTDIR)$(UNITDIR)/fielato.service $(DESTDIR)$(UNITDIR)/fielato-agent.service
	rm -f $(DESTDIR)$(MANDIR)/man8/fielato.8 $(DESTDIR)$(MANDIR)/man8/fielato-*.8 $(DESTDIR)$(MANDIR)/man5/fielato.toml.5
	rm -rf $(DESTDIR)$(SHAREDIR)
	rm -f $(DESTDIR)$(BASHDIR)/fielato $(DESTDIR)$(ZSHDIR)/_fielato $(DESTDIR)$(FISHDIR)/fielato.fish
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

clean: ## remove what was built, the virtual machine's kernel too
	$(CARGO) clean
