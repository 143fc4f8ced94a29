package saml_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
)

// The largest messages, whatever they are filled with, cost a bounded amount of memory and time.
func TestLargest(t *testing.T) { // alone, since it counts what the process allocates
	p := newProvider(t, config())
	data, id := begin(t, p, provider.Request{})
	const room = 1400 << 10
	fill := func(around string) func(string) string {
		return func(s string) string { return strings.Replace(s, "<samlp:Status>", around, 1) }
	}
	tests := map[string]struct {
		change  func(*forge)
		refused bool
	}{
		"values": {func(f *forge) {
			values := make([]string, 7500)
			for i := range values {
				values[i] = "some-group"
			}
			f.attributes = attribute("groups", values...)
		}, false},
		"one value":  {func(f *forge) { f.attributes = attribute("x", strings.Repeat("x", room)) }, false},
		"elements":   {func(f *forge) { f.text = fill("<samlp:Status>" + strings.Repeat("<x/>", 32000)) }, true},
		"attributes": {func(f *forge) { f.text = fill("<samlp:Status " + strings.Repeat(`a="" `, room/5) + ">") }, true},
		"attributes of many": {func(f *forge) {
			f.text = fill("<samlp:Status>" + strings.Repeat("<x "+strings.Repeat(`a="" `, 60)+"/>", room/310))
		}, true},
		"CDATA": {func(f *forge) {
			f.text = fill("<samlp:Status>" + strings.Repeat("<![CDATA[xxxxxxxxxxxxxxxxxxxxx]]>", 32000))
		}, true},
		"refs": {func(f *forge) { f.text = fill("<samlp:Status>" + strings.Repeat("&amp;", room/5)) }, true},
		"nested": {func(f *forge) {
			f.text = fill("<samlp:Status>" + strings.Repeat("<x>", 16000) + strings.Repeat("</x>", 16000))
		}, true},
	}
	for name, test := range tests {
		f := newForge(id)
		f.signed = "r"
		test.change(f)
		doc := f.response(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begun := time.Now()
		identity, err := finish(t, p, data, doc)
		took := time.Since(begun)
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
		t.Logf("%s: %d KiB, %d MiB allocated, %v", name, len(doc)>>10, allocated, took)
		if (err != nil) != test.refused || (identity == nil) != test.refused {
			t.Errorf("%s: %v", name, err)
		}
		if allocated > 80 {
			t.Errorf("%s: %d MiB allocated", name, allocated)
		}
	}
}
