package saml_test

import (
	"crypto/x509"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// The largest messages, whatever they are filled with, cost a bounded amount of memory and time. What is counted is all that
// is allocated on the way, collected or not: no more than that is ever in use at once.
func TestLargest(t *testing.T) { // alone, since it counts what the process allocates
	p := newProvider(t, decrypting(config()))
	data, id := begin(t, p, provider.Request{})
	const room = 1400 << 10
	fill := func(around string) func(string) string {
		return func(s string) string { return strings.Replace(s, "<samlp:Status>", around, 1) }
	}
	values := func(n int) func(*forge) {
		return func(f *forge) {
			values := make([]string, n)
			for i := range values {
				values[i] = "some-group"
			}
			f.attributes = attribute("groups", values...)
		}
	}
	tests := map[string]struct {
		change  func(*forge)
		refused bool
	}{
		"values": {values(7500), false},
		"values, signed twice": {func(f *forge) {
			values(7500)(f)
			f.signed = "ra"
		}, false},
		"values, signed twice and encrypted": {func(f *forge) {
			values(6000)(f) // base64 takes a third more
			f.signed, f.encrypt = "ra", gcm(spKey()).encrypt
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

// So does the largest metadata: that of a federation.
func TestLargestMetadata(t *testing.T) { // alone, as above
	one := descriptor{entity: "https://idp-ENTITY.example", keys: keyDescriptor(signing, otherKey())}.String()
	var all []string
	for i := range (4<<20 - 8<<10) / len(one) {
		all = append(all, strings.ReplaceAll(one, "ENTITY", strconv.Itoa(i)))
	}
	cfg := byMetadata(signMetadata(t, group(` ID="_m"`, append(all, descriptor{}.String())...), idpKey()))
	cfg.IdPEntityID, cfg.MetadataCertificates = idpEntity, []*x509.Certificate{idpKey().Certificate}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	_, err := saml.New(cfg)
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
	t.Logf("%d entities, %d KiB, %d MiB allocated, %v", len(all)+1, len(cfg.Metadata)>>10, allocated, took)
	if err != nil || allocated > 120 || len(cfg.Metadata) < 4<<20-32<<10 {
		t.Errorf("%v, %d MiB allocated for %d KiB", err, allocated, len(cfg.Metadata)>>10)
	}
}
