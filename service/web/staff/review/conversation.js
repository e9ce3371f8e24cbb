/**
 * One conversation whole. One of its replies is the current one: keys act on it.
 */

import { element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { ReplyCard } from "./reply-card.js";
import { TagEditor } from "./tags.js";
import { maskedText, timeNode } from "./words.js";

const ROLES = { user: "Customer", assistant: "Bot (not recorded here)", system: "System message" };

export class Conversation {
  #api;
  #say;
  #onJudged;
  #onTagged;
  #tags = null;
  #cards = [];
  #current = -1;
  #wanted = null;

  /** `onJudged(completionId, feedback)` and `onTagged(conversationId, tags)` hear of every change. */
  constructor({ api, say, onJudged, onTagged }) {
    this.#api = api;
    this.#say = say;
    this.#onJudged = onJudged;
    this.#onTagged = onTagged;
    this.node = element("div");
  }

  /** The reply that keys act on, if there is one. */
  get current() {
    return this.#cards[this.#current] ?? null;
  }

  /** Puts the focus where a tag is typed. */
  tag() {
    this.#tags?.focus();
  }

  /** Shows no conversation, so that keys act on none, and says why. */
  clear(why = "No conversation is open.") {
    this.#wanted = null;
    this.#tags = null;
    this.#cards = [];
    this.#current = -1;
    this.node.replaceChildren(element("p", { class: "muted" }, why));
  }

  /** Shows the conversation of a reply that was found, and scrolls to that reply where somebody has chosen it. */
  async open(found, { isChosen }) {
    // What was open goes at once: a thumb pressed while this loads must not rate a reply of the one before.
    this.clear("Loading …");
    this.#wanted = found;
    try {
      const path = `/v1/review/conversations/${encodeURIComponent(found.conversation_id)}`;
      const conversation = await this.#api.get(path, { up_to: found.completion_id });
      if (this.#wanted !== found) return;
      this.#show(conversation, found.completion_id);
      if (isChosen) this.#scrollToCurrent();
    } catch (error) {
      if (this.#wanted !== found) return;
      this.node.replaceChildren(failureNote(error, this.#api, () => this.open(found, { isChosen })));
    }
  }

  /** Makes the next or the previous reply the current one. */
  move(step) {
    const index = this.#current + step;
    if (index < 0 || index >= this.#cards.length) return;
    this.#select(index);
    this.#scrollToCurrent();
    this.current.node.focus();
    this.#say(`Reply ${index + 1} of ${this.#cards.length}.`);
  }

  #show(conversation, completionId) {
    this.#cards = [];
    const said = element("ol", { class: "said" });
    for (const message of conversation.messages) said.append(this.#messageNode(message));
    const head = element("p", { class: "muted" }, "Begun ", timeNode(conversation.created_at), " · ",
      element("span", { class: "digest" }, conversation.id));
    const onTagged = (tags) => this.#onTagged(conversation.id, tags);
    this.#tags = new TagEditor(conversation, { api: this.#api, say: this.#say, onTagged });
    const cut = conversation.is_cut
      ? [element("p", { class: "note" }, "This conversation has more than is shown here: replies before or after.")]
      : [];
    this.node.replaceChildren(element("h2", {}, "Conversation"), head, this.#tags.node, ...cut, said);
    const index = this.#cards.findIndex((card) => card.completionId === completionId);
    this.#current = -1;
    this.#select(index < 0 ? this.#cards.length - 1 : index);
  }

  #messageNode(message) {
    if (message.reply === null) {
      return element("li", { class: `message ${message.role}` },
        element("p", { class: "who" }, ROLES[message.role]), maskedText(message.content));
    }
    const card = new ReplyCard(message, { api: this.#api, say: this.#say, onJudged: this.#onJudged });
    const index = this.#cards.push(card) - 1;
    card.node.addEventListener("focusin", () => this.#select(index));
    return card.node;
  }

  #select(index) {
    if (index === this.#current || index < 0) return;
    this.current?.setCurrent(false);
    this.#current = index;
    this.current.setCurrent(true);
  }

  #scrollToCurrent() {
    this.current?.node.scrollIntoView({ block: "nearest" });
  }
}
