package repotest

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ranks orders the packages of the module: each imports only lower ranks, so
// arrows point down and there is one place to see it. device, client and
// basestation share a rank and cannot import each other.
var ranks = map[string]int{
	".": 0,

	"internal/pake": 1, "internal/packet": 1, "internal/coap": 1, "internal/stream": 1,
	"internal/tunnel": 1, "internal/discover": 1, "internal/signal": 1,
	"internal/vault": 1, "internal/budget": 1, "internal/bearer": 1, "internal/form": 1,

	"acl": 2, "internal/registry": 2, "internal/relay": 2, "internal/secure": 2,
	"internal/netlab": 2, "internal/netlab/world": 3,

	"pairing": 3, "internal/gate": 3, "internal/forward": 3, "internal/route": 3, "internal/audit": 3, "internal/webhook": 3,

	"internal/roster": 4,

	"internal/session": 4, "internal/uplink": 5, "internal/rendezvous": 6,

	"device": 7, "client": 7, "basestation": 7,

	"internal/cli": 6, "internal/settings": 7, "internal/admin": 7, "internal/daemon": 8, "internal/station": 8,
	"cmd/latchkeyd": 9, "cmd/latchkey": 9, "cmd/latchkey-basestation": 9,
}

// freeOfRank import anything of the module: tests, measurements, and examples,
// which have a rule of their own.
var freeOfRank = []string{"internal/bench", "internal/e2e", "internal/repotest", "examples", "tools"}

func TestImportsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.in(freeOfRank...) {
			continue
		}
		rank, ok := ranks[s.dir()]
		if !ok {
			t.Errorf("%s: package %s has no rank; give it one in ranks", s.path, s.dir())
			continue
		}
		for _, p := range s.imports() {
			to, inside := strings.CutPrefix(p, module+"/")
			if p == module {
				to, inside = ".", true
			}
			if inside && ranks[to] >= rank {
				t.Errorf("%s imports %s, which is not below it", s.path, to)
			}
		}
	}
}

// sole names the packages that may import a library: one, but for the two
// ends of TURN.
var sole = map[string][]string{
	"github.com/pion/dtls/":         {"internal/secure"},
	"github.com/pion/sctp":          {"internal/stream"},
	"github.com/pion/ice/":          {"internal/route"},
	"github.com/pion/turn/":         {"internal/route", "internal/relay"},
	"github.com/pion/mdns/":         {"internal/discover"},
	"github.com/plgd-dev/go-coap/":  {"internal/coap"},
	"go.etcd.io/bbolt":              {"internal/vault"},
	"github.com/golang-jwt/":        {"internal/bearer"},
	"github.com/fxamacker/cbor/":    {"internal/signal"},
	"filippo.io/nistec":             {"internal/pake"},
	"github.com/goccy/go-yaml":      {"internal/settings"},
	"github.com/coreos/go-systemd/": {"internal/admin"},
}

func TestLibrariesHaveOneImporter(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.in("internal/bench", "tools") {
			continue
		}
		for _, p := range s.imports() {
			for library, only := range sole {
				if strings.HasPrefix(p+"/", library) && !slices.Contains(only, s.dir()) {
					t.Errorf("%s imports %s; only %s may", s.path, p, strings.Join(only, " and "))
				}
			}
		}
	}
}

func TestForbiddenImports(t *testing.T) {
	std := regexp.MustCompile(`^[a-z0-9]+(/|$)`)
	internal := module + "/internal/"
	rules := []struct {
		dirs []string
		bad  func(string) bool
		why  string
	}{
		{[]string{"."}, func(p string) bool { return !std.MatchString(p) }, "the root package has the standard library only"},
		{[]string{"acl", "pairing"}, func(p string) bool { return p == "net" || p == "net/http" || p == "crypto/tls" }, "it owns no sockets"},
		{[]string{"examples"}, func(p string) bool {
			return strings.HasPrefix(p, internal) || strings.HasPrefix(p, module+"/cmd/")
		}, "examples use what everybody can use"},
		{[]string{"cmd"}, func(p string) bool {
			return strings.HasPrefix(p, internal) && p != internal+"cli" && p != internal+"daemon" && p != internal+"station"
		}, "a main has flags, signals and printing, no logic"},
		{[]string{".", "acl", "pairing", "device", "client", "basestation", "internal", "cmd"}, func(p string) bool {
			return p == "unsafe" || p == "math/rand" || p == "reflect" || p == "io/ioutil" || p == "log"
		}, "it has no place here"},
	}
	for _, s := range sources(t) {
		if s.test() || s.in("internal/bench") {
			continue
		}
		for _, r := range rules {
			if !s.in(r.dirs...) || slices.Equal(r.dirs, []string{"."}) && s.dir() != "." {
				continue
			}
			for _, p := range s.imports() {
				if r.bad(p) {
					t.Errorf("%s imports %s: %s", s.path, p, r.why)
				}
			}
		}
	}
}

func TestModuleGraph(t *testing.T) {
	text := string(read(t, "go.mod"))
	for _, word := range []string{"replace", "exclude", "toolchain"} {
		if regexp.MustCompile(`(?m)^` + word + `\b`).MatchString(text) {
			t.Errorf("go.mod has a %s directive, which would not hold for those who import us", word)
		}
	}
	majors := map[string]string{}
	major := regexp.MustCompile(`/v\d+$`)
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+\.\S+/\S+) v`).FindAllStringSubmatch(text, -1) {
		name := major.ReplaceAllString(m[1], "")
		if other, twice := majors[name]; twice {
			t.Errorf("go.mod has %s and %s: one major of each module", other, m[1])
		}
		majors[name] = m[1]
	}
	for _, ended := range []string{"github.com/pion/dtls/v2", "github.com/pion/ice/v2"} {
		if strings.Contains(text, ended+" ") {
			t.Errorf("go.mod has %s, an ended major (docs/adr/0001)", ended)
		}
	}
	if len(majors) == 0 {
		t.Error("no requirement was found in go.mod")
	}
}
