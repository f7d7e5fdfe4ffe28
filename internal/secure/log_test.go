package secure

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogIsQuietAndBounded(t *testing.T) {
	var out bytes.Buffer
	logger := func(level slog.Level) *slog.Logger {
		return slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
	}
	l := newLoggers(logger(slog.LevelInfo)).NewLogger("dtls")
	l.Error("an error of the library is no error of ours")
	if out.Len() != 0 {
		t.Errorf("logged %q", out.String())
	}
	synctest.Test(t, func(t *testing.T) {
		l := newLoggers(logger(slog.LevelDebug)).NewLogger("dtls")
		for range 3 {
			for range 1000 {
				l.Warnf("%d%%", 5)
			}
			time.Sleep(time.Second)
		}
	})
	if n := strings.Count(out.String(), "\n"); n != 3*logsPerSecond {
		t.Errorf("%d lines in three seconds", n)
	}
	if !strings.Contains(out.String(), `level=DEBUG msg=dtls op=library text=5%`) {
		t.Errorf("logged %q", out.String())
	}
}

// TestSecretsAreNotLogged listens to a whole session at debug level.
func TestSecretsAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	client, server := anyone(t), anyone(t)
	client.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t, client, server)
		mustTalk(t, c, s)
	})
	if text := out.String(); text == "" || strings.Contains(text, "ping") || strings.Contains(text, "secret") {
		t.Errorf("logged %q", text)
	}
}
