//go:build !unix

package badgerstore

import "io/fs"

// owned answers false where files have no owner that a number names.
func owned(fs.FileInfo) bool { return false }

// syncDir does nothing where directories cannot be synced.
func syncDir(string) error { return nil }
