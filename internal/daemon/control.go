package daemon

import (
	"context"

	"github.com/latchkey-dev/latchkey/internal/admin"
)

// A Control carries out administrative commands on one directory.
type Control struct{ backend admin.Backend }

// OpenControl returns the Control of the daemon that runs on dir or, when none
// does, of the files in dir. The caller must close it soon: on files it holds
// the lock that a daemon needs to start.
func OpenControl(ctx context.Context, dir string) (*Control, error) {
	b, err := admin.Open(ctx, dir, func() (admin.Backend, error) { return openFiles(dir) })
	if err != nil {
		return nil, err
	}
	return &Control{b}, nil
}

// Close releases the connection or the files.
func (c *Control) Close() error { return c.backend.Close() }
