package web_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var property = regexp.MustCompile(`(?m)^\s+--([a-z0-9-]+): (#[0-9a-f]{6});`)

// colours returns the custom properties of the light and of the dark scheme.
func colours(t *testing.T) (light, dark map[string]string) {
	t.Helper()
	css, err := os.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark scheme")
	}
	light, dark = make(map[string]string), make(map[string]string)
	for _, m := range property.FindAllStringSubmatch(before, -1) {
		light[m[1]], dark[m[1]] = m[2], m[2]
	}
	for _, m := range property.FindAllStringSubmatch(after, -1) {
		dark[m[1]] = m[2]
	}
	return light, dark
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	rgb, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 24)
	if err != nil {
		t.Fatalf("colour %q: %v", colour, err)
	}
	channel := func(shift int) float64 {
		c := float64(rgb>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

// TestContrast holds the colours to WCAG 2.2 AA: 4.5:1 for text (1.4.3), 3:1 for what must be seen to be used (1.4.11).
func TestContrast(t *testing.T) {
	t.Parallel()
	const text, shape = 4.5, 3.0
	pairs := []struct {
		front, back string
		least       float64
	}{
		{"text", "page", text}, {"text", "surface", text}, {"text", "raised", text},
		{"text", "accent-soft", text}, {"text", "bad-soft", text},
		{"muted", "page", text}, {"muted", "surface", text},
		{"accent", "surface", text}, {"accent-strong", "surface", text}, {"accent", "accent-soft", text},
		{"on-accent", "accent", text}, {"on-accent", "accent-strong", text}, {"bad", "surface", text},
		{"white", "hue-0", text}, {"white", "hue-1", text}, {"white", "hue-2", text},
		{"white", "hue-3", text}, {"white", "hue-4", text}, {"white", "hue-5", text},
		{"edge", "surface", shape}, {"edge", "raised", shape}, {"accent", "page", shape},
		{"bad", "bad-soft", shape}, {"good", "good-soft", shape},
	}
	light, dark := colours(t)
	for name, scheme := range map[string]map[string]string{"light": light, "dark": dark} {
		scheme["white"] = "#ffffff"
		for _, p := range pairs {
			a, b := luminance(t, scheme[p.front]), luminance(t, scheme[p.back])
			if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < p.least {
				t.Errorf("%s: --%s on --%s is %.2f:1, want %.1f:1", name, p.front, p.back, got, p.least)
			}
		}
	}
}
