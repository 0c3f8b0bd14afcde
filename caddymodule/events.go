package caddymodule

import (
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oauth2-passport/caddy-passport/issuer"
)

// eventPrefix stands before what happened in the name of an event of Caddy.
const eventPrefix = "passport."

const (
	maxEvents     = 1024            // that wait
	lastEvents    = 2 * time.Second // is how long a config that goes waits for its handlers
	untilInForce  = 20 * time.Millisecond
	eventDataSize = 16
)

// events hands what happens to Caddy's event app, on a goroutine of its own: its handlers take their time, and no
// request waits for them. When more waits than there is room for, events are dropped, and counted; the audit log has
// them all.
type events struct {
	app     *App
	handler *caddyevents.App
	queue   chan *waitingEvent
	stop    chan struct{}
	inForce atomic.Bool // the event app has started: whom it tells of what is settled
	stopped atomic.Bool
	done    chan struct{} // closed when the goroutine has ended; nil while there is none
}

// waitingEvent is an event on its way.
type waitingEvent struct {
	name string
	data map[string]any
}

// newEvents makes what hands events of that app on. Nothing is handed on before run.
func newEvents(app *App) (*events, error) {
	handler, err := app.ctx.App("events")
	if err != nil {
		return nil, err
	}
	return &events{
		app: app, handler: handler.(*caddyevents.App), queue: make(chan *waitingEvent, maxEvents), stop: make(chan struct{}),
	}, nil
}

// emit hands an event on. It never waits.
func (v *events) emit(e *issuer.Event, from origin) {
	if v.stopped.Load() {
		app, _ := activeApp()
		if app == nil || app == v.app {
			return // Caddy stops
		}
		v = app.events
	}
	name := eventPrefix + string(e.Type)
	if v.inForce.Load() && !v.handler.ShouldEmit(name) {
		return
	}
	data := make(map[string]any, eventDataSize)
	data["issuer"] = e.Issuer
	for field, value := range details(e, from) {
		data[field] = value
	}
	if e.Count > 0 {
		data["count"] = e.Count
	}
	select {
	case v.queue <- &waitingEvent{name, data}:
	default:
		eventsDropped.With(prometheus.Labels{"issuer": e.Issuer}).Inc()
	}
}

// start begins to hand events on.
func (v *events) start() {
	v.done = make(chan struct{})
	go v.run()
}

func (v *events) run() {
	defer close(v.done)
	// The event app takes subscriptions until it has started, and apps start in no particular order.
	for app, _ := activeApp(); app != v.app; app, _ = activeApp() {
		select {
		case <-v.stop:
			return
		case <-time.After(untilInForce):
		}
	}
	v.inForce.Store(true)
	for {
		select {
		case e := <-v.queue:
			v.handle(e)
			continue
		default:
		}
		select {
		case e := <-v.queue:
			v.handle(e)
		case <-v.stop:
			if len(v.queue) == 0 {
				return
			}
		}
	}
}

func (v *events) handle(e *waitingEvent) { v.handler.Emit(v.app.ctx, e.name, e.data) }

// end waits for a while until what waits has been handed on. What happens later goes to the config that comes.
func (v *events) end() {
	if v.stopped.Swap(true) || v.done == nil {
		return
	}
	close(v.stop)
	select {
	case <-v.done:
	case <-time.After(lastEvents):
		v.app.ctx.Logger().Warn("handlers of events are too slow: some events were not handled")
	}
}

// Interface guards
var _ caddy.App = (*caddyevents.App)(nil)
