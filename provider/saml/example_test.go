package saml_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

const metadataOfCustomer = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://idp.customer.example">
  <IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
    <KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>%s</X509Certificate></X509Data></KeyInfo></KeyDescriptor>
    <SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.customer.example/sso"/>
  </IDPSSODescriptor>
</EntityDescriptor>`

// A customer has sent the metadata of their identity provider as a file.
func ExampleNew() {
	metadata := fmt.Sprintf(metadataOfCustomer, base64Of(idpKey().Certificate.Raw))
	idp, err := saml.New(saml.Config{
		EntityID: "https://app.example/id",
		Metadata: []byte(metadata),
	})
	if err != nil {
		log.Fatal(err)
	}
	redirect, err := idp.Begin(context.Background(), provider.Request{
		RedirectURI: "https://app.example/id/broker/customer/endpoint",
		State:       "4BXUZNP5KPA6GTMEVS2Q7RY3WD",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.SplitAfter(redirect.URL, "SAMLRequest=")[0])
	// Output: https://idp.customer.example/sso?SAMLRequest=
}
