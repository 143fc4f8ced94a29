package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite"

	"github.com/redis/go-redis/v9"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/redisstore"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

const (
	livePath  = "/healthz" // 200 as long as the process serves
	readyPath = "/readyz"  // 200 if the broker can do its work, 503 if not

	readyWithin = 3 * time.Second
	drainWithin = 20 * time.Second // for requests that are under way when the server ends
)

// A server serves one configuration after the other.
type server struct {
	log      *slog.Logger
	level    *slog.LevelVar
	store    store.Store
	current  atomic.Pointer[node]
	draining atomic.Bool

	credentials store.Credentials // of the same database as store
}

// A node is a broker with the configuration that it was made of.
type node struct {
	*setup
	broker  *broker.Broker
	base    string // the path of base_url
	home    http.Handler
	account http.Handler // nil if there is no account page
	meta    http.Handler // the issuer's metadata at the root of the host
	stop    func()       // ends upkeep, and waits for it
}

// run serves until ctx ends, and reads the configuration again whenever something comes from again.
func run(ctx context.Context, first *setup, again <-chan os.Signal, errOut io.Writer) (err error) {
	s := &server{}
	s.log, s.level = newLogger(first.Log, errOut)
	closeStore, err := s.openStore(first)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	n, err := s.node(first)
	if err != nil {
		return err
	}
	s.use(ctx, n)
	defer func() { s.current.Load().stop() }()
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", first.Listen)
	if err != nil {
		return err
	}
	return s.serve(ctx, listener, again)
}

// openStore opens the store, and the Redis that keeps a part of it where there is one.
func (s *server) openStore(c *setup) (closeStore func() error, err error) {
	closeRest, err := s.openRest(c)
	if err != nil || c.Redis == "" {
		return closeRest, err
	}
	closeRedis, err := s.openRedis(c)
	if err != nil {
		return nil, errors.Join(err, closeRest())
	}
	return func() error { return errors.Join(closeRedis(), closeRest()) }, nil
}

func (s *server) openRest(c *setup) (closeStore func() error, err error) {
	kind, where, err := c.storeKind()
	if err != nil {
		return nil, err
	}
	var db *sql.DB
	switch kind {
	case "memory":
		s.log.Warn("the store is memory: users, links, sessions and keys are forgotten when this ends")
		kept := memstore.New()
		s.store, s.credentials = kept, kept
		return func() error { return nil }, nil
	case "postgres":
		if unchecked(where) {
			s.log.Warn("the connection to PostgreSQL is open to whoever is in between: sslmode=verify-full checks who answers")
		}
		db, err = openPostgres(where)
	default:
		db, err = openSQLite(where)
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	kept := sqlstore.New(db)
	s.store, s.credentials = kept, kept
	return db.Close, nil
}

func openSQLite(file string) (*sql.DB, error) {
	// SQLite would make the file for all to read.
	made, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(private(made), made.Close())
	}
	if err != nil {
		return nil, err
	}
	return sql.Open("sqlite", "file:"+filepath.ToSlash(file)+
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate")
}

// openRedis takes sessions and transient values out of the store.
func (s *server) openRedis(c *setup) (closeRedis func() error, err error) {
	options, err := redis.ParseURL(string(c.Redis))
	if err != nil {
		return nil, errors.New("redis: is no URL of one")
	}
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	fast := redisstore.New(redisstore.DoFunc(func(ctx context.Context, args ...any) (any, error) {
		reply, err := client.Do(ctx, args...).Result()
		if errors.Is(err, redis.Nil) {
			return nil, nil
		}
		return reply, err
	}))
	rest := s.store
	s.store = store.Parts{Users: rest, Links: rest, Sessions: fast, Grants: rest, Transient: fast, Keyring: rest}
	return client.Close, nil
}

func (s *server) node(c *setup) (*node, error) {
	config := c.options
	config.Store, config.Logger = s.store, s.log
	handler := s.log.Handler()
	c.log.to.Store(&handler)
	if c.Credentials {
		config.Credentials = s.credentials
	}
	b, err := broker.New(config)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(c.BaseURL)
	if err != nil {
		return nil, err
	}
	c.forget()
	n := &node{setup: c, broker: b, base: base.Path, meta: b.WellKnown()}
	n.home = b.Sessions(home{n})
	if c.Account {
		n.account = b.Account()
	}
	return n, nil
}

// once does something with the broker of c beside whatever server uses the store.
func once(c *setup, errOut io.Writer, do func(*broker.Broker) error) (err error) {
	s := &server{}
	s.log, s.level = newLogger(c.Log, errOut)
	closeStore, err := s.openStore(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	n, err := s.node(c)
	if err != nil {
		return err
	}
	return do(n.broker)
}

// use lets n serve from now on. What the one before has begun it ends.
func (s *server) use(ctx context.Context, n *node) {
	ctx, cancel := context.WithCancel(ctx)
	var upkeep sync.WaitGroup
	upkeep.Go(func() { _ = n.broker.Run(ctx) }) // it ends with ctx and says nothing else
	n.stop = func() { cancel(); upkeep.Wait() }
	s.level.Set(n.Log.Level.level())
	if before := s.current.Swap(n); before != nil {
		before.stop()
	}
	debug.FreeOSMemory() // reading a file of ten thousand providers takes much more than they do
}

// serve serves until ctx ends, then no new connection, and what is under way to its end.
func (s *server) serve(ctx context.Context, listener net.Listener, again <-chan os.Signal) error {
	httpServer := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      90 * time.Second, // an upstream may be asked three times while a browser waits
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10, // cookies of a few logins at once, and a long authentication request
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate},
	}
	httpServer.RegisterOnShutdown(func() {
		s.log.Info("ending: no new connections, and time for requests that are under way", "at_most", drainWithin)
	})
	ended := make(chan error, 1)
	go func() {
		if s.current.Load().cert != nil {
			ended <- httpServer.ServeTLS(listener, "", "")
		} else {
			ended <- httpServer.Serve(listener)
		}
	}()
	s.log.Info("serving", "address", listener.Addr().String(), "base_url", s.current.Load().BaseURL)
	for {
		select {
		case err := <-ended:
			return err
		case <-again:
			s.reload(ctx)
		case <-ctx.Done():
			return s.drain(context.WithoutCancel(ctx), httpServer)
		}
	}
}

func (s *server) drain(ctx context.Context, httpServer *http.Server) error {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	if err := httpServer.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off: %w", err), httpServer.Close())
	}
	s.log.Info("ended")
	return nil
}

func (s *server) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load().cert, nil
}

// reload reads the configuration again and takes all of it over, or nothing if there is any mistake in it.
func (s *server) reload(ctx context.Context) {
	old := s.current.Load()
	n, err := s.next(ctx, old)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			s.log.Error("configuration not taken over: the one before stays in use", "problem", strings.TrimSpace(line))
		}
		return
	}
	s.use(ctx, n)
	s.log.Info("configuration taken over", "file", n.doc.file)
}

func (s *server) next(ctx context.Context, old *node) (*node, error) {
	c, err := load(old.doc.file)
	if err != nil {
		return nil, err
	}
	if err := fixed(old.setup, c); err != nil {
		return nil, err
	}
	n, err := s.node(c)
	if err != nil {
		return nil, err
	}
	// Secrets that cannot open the signing keys would be found out by the first login otherwise.
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return n, n.broker.Ready(ctx)
}

// fixed refuses changes of what a running server cannot change.
func fixed(old, c *setup) error {
	for _, key := range []struct {
		path    string
		changed bool
	}{
		{"base_url", c.BaseURL != old.BaseURL},
		{"listen", c.Listen != old.Listen},
		{"store", c.Store != old.Store},
		{"redis", c.Redis != old.Redis},
		{"tls", (c.cert == nil) != (old.cert == nil)},
		{"log.format", c.Log.Format != old.Log.Format},
	} {
		if key.changed {
			c.doc.problem(key.path, "has changed: that needs a restart")
		}
	}
	return c.doc.err()
}

// accountPath is where users see and change their own account, beside the broker.
const accountPath = "/account"

// ServeHTTP serves the broker below its base, and beside it what whoever runs the server asks for. Nothing here redirects
// an unclean path: the broker refuses those.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.current.Load()
	switch path := r.URL.Path; {
	case path == livePath:
		probe(w, r, true)
	case path == readyPath:
		probe(w, r, s.ready(r, n))
	case n.account != nil && (path == accountPath || strings.HasPrefix(path, accountPath+"/")):
		n.account.ServeHTTP(w, r)
	case path == "/":
		n.home.ServeHTTP(w, r)
	case path == n.base || strings.HasPrefix(path, n.base+"/"):
		n.broker.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/.well-known/"):
		n.meta.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *server) ready(r *http.Request, n *node) bool {
	ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
	defer cancel()
	err := n.broker.Ready(ctx)
	if err != nil && r.Context().Err() == nil {
		s.log.WarnContext(ctx, "not ready", "error", err)
	}
	return err == nil && !s.draining.Load()
}

// probe answers with a status and says nothing else: anybody can ask.
func probe(w http.ResponseWriter, r *http.Request, ok bool) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
	case ok:
		fmt.Fprintln(w, "ok")
	default:
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	}
}
