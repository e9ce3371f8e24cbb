/**
 * One reply as people see it: waiting, streaming, then whole, stopped or failed. What it says is text, never markup.
 * Rating it is feedback.js.
 */

import { button, copyText, element, icon, showLinkedText } from "./dom.js";
import { FeedbackControls } from "./feedback.js";
import { createKeyNotice, createNotice } from "./notice.js";

const DIGEST_DIGITS = 12;
const COPIED_SECONDS = 2;

/** A reply that is filled piece by piece; `node` is its item in the list of messages. */
export class Reply {
  #localizer;
  #parts = {};
  #known = { text: "", digest: "", finishReason: "", completionId: "", feedbackToken: "" };
  #textNode = new Text("");
  #controls = null;

  constructor(localizer) {
    this.#localizer = localizer;
    const dots = element("span", { class: "dots" }, element("i"), element("i"), element("i"));
    this.#parts.text = element("p", { class: "text" }, dots);
    this.#parts.below = element("div", { class: "below" });
    const speaker = localizer.text(element("span", { class: "hidden" }), "bot");
    const body = element("div", { class: "body" }, speaker, this.#parts.text, this.#parts.below);
    const mark = element("span", { class: "mark", "aria-hidden": "true" }, icon("mark"));
    this.node = element("li", { class: "reply is-waiting", "aria-busy": "true" }, mark, body);
  }

  /** What it says so far. */
  get text() {
    return this.#known.text;
  }

  /** Takes an update from the stream. */
  apply({ text = "", ...facts }) {
    Object.assign(this.#known, facts);
    if (text === "") return;
    if (this.#known.text === "") this.#startText();
    this.#known.text += text;
    this.#textNode.appendData(text);
  }

  /** The stream has ended well: offers thumbs, copying and the model's version. */
  finish(client, announce) {
    this.#settle();
    if (this.text.trim() === "") this.#note("empty");
    if (this.#known.finishReason === "length") this.#note("cut");
    const actions = element("div", { class: "actions" });
    this.#parts.below.append(actions);
    if (this.#known.feedbackToken) {
      const { completionId, feedbackToken } = this.#known;
      this.#controls = new FeedbackControls(client, this.#localizer, { completionId, feedbackToken }, announce);
      actions.append(this.#controls.thumbs);
      this.#parts.below.append(this.#controls.details);
    }
    actions.append(this.#createCopyButton(announce));
    if (this.#known.digest) actions.append(this.#createDigest());
  }

  /** The person has stopped it; `retry` asks anew. */
  stop(retry) {
    this.#settle();
    const again = this.#localizer.text(button("plain", retry), "retry");
    this.#note("stopped").append(" ", again);
  }

  /** It failed; `action` is `{key, run}`. What it had said stays to be read. */
  fail(error, action) {
    this.#settle();
    this.#parts.below.append(createNotice(this.#localizer, error, action));
  }

  /** It was refused for want of an API key. */
  askForKey(error, onKey) {
    this.#settle();
    this.#parts.below.append(createKeyNotice(this.#localizer, error, onKey));
  }

  /** The conversation has gone on: nothing is offered that only the latest reply can do. */
  close() {
    for (const node of this.#parts.below.querySelectorAll(":scope > .notice button, :scope > .note button")) {
      node.remove();
    }
    this.#controls?.collapse();
  }

  #startText() {
    this.node.classList.replace("is-waiting", "is-streaming");
    this.#parts.text.replaceChildren(this.#textNode);
  }

  #settle() {
    this.node.classList.remove("is-waiting", "is-streaming");
    this.node.removeAttribute("aria-busy");
    showLinkedText(this.#parts.text, this.text);
    this.#parts.text.hidden = this.text.trim() === "";
  }

  #note(key) {
    const note = element("p", { class: "note" }, this.#localizer.text(element("span"), key));
    this.#parts.below.append(note);
    return note;
  }

  #createCopyButton(announce) {
    const node = button("action", async () => {
      const hasCopied = await copyText(this.text);
      node.focus();
      if (!hasCopied) return;
      node.replaceChildren(icon("check"));
      this.#localizer.label(node, "copied");
      announce("copied");
      setTimeout(() => {
        node.replaceChildren(icon("copy"));
        this.#localizer.label(node, "copy");
      }, COPIED_SECONDS * 1000);
    }, icon("copy"));
    return this.#localizer.label(node, "copy");
  }

  #createDigest() {
    const { digest } = this.#known;
    const node = element("span", { class: "digest", role: "img" }, digest.slice(0, DIGEST_DIGITS));
    return this.#localizer.label(node, "version", digest.slice(0, DIGEST_DIGITS));
  }
}
