package badgerstore

import (
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// collectEvery is how often files of the value log are rewritten that are half garbage.
const collectEvery = 10 * time.Minute

// maintain runs until the engine is closed.
func (e *Engine) maintain() {
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-e.background.Done():
			return
		case <-ticker.C:
			e.collect()
		}
	}
}

// collect rewrites one file of the value log after the other until none is worth it.
func (e *Engine) collect() {
	for e.background.Err() == nil {
		h, err := e.enter()
		if err != nil {
			return
		}
		err = h.db.RunValueLogGC(0.5)
		h.views.leave()
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return
		}
		if err != nil {
			e.log.Warn("collecting garbage of the value log", zap.Error(err))
			return
		}
	}
}
