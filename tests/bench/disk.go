//go:build linux

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// syncTimes are how long this disk takes to make 4 kB durable: the floor under each answer of the token endpoint.
type syncTimes struct {
	Over     time.Duration `json:"over_ns"`     // where the file has a block already
	Appended time.Duration `json:"appended_ns"` // where the file grows
	Memory   bool          `json:"memory,omitempty"`
}

func syncTime(dir string) (syncTimes, error) {
	var t syncTimes
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return t, err
	}
	t.Memory = fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC
	file, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return t, err
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	block := make([]byte, 4096)
	timed := func(offset func(i int) int64) (time.Duration, error) {
		var times []time.Duration
		for i := range 100 {
			block[0] = byte(i)
			began := time.Now()
			if _, err := file.WriteAt(block, offset(i)); err != nil {
				return 0, err
			}
			if err := unix.Fdatasync(int(file.Fd())); err != nil {
				return 0, err
			}
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		return times[len(times)/2], nil
	}
	if t.Appended, err = timed(func(i int) int64 { return int64(i) * 4096 }); err != nil {
		return t, err
	}
	t.Over, err = timed(func(int) int64 { return 0 })
	return t, err
}

// diskUse is what the files of a folder take: the sum of their lengths, and what of it the disk has.
func diskUse(dir string) (apparent, onDisk int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			return err
		}
		apparent += stat.Size
		onDisk += stat.Blocks * 512
		return nil
	})
	return apparent, onDisk, err
}
