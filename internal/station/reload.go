package station

import (
	"errors"
	"fmt"
	"slices"
)

// reload makes the configuration on disk the present one. One that does not
// pass every check changes nothing. Peers and introductions go on.
func (d *daemon) reload() error {
	next, err := LoadConfig(d.Dir)
	if err != nil {
		return err
	}
	old := d.config.Load()
	if err := d.apply(next); err != nil {
		// What was changed before the step that failed is set back.
		return errors.Join(err, d.apply(old))
	}
	d.adopt(next)
	if atNextStart(old, next) {
		d.Log.Warn("some of what changed takes effect at the next start")
	}
	return nil
}

func (d *daemon) apply(next *Config) error {
	if err := d.server.SetIssuers(next.Issuers); err != nil {
		return fmt.Errorf("issuers: %w", err)
	}
	if err := d.server.SetLimits(next.Limits); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	return nil
}

// atNextStart reports whether settings differ that a serving basestation keeps.
func atNextStart(old, next *Config) bool {
	a, b := old.Limits, next.Limits
	return next.Listen != old.Listen || !slices.Equal(next.PublicAddrs, old.PublicAddrs) || !slices.Equal(next.MetricsFrom, old.MetricsFrom) ||
		a.Sessions != b.Sessions || a.Handshakes != b.Handshakes || a.PerPrefix != b.PerPrefix || a.Relay != b.Relay
}
