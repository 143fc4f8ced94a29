// Command nethttp mounts a broker on the standard library's ServeMux, with the prefix kept or stripped.
//
//	go run -C examples ./nethttp
package main

import (
	"net/http"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/examples/internal/demo"
)

// mount keeps the prefix: the broker gets to see /id/login as it was requested.
func mount(b *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/private", b.RequireLogin(http.HandlerFunc(demo.Write)))
	mux.Handle("/{$}", b.Sessions(http.HandlerFunc(demo.Write)))
	return mux
}

// mountStripped strips it, as some hosts do with everything that they mount: the broker takes both.
func mountStripped(b *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/id/", http.StripPrefix("/id", b))
	mux.Handle("/private", b.RequireLogin(http.HandlerFunc(demo.Write)))
	mux.Handle("/{$}", b.Sessions(http.HandlerFunc(demo.Write)))
	return mux
}

func main() { demo.Serve(mount) }
