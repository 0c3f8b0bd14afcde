//go:build !race

package gateway

const raceEnabled = false

// Slack is by how much more memory Caddy may take: the race detector needs some for itself.
const Slack = 1
