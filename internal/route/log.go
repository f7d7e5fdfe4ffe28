package route

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/pion/logging"
)

// logsPerSecond bounds what one library may log for one route, because a
// stranger can make it speak.
const logsPerSecond = 10

// loggers passes the words of the ICE and TURN libraries to slog, at debug
// level whatever they think of them, without the secrets that they repeat.
type loggers struct {
	log     *slog.Logger
	secrets *secrets
}

// secrets are the passwords that a library was told.
type secrets struct {
	mu   sync.Mutex
	list []string
}

func (s *secrets) add(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, password)
}

func (s *secrets) redact(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, password := range s.list {
		text = strings.ReplaceAll(text, password, "REDACTED")
	}
	return text
}

// NewLogger implements logging.LoggerFactory.
func (f loggers) NewLogger(scope string) logging.LeveledLogger {
	return &leveled{log: f.log, secrets: f.secrets, scope: scope}
}

type leveled struct {
	log     *slog.Logger
	secrets *secrets
	scope   string

	mu     sync.Mutex
	second int64
	count  int
}

// take reports whether one more line may be written now.
func (l *leveled) take(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s != l.second {
		l.second, l.count = s, 0
	}
	l.count++
	return l.count <= logsPerSecond
}

func (l *leveled) print(text string) { l.printf("%s", text) }

func (l *leveled) printf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) && l.take(time.Now()) {
		l.log.Debug("route library", "op", l.scope, "text", l.secrets.redact(fmt.Sprintf(format, args...)))
	}
}

func (*leveled) Trace(string)                {} // every check
func (*leveled) Tracef(string, ...any)       {}
func (l *leveled) Debug(text string)         { l.print(text) }
func (l *leveled) Debugf(f string, a ...any) { l.printf(f, a...) }
func (l *leveled) Info(text string)          { l.print(text) }
func (l *leveled) Infof(f string, a ...any)  { l.printf(f, a...) }
func (l *leveled) Warn(text string)          { l.print(text) }
func (l *leveled) Warnf(f string, a ...any)  { l.printf(f, a...) }
func (l *leveled) Error(text string)         { l.print(text) }
func (l *leveled) Errorf(f string, a ...any) { l.printf(f, a...) }
