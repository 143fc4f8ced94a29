package integration

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/go-idbroker/idbroker/store/redisstore"
)

// A redisServer is a private Redis on loopback. It can be killed and started again, with what it has kept or without.
type redisServer struct {
	addr string
	args []string
	*process
}

// startRedis starts a server that keeps nothing on disk unless settings such as "--appendonly", "yes" have it do so. It is
// stopped when the test ends.
func startRedis(t testing.TB, settings ...string) *redisServer {
	t.Helper()
	addr := freePort(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &redisServer{addr: addr}
	r.args = append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--maxmemory-policy", "noeviction", "--dir", t.TempDir()},
		settings...)
	r.start(t)
	return r
}

// start starts the server again once it was killed.
func (r *redisServer) start(t testing.TB) {
	t.Helper()
	r.process = startProcess(t, exec.Command(requireProgram(t, "redis-server", "valkey-server"), r.args...),
		prints("Ready to accept connections"))
}

// kill ends the server without a chance to write anything more.
func (r *redisServer) kill() {
	endGroup(r.cmd)
	<-r.done
}

// client connects to the server. The pool is what a host would have that serves some dozens of requests at once.
func (r *redisServer) client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// goRedis is how go-redis fits.
func goRedis(c redis.UniversalClient) redisstore.Doer {
	return redisstore.DoFunc(func(ctx context.Context, args ...any) (any, error) {
		reply, err := c.Do(ctx, args...).Result()
		if errors.Is(err, redis.Nil) {
			return nil, nil
		}
		return reply, err
	})
}
