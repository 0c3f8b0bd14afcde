package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// pingTimeout is how long a storage has to answer at most to be healthy.
const pingTimeout = 2 * time.Second

// healthAnswer says how a node is.
type healthAnswer struct {
	Status  string         `json:"status"` // "ok" or "failing"
	Issuers []issuerHealth `json:"issuers"`
}

type issuerHealth struct {
	Issuer      string            `json:"issuer"` // its name
	Status      string            `json:"status"`
	Error       string            `json:"error,omitempty"` // why it is not open
	Storage     *storageHealth    `json:"storage,omitempty"`
	Keys        *keysHealth       `json:"keys,omitempty"`
	Revocations *revocationHealth `json:"revocations,omitempty"`
}

type storageHealth struct {
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds"` // that it took to answer
	Error   string  `json:"error,omitempty"`
}

type keysHealth struct {
	OK        bool   `json:"ok"`
	KeyID     string `json:"kid,omitempty"` // of the key that signs
	Algorithm string `json:"algorithm,omitempty"`
	Since     int64  `json:"since,omitempty"` // seconds since 1970; absent of a key from the config
	Error     string `json:"error,omitempty"` // why they could not be brought up to date
}

type revocationHealth struct {
	OK     bool    `json:"ok"`
	Shared bool    `json:"shared"`        // other nodes may revoke
	Lag    float64 `json:"lag_seconds"`   // since they were last heard of
	Limit  float64 `json:"limit_seconds"` // of revocation_lag
	Then   string  `json:"then"`          // what happens beyond it
}

const (
	healthy = "ok"
	failing = "failing"
)

// answered is an answer with that status.
type answered struct {
	status int
	body   any
}

// adminHealth tells how this node is: 200 when all is well, else 503.
func adminHealth(r *http.Request) (any, error) {
	app, err := administered()
	if err != nil {
		return nil, err
	}
	all := app.all()
	answer := healthAnswer{Status: healthy, Issuers: make([]issuerHealth, len(all))}
	var asked sync.WaitGroup
	for n, i := range all {
		asked.Go(func() { answer.Issuers[n] = i.health(r.Context()) })
	}
	asked.Wait()
	status := http.StatusOK
	for _, one := range answer.Issuers {
		if one.Status != healthy {
			answer.Status, status = failing, http.StatusServiceUnavailable
		}
	}
	return answered{status, answer}, nil
}

func (i *instance) health(ctx context.Context) issuerHealth {
	h := issuerHealth{Issuer: i.name, Status: failing}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	r, err := i.use(ctx)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	h.Storage = i.ping(ctx, r)
	h.Keys = new(keysHealth)
	if key := r.ring.Current(); key != nil {
		h.Keys.OK, h.Keys.KeyID, h.Keys.Algorithm = true, key.ID(), string(key.Algorithm())
		if since := r.ring.Since(); !since.IsZero() {
			h.Keys.Since = since.Unix()
		}
	}
	// A storage that did not answer is told of beside, and may do so again long before the keys are looked at.
	if err := r.ring.Fault(); err != nil && !errors.Is(err, store.ErrUnavailable) {
		h.Keys.OK, h.Keys.Error = false, err.Error()
	}
	lag := i.config.RevocationLag
	behind := r.db.Behind(r.db.Now())
	h.Revocations = &revocationHealth{
		OK: behind <= lag.limit(), Shared: r.db.Shared(),
		Lag: behind.Seconds(), Limit: lag.limit().Seconds(), Then: lagAllow,
	}
	if lag.refuses() {
		h.Revocations.Then = lagRefuse
	}
	if h.Storage.OK && h.Keys.OK && h.Revocations.OK {
		h.Status = healthy
	}
	return h
}

// ping asks the storage. A storage that does not answer is asked by one at a time, whoever wants to know.
func (i *instance) ping(ctx context.Context, r *running) *storageHealth {
	began := time.Now()
	answer := make(chan error, 1)
	select {
	case i.pinging <- struct{}{}:
		go func() {
			defer func() { <-i.pinging }()
			answer <- r.db.Ping(ctx)
		}()
	case <-ctx.Done():
	}
	var err error
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	h := &storageHealth{OK: err == nil, Seconds: time.Since(began).Seconds()}
	if err != nil {
		h.Error = err.Error()
	}
	return h
}
