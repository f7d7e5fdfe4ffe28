package acl

import (
	"cmp"
	"embed"
	"encoding/json"
	"net/netip"
	"path"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

//go:embed testdata/vectors/*.json
var vectorFiles embed.FS

// A vectorFile is a set of decisions that any implementation must make. The
// files are meant to be read by others too: they hold plain policies and
// requests, nothing of this package.
type vectorFile struct {
	About    string            `json:"about"`
	Policies []json.RawMessage `json:"policies"`
	Cases    []struct {
		Name      string        `json:"name"`
		Request   vectorRequest `json:"request"`
		Effect    string        `json:"effect"`
		Policy    string        `json:"policy"`
		Statement int           `json:"statement"`
		Mode      string        `json:"mode"`
	} `json:"cases"`
}

type vectorRequest struct {
	Action   string         `json:"action"`
	Resource string         `json:"resource"`
	User     string         `json:"user"`
	Role     string         `json:"role"`
	Path     string         `json:"path"`
	Source   string         `json:"source"`
	Origin   string         `json:"origin"`
	Service  string         `json:"service"`
	Device   string         `json:"device"`
	Peer     string         `json:"peer"`
	Time     time.Time      `json:"time"`
	Added    time.Time      `json:"added"`
	Claims   map[string]any `json:"claims"`
}

func (v vectorRequest) request(t *testing.T) *Request {
	t.Helper()
	r := &Request{
		Action: Action(v.Action), Resource: v.Resource, User: v.User, Role: v.Role,
		Path: PathKind(v.Path), KeyOrigin: v.Origin, ServiceType: v.Service,
		Time: v.Time, KeyAdded: v.Added, Claims: v.Claims,
	}
	var err error
	if v.Source != "" {
		r.Source, err = netip.ParseAddr(v.Source)
	}
	if err == nil && v.Device != "" {
		r.Device, err = latchkey.ParseDeviceID(v.Device)
	}
	if err == nil && v.Peer != "" {
		r.Peer, err = latchkey.ParseFingerprint(v.Peer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readVectors(t *testing.T) map[string]vectorFile {
	t.Helper()
	entries, err := vectorFiles.ReadDir("testdata/vectors")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]vectorFile)
	for _, e := range entries {
		text, err := vectorFiles.ReadFile(path.Join("testdata/vectors", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var f vectorFile
		if err := vault.Decode(text, &f); err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		out[e.Name()] = f
	}
	return out
}

func (f vectorFile) policies(t *testing.T, name string) []*Policy {
	t.Helper()
	var out []*Policy
	for _, text := range f.Policies {
		p, err := ParsePolicy(name, text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestVectors(t *testing.T) {
	decisions := 0
	for name, f := range readVectors(t) {
		policies := f.policies(t, name)
		for _, c := range f.Cases {
			decisions++
			r := c.Request.request(t)
			d := Evaluate(r, policies...)
			if d.Effect.String() != c.Effect || d.Policy != c.Policy || d.Statement != c.Statement {
				t.Errorf("%s: %s: got %s by %q %d, want %s by %q %d",
					name, c.Name, d.Effect, d.Policy, d.Statement, c.Effect, c.Policy, c.Statement)
			}
			if got, want := d.Mode.String(), cmp.Or(c.Mode, "respond"); got != want {
				t.Errorf("%s: %s: got mode %q, want %q", name, c.Name, got, want)
			}
			if quick := decide(r, policies, nil); quick.effect != d.Effect {
				t.Errorf("%s: %s: %s without a trace, %s with one", name, c.Name, quick.effect, d.Effect)
			}
			if model := modelDecide(r, policies); model != d.Effect {
				t.Errorf("%s: %s: the model says %s", name, c.Name, model)
			}
		}
	}
	if decisions < 350 {
		t.Fatalf("only %d decisions", decisions)
	}
}

// TestVectorsHoldTheDefaults keeps the vectors of the built-in roles from
// testing something else than the built-in roles.
func TestVectorsHoldTheDefaults(t *testing.T) {
	files := readVectors(t)
	for _, role := range builtIn {
		policies := files["role-"+role+".json"].policies(t, role)
		if len(policies) == 0 {
			t.Fatalf("no vectors for role %q", role)
		}
		for _, got := range policies {
			want, err := NewPolicy(got.Name(), defaultPolicies()[got.Name()]...)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := text(t, got), text(t, want); a != b {
				t.Errorf("role %q: vectors have\n%s\nthe store has\n%s", role, a, b)
			}
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
