package broker_test

import (
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// CVE-2026-2603, 3009, 1486, 3047, CVE-2025-64717: {what is off} × {every entrance}.
func TestKillSwitch(t *testing.T) {
	t.Parallel()
	brokertest.KillSwitch(t, func(testing.TB) store.Store { return memstore.New() })
}
