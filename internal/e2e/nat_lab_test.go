//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/netlab/world"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// A process is a part that runs in a namespace of its own.
type process struct {
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	said lockedBuffer // its log
}

// call gives a command and waits for the answer.
func (p *process) call(op string, args, result any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(p.in).Encode(command{op, raw}); err != nil {
		return fmt.Errorf("%s: %w", p.role, err)
	}
	return p.answer(op, result)
}

func (p *process) answer(op string, result any) error {
	a := struct {
		Error  string
		Result json.RawMessage
	}{}
	if err := p.out.Decode(&a); err != nil {
		return fmt.Errorf("%s is gone: %s: %w", p.role, op, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s", op, a.Error)
	}
	if result == nil || len(a.Result) == 0 {
		return nil
	}
	return json.Unmarshal(a.Result, result)
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// A rig is a world with the three parts in it, of which the client knows the
// device by its basestation alone.
type rig struct {
	*world.World
	t                    *testing.T
	dir                  string
	base, device, client *process
	cfg                  roleConfig
	nearby               bool                 // the client began on the network of the device
	key                  latchkey.Fingerprint // the device's
}

// newRig starts the parts: the device on the first host of the second site,
// the client on the first host of the first.
func newRig(t *testing.T, cfg world.Config) *rig {
	t.Helper()
	r := &rig{World: world.New(t, cfg), t: t, dir: t.TempDir()}
	r.provide(cfg.V6)
	r.base = r.start("basestation", r.Base)
	r.device = r.start("device", r.Sites[1].Hosts[0])
	r.attached()
	r.client = r.start("client", r.Sites[0].Hosts[0])
	return r
}

// provide makes the keys and what each part knows of the others.
func (r *rig) provide(v6 bool) {
	r.t.Helper()
	must := func(err error) {
		if err != nil {
			r.t.Helper()
			r.t.Fatal(err)
		}
	}
	for _, role := range []string{"basestation", "device", "client"} {
		must(os.Mkdir(filepath.Join(r.dir, role), 0o700))
	}
	station, err := latchkey.OpenOrCreateIdentity(filepath.Join(r.dir, "basestation", basestation.KeyFile))
	must(err)
	dev, err := latchkey.OpenOrCreateIdentity(filepath.Join(r.dir, "device", device.KeyFile))
	must(err)
	owner, err := latchkey.OpenOrCreateIdentity(filepath.Join(r.dir, "client", client.KeyFile))
	must(err)
	r.key = dev.Fingerprint()
	r.cfg = roleConfig{Key: station.Fingerprint(), Basestations: []string{net.JoinHostPort(r.Base.Addr().String(), "5684")}}
	if v6 {
		r.cfg.Basestations = append(r.cfg.Basestations, net.JoinHostPort(r.Base.Addr6().String(), "5684"))
	}

	store, err := registry.Create(filepath.Join(r.dir, "basestation", basestation.RegistryFile))
	must(err)
	must(store.AddDevice(labDevice, registry.Key{Fingerprint: r.key, Purpose: registry.Operational, Origin: "manual", State: "active", Added: time.Now()}))
	_, token, err := store.CreateToken(registry.OperatorToken{Scope: registry.Scope{Product: labDevice.Product}, Added: time.Now()})
	must(err)
	must(store.Close())

	access, err := acl.Create(filepath.Join(r.dir, "device", "access.db"))
	must(err)
	must(access.Update(func(tx *acl.Tx) error {
		return errors.Join(
			tx.AddUser(acl.User{Name: "owner", Role: "admin", Added: time.Now()}),
			tx.AddKey(acl.Key{Fingerprint: owner.Fingerprint(), User: "owner", Added: time.Now(), Origin: "manual"}),
		)
	}))
	must(access.Close())

	known, err := client.OpenKnown(filepath.Join(r.dir, "client", client.KnownFile))
	must(err)
	must(known.Add(client.Device{
		Alias: "home", ID: labDevice, Key: r.key, Basestations: r.cfg.Basestations, BasestationKey: r.cfg.Key, Token: token, Added: time.Now(),
	}))
}

// near makes the client know the device's present address.
func (r *rig) near() {
	r.t.Helper()
	known, err := client.OpenKnown(filepath.Join(r.dir, "client", client.KnownFile))
	if err == nil {
		err = known.Update("home", func(d *client.Device) {
			d.Addrs = []string{netip.AddrPortFrom(r.Sites[1].Hosts[0].Addr(), 5690).String()}
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start(role string, h *world.Host) *process {
	r.t.Helper()
	cfg := r.cfg
	cfg.Dir = filepath.Join(r.dir, role)
	raw, err := json.Marshal(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &process{role: role, cmd: h.Command(context.Background(), os.Args[0])}
	p.cmd.Env = append(os.Environ(), roleVar+"="+role, configVar+"="+string(raw))
	p.cmd.Stderr = &p.said
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	p.out = json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = p.in.Close()
		over := time.AfterFunc(10*time.Second, func() {
			r.t.Errorf("%s does not end", role)
			_ = p.cmd.Process.Kill()
		})
		_ = p.cmd.Wait()
		over.Stop()
		switch logs := os.Getenv("LATCHKEY_LAB_LOGS"); {
		case logs != "":
			name := strings.Map(func(c rune) rune {
				if c == '/' || c == ' ' {
					return '_'
				}
				return c
			}, r.t.Name()+"_"+role+"_"+h.Name()+".log")
			if err := os.WriteFile(filepath.Join(logs, name), []byte(p.said.String()), 0o600); err != nil {
				r.t.Error(err)
			}
		case r.t.Failed():
			r.t.Logf("%s said:\n%s", role, p.said.String())
		}
	})
	if err := p.answer("start", nil); err != nil {
		r.t.Fatalf("%v\n%s", err, p.said.String())
	}
	return p
}

// attached waits until the device is.
func (r *rig) attached() {
	r.t.Helper()
	await(r.t, "the device attached", func() bool {
		var s struct {
			Attach device.AttachStatus `json:"basestation"`
		}
		if err := r.device.call("status", nil, &s); err != nil {
			r.t.Fatal(err)
		}
		return s.Attach.State == "attached"
	})
}

// dial connects, or fails the test.
func (r *rig) dial(o dialOrder) dialled {
	r.t.Helper()
	o.Timeout = patience
	var d dialled
	r.must("dial", o, &d)
	return d
}

// must gives the client a command that may not fail.
func (r *rig) must(op string, args, result any) {
	r.t.Helper()
	if err := r.client.call(op, args, result); err != nil {
		r.t.Fatal(err)
	}
}

// labOut is where the lab writes what it measured: the directory in
// LATCHKEY_LAB_OUT, or dist/lab.
func labOut(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LATCHKEY_LAB_OUT")
	if dir == "" {
		dir = filepath.Join("..", "..", "dist", "lab")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func labSave(t *testing.T, name string, what any) {
	t.Helper()
	raw, err := json.MarshalIndent(what, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(labOut(t), name), append(raw, '\n'), 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}
