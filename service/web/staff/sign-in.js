/**
 * Sign-in at the shop's identity provider: whether there is one, who has signed in, the way there and out again.
 *
 * The session is a cookie that no script can read; a page only asks the service about it.
 */

import { button, element } from "../view/dom.js";

const NOBODY = { can_sign_in: false, person: null };

/** Who is here, asked once a page. */
export class SignIn {
  #asked = null;

  /** Resolves to `{can_sign_in, person}`; where that cannot be had, to what holds without a provider. */
  look() {
    this.#asked ??= fetch("/sign-in/session", { cache: "no-store" })
      .then((response) => (response.ok ? response.json() : NOBODY))
      .catch(() => NOBODY);
    return this.#asked;
  }

  /** Leaves for the provider, which sends the browser back to this page. */
  go() {
    location.assign(`/sign-in?${new URLSearchParams({ to: location.pathname + location.search })}`);
  }

  /** Ends the session and loads the page anew; resolves to what failed, if something did. */
  async end() {
    const response = await fetch("/sign-in/end", { method: "POST" }).catch(() => null);
    if (!response?.ok) return "You could not be signed out. Try again.";
    location.reload();
    return "";
  }
}

/** The header's part about the person: a name and a way out, or a way in; empty where there is no provider. */
export function personMenu(signIn, say) {
  const menu = element("div", { class: "person" });
  signIn.look().then(({ can_sign_in: canSignIn, person }) => {
    if (!canSignIn) return;
    if (person === null) {
      menu.append(button("plain", () => signIn.go(), "Sign in"));
      return;
    }
    const name = element("span", { class: "muted", title: `${person.id}, tenant ${person.tenant}` }, person.name);
    menu.append(name, button("plain", async () => say(await signIn.end()), "Sign out"));
  });
  return menu;
}
