// Asks the browser for a passkey, or for a new one, when the form is sent by its main button, and sends its answer.
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

  const create = "create" in form.dataset;
  const options = () => ({ publicKey: parse(JSON.parse(form.dataset.options)) });
  const send = (credential) => {
    form.querySelector("input[name=credential]").value = answer(credential);
    HTMLFormElement.prototype.submit.call(form);
  };

  // Where a field says so, browsers offer passkeys among the names that they fill in. That waits until something is chosen, and one
  // page can ask for one thing at a time.
  const waiting = new AbortController();
  const offer = async () => {
    if (!document.querySelector("input[autocomplete~=webauthn]")) return;
    if (!(await PublicKeyCredential.isConditionalMediationAvailable())) return;
    if (!waiting.signal.aborted) send(await navigator.credentials.get({ ...options(), mediation: "conditional", signal: waiting.signal }));
  };
  if (!create) offer().catch(() => {}); // nobody has asked for it

  form.addEventListener("submit", async (event) => {
    if (event.submitter && event.submitter.name === "another") return;
    event.preventDefault();
    failed.hidden = true;
    waiting.abort();
    try {
      send(await (create ? navigator.credentials.create(options()) : navigator.credentials.get(options())));
    } catch {
      failed.hidden = false;
    }
  });
})();
