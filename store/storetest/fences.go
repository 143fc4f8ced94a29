package storetest

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/store"
)

func fenceChecks() []check {
	return []check{
		{"fences/round trip", fencesRoundTrip},
		{"fences/missing", fencesMissing},
		{"fences/update", fencesUpdate},
		{"fences/races", fencesRaces},
		{"fences/copies", fencesCopies},
		{"fences/byte for byte", fencesExact},
		{"fences/cancelled", fencesCancelled},
	}
}

func (k *kit) fence(provider string) *store.Fence {
	return &store.Fence{
		Provider: provider, Mark: "mark <&>'\"", Issuers: []string{"https://new.example/?a=b", "", "urn:old"}, ConfirmedAt: k.at(1),
	}
}

func fencesRoundTrip(k *kit) {
	f := k.fence("acme")
	k.ok(k.fences.PutFence(k.ctx, f), "PutFence")
	k.same(f.Version, int64(1), "Version after PutFence")
	got, err := k.fences.Fence(k.ctx, "acme")
	k.ok(err, "Fence")
	k.same(got, kept(f), "Fence")
	other := k.fence("acme")
	other.Mark = "another"
	k.is(k.fences.PutFence(k.ctx, other), store.ErrExists, "PutFence without a version for a provider that has one")
	k.same(other.Version, int64(0), "Version after a PutFence that failed")
	got, err = k.fences.Fence(k.ctx, "acme")
	k.ok(err, "Fence")
	k.same(got, kept(f), "Fence after another was refused")
	bare := &store.Fence{Provider: "bare"}
	k.ok(k.fences.PutFence(k.ctx, bare), "PutFence")
	got, err = k.fences.Fence(k.ctx, "bare")
	k.ok(err, "Fence")
	if len(got.Issuers) == 0 {
		got.Issuers = nil
	}
	k.same(got, bare, "Fence that has nothing but a provider")
}

func fencesMissing(k *kit) {
	_, err := k.fences.Fence(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Fence that is not there")
	f := k.fence("none")
	f.Version = 1
	k.is(k.fences.PutFence(k.ctx, f), store.ErrConflict, "PutFence with a version of none")
	k.same(f.Version, int64(1), "Version after a PutFence that failed")
	_, err = k.fences.Fence(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Fence after PutFence with a version of none")
}

func fencesUpdate(k *kit) {
	f := k.fence("acme")
	k.ok(k.fences.PutFence(k.ctx, f), "PutFence")
	k.ok(k.fences.PutFence(k.ctx, k.fence("globex")), "PutFence of another provider")
	stale := *f
	*f = store.Fence{Provider: "acme", Mark: "changed", Issuers: []string{"https://changed.example"}, ConfirmedAt: k.at(5), Version: 1}
	k.ok(k.fences.PutFence(k.ctx, f), "PutFence with a version")
	k.same(f.Version, int64(2), "Version after an update")
	k.is(k.fences.PutFence(k.ctx, &stale), store.ErrConflict, "PutFence of an old version")
	k.same(stale.Version, int64(1), "Version after a PutFence that failed")
	got, err := k.fences.Fence(k.ctx, "acme")
	k.ok(err, "Fence")
	k.same(got, kept(f), "Fence after updates")
	other := k.fence("globex")
	other.Version = 1
	got, err = k.fences.Fence(k.ctx, "globex")
	k.ok(err, "Fence")
	k.same(got, kept(other), "Fence of another provider")
}

func fencesRaces(k *kit) {
	k.oneWins(store.ErrExists, "PutFence of a new one", func(round, i int) error {
		f := k.fence(fmt.Sprint(round))
		f.Mark = fmt.Sprint(i)
		return k.fences.PutFence(k.ctx, f)
	})
	k.ok(k.fences.PutFence(k.ctx, k.fence("updated")), "PutFence")
	k.oneWins(store.ErrConflict, "PutFence of one version", func(round, i int) error {
		f := k.fence("updated")
		f.Mark, f.Version = fmt.Sprint(i), int64(round+1)
		return k.fences.PutFence(k.ctx, f)
	})
}

func fencesCopies(k *kit) {
	spoil := func(f *store.Fence) { f.Mark, f.Issuers[0] = "spoilt", "spoilt" }
	read := func() (*store.Fence, error) { return k.fences.Fence(k.ctx, "acme") }
	write := func(f *store.Fence) error { return k.fences.PutFence(k.ctx, f) }
	copies(k, "fence", k.fence("acme"), k.fence("acme"), spoil, write, read)
	again := k.fence("acme")
	again.Version = 1
	copies(k, "fence after an update", again, k.fence("acme"), spoil, write, read)
}

func fencesExact(k *kit) {
	for _, s := range twins() {
		f := k.fence(s)
		f.Mark, f.Issuers = s, []string{s, ""}
		k.ok(k.fences.PutFence(k.ctx, f), "PutFence %+q", s)
	}
	for _, s := range twins() {
		got, err := k.fences.Fence(k.ctx, s)
		k.ok(err, "Fence %+q", s)
		k.same([]string{got.Provider, got.Mark, got.Issuers[0], got.Issuers[1]}, []string{s, s, s, ""}, "Fence %+q", s)
	}
	for i, odd := range []string{"\xff", "\xc3\x28", "\ufffd", "a\x00"} {
		f := k.fence(fmt.Sprint("odd", i))
		f.Mark, f.Issuers = odd, []string{odd}
		if err := k.fences.PutFence(k.ctx, f); err != nil {
			if isSentinel(err) {
				k.Fatalf("PutFence with %+q: %v", odd, err)
			}
			continue
		}
		got, err := k.fences.Fence(k.ctx, f.Provider)
		k.ok(err, "Fence with %+q", odd)
		k.same([]string{got.Mark, got.Issuers[0]}, []string{odd, odd}, "strings of a fence")
	}
}

func fencesCancelled(k *kit) {
	f := k.fence("old")
	k.ok(k.fences.PutFence(k.ctx, f), "PutFence")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"Fence":              func() error { _, err := k.fences.Fence(ctx, "old"); return err },
		"PutFence":           func() error { return k.fences.PutFence(ctx, k.fence("new")) },
		"PutFence, existing": func() error { changed := *f; changed.Mark = "x"; return k.fences.PutFence(ctx, &changed) },
	} {
		k.is(call(), context.Canceled, "%s with a context that is cancelled", name)
		got, err := k.fences.Fence(k.ctx, "old")
		k.ok(err, "Fence after %s with a context that is cancelled", name)
		k.same(got, kept(f), "Fence after %s with a context that is cancelled", name)
		_, err = k.fences.Fence(k.ctx, "new")
		k.is(err, store.ErrNotFound, "Fence after %s with a context that is cancelled", name)
	}
}
