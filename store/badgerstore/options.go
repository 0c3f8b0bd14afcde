package badgerstore

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// valueThreshold is the size of a value from which on Badger keeps it in its value log, the largest that it may be: no
// value is that large. When the power fails, what was not synced may have reached the log and not the value log; an
// update is then there, though it was not acknowledged, and values of it are not.
const valueThreshold = 1 << 20

// badgerOptions are Badger's, sized for a gateway; its defaults are for a big database. Files of the log and of the
// value log are made twice as large as their option says, sparse.
func badgerOptions(dir string, key []byte, logger badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.Logger = logger
	o.SyncWrites = true
	o.DetectConflicts = false // there is one writer
	o.MetricsEnabled = false
	o.MemTableSize = 16 << 20
	o.NumMemtables = 3
	o.IndexCacheSize = 32 << 20
	o.ValueLogFileSize = 16 << 20
	o.ValueThreshold = valueThreshold
	o.NumCompactors = 2
	o.NumGoroutines = 2
	o.ChecksumVerificationMode = options.OnBlockRead
	o.VerifyValueChecksum = true
	// Blocks are read where the file is mapped, which no cache of them is faster than; a scan of all, such as a backup,
	// takes a third less CPU so than of compressed ones, and drives nothing out of a cache. Encrypted ones are made anew
	// at each read: there it pays to keep them, and to have fewer.
	o.Compression, o.BlockCacheSize = options.None, 0
	if len(key) > 0 {
		o.EncryptionKey = key
		o.Compression, o.BlockCacheSize = options.Snappy, 64<<20
	}
	return o
}

// ParseKey reads an encryption key as people write it: 16, 24 or 32 bytes in hexadecimal, in base64 (standard or URL
// alphabet, with or without padding) or, when it is neither, as they are. White space around it does not count. An
// error does not repeat the key.
func ParseKey(s string) ([]byte, error) {
	const advice = "it must be 16, 24 or 32 bytes, in base64 or hexadecimal; make one with: openssl rand -base64 32"
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, errors.New("the encryption key is empty: " + advice)
	}
	if key, err := hex.DecodeString(s); err == nil && validKey(len(key)) {
		return key, nil
	}
	for _, encoding := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		if key, err := encoding.DecodeString(s); err == nil && validKey(len(key)) {
			return key, nil
		}
	}
	if validKey(len(s)) {
		return []byte(s), nil
	}
	return nil, fmt.Errorf("the encryption key has %d characters: %s", len(s), advice)
}

func validKey(length int) bool { return length == 16 || length == 24 || length == 32 }
