// Command chi mounts a broker on a chi router.
//
//	go run -C examples ./chi
package main

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/examples/internal/demo"
)

// mount uses the broker's middleware as it is: chi's is the same func(http.Handler) http.Handler.
func mount(b *broker.Broker) http.Handler {
	r := chi.NewRouter()
	r.Mount("/id", b)
	r.With(b.Sessions).Get("/", demo.Write)
	r.Group(func(r chi.Router) {
		r.Use(b.RequireLogin)
		r.Get("/private", demo.Write)
	})
	return r
}

func main() { demo.Serve(mount) }
