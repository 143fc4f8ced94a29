package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"
)

const (
	defaultAddr = "127.0.0.1:8080"
	stopWithin  = 5 * time.Second // for requests that are under way when everything ends
)

// A site is one origin: what listens at an address, and who answers there.
type site struct {
	url      string // without a slash at its end
	note     string // for the person who started it
	handler  http.Handler
	listener net.Listener
}

// sites are those of this process. None of them answers before serve.
type sites struct{ all []*site }

// listenFirst listens at addr, which must be localhost's: there is no TLS, and anybody may be anybody. Where addr is
// empty it takes the default or, if somebody else has that, any free port.
func (s *sites) listenFirst(ctx context.Context, addr string) (*site, error) {
	resolved, err := net.ResolveTCPAddr("tcp", cmp.Or(addr, defaultAddr))
	if err != nil {
		return nil, fmt.Errorf("-addr: %w", err)
	}
	if ip := resolved.IP.String(); ip != "127.0.0.1" && ip != "::1" {
		return nil, fmt.Errorf("-addr: %s is not at localhost, as %s is", addr, defaultAddr)
	}
	first, err := s.listen(ctx, resolved)
	if err == nil || addr != "" {
		return first, err
	}
	resolved.Port = 0
	if first, err = s.listen(ctx, resolved); err != nil {
		return nil, err
	}
	first.note = "  " + defaultAddr + " is taken by another program.\n"
	return first, nil
}

// listenNext listens at the port after the last one, which is easy to forward to another machine, or at a free one.
func (s *sites) listenNext(ctx context.Context) (*site, error) {
	last, ok := s.all[len(s.all)-1].listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.New("not a TCP address")
	}
	next, err := s.listen(ctx, &net.TCPAddr{IP: last.IP, Port: (last.Port + 1) % 65536})
	if err == nil {
		return next, nil
	}
	return s.listen(ctx, &net.TCPAddr{IP: last.IP})
}

func (s *sites) listen(ctx context.Context, addr *net.TCPAddr) (*site, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(addr.IP.String(), strconv.Itoa(addr.Port)))
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	// By its name, which, unlike an address, can have passkeys.
	one := &site{url: "http://localhost:" + port, listener: listener}
	s.all = append(s.all, one)
	return one, nil
}

// close ends what serve never began with; after serve there is nothing left to close.
func (s *sites) close() {
	for _, one := range s.all {
		_ = one.listener.Close() // may be closed already
	}
}

// serve serves all sites and runs upkeep until ctx ends or one of them cannot go on. It calls ready when they answer.
func (s *sites) serve(parent context.Context, upkeep func(context.Context) error, ready func()) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var running sync.WaitGroup
	servers := make([]*http.Server, len(s.all))
	for i, one := range s.all {
		servers[i] = &http.Server{Handler: one.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
		running.Go(func() {
			if err := servers[i].Serve(one.listener); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve %s: %w", one.url, err))
			}
		})
	}
	running.Go(func() { _ = upkeep(ctx) }) // it ends with ctx and says nothing else
	ready()
	<-ctx.Done()
	stopping, stop := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer stop()
	for _, server := range servers {
		if server.Shutdown(stopping) != nil {
			_ = server.Close() // what would not end is cut off
		}
	}
	running.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// openBrowser shows url in the person's browser where there is one to be seen. Whether that works is no business of ours:
// the address is on the terminal as well.
func openBrowser(ctx context.Context, url string, out io.Writer) {
	terminal, ok := out.(*os.File)
	if !ok {
		return
	}
	if info, err := terminal.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	var opener []string
	switch {
	case runtime.GOOS == "darwin":
		opener = []string{"open"}
	case runtime.GOOS == "windows":
		opener = []string{"rundll32", "url.dll,FileProtocolHandler"}
	case os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "":
		opener = []string{"xdg-open"}
	default:
		return
	}
	ctx = context.WithoutCancel(ctx)                                       // the browser outlives this program
	cmd := exec.CommandContext(ctx, opener[0], append(opener[1:], url)...) //nolint:gosec // G204: all of it is ours
	if cmd.Start() == nil {
		go cmd.Wait() //nolint:errcheck // only so that no zombie is left
	}
}
