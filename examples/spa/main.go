// Command spa serves a single-page application that signs its users in at a broker: static files, and no server-side part.
// It would be as well served by anything else; the application is in the folder web, and README.md says how to run it.
package main

import (
	"embed"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"
)

//go:embed web
var web embed.FS

// settings are what the script has to know about its broker.
type settings struct {
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	DPoP     bool   `json:"dpop"`
}

// newApp serves the application. The script oidc-client-ts comes from the folder library.
func newApp(s settings, library string) (http.Handler, error) {
	issuer, err := url.Parse(s.Issuer)
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(web, "web")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	// The addresses that the broker sends the browser back to; the script sees which.
	for _, path := range []string{"/callback", "/signed-out"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "index.html") })
	}
	mux.HandleFunc("GET /oidc-client-ts.min.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(library, "oidc-client-ts.min.js"))
	})
	mux.HandleFunc("GET /settings.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // the browser may be gone
	})
	// Tokens are within reach of every script of the page: there are to be no others, and nowhere to send them to.
	policy := fmt.Sprintf("default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' %s://%s; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", issuer.Scheme, issuer.Host)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	}), nil
}

func main() {
	issuer := flag.String("issuer", "http://localhost:8080", "the broker's `base URL`")
	client := flag.String("client", "spa", "the application's `id` at the broker")
	dpop := flag.Bool("dpop", true, "bind the tokens to a key that the browser does not give away (RFC 9449)")
	library := flag.String("library", "spa/node_modules/oidc-client-ts/dist/browser", "`folder` with oidc-client-ts.min.js")
	address := flag.String("listen", "127.0.0.1:3000", "`address` to listen at")
	flag.Parse()
	app, err := newApp(settings{*issuer, *client, *dpop}, *library)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *address) //nolint:noctx // at the start of a program
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("serving at http://%s/\n", listener.Addr())
	server := &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}
