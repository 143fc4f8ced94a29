package social

import (
	"fmt"

	"github.com/go-idbroker/idbroker/provider"
)

// Inks of the letters, whichever can be read on the vendor's colour.
const (
	white = "#fff"
	black = "#000"
)

// brand returns a name, and as an icon its first letters in the vendor's colour: the vendors' own marks are theirs.
func brand(name, letters, color, ink string) provider.Brand {
	size := 22
	if len(letters) > 1 {
		size = 16
	}
	return provider.Brand{Name: name, Icon: fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">`+
		`<rect width="32" height="32" rx="7" fill="%s"/><text x="16" y="%d" fill="%s" font-family="system-ui,sans-serif" `+
		`font-size="%d" font-weight="700" text-anchor="middle">%s</text></svg>`, color, 16+size*36/100, ink, size, letters)}
}
