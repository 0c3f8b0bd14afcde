package gateway

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

const stateListen = "0A" // TCP_LISTEN, in proc_net_tcp of the kernel

// listeners counts the sockets that listen on a port: a config that goes and the one that comes have each their own.
func listeners(port string) int {
	number, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	suffix, n := fmt.Sprintf(":%04X", number), 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st …
			if field := strings.Fields(line); len(field) > 3 && field[3] == stateListen && strings.HasSuffix(field[1], suffix) {
				n++
			}
		}
	}
	return n
}
