// Asks the browser for a passkey, or for a new one, when the form is sent by its main button, and sends the answer.
(() => {
  const form = document.getElementById("passkey");
  const failed = document.getElementById("passkey-failed");

  const decode = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const encode = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const decodeIDs = (list) => (list || []).map((item) => ({ ...item, id: decode(item.id) }));

  // What parseCreationOptionsFromJSON and parseRequestOptionsFromJSON do, which not every browser has.
  const parse = (options) => {
    const parsed = { ...options, challenge: decode(options.challenge) };
    if (options.user) parsed.user = { ...options.user, id: decode(options.user.id) };
    if (options.excludeCredentials) parsed.excludeCredentials = decodeIDs(options.excludeCredentials);
    if (options.allowCredentials) parsed.allowCredentials = decodeIDs(options.allowCredentials);
    return parsed;
  };

  const answer = (credential) => {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = encode(credential.response[name]);
    }
    if (credential.response.getTransports) response.transports = credential.response.getTransports();
    return JSON.stringify({
      id: credential.id, rawId: encode(credential.rawId), type: credential.type, response, clientExtensionResults: {},
    });
  };

  form.addEventListener("submit", async (event) => {
    if (event.submitter && event.submitter.name === "another") return;
    event.preventDefault();
    failed.hidden = true;
    try {
      const publicKey = parse(JSON.parse(form.dataset.options));
      const credential = "create" in form.dataset
        ? await navigator.credentials.create({ publicKey })
        : await navigator.credentials.get({ publicKey });
      form.querySelector("input[name=credential]").value = answer(credential);
      HTMLFormElement.prototype.submit.call(form);
    } catch {
      failed.hidden = false;
    }
  });
})();
