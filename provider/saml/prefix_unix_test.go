//go:build unix

package saml_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

// processTime is what the process has used of the processors: unlike the time of the day, it does not go on while others use them.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What a prefix means is not looked up in all that is around an element, for each of its attributes: that took half a minute of a
// message that nobody had signed. Nor does canonicalization take long of one beside which a signature is good.
func TestPrefixBomb(t *testing.T) { // alone, since it takes the time of the process
	p := newProvider(t, config())
	data, id := begin(t, p, provider.Request{})
	swell := func(r *etree.Element) { manyPrefixes(r.FindElement("./samlp:Status"), 30, 50, 900) }
	for signed, want := range map[string]string{"": "neither", "r": "digest"} {
		f := newForge(id)
		f.signed, f.after = signed, swell
		doc := f.response(t)
		begun := processTime(t)
		identity, err := finish(t, p, data, doc)
		took := processTime(t) - begun
		t.Logf("signed %q: %d KiB take %v", signed, len(doc)>>10, took)
		refused(t, identity, err, want)
		if took > 4*time.Second {
			t.Errorf("signed %q: %d KiB take %v", signed, len(doc)>>10, took)
		}
	}
}
