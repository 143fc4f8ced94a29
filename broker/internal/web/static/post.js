// The form may have a field named "submit", which would hide the method of that name.
HTMLFormElement.prototype.submit.call(document.getElementById("onward"));
