package providertest_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

func TestMeasure(t *testing.T) { // alone, since it counts what the process does
	var keep []byte
	if c := providertest.Measure(func() { keep = make([]byte, 8<<20) }); c.Bytes < 8<<20 || c.Bytes > 12<<20 {
		t.Errorf("%d bytes for 8 MiB", c.Bytes)
	}
	runtime.KeepAlive(keep)
	wait := make(chan struct{})
	timer := time.AfterFunc(200*time.Millisecond, func() { close(wait) })
	defer timer.Stop()
	if c := providertest.Measure(func() { <-wait }); c.Time > 150*time.Millisecond {
		t.Errorf("to wait costs %v", c.Time)
	}
	const long = 50 * time.Millisecond
	if c := providertest.Measure(func() {
		for begun := time.Now(); time.Since(begun) < long; {
		}
	}); c.Time <= 0 || c.Time > 50*long {
		t.Errorf("to work costs %v", c.Time)
	}
}
