package provider

// Branded is the capability of an [IdentityProvider] that users know by a name. The broker shows it where its configuration
// says nothing else.
type Branded interface {
	// Brand returns it, of the configuration alone. The caller changes nothing of it.
	Brand() Brand
}

// A Brand is how users know an upstream.
type Brand struct {
	Name string
	Icon []byte // an image for a button: SVG, PNG, JPEG, GIF or WebP; nil is none
}
