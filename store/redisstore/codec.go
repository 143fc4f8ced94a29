package redisstore

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// A session is written in binary: it is read with every request, and its strings may be any bytes. The first byte is the
// format, so that a later one is refused and not misread.
const format = 2

// encode writes all of a session but its id and version.
func encode(n *store.Session) []byte {
	w := writer{format}
	for _, text := range texts(n) {
		w.text(*text)
	}
	w.text(string(n.SecretHash))
	w.text(string(n.UpstreamIDToken))
	w.text(string(n.UpstreamTokens))
	w.text(string(n.TransientUser))
	for _, t := range times(n) {
		w = binary.AppendVarint(w, t.UnixMicro())
	}
	w = binary.AppendUvarint(w, uint64(len(n.AMR)))
	for _, method := range n.AMR {
		w.text(method)
	}
	w = binary.AppendUvarint(w, uint64(len(n.Notes)))
	for _, name := range slices.Sorted(maps.Keys(n.Notes)) {
		w.text(name)
		w.text(n.Notes[name])
	}
	return w
}

// decode reads what encode has written.
func decode(n *store.Session, from string) error {
	if from == "" || from[0] != format {
		return errValue
	}
	r := reader{rest: from[1:]}
	for _, text := range texts(n) {
		*text = r.text()
	}
	n.SecretHash, n.UpstreamIDToken, n.UpstreamTokens, n.TransientUser = r.bytes(), r.bytes(), r.bytes(), r.bytes()
	for _, t := range times(n) {
		*t = time.UnixMicro(r.varint()).UTC()
	}
	for range r.count() {
		n.AMR = append(n.AMR, r.text())
	}
	for range r.count() {
		if n.Notes == nil {
			n.Notes = map[string]string{}
		}
		name := r.text()
		n.Notes[name] = r.text()
	}
	if r.bad || r.rest != "" {
		return errValue
	}
	return nil
}

func texts(n *store.Session) []*string {
	return []*string{&n.UserID, &n.Upstream.Provider, &n.Upstream.Issuer, &n.Upstream.Subject, &n.UpstreamSession, &n.ACR}
}

func times(n *store.Session) []*time.Time {
	return []*time.Time{&n.AuthTime, &n.CreatedAt, &n.LastSeen, &n.ExpiresAt}
}

type writer []byte

func (w *writer) text(s string) { *w = append(binary.AppendUvarint(*w, uint64(len(s))), s...) }

// A reader reads until something does not fit, and nothing from then on.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) varint() int64 {
	v, n := binary.Varint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	r.skip(n)
	return v
}

// count is a number of things of at least one byte each, or a length.
func (r *reader) count() int {
	v, n := binary.Uvarint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	r.skip(n)
	if v > uint64(len(r.rest)) {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return int(v) //nolint:gosec // no more than there is
}

func (r *reader) skip(n int) {
	if r.bad = r.bad || n <= 0; !r.bad {
		r.rest = r.rest[n:]
	}
}

func (r *reader) text() string {
	n := r.count()
	text := r.rest[:n]
	r.rest = r.rest[n:]
	return text
}

func (r *reader) bytes() []byte {
	if text := r.text(); text != "" {
		return []byte(text)
	}
	return nil
}
