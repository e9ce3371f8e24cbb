/**
 * The field to write in, with its send and stop buttons. Enter sends, Shift+Enter breaks the line, Escape stops.
 */

import { button, element, icon } from "./dom.js";

const MAX_MESSAGE_CHARS = 4000;
const MAX_HEIGHT_PIXELS = 168;

/** Gives what was written to `onSend`; calls `onStop` while a reply streams. `hint` is the last line of the form. */
export class Composer {
  #field;
  #sendButton;
  #stopButton;
  #onSend;
  #onStop;
  #isStreaming = false;
  #isHeld = false;

  constructor(localizer, { onSend, onStop }) {
    this.#onSend = onSend;
    this.#onStop = onStop;
    this.#field = element("textarea", {
      rows: "1",
      maxlength: String(MAX_MESSAGE_CHARS),
      enterkeyhint: "send",
      autocomplete: "off",
    });
    localizer.placeholder(this.#field, "placeholder");
    this.#sendButton = element("button", { type: "submit", class: "round primary" }, icon("send"));
    this.#stopButton = button("round stop", onStop, icon("stop"));
    localizer.label(this.#sendButton, "send");
    localizer.label(this.#stopButton, "stop");
    const box = element("div", { class: "box" }, this.#field, this.#sendButton, this.#stopButton);
    this.hint = element("p", { class: "hint" }, localizer.text(element("span"), "hint"));
    this.node = element("form", { class: "composer" }, box, this.hint);
    this.#listen(box);
    this.#update();
  }

  /** Whether a reply streams: then nothing can be sent, and it can be stopped. */
  set isStreaming(isStreaming) {
    // A button that vanishes takes the keyboard's place in the page with it.
    const hadFocus = this.#stopButton.matches(":focus");
    this.#isStreaming = isStreaming;
    this.#update();
    if (hadFocus) this.focus();
  }

  /** Whether the service has asked to wait: writing goes on, sending does not. */
  set isHeld(isHeld) {
    this.#isHeld = isHeld;
    this.#update();
  }

  /** Whether nothing can be sent now. */
  get isBusy() {
    return this.#isStreaming || this.#isHeld;
  }

  /** What is written, not yet sent. */
  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#update();
  }

  /** Puts the cursor into the field. */
  focus() {
    this.#field.focus();
  }

  #listen(box) {
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#field.addEventListener("input", () => this.#update());
    this.#field.addEventListener("keydown", (event) => this.#onKey(event));
    box.addEventListener("click", (event) => {
      if (event.target === box) this.focus();
    });
  }

  #onKey(event) {
    // While an input method composes, Enter chooses a candidate; Safari says so with key code 229 only.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape" && this.#isStreaming) {
      event.preventDefault(); // It would close the panel too.
      this.#onStop();
    }
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    this.focus();
    if (!this.#canSend) return;
    const text = this.text.trim();
    this.text = "";
    this.#onSend(text);
  }

  get #canSend() {
    return !this.isBusy && this.text.trim() !== "";
  }

  #update() {
    this.#sendButton.hidden = this.#isStreaming;
    this.#stopButton.hidden = !this.#isStreaming;
    this.#sendButton.disabled = !this.#canSend;
    this.measure();
  }

  /** Makes the field as high as its text; heights can be measured only while the chat is seen. */
  measure() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, MAX_HEIGHT_PIXELS)}px`;
  }
}
