/**
 * The list of what was found: one button each, a page at a time.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { aboutReply, chip, maskedText, thumb, timeNode } from "./words.js";

export class ReplyList {
  #api;
  #say;
  #onOpen;
  #items = [];
  #current = -1;
  #ask = null;
  #list = element("ol", { class: "found" });
  #end = element("div", { class: "end" });

  /** `onOpen(found, {isChosen})` is told which reply to show, and whether somebody chose it; null: there is none. */
  constructor({ api, say, onOpen }) {
    this.#api = api;
    this.#say = say;
    this.#onOpen = onOpen;
    this.node = element("div", {}, this.#list, this.#end);
  }

  /** Shows the first page of what `path` finds, and opens its first. */
  async load(path, parameters) {
    const ask = { path, parameters };
    this.#ask = ask;
    this.#items = [];
    this.#current = -1;
    this.#list.replaceChildren();
    this.#end.replaceChildren(element("p", { class: "muted" }, "Loading …"));
    if (!(await this.#fetchPage(ask, null))) return;
    this.#say(this.#items.length === 0 ? "Nothing found." : `${this.#items.length} shown.`);
    if (this.#items.length === 0) this.#onOpen(null, { isChosen: false });
    else this.open(0, { isChosen: false });
  }

  /** Opens the next or the previous one, and puts the focus on it; at the end of a page fetches the next. */
  async move(step) {
    const index = this.#current + step;
    if (index < 0) return;
    if (index >= this.#items.length && this.#ask?.cursor) await this.#fetchPage(this.#ask, this.#ask.cursor);
    if (index >= this.#items.length) {
      this.#say("That was the last one.");
      return;
    }
    this.open(index, { isChosen: true });
  }

  /** Shows what has become of a reply that was rated. */
  refresh(completionId, feedback) {
    const item = this.#items.find(({ found }) => found.completion_id === completionId);
    if (!item) return;
    const count = (rating) => feedback.filter((given) => given.rating === rating).length;
    item.found.num_up = count("up");
    item.found.num_down = count("down");
    item.found.corrected = feedback.some(({ correction }) => correction !== null);
    item.marks.replaceChildren(...marks(item.found));
  }

  /** Shows which tags a conversation has now. */
  retag(conversationId, tags) {
    for (const { found, marks: state } of this.#items) {
      if (found.conversation_id !== conversationId) continue;
      found.tags = tags;
      state.replaceChildren(...marks(found));
    }
  }

  open(index, { isChosen }) {
    this.#items[this.#current]?.node.removeAttribute("aria-current");
    this.#current = index;
    const { node, found } = this.#items[index];
    node.setAttribute("aria-current", "true");
    node.scrollIntoView({ block: "nearest" });
    if (isChosen) node.focus();
    this.#onOpen(found, { isChosen });
  }

  /** Puts the focus back on the open one. */
  focus() {
    this.#items[this.#current]?.node.focus();
  }

  /** Fetches a page; resolves to whether it is still wanted and came. */
  async #fetchPage(ask, cursor) {
    try {
      const page = await this.#api.get(ask.path, { ...ask.parameters, cursor });
      if (ask !== this.#ask) return false;
      ask.cursor = page.next_cursor;
      for (const found of page.data) this.#append(found);
      this.#showEnd();
      return true;
    } catch (error) {
      if (ask !== this.#ask) return false;
      const retry = () => (cursor ? this.#fetchPage(ask, cursor) : this.load(ask.path, ask.parameters));
      this.#end.replaceChildren(failureNote(error, this.#api, retry));
      if (!cursor) this.#onOpen(null, { isChosen: false });
      return false;
    }
  }

  #append(found) {
    const index = this.#items.length;
    const state = element("span", { class: "row marks" }, ...marks(found));
    const node = button("found-reply", () => this.open(index, { isChosen: true }),
      element("span", { class: "when muted" }, timeNode(found.created_at)),
      maskedSpan(found.question, "question"), maskedSpan(found.text, "excerpt muted"), state);
    this.#items.push({ found, node, marks: state });
    this.#list.append(element("li", {}, node));
  }

  #showEnd() {
    const more = button("", () => this.#fetchPage(this.#ask, this.#ask.cursor), "Show more");
    if (this.#items.length === 0) this.#end.replaceChildren(element("p", { class: "muted" }, "Nothing found."));
    else this.#end.replaceChildren(...(this.#ask.cursor ? [more] : []));
  }
}

/** Text inside a button, which may hold no paragraph. */
function maskedSpan(text, className) {
  const paragraph = maskedText(text);
  return element("span", { class: className, dir: "auto", lang: paragraph.lang }, ...paragraph.childNodes);
}

function marks(found) {
  const list = aboutReply(found);
  if (found.num_down) list.push(thumb("down", `${found.num_down} down`));
  if (found.num_up) list.push(thumb("up", `${found.num_up} up`));
  if (found.corrected) list.push(chip("corrected", "good"));
  if (found.num_replies > 1) list.push(element("span", { class: "muted" }, `${found.num_replies} replies`));
  list.push(...found.tags.map((tag) => chip(tag, "good")));
  return list;
}
