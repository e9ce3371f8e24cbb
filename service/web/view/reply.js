/**
 * One reply as people see it: waiting, streaming, then whole, stopped or failed. What it says is text, never markup.
 * Rating it is feedback.js.
 */

import { button, element, icon, showLinkedText } from "./dom.js";
import { FeedbackControls } from "./feedback.js";
import { createKeyNotice, createNotice } from "./notice.js";

const DIGEST_DIGITS = 12;
const COPIED_SECONDS = 2;

/** A reply that is filled piece by piece; `node` is its item in the list of messages. */
export class Reply {
  #client;
  #localizer;
  #options;
  #parts = {};
  #text = "";
  #textNode = new Text("");
  #controls = null;

  /** `options` are `{announce, showsVersion}`; `announce` says the words of a key to assistive technology. */
  constructor(client, localizer, options) {
    this.#client = client;
    this.#localizer = localizer;
    this.#options = options;
    const dots = element("span", { class: "dots" }, element("i"), element("i"), element("i"));
    this.#parts.text = element("p", { class: "text", dir: "auto" }, dots);
    this.#parts.below = element("div", { class: "below" });
    const speaker = localizer.text(element("span", { class: "hidden" }), "bot");
    const body = element("div", { class: "body" }, speaker, this.#parts.text, this.#parts.below);
    const mark = element("span", { class: "mark", "aria-hidden": "true" }, icon("mark"));
    this.node = element("li", { class: "reply is-waiting", "aria-busy": "true" }, mark, body);
    this.facts = {};
  }

  /** What it says so far. */
  get text() {
    return this.#text;
  }

  /** Takes an update from the stream: text to append, and what else becomes known (`facts`). */
  apply({ text = "", ...facts }) {
    Object.assign(this.facts, facts);
    if (text === "") return;
    if (this.#text === "") this.#startText();
    this.#text += text;
    this.#textNode.appendData(text);
  }

  /**
   * The stream has ended well: offers what can be done about `turn`, which is this reply in the conversation.
   * `handlers` are `{onRated, answerAnew, say, createPersonControl}`.
   */
  finish(turn, handlers) {
    const { announce, showsVersion } = this.#options;
    this.#settle();
    if (this.#text.trim() === "") this.#note("empty");
    if (turn.finishReason === "length") this.#note("cut");
    const actions = element("div", { class: "actions" });
    this.#parts.below.append(actions);
    if (turn.feedbackToken) {
      const { onRated } = handlers;
      this.#controls = new FeedbackControls(this.#client, this.#localizer, turn, { announce, onRated });
      actions.append(this.#controls.thumbs);
      this.#parts.below.append(this.#controls.details);
    }
    // Pages that are not served over HTTPS have no clipboard.
    if (navigator.clipboard) actions.append(this.#createCopyButton(announce));
    const again = button("action latest", handlers.answerAnew, icon("again"));
    actions.append(this.#localizer.label(again, "answerAnew"));
    if (showsVersion && turn.digest) actions.append(this.#createDigest(turn.digest));
    this.#offerNext(turn, handlers);
  }

  /** The person has stopped it; `retry` asks anew. */
  stop(retry) {
    this.#settle();
    const again = this.#localizer.text(button("plain latest", retry), "retry");
    this.#note("stopped").append(" ", again);
  }

  /** It failed; `action` is `{key, run}`. What it had said stays to be read. */
  fail(error, action) {
    this.#showNotice(createNotice(this.#localizer, error, action));
  }

  /** It was refused for want of an API key. */
  askForKey(error, onKey) {
    this.#showNotice(createKeyNotice(this.#localizer, error, onKey));
  }

  /** The conversation has gone on: nothing is offered that only the latest reply can do. */
  close() {
    for (const node of this.#parts.below.querySelectorAll(".latest")) node.remove();
    this.#controls?.collapse();
  }

  #startText() {
    this.node.classList.replace("is-waiting", "is-streaming");
    this.#parts.text.replaceChildren(this.#textNode);
  }

  #settle() {
    this.node.classList.remove("is-waiting", "is-streaming");
    this.node.removeAttribute("aria-busy");
    showLinkedText(this.#parts.text, this.#text);
    this.#parts.text.hidden = this.#text.trim() === "";
  }

  #showNotice(notice) {
    this.#settle();
    notice.querySelector("button").classList.add("latest");
    this.#parts.below.append(notice);
  }

  #note(key) {
    const note = element("p", { class: "note" }, this.#localizer.text(element("span"), key));
    this.#parts.below.append(note);
    return note;
  }

  /** What may be said next with one press: the service's suggestions, and a person where the bot has given up. */
  #offerNext({ quickReplies = [], rule }, { say, createPersonControl }) {
    const choices = quickReplies.map((text) => button("chip", () => say(text), text));
    if (rule === "hand_over" || rule === "fruitless") choices.push(createPersonControl());
    if (choices.length === 0) return;
    const next = element("div", { class: "chips next latest", role: "group" }, ...choices);
    this.#parts.below.append(this.#localizer.name(next, "quickReplies"));
  }

  #createCopyButton(announce) {
    const node = button("action", async () => {
      try {
        await navigator.clipboard.writeText(this.#text);
      } catch {
        return; // The browser or the visitor forbids it.
      }
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

  #createDigest(digest) {
    const node = element("span", { class: "digest", role: "img" }, digest.slice(0, DIGEST_DIGITS));
    return this.#localizer.label(node, "version", digest.slice(0, DIGEST_DIGITS));
  }
}
