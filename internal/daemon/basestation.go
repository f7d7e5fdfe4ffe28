package daemon

import (
	"slices"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/settings"
)

// A Basestation is where the device can be met by clients of other networks.
// Without addresses it is reached on its own network only.
type Basestation struct {
	Addrs []string // HOST:PORT
	Key   latchkey.Fingerprint
}

// basestation is a Basestation as latchkeyd.yaml writes it.
type basestation struct {
	Addresses addressList `yaml:"addresses"`
	Key       fingerprint `yaml:"key"`
}

// read checks that both parts are there. A key alone is a basestation that is
// switched off.
func (b basestation) read(path string, text []byte) (Basestation, error) {
	if len(b.Addresses.list) > 0 && b.Key.value.IsZero() {
		return Basestation{}, settings.ErrorAt(path, text, b.Addresses.at,
			"a basestation is known by its key, and there is none; latchkey-basestation fingerprint prints it")
	}
	return Basestation{b.Addresses.list, b.Key.value}, nil
}

// maxBasestations addresses are what clients remember.
const maxBasestations = 8

// addressList is a list of HOST:PORT.
type addressList struct {
	list []string
	at   settings.Node
}

// UnmarshalYAML implements the decoder of package settings.
func (l *addressList) UnmarshalYAML(n settings.Node) error {
	nodes, err := settings.Items(n)
	if err != nil {
		return err
	}
	if len(nodes) > maxBasestations {
		return settings.FailAt(n, "there are more than %d addresses", maxBasestations)
	}
	fresh := addressList{at: n}
	for _, node := range nodes {
		text, err := settings.Text(node)
		if err != nil {
			return err
		}
		if !fitsURL(text) {
			return settings.FailAt(node, "%q is not HOST:PORT, such as 203.0.113.5:5684", text)
		}
		if !slices.Contains(fresh.list, text) {
			fresh.list = append(fresh.list, text)
		}
	}
	*l = fresh
	return nil
}

// fitsURL reports whether a client that reads our pairing URL will take addr.
func fitsURL(addr string) bool {
	u := latchkey.PairingURL{ID: latchkey.DeviceID{Product: "any", Device: "any"}, Basestations: []string{addr}}
	_, err := latchkey.ParsePairingURL(u.Reveal())
	return addr != "" && err == nil
}

// fingerprint is a key; "" is none.
type fingerprint struct{ value latchkey.Fingerprint }

// UnmarshalYAML implements the decoder of package settings.
func (f *fingerprint) UnmarshalYAML(n settings.Node) error {
	text, err := settings.Text(n)
	if err != nil || text == "" {
		return err
	}
	if f.value, err = latchkey.ParseFingerprint(text); err != nil {
		return settings.FailAt(n, "a fingerprint is 64 hexadecimal digits, as latchkey-basestation fingerprint prints it")
	}
	return nil
}

// An Attachment tells how the device stands with its basestation.
type Attachment struct {
	Addrs []string             `json:"addresses"` // configured, HOST:PORT
	Key   latchkey.Fingerprint `json:"key,omitzero"`
	device.AttachStatus
}

// attachment of a device that runs is what it says itself. Else its state is
// "stopped", or "off" without a basestation.
func (a *administrator) attachment(live *device.AttachStatus) Attachment {
	base := a.config().Basestation
	out := Attachment{Addrs: nonNil(base.Addrs), Key: base.Key}
	switch {
	case live != nil:
		out.AttachStatus = *live
	case len(base.Addrs) > 0:
		out.State = "stopped"
	default:
		out.State = "off"
	}
	return out
}
