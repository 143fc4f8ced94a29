package main

import (
	"testing"

	"github.com/go-idbroker/idbroker/examples/internal/demo"
)

func TestMount(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]demo.Mount{"kept": mount, "stripped": mountStripped} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			demo.Test(t, how)
		})
	}
}
