package station

import (
	"errors"
	"path/filepath"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/settings"
)

// program is what next steps call the basestation.
const program = "latchkey-basestation"

// Setup is what Init needs to know.
type Setup struct {
	Dir         string
	Listen      string   // [HOST]:PORT; "": basestation.DefaultAddr
	PublicAddrs []string // HOST or HOST:PORT
}

// Made is what Init made.
type Made struct {
	Dir         string               `json:"dir"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Listen      string               `json:"listen"`
	PublicAddrs []string             `json:"public_addresses"`
}

// Init makes a directory that Run can work on: key, configuration and registry.
// It overwrites nothing, and leaves nothing behind when it fails.
func Init(s Setup) (*Made, error) {
	text := s.config()
	config, err := ParseConfig(filepath.Join(s.Dir, ConfigFile), text)
	if mistake := (*settings.Error)(nil); errors.As(err, &mistake) {
		return nil, errors.New(mistake.Message) // the file does not exist, so its lines say nothing
	}
	if err != nil {
		return nil, err
	}
	made := &Made{Dir: s.Dir, Listen: config.Listen, PublicAddrs: nonNil(config.PublicAddrs)}
	err = admin.Create(s.Dir, program, []admin.File{
		{Name: basestation.KeyFile, Make: func(path string) error {
			identity, err := latchkey.CreateIdentity(path)
			if err == nil {
				made.Fingerprint = identity.Fingerprint()
			}
			return err
		}},
		{Name: ConfigFile, Make: func(path string) error { return admin.WriteNew(path, text) }},
		{Name: basestation.RegistryFile, Make: func(path string) error {
			store, err := registry.Create(path)
			if err != nil {
				return err
			}
			return store.Close()
		}},
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
