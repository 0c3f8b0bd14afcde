package badgerstore

import (
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

func openEngine(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// reopenable is an engine that the suite may open again.
type reopenable struct {
	*Engine
	options Options
}

func (r reopenable) Reopen(t *testing.T) store.Engine { return openEngine(t, r.options) }

func TestSuite(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": []byte("0123456789abcdef0123456789abcdef")} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Engine {
				o := Options{Dir: t.TempDir(), EncryptionKey: key}
				return reopenable{openEngine(t, o), o}
			})
		})
	}
}
