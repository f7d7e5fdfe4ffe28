# Every target runs from a clean clone with Go, git and make; lab needs root and
# the programs that .ci/run installs.

GO        ?= go
T         ?= 30                 # seconds for each fuzz target
PREFIX    ?= /usr/local
UNITDIR   ?= /usr/lib/systemd/system
PROGRAMS   = $(SMALL) latchkey-basestation
UNITS      = latchkeyd.service latchkey-basestation.service
PLATFORMS  = linux/amd64 linux/arm64 linux/arm linux/mipsle linux/riscv64 \
             darwin/amd64 darwin/arm64 windows/amd64 windows/arm64 freebsd/amd64
SMALL      = latchkeyd latchkey # run on small machines; a basestation does not
SMALLTAGS  = nethttpomithttp2   # they ask HTTP servers, which all speak HTTP/1.1; saves 500 kB
MAXARM     = 14000000           # bytes of a stripped linux/arm program of them
# On 32-bit machines code that runs at start, for administrators and for HTTP is
# not inlined: that saves 0.7 MB and costs nothing where bytes are moved.
COLD       = crypto/tls crypto/x509 encoding/asn1 encoding/gob encoding/json fmt image/... log/slog math/big mime/... net net/http \
             regexp regexp/syntax text/template text/template/parse vendor/... golang.org/x/net/... \
             github.com/fxamacker/... github.com/goccy/... github.com/golang-jwt/... github.com/pion/dtls/... github.com/pion/ice/... \
             github.com/pion/mdns/... github.com/pion/stun/... github.com/pion/turn/... github.com/spf13/... go.etcd.io/... \
             filippo.io/... golang.org/x/crypto/argon2 golang.org/x/crypto/blake2b os strconv \
             $(addprefix $(MODULE)/,cmd/... pairing internal/admin internal/audit internal/bearer internal/cli \
             internal/daemon internal/discover internal/form internal/pake internal/rendezvous internal/roster \
             internal/settings internal/signal internal/uplink internal/vault internal/webhook)
MODULE     = github.com/latchkey-dev/latchkey
TOOLBIN    = bin/tools
GOBUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'

all: build

build: ## the programs, into bin/
	$(GOBUILD) -tags '$(strip $(SMALLTAGS))' -o bin/ $(SMALL:%=./cmd/%)
	$(GOBUILD) -o bin/ ./cmd/latchkey-basestation

test: ## everything that needs no root
	$(GO) test -timeout 20m -shuffle=on ./...
	cd internal/bench && $(GO) test -shuffle=on ./...

race: ## the same under the race detector, with smaller amounts
	CGO_ENABLED=1 $(GO) test -race -short -timeout 20m -shuffle=on ./...

lint: $(TOOLBIN)/.built ## formatting, vet, staticcheck, golangci-lint
	@bad=$$($(TOOLBIN)/gofumpt -l .); test -z "$$bad" || { echo "not formatted with gofumpt:"; echo "$$bad"; exit 1; }
	$(GO) vet -tags lab ./...
	GOARCH=386 CGO_ENABLED=0 $(GO) vet ./...
	cd internal/bench && $(GO) vet ./...
	$(TOOLBIN)/staticcheck -tags lab ./...
	$(TOOLBIN)/golangci-lint run ./...

$(TOOLBIN)/.built: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$(TOOLBIN)/ tool
	@touch $@

lab: ## a sample of the tests with foreign programs and namespaces; root
	./scripts/lab.sh -short

lab-full: ## all of them
	./scripts/lab.sh

fuzz: ## each fuzz target for T seconds
	./scripts/fuzz.sh $(strip $(T))

bench: build ## the figures of the README; BENCH='-quick -only tunnel,coap' measures less
	cd internal/bench && $(GO) run . -bin $(CURDIR)/bin $(BENCH)

bench-basestation: build ## 10,000 devices at one basestation, an outage, the relay; BENCH='-quick' measures less
	cd internal/bench && $(GO) run . -bin $(CURDIR)/bin -only attach,outage,relay $(BENCH)

cross: ## every platform builds, tests included, and a small one stays small
	@set -e; for p in $(PLATFORMS); do \
		os=$${p%/*} arch=$${p#*/} cold=; echo "build $$p"; mkdir -p dist/$$os-$$arch; \
		case $$arch in arm|mipsle) cold='$(COLD:%=-gcflags=%=-l)' ;; esac; \
		GOOS=$$os GOARCH=$$arch $(GOBUILD) $$cold -tags '$(strip $(SMALLTAGS))' -o dist/$$os-$$arch/ $(SMALL:%=./cmd/%); \
		GOOS=$$os GOARCH=$$arch $(GOBUILD) -o dist/$$os-$$arch/ ./cmd/latchkey-basestation; \
	done
	@set -e; for os in darwin windows freebsd; do echo "vet $$os"; GOOS=$$os CGO_ENABLED=0 $(GO) vet ./...; done
	@for b in $(SMALL); do \
		n=$$(wc -c <dist/linux-arm/$$b); echo "linux/arm $$b: $$n bytes, at most $(strip $(MAXARM))"; \
		test $$n -le $(MAXARM) || exit 1; \
	done

demo: build ## a device, a client and a tunnel on this machine
	./scripts/demo.sh

man: build ## manual pages, into dist/man
	@mkdir -p dist/man
	for b in $(PROGRAMS); do bin/$$b man dist/man || exit 1; done

completions: build ## shell completions, into dist/completions
	@mkdir -p dist/completions
	for b in $(PROGRAMS); do for s in bash zsh fish; do bin/$$b completion $$s >dist/completions/$$b.$$s || exit 1; done; done

install: build man completions ## to DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(UNITDIR)
	install -m 755 $(PROGRAMS:%=bin/%) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 dist/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	for b in $(PROGRAMS); do \
		install -Dm 644 dist/completions/$$b.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$b && \
		install -Dm 644 dist/completions/$$b.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$b && \
		install -Dm 644 dist/completions/$$b.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$b.fish || exit 1; \
	done
	for u in $(UNITS); do \
		sed 's|/usr/bin/|$(PREFIX)/bin/|' docs/systemd/$$u >$(DESTDIR)$(UNITDIR)/$$u && \
		chmod 644 $(DESTDIR)$(UNITDIR)/$$u || exit 1; \
	done

clean:
	rm -rf bin dist

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

.PHONY: all build test race lint lab lab-full fuzz bench bench-basestation cross demo man completions install clean help
