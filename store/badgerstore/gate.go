package badgerstore

import "sync"

// gate counts who is inside, lets nobody in once it is shut, and tells when the last has left. A [sync.RWMutex] would
// not do: who is inside may enter again, and would wait behind the one who waits for it to leave.
type gate struct {
	mu     sync.Mutex
	inside int
	shut   bool
	empty  chan struct{} // closed when the gate is shut and nobody is inside; made by close
}

// enter answers false when the gate is shut. Who entered calls leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.shut && g.inside == 0 {
		close(g.empty)
	}
}

// close shuts the gate, once, and waits until everybody has left.
func (g *gate) close() {
	g.mu.Lock()
	g.shut = true
	g.empty = make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	<-g.empty
}
