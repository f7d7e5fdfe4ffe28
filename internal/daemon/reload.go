package daemon

import (
	"errors"
	"fmt"
)

// reload makes the configuration on disk the present one. One that does not
// pass every check changes nothing. Sessions go on.
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
	if next.ID != old.ID || next.Listen != old.Listen || next.Discovery != old.Discovery {
		d.Log.Warn("product, device, listen and discovery change at the next start")
	}
	if (d.hook != nil) != (next.Authorize.Webhook != "") {
		d.Log.Warn("whether a webhook decides changes at the next start")
	}
	return nil
}

func (d *daemon) apply(next *Config) error {
	if err := d.dev.SetServices(next.Services); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if err := d.dev.SetRoutes(next.Routes); err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	if err := d.dev.SetLimits(next.Limits); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	if err := d.dev.SetName(next.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if err := d.dev.SetBasestation(next.Basestation.Addrs, next.Basestation.Key); err != nil {
		return fmt.Errorf("basestation: %w", err)
	}
	if err := d.dev.ConfigurePairing(next.Pairing); err != nil {
		return fmt.Errorf("pairing: %w", err)
	}
	if err := d.dev.SetTokens(next.Tokens); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if err := d.hook.set(next.Authorize); err != nil {
		return fmt.Errorf("authorize: %w", err)
	}
	d.dev.Review() // another webhook may say no to what is under way
	return nil
}
