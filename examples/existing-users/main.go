// Command existing-users is an application that has had a table of users in PostgreSQL for years, with a broker over it: its
// users sign in as who they are, and who is new becomes a row of the same table. See README.md.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"html"
	"log"
	"net/http"
	"os"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/examples/existing-users/hostusers"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is under way
	if err := db.PingContext(ctx); err != nil {
		return err
	}
	corp, err := oidc.New(oidc.Config{
		Issuer: os.Getenv("ISSUER"), ClientID: os.Getenv("CLIENT_ID"), ClientSecret: os.Getenv("CLIENT_SECRET"),
	})
	if err != nil {
		return err
	}
	rest := sqlstore.New(db)
	b, err := broker.New(broker.Config{
		BaseURL: "http://localhost:8080/id",
		Secrets: [][]byte{[]byte(os.Getenv("SECRET"))},
		Store: store.Parts{
			Users: hostusers.New(db),
			Links: rest, Sessions: rest, Grants: rest, Transient: rest, Keyring: rest,
		},
		Providers: []broker.Provider{{Alias: "corp", Name: "the company's account", IdP: corp}},
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/", b.RequireLogin(http.HandlerFunc(home)))
	log.Print("http://localhost:8080/")
	server := &http.Server{Addr: "localhost:8080", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

func home(w http.ResponseWriter, r *http.Request) {
	user, _ := broker.UserFrom(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!doctype html><title>Home</title><p>Hello, %s.", html.EscapeString(user.Name))
}
