// Command resourceserver is an API that accepts the broker's access tokens: it knows the broker's address and its own name,
// and links nothing of the broker but the package token.
//
//	go run -C examples ./resourceserver -issuer https://id.example.com -audience https://orders.example.com
package main

import (
	"encoding/json"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-idbroker/idbroker/token"
)

// newAPI serves the orders of whoever the access token is for. The broker issues tokens for this API to the clients whose
// Audience has its name.
func newAPI(issuer, audience string) http.Handler {
	verifier := &token.Verifier{Issuer: issuer, Audience: audience, Log: slog.Default()}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", verifier.Require("orders:read")(http.HandlerFunc(orders)))
	return mux
}

func orders(w http.ResponseWriter, r *http.Request) {
	access, _ := token.From(r.Context()) // Require let nobody through without
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the caller may be gone
		"user": access.Subject, "through": access.ClientID, "orders": []string{"tea", "biscuits"},
	})
}

func main() {
	issuer := flag.String("issuer", "http://127.0.0.1:8080/id", "the broker's `base URL`")
	audience := flag.String("audience", "https://orders.example.com", "the `name` of this API in access tokens")
	address := flag.String("listen", "127.0.0.1:8090", "`address` to listen at")
	flag.Parse()
	server := &http.Server{Addr: *address, Handler: newAPI(*issuer, *audience), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
