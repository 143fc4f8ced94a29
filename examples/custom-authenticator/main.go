// Command custom-authenticator has new users accept the terms of service before they come in, by a login step of its own.
//
//	go run -C examples ./custom-authenticator
//
// The step is in terms.go, its page and words are in the folder theme.
package main

import (
	"embed"
	"io/fs"
	"net/http"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/examples/internal/demo"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
)

//go:embed theme
var files embed.FS

// configure adds the step to what happens at a first login. It comes last, so that nobody is asked who will not come in anyway;
// whoever declines leaves nothing behind, as the broker writes the user after the whole flow.
func configure(c *broker.Config) {
	c.FirstLogin = flow.Flow{
		{ID: "login", Sub: firstlogin.Default()},
		{ID: "terms", Do: Terms{Version: "2026-10"}},
	}
	c.Theme, _ = fs.Sub(files, "theme") // the name is valid
}

func mount(b *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/", b.Sessions(http.HandlerFunc(demo.Write)))
	mux.Handle("/private", b.RequireLogin(http.HandlerFunc(demo.Write)))
	return mux
}

func main() { demo.Serve(mount, configure) }
