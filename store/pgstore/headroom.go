package pgstore

import "sync"

// headroom is memory that is never touched, so that no page of it is ever resident. Go collects garbage when the heap
// has doubled: a gateway that keeps its records elsewhere has so small a heap that it would collect ten times as often
// as one on Badger, and spend a seventh of its time on that. With this it uses at most as much memory more.
var headroom = sync.OnceValue(func() []byte { return make([]byte, 64<<20) })
