// Command quickstart is a whole sign-in on one machine, without an account anywhere: a host application with the broker in
// it, demo providers of three protocols to sign in with, and a second application that signs in at the broker.
//
//	go run -C examples ./quickstart
//
// This file is the part to copy, newApp above all. The demo providers are in demo.go, the application's pages in app.go,
// the second application in client.go, the mailbox of the demo's people in mailbox.go, and what is about listening and stopping in
// serve.go.
package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	_ "modernc.org/sqlite"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/mail"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// newApp is your application with a broker in it. The broker serves its pages and endpoints below /id; behind RequireLogin
// there is always somebody, and behind Sessions there may be.
func newApp(origin string, db *sql.DB, secret []byte, mailer broker.Mailer, upstreams []broker.Provider, clients []store.Client) (*broker.Broker, http.Handler, error) {
	s := sqlstore.New(db)
	b, err := broker.New(broker.Config{
		Name:        "Your App",
		BaseURL:     origin + "/id",
		Secrets:     [][]byte{secret},
		Store:       s,
		Credentials: s,
		Passkeys:    passkey.Site{}, // users make them on the account page, and sign in with them
		Mailer:      mailer,         // users prove by a mailed link that an account is theirs
		Providers:   upstreams,
		Clients:     clients,
		Theme:       theme,
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return nil, nil, err
	}
	app := &app{upstreams: upstreams, clients: clients, mailer: mailer}
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/account/", b.Account()) // where users see and link their ways to sign in
	mux.Handle("/app", b.RequireLogin(http.HandlerFunc(app.private)))
	mux.Handle("/{$}", b.Sessions(http.HandlerFunc(app.front)))
	mux.Handle("/static/", static)
	return b, mux, nil
}

func main() {
	addr := flag.String("addr", "", "`address` of localhost to listen on (default 127.0.0.1:8080, or a free port if that is taken)")
	open := flag.Bool("open", true, "open a browser, if there is a terminal and a desktop")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *addr, *open, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run serves everything until ctx ends.
func run(ctx context.Context, addr string, open bool, out io.Writer) (err error) {
	var sites sites
	defer sites.close()
	home, err := sites.listenFirst(ctx, addr)
	if err != nil {
		return err
	}
	other, err := sites.listenNext(ctx)
	if err != nil {
		return err
	}
	upstreams, err := demoUpstreams(ctx, &sites, home.url+"/id")
	if err != nil {
		return err
	}
	mails, err := sites.listenNext(ctx)
	if err != nil {
		return err
	}
	db, file, err := openDatabase()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(), os.RemoveAll(filepath.Dir(file))) }()
	client := newClient(other.url, home.url+"/id")
	secret := make([]byte, 32) // in earnest from a file or a vault, the same at every start
	rand.Read(secret)
	box := &mailbox{url: mails.url, next: mail.Directory(filepath.Join(filepath.Dir(file), "mail"))}
	b, handler, err := newApp(home.url, db, secret, box, upstreams, []store.Client{client.registration()})
	if err != nil {
		return err
	}
	home.handler, other.handler, mails.handler = handler, client.routes(), box.routes()

	if _, err := fmt.Fprintf(out, greeting, home.note, home.url, mails.url, file, box.next); err != nil {
		return err
	}
	return sites.serve(ctx, b.Run, func() {
		if open {
			openBrowser(ctx, home.url, out)
		}
	})
}

const greeting = `
%s  Your App is at  %s/

  Sign in with one of the demo providers: no account is needed, and nobody asks for a password.
  What is mailed to them is at  %s/
  Users, sessions and keys are in %s, mail is in %s,
  and all of it goes when this ends. Ctrl+C ends it.

`

// openDatabase opens SQLite in a new temporary folder, with the settings that sqlstore recommends.
func openDatabase() (db *sql.DB, file string, err error) {
	dir, err := os.MkdirTemp("", "idbroker-quickstart-")
	if err != nil {
		return nil, "", err
	}
	file = filepath.Join(dir, "broker.db")
	db, err = sql.Open("sqlite", "file:"+filepath.ToSlash(file)+
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate")
	return db, file, err
}
