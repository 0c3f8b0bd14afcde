package storetest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// testBackup checks that a backup written beside updates has both records of each, or neither.
func testBackup(t *testing.T, e store.Engine) {
	db, err := store.Open(t.Context(), e, "default", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const backups, most = 5, 20_000 // the latter for engines that write far faster than they are read
	// So many lie between the two of an update that an engine which reads page by page reads them apart.
	const between = 3000
	for n := 0; n < between; n += 500 {
		err := db.Update(t.Context(), func(r *store.Records) error {
			for i := range 500 {
				if err := r.PutClient(&store.Client{ID: fmt.Sprintf("m%04d", n+i)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var written atomic.Int64
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		together(t, 4, func(writer int) {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if written.Load() >= most {
					return
				}
				id := fmt.Sprintf("%d.%d", writer, n)
				err := db.Update(t.Context(), func(r *store.Records) error {
					if err := r.PutClient(&store.Client{ID: "z" + id}); err != nil {
						return err
					}
					return r.PutClient(&store.Client{ID: "a" + id}) // far from it in the order of keys
				})
				if err != nil {
					t.Errorf("update: %v", err)
					return
				}
				written.Add(1)
			}
		})
	}()
	for n := range backups {
		for seen := written.Load(); written.Load() < min(seen+50, most); {
			select {
			case <-finished:
				return // it has told why
			default:
			}
		}
		path := filepath.Join(t.TempDir(), fmt.Sprint(n))
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := db.Backup(t.Context(), file)
		if err != nil {
			t.Errorf("backup: %v", err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		clients := clientsIn(t, path)
		if info.Records != len(clients) || len(clients) < between+100*(n+1) {
			t.Errorf("the backup has %d clients, and says %d", len(clients), info.Records)
		}
		for id := range clients {
			if half := strings.NewReplacer("a", "z", "z", "a").Replace(id); !clients[half] {
				t.Errorf("of one update it has %s alone", id)
			}
		}
	}
	close(done)
	<-finished
}

func clientsIn(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ids := make(map[string]bool)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var line struct{ Kind, ID string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Kind == "client" {
			ids[line.ID] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}
