package web

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"
)

// A Record is what is known about one request: filled on its way through the broker, logged once at its end. Only the
// goroutine that serves the request uses it.
type Record struct {
	ID     string // shown to the visitor too, so that a page can be matched with its line in the log
	Err    error  // what went wrong; it is never shown
	attrs  []slog.Attr
	status int
}

type recordKey struct{}

// RecordOf returns the record of the request that ctx belongs to, or one that nobody will read.
func RecordOf(ctx context.Context) *Record {
	if rec, ok := ctx.Value(recordKey{}).(*Record); ok {
		return rec
	}
	return &Record{}
}

// Note adds an attribute to the line that will be logged. The value must be no secret, no token, no e-mail address.
func (rec *Record) Note(key, value string) {
	rec.attrs = append(rec.attrs, slog.String(key, value))
}

// Recorded serves r with next under a new record and logs that: at level Info if all went well, Warn if the request was
// refused with a reason worth keeping, Error if the broker failed.
func Recorded(w http.ResponseWriter, r *http.Request, path string, log *slog.Logger, now func() time.Time, next http.Handler) {
	rec := &Record{ID: rand.Text()[:16]}
	began := now()
	w.Header().Set("X-Request-Id", rec.ID)
	next.ServeHTTP(&statusWriter{ResponseWriter: w, rec: rec}, r.WithContext(context.WithValue(r.Context(), recordKey{}, rec)))
	level := slog.LevelInfo
	switch {
	case rec.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case rec.Err != nil:
		level = slog.LevelWarn
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := append([]slog.Attr{
		slog.String("request", rec.ID),
		slog.String("method", r.Method),
		slog.String("path", path),
		slog.Int("status", rec.status),
		slog.Duration("took", now().Sub(began)),
	}, rec.attrs...)
	if rec.Err != nil {
		attrs = append(attrs, slog.String("error", rec.Err.Error()))
	}
	log.LogAttrs(r.Context(), level, "request", attrs...)
}

type statusWriter struct {
	http.ResponseWriter
	rec *Record
}

func (w *statusWriter) WriteHeader(status int) {
	if w.rec.status == 0 {
		w.rec.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.rec.status == 0 {
		w.rec.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
