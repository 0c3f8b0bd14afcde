//go:build !linux

// Command bench measures caddy-passport. It reads CPU times as Linux tells them.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: the benchmarks need Linux")
	os.Exit(1)
}
