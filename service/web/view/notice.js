/**
 * A notice under a reply: what went wrong and the one thing to do about it. Keeps the wait that the service asked for.
 */

import { button, element } from "./dom.js";

/**
 * Creates a notice for an error. `action` is `{key, run}`: the button's words and what it does; it can be pressed only
 * after `error.retryAfterSeconds`. `intro` is the key of words before the error's own.
 */
export function createNotice(localizer, error, action, intro = null) {
  const words = element("span");
  if (intro) words.append(localizer.text(element("span"), intro), " ");
  words.append(errorWords(localizer, error));
  const node = element("div", { class: "notice", role: "group" }, words);
  if (action) {
    const actionButton = button("plain", action.run);
    localizer.text(actionButton, action.key);
    keepWait(localizer, actionButton, action.key, error.retryAfterSeconds);
    if (error.code === "offline") pressWhenOnline(actionButton);
    node.append(actionButton);
  }
  return node;
}

/** Creates a notice that asks for an API key and hands it to `onKey`. */
export function createKeyNotice(localizer, error, onKey) {
  const field = element("input", { type: "password", autocomplete: "off", required: "", class: "key-field" });
  localizer.placeholder(field, "apiKey");
  const form = element("form", { class: "notice" }, element("span", {}, errorWords(localizer, error)), field);
  form.append(localizer.text(element("button", { type: "submit", class: "plain" }), "useApiKey"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onKey(field.value.trim());
  });
  return form;
}

function errorWords(localizer, error) {
  const key = localizer.errorKey(error);
  const node = element("span");
  if (key) return localizer.text(node, key);
  node.textContent = error.message;
  return node;
}

/** Presses a button as soon as the browser is online again, if it is still there. */
function pressWhenOnline(actionButton) {
  addEventListener("online", () => actionButton.isConnected && actionButton.click(), { once: true });
}

/** Disables a button for some seconds and counts them down on it. */
function keepWait(localizer, actionButton, key, seconds) {
  if (seconds <= 0) return;
  const readyAt = performance.now() + seconds * 1000;
  actionButton.disabled = true;
  localizer.text(actionButton, "retryIn", String(seconds));
  const timer = setInterval(() => {
    const left = Math.ceil((readyAt - performance.now()) / 1000);
    if (left > 0) {
      localizer.text(actionButton, "retryIn", String(left));
      return;
    }
    clearInterval(timer);
    actionButton.disabled = false;
    localizer.text(actionButton, key);
  }, 200);
}
