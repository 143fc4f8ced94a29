package main

import (
	"testing"

	"github.com/go-idbroker/idbroker/examples/internal/demo"
)

func TestMount(t *testing.T) {
	t.Parallel()
	demo.Test(t, mount)
}
