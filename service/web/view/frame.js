/**
 * What the chat stands in: a launcher with a panel that opens over the page, or the panel alone. In a narrow window the
 * panel takes all of it and is modal, so that nobody tabs into a page that cannot be seen.
 */

import { button, element, icon } from "./dom.js";

const NARROW = "(max-width: 480px), (max-height: 420px)";

/** `nodes` are what to put into the shadow tree. */
export class Frame {
  #localizer;
  #handlers;
  #dialog = null;
  #launcher = null;
  #hasUnread = false;
  #narrow = matchMedia(NARROW);

  /** `options` are `{isInline, onOpen, onToggle}`; the last is told whether the panel is open now. */
  constructor(localizer, panel, { isInline, ...handlers }) {
    this.#localizer = localizer;
    this.#handlers = handlers;
    if (isInline) {
      panel.classList.add("inline");
      panel.setAttribute("role", "region");
      panel.setAttribute("aria-labelledby", "title");
      this.nodes = [panel];
      return;
    }
    this.#dialog = element("dialog", { class: "window", "aria-labelledby": "title", id: "window" }, panel);
    this.#launcher = button("launcher", () => this.#toggle(), icon("chat"), icon("down"));
    this.#launcher.setAttribute("aria-controls", "window");
    this.nodes = [this.#launcher, this.#dialog];
    this.#listen();
    this.#show();
  }

  /** Opens the panel and lets the keyboard go on in it. */
  open() {
    if (!this.#dialog || this.#dialog.open) return;
    this.#showDialog();
    this.#afterOpening();
    this.#handlers.onOpen();
  }

  /** Opens the panel as the page before has left it: without taking the keyboard, never over the whole window. */
  restoreOpen() {
    if (!this.#dialog || this.#narrow.matches) return;
    this.#dialog.setAttribute("open", "");
    this.#afterOpening();
  }

  /** Closes the panel. */
  close() {
    this.#dialog?.close();
  }

  /** Lets the launcher of a closed panel say that there is something new. */
  showUnread() {
    if (!this.#dialog || this.#dialog.open) return;
    this.#hasUnread = true;
    this.#show();
  }

  #listen() {
    this.#dialog.addEventListener("close", () => this.#afterClosing());
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
      event.preventDefault();
      this.close();
    });
    this.#narrow.addEventListener("change", () => {
      if (!this.#dialog.open) return;
      this.#dialog.close();
      this.#showDialog();
    });
  }

  #toggle() {
    if (this.#dialog.open) this.close();
    else this.open();
  }

  #showDialog() {
    if (this.#narrow.matches) this.#dialog.showModal();
    else this.#dialog.show();
  }

  #afterOpening() {
    this.#hasUnread = false;
    this.#show();
    this.#handlers.onToggle(true);
  }

  #afterClosing() {
    if (this.#dialog.open) return; // It was closed only to be opened in the other way.
    this.#show();
    this.#handlers.onToggle(false);
    // Where the place of the keyboard has vanished with the panel, it goes on at the launcher.
    if (document.activeElement === document.body) this.#launcher.focus();
  }

  #show() {
    this.#launcher.setAttribute("aria-expanded", String(this.#dialog.open));
    this.#launcher.classList.toggle("has-unread", this.#hasUnread);
    const closed = this.#hasUnread ? "openUnread" : "openChat";
    this.#localizer.label(this.#launcher, this.#dialog.open ? "closeChat" : closed);
  }
}
