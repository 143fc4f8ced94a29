package flow_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// do is an authenticator made of a function.
type do func(ctx context.Context, t *flow.Turn) (flow.Result, error)

func (f do) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) { return f(ctx, t) }

// decider is a do that decides the draft.
type decider struct{ do }

func (decider) Decides() {}

// always answers with r.
func always(r flow.Result) do {
	return func(context.Context, *flow.Turn) (flow.Result, error) { return r, nil }
}

// fail answers with an error.
func fail(err error) do {
	return func(context.Context, *flow.Turn) (flow.Result, error) { return flow.Result{}, err }
}

// form asks once and then answers with what the field "say" says.
func form(_ context.Context, t *flow.Turn) (flow.Result, error) {
	switch t.Input.Get("say") {
	case "success":
		return flow.Success(), nil
	case "skip":
		return flow.Skip(), nil
	case "deny":
		return flow.Deny("no"), nil
	case "another":
		return flow.Another(), nil
	case "leave":
		return flow.Leave("other"), nil
	case "restart":
		return flow.Restart(), nil
	case "error":
		return flow.Result{}, errOops
	}
	return flow.Ask(flow.Page{Name: "form"}), nil
}

func holds(v bool) flow.Authenticator {
	return flow.If(func(context.Context, *flow.Turn) (bool, error) { return v, nil })
}

func newTurn() *flow.Turn {
	return &flow.Turn{
		Provider: flow.Provider{Alias: "up"},
		Identity: &provider.Identity{Subject: "s"},
		Draft:    &flow.Draft{},
	}
}

// golden compares got with the file in testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s, line %d:\n got %s\nwant %s", name, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%s: got %d lines, want %d", name, len(g), len(w))
}
