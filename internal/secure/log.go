package secure

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pion/logging"
)

// logsPerSecond bounds what one association may log, because a stranger can
// make the library speak.
const logsPerSecond = 10

// loggers passes the DTLS library's words to slog, at debug level whatever the
// library thinks of them.
type loggers struct{ log *slog.Logger }

func newLoggers(log *slog.Logger) logging.LoggerFactory { return loggers{log} }

// NewLogger implements logging.LoggerFactory.
func (f loggers) NewLogger(string) logging.LeveledLogger { return &leveled{log: f.log} }

type leveled struct {
	log *slog.Logger

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
		l.log.Debug("dtls", "op", "library", "text", fmt.Sprintf(format, args...))
	}
}

func (l *leveled) Trace(text string)         { l.print(text) }
func (l *leveled) Tracef(f string, a ...any) { l.printf(f, a...) }
func (l *leveled) Debug(text string)         { l.print(text) }
func (l *leveled) Debugf(f string, a ...any) { l.printf(f, a...) }
func (l *leveled) Info(text string)          { l.print(text) }
func (l *leveled) Infof(f string, a ...any)  { l.printf(f, a...) }
func (l *leveled) Warn(text string)          { l.print(text) }
func (l *leveled) Warnf(f string, a ...any)  { l.printf(f, a...) }
func (l *leveled) Error(text string)         { l.print(text) }
func (l *leveled) Errorf(f string, a ...any) { l.printf(f, a...) }
