package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// file is a static file, in memory.
type file struct {
	body    []byte
	kind    string // Content-Type
	version string // hash of the body
}

// kinds are the static files that are served as what they are. The machine's own table of types is not asked: it differs
// from one to the next.
var kinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".txt": "text/plain; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
	".avif": "image/avif", ".gif": "image/gif", ".ico": "image/x-icon", ".woff2": "font/woff2",
}

// readStatic reads the static files of all layers, of which the last one wins. Hidden files and folders are left out.
func readStatic(layers []fs.FS) (map[string]*file, error) {
	files := make(map[string]*file)
	for _, layer := range layers {
		if _, err := fs.Stat(layer, "static"); err != nil {
			continue
		}
		err := fs.WalkDir(layer, "static", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case strings.HasPrefix(d.Name(), "."):
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			case d.IsDir():
				return nil
			}
			body, err := fs.ReadFile(layer, name)
			files[strings.TrimPrefix(name, "static/")] = newFile(name, body)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func newFile(name string, body []byte) *file {
	kind := kinds[strings.ToLower(path.Ext(name))]
	if kind == "" {
		kind = "application/octet-stream"
	}
	sum := sha256.Sum256(body)
	return &file{body: body, kind: kind, version: base64.RawURLEncoding.EncodeToString(sum[:9])}
}

// staticURL is the address under which a static file may be cached for ever.
func (p *Pages) staticURL(name string) (template.URL, error) {
	f := p.files[name]
	if f == nil {
		return "", fmt.Errorf("static/%s: %w", name, errUnknown)
	}
	return template.URL(p.base + "/static/" + name + "?v=" + f.version), nil //nolint:gosec // all of it is the host's
}

// Static serves the stylesheet and the theme's files below Base/static/, whether the prefix Base was stripped or not.
// An address with the hash of the content is cached for ever; any other one, such as a relative address in a stylesheet,
// is asked for again each time, with an entity tag.
func (p *Pages) Static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutPrefix(strings.TrimPrefix(r.URL.Path, p.base), "/static/")
		f := p.files[name]
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		switch {
		case !ok || f == nil:
			h.Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Cache-Control", "no-cache")
		if r.URL.Query().Get("v") == f.version {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		h.Set("Content-Type", f.kind)
		h.Set("ETag", `"`+f.version+`"`)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// An SVG that is opened by itself is a document of this origin: no script may run in it.
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
	})
}
