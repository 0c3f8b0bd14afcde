//go:build linux || darwin || freebsd

package badgerstore

import "syscall"

// freeSpace returns how many bytes this process may still write to the disk of path.
func freeSpace(path string) (uint64, bool) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		return 0, false
	}
	return uint64(max(stat.Bavail, 0)) * uint64(stat.Bsize), true //nolint:unconvert // signed on some systems
}
