/**
 * What assistive technology is told. A reply is read out by whole sentences as they become complete: single tokens
 * would be babble, and waiting for the end silence.
 */

import { element } from "./dom.js";

const SENTENCES = new Intl.Segmenter(undefined, { granularity: "sentence" });

/** Two live regions without a look; `node` holds both. */
export class Announcer {
  #localizer;
  #status = element("div", { role: "status" });
  #spoken = element("div", { class: "spoken", "aria-live": "polite", "aria-atomic": "false" });
  #pending = "";

  constructor(localizer) {
    this.#localizer = localizer;
    this.node = element("div", { class: "hidden" }, this.#status, this.#spoken);
  }

  /** Says the words of a key. */
  say(key) {
    this.#status.textContent = this.#localizer.words(key);
  }

  /** A reply begins; the one before is no longer here to be found twice. */
  beginReply() {
    this.#spoken.replaceChildren();
    this.#status.textContent = "";
    this.#pending = "";
  }

  /** Takes a piece of the reply; says each sentence that another one follows. */
  hear(text) {
    if (text === "") return;
    this.#pending += text;
    const sentences = [...SENTENCES.segment(this.#pending)];
    this.#pending = sentences.pop().segment;
    for (const { segment } of sentences) this.#speak(segment);
  }

  /** The reply is whole: says what is left of it. */
  endReply() {
    this.#speak(this.#pending);
    this.#pending = "";
  }

  #speak(sentence) {
    if (sentence.trim() === "") return;
    const speaker = this.#spoken.firstChild ? "" : `${this.#localizer.words("bot")} `;
    this.#spoken.append(element("p", {}, speaker + sentence.trim()));
  }
}
