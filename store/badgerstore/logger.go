package badgerstore

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger passes on what Badger says. Its Infof tells of every table and its Debugf of every write: the first is our
// Debug, the second nobody's.
type logger struct {
	log   *zap.Logger
	syncs *syncFaults
}

var _ badger.Logger = (*logger)(nil)

func newLogger(log *zap.Logger, syncs *syncFaults) *logger {
	return &logger{log: log.Named("badger").WithOptions(zap.AddCallerSkip(2)), syncs: syncs}
}

func (l *logger) Errorf(format string, args ...any) {
	l.syncs.notice(format)
	l.write(zapcore.ErrorLevel, format, args)
}

func (l *logger) Warningf(format string, args ...any) { l.write(zapcore.WarnLevel, format, args) }
func (l *logger) Infof(format string, args ...any)    { l.write(zapcore.DebugLevel, format, args) }
func (l *logger) Debugf(string, ...any)               {}

func (l *logger) write(level zapcore.Level, format string, args []any) {
	if entry := l.log.Check(level, ""); entry != nil {
		entry.Message = strings.TrimSpace(fmt.Sprintf(format, args...))
		entry.Write()
	}
}

// syncFaults counts the failed syncs of the value log. Badger (v4.9.6, value.go, valueLog.write) logs them and reports
// success; it does so before the commit returns.
type syncFaults struct {
	n atomic.Int64
}

func (s *syncFaults) count() int64 { return s.n.Load() }

func (s *syncFaults) notice(format string) {
	if strings.HasPrefix(format, "Error while curlf sync") {
		s.n.Add(1)
	}
}
