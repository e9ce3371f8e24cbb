/**
 * The frame around every page for the shop's staff: the header with its navigation, a live region, and dialogs.
 *
 * A page holds `<header class="bar"></header>` and `<main id="main" tabindex="-1">`, and calls `openFrame()` once.
 */

import { button, element } from "../view/dom.js";
import { SignIn, personMenu } from "./sign-in.js";
import { StaffApi } from "./staff-api.js";

const PAGES = [
  ["/review", "Review"],
  ["/models", "Models"],
  ["/insights", "Insights"],
];

/** Fills the header; gives the page its `api`, and `say`, which tells assistive technology a sentence. */
export function openFrame() {
  const live = element("p", { role: "status", class: "hidden" });
  const say = (sentence) => (live.textContent = sentence);
  const signIn = new SignIn();
  const api = new StaffApi({ askForKey: (problem) => askWhoIsHere(api, signIn, problem) });
  const forget = button("plain", () => forgetKey(api, say), "Forget key");
  forget.hidden = !api.hasKey;
  api.addEventListener("key", () => (forget.hidden = !api.hasKey));
  const home = element("a", { class: "brand", href: "/" }, element("img", { src: "/web/icon.svg", alt: "" }), "Rejoinder");
  document.querySelector("header.bar").replaceChildren(
    element("a", { class: "skip", href: "#main" }, "Skip to content"), home, navigation(), forget, personMenu(signIn, say), live,
  );
  return { api, say };
}

function navigation() {
  const links = PAGES.map(([path, name]) => {
    const link = element("a", { href: path }, name);
    if (location.pathname === path) link.setAttribute("aria-current", "page");
    else if (location.pathname.startsWith(`${path}/`)) link.setAttribute("aria-current", "true");
    return link;
  });
  return element("nav", { "aria-label": "Staff pages" }, ...links);
}

function forgetKey(api, say) {
  api.forgetKey();
  say("Key forgotten.");
  location.reload();
}

/** Asks for what lets a person in: a sign-in where the shop has a provider, which leaves the page, else an API key. */
async function askWhoIsHere(api, signIn, problem) {
  const { can_sign_in: canSignIn } = await signIn.look();
  return canSignIn ? askToSignIn(api, signIn, problem) : askForKey(problem);
}

async function askToSignIn(api, signIn, problem) {
  const isWanted = await askInDialog({
    title: "Sign in",
    content: [
      ...(problem ? [element("p", { class: "note bad" }, problem)] : []),
      element("p", {}, "This page is for the shop’s staff. You sign in where you do for the shop’s other programs."),
    ],
    action: "Sign in",
  });
  if (isWanted) {
    api.forgetKey(); // it would go before the sign-in
    signIn.go();
  }
  return null;
}

/**
 * Asks for an API key in a dialog, with the `problem` that the last one had; resolves to the key, or to null when the
 * person closes the dialog.
 */
function askForKey(problem) {
  const field = element("input", {
    type: "password", id: "api-key", autocomplete: "off", spellcheck: "false", required: "", pattern: "[ -~]+",
  });
  const hint = "A key with the scope “review” lets you read; “admin” lets you change things. It is kept in this tab only.";
  return askInDialog({
    title: "API key",
    content: [
      ...(problem ? [element("p", { class: "note bad" }, problem)] : []),
      element("div", { class: "field" }, element("label", { for: "api-key" }, "API key"), field),
      element("p", { class: "muted" }, hint),
    ],
    action: "Use key",
    answer: () => field.value.trim(),
  });
}

/**
 * Shows a modal dialog with `content` (nodes), a button named `action` and one to cancel. Resolves to what `answer`
 * gives when the person agrees, to null otherwise; the focus goes back to where it was. `isDanger` paints the button,
 * `isNotice` leaves nothing to cancel.
 */
export function askInDialog({ title, content, action, answer = () => true, isDanger = false, isNotice = false }) {
  return new Promise((resolve) => {
    const heading = element("h2", { id: "dialog-title" }, title);
    const agree = element("button", { type: "submit", class: isDanger ? "danger" : "primary" }, action);
    const cancel = button("", () => end(null), "Cancel");
    const actions = element("div", { class: "actions" }, ...(isNotice ? [] : [cancel]), agree);
    const form = element("form", {}, heading, ...content, actions);
    const dialog = element("dialog", { "aria-labelledby": "dialog-title" }, form);
    // Resolves at once and not by the dialog's own event, which is a task of its own: a key pressed in between would
    // find the dialog gone and its answer not yet known.
    const end = (given) => {
      dialog.close();
      dialog.remove();
      resolve(given);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      end(answer());
    });
    dialog.addEventListener("close", () => end(null));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A note that something failed, with a button that tries again, for what may not be done as somebody who may. */
export function failureNote(error, api, onRetry) {
  const other = api.hasKey ? "Use another key" : "Use another sign-in";
  const retry = error.status === 403
    ? button("", async () => (await api.changeKey(error.message)) && onRetry(), other)
    : button("", onRetry, "Try again");
  return element("div", { class: "note bad row", role: "alert" }, element("span", {}, error.message), retry);
}
