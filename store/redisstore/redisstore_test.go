package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/redisstore"
)

// What the store promises is tested against Redis itself, in the examples' module, which has a client. Here is what needs
// none: what a client may get wrong, and how keys are made.

// A client that does not answer is not waited for.
func TestTimeout(t *testing.T) {
	t.Parallel()
	s := redisstore.New(redisstore.DoFunc(func(ctx context.Context, _ ...any) (any, error) {
		<-ctx.Done()
		return nil, errors.New("i/o timeout")
	}))
	s.Timeout = time.Millisecond
	if _, err := s.Get(t.Context(), "p", "k"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get without an answer: got error %v, want the client's", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	s.Timeout = time.Hour
	if _, err := s.Take(ctx, "p", "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Take without an answer: got error %v, want that of the context", err)
	}
}

// A reply that cannot be is neither a value nor the lack of one.
func TestUnexpectedReplies(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	valid := "9007199254740992" + "0000000000000001"
	for _, reply := range []any{int64(7), true, []any{}, []any{int64(1)}, "short", "not a number, is it", valid, valid + "\x01", valid + "\x02rest"} {
		s := redisstore.New(redisstore.DoFunc(func(context.Context, ...any) (any, error) { return reply, nil }))
		end := time.Now().Add(time.Hour)
		calls := map[string]func() error{
			"Session":       func() error { _, err := s.Session(ctx, "s"); return err },
			"Add":           func() error { return s.Add(ctx, "p", "k", nil, end) },
			"CreateSession": func() error { return s.CreateSession(ctx, &store.Session{ID: "s", ExpiresAt: end}) },
			"UpdateSession": func() error { return s.UpdateSession(ctx, &store.Session{ID: "s", ExpiresAt: end}) },
		}
		if text, ok := reply.(string); !ok || !strings.HasPrefix(text, valid) {
			calls["Get"] = func() error { _, err := s.Get(ctx, "p", "k"); return err }
			calls["Take"] = func() error { _, err := s.Take(ctx, "p", "k"); return err }
		}
		if list, ok := reply.([]any); !ok || len(list) > 0 {
			calls["FindSessions"] = func() error { _, err := s.FindSessions(ctx, store.SessionQuery{UserID: "u"}); return err }
		}
		for name, call := range calls {
			err := call()
			if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) {
				t.Errorf("%s with the reply %#v: got error %v, want one that is no answer", name, reply, err)
			}
		}
	}
}

// A session of a format that this version does not know can be signed out.
func TestDeleteSessionOfAnotherFormat(t *testing.T) {
	t.Parallel()
	s := redisstore.New(redisstore.DoFunc(func(context.Context, ...any) (any, error) { return "from the future", nil }))
	if err := s.DeleteSession(t.Context(), "s"); err != nil {
		t.Errorf("DeleteSession: %v", err)
	}
}

// The keys of one script have one hash tag, whatever is in the names and in the prefix, so that a cluster has them in one place.
func TestHashTags(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "app:", "{app}:", "a{b", "}{"} {
		for _, odd := range []string{"plain", "{", "}", "{}", "{x}y", "a}b{c"} {
			s := redisstore.New(redisstore.DoFunc(func(_ context.Context, args ...any) (any, error) {
				if args[0] == "EVAL" && args[2] != "1" {
					checkTags(t, args[3:])
				}
				return int64(1), nil
			}))
			s.Prefix = prefix
			err := s.CreateSession(t.Context(), &store.Session{
				ID: odd, UserID: odd, Upstream: store.LinkKey{Provider: odd, Issuer: odd, Subject: odd}, UpstreamSession: odd,
				ExpiresAt: time.Now().Add(time.Hour),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkTags(t *testing.T, keys []any) {
	t.Helper()
	for _, key := range keys[:3] {
		if got, want := hashTag(key.(string)), hashTag(keys[0].(string)); got != want {
			t.Errorf("hash tag of %q is %q, that of %q is %q", key, got, keys[0], want)
		}
	}
}

// hashTag is what the slot of a key is computed from, as the specification of Redis Cluster has it.
func hashTag(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(after, "}"); ok && tag != "" {
			return tag
		}
	}
	return key
}
