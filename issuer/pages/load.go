package pages

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed templates/*.html css/*.css texts/*.txt icon.svg
var embedded embed.FS

// source is a file that the pages are made of: ours, or one of the operator's folder.
type source struct {
	file string // what errors call it
	text string
	ours string // of texts: those that ship, on which the folder's are laid
}

// sources are all of them: templates and CSS by the name of their file, texts by language.
type sources struct {
	templates map[string]source
	css       map[string]source
	texts     map[string]source
}

// Bounds of a folder.
const (
	maxFile  = 256 << 10
	maxFiles = 256
)

// load reads the embedded files, and those of the folder over them.
func load(folder string) (*sources, error) {
	s := &sources{make(map[string]source), make(map[string]source), make(map[string]source)}
	err := fs.WalkDir(embedded, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		base := path.Base(name)
		switch path.Ext(name) {
		case ".html":
			s.templates[base] = source{file: base, text: string(text)}
		case ".css":
			s.css[base] = source{file: base, text: string(text)}
		case ".txt":
			s.texts[strings.TrimSuffix(base, ".txt")] = source{file: base, ours: string(text)}
		}
		return nil
	})
	if err != nil || folder == "" {
		return s, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("the folder of the pages: %w", err)
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("the folder of the pages %s has more than %d files", folder, maxFiles)
	}
	for _, entry := range entries {
		if err := s.replace(filepath.Join(folder, entry.Name())); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// replace lays a file of the folder over ours. A name that could be meant to be one of ours and is not is an error;
// everything else is left alone.
func (s *sources) replace(file string) error {
	base := filepath.Base(file)
	extension := path.Ext(base)
	if strings.HasPrefix(base, ".") || !slices.Contains([]string{".html", ".css", ".txt"}, extension) {
		return nil
	}
	text, err := readBounded(file, maxFile)
	if err != nil {
		return err
	}
	replacement := source{file: file, text: string(text)}
	switch extension {
	case ".txt":
		name := strings.TrimSuffix(base, ".txt")
		replacement.ours = s.texts[name].ours
		s.texts[name] = replacement
		return nil
	case ".css":
		return replaceIn(s.css, base, replacement)
	}
	return replaceIn(s.templates, base, replacement)
}

func replaceIn(ours map[string]source, base string, replacement source) error {
	if _, ok := ours[base]; !ok {
		names := make([]string, 0, len(ours))
		for name := range ours {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("%s: there is nothing of that name to be replaced; there is %s", replacement.file,
			strings.Join(names, ", "))
	}
	ours[base] = replacement
	return nil
}

// readBounded reads a regular file of up to limit bytes.
func readBounded(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: file, Err: errors.New("it is no file")}
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: it has more than %d bytes", file, limit)
	}
	return os.ReadFile(file)
}
