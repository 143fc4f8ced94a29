package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestLocalPath(t *testing.T) {
	t.Parallel()
	base, err := url.Parse("https://app.example/id")
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"/":                                "/",
		"/a/b?c=d&e=%2F#f":                 "/a/b?c=d&e=%2F#f",
		"https://app.example/x?y":          "/x?y",
		"https://APP.example/x":            "/x",
		"https://app.example":              "/",
		"/?a=\"<>`":                        "/?a=%22%3C%3E%60",
		"/a//b":                            "/a//b",
		"/%2f%2fevil.example":              "/%2f%2fevil.example",
		"":                                 "/",
		"relative":                         "",
		"//evil.example":                   "",
		"///evil.example":                  "",
		"////evil.example":                 "",
		"https:///evil.example":            "",
		"https:evil.example":               "",
		"https:/evil.example":              "",
		`/\evil.example`:                   "",
		`\\evil.example`:                   "",
		"/\t/evil.example":                 "",
		"/\n/evil.example":                 "",
		" //evil.example":                  "",
		"/ /evil.example":                  "",
		"http://app.example/":              "",
		"https://app.example:444/":         "",
		"https://app.example.evil.example": "",
		"https://app.example@evil.example": "",
		"https://u@app.example/":           "",
		"https://app.example//evil":        "",
		"javascript:alert(1)":              "",
		"data:text/html,x":                 "",
		"//app.example/x":                  "",
	} {
		got, ok := LocalPath(base, target)
		if ok != (want != "") || got != want {
			t.Errorf("LocalPath(%q) = %q, %v; want %q", target, got, ok, want)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	base := &url.URL{Scheme: "https", Host: "app.example"}
	for _, seed := range []string{"/", "//x", `/\x`, "https://app.example/x", "https:x", "/%0a/x", "?x", "#x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		local, ok := LocalPath(base, target)
		if !ok {
			if target == "/" || target == "https://app.example/x" {
				t.Errorf("LocalPath(%q) is refused", target)
			}
			return
		}
		// What a browser makes of it, relative to a page of ours, is ours.
		to, err := base.Parse(local)
		if err != nil || to.Host != base.Host || to.Scheme != base.Scheme {
			t.Errorf("LocalPath(%q) = %q leads to %v, %v", target, local, to, err)
		}
		if !strings.HasPrefix(local, "/") || strings.HasPrefix(local, "//") || strings.ContainsAny(local, "\\\t\r\n \"<>`") {
			t.Errorf("LocalPath(%q) = %q", target, local)
		}
	})
}

func TestTrim(t *testing.T) {
	t.Parallel()
	c := Cookies{Secure: true}
	for _, test := range []struct {
		sizes       []int // of the cookies that the browser sends, earliest first
		count, size int
		forgotten   int
	}{
		{nil, 4, 1000, 0},
		{[]int{100, 100, 100}, 4, 1000, 0},
		{[]int{100, 100, 100, 100, 100}, 4, 1000, 1},
		{[]int{100, 400, 400, 400}, 4, 1000, 2},
		{[]int{2000}, 4, 1000, 1},
		{[]int{100, 100}, 0, 1000, 2},
		{[]int{100, 100}, 4, -50, 2},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: c.Name("other"), Value: strings.Repeat("x", 4000)})
		for i, size := range test.sizes {
			name := c.Name("login-" + string(rune('a'+i)))
			r.AddCookie(&http.Cookie{Name: name, Value: strings.Repeat("x", size-len(name))})
		}
		w := httptest.NewRecorder()
		c.Trim(w, r, "login-", test.count, test.size)
		cleared := w.Result().Cookies()
		if len(cleared) != test.forgotten {
			t.Errorf("%+v: forgets %d", test, len(cleared))
		}
		for i, cookie := range cleared {
			if cookie.Name != c.Name("login-"+string(rune('a'+i))) || cookie.MaxAge >= 0 {
				t.Errorf("%+v: number %d is %s", test, i, cookie)
			}
		}
	}
}
