// Command gorilla mounts a broker on a gorilla/mux router.
//
//	go run -C examples ./gorilla
package main

import (
	"net/http"

	"github.com/gorilla/mux"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/examples/internal/demo"
)

// mount gives the private pages a subrouter of their own, whose middleware asks for a login.
func mount(b *broker.Broker) http.Handler {
	r := mux.NewRouter()
	r.PathPrefix("/id/").Handler(b)
	r.Handle("/", b.Sessions(http.HandlerFunc(demo.Write)))
	private := r.PathPrefix("/private").Subrouter()
	private.Use(b.RequireLogin)
	private.HandleFunc("", demo.Write)
	return r
}

func main() { demo.Serve(mount) }
