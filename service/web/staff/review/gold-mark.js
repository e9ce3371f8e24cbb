/**
 * Marks a reply as gold: what the staff calls the truth about it, against which everybody's thumbs are held.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";

const RATINGS = [["up", "good"], ["down", "bad"]];

export class GoldMark {
  #api;
  #say;
  #path;
  #gold;
  #buttons = {};
  #problem = element("div");

  constructor(reply, { api, say }) {
    this.#api = api;
    this.#say = say;
    this.#path = `/v1/review/completions/${reply.completion_id}/gold`;
    this.#gold = reply.gold;
    const group = element("div", { class: "row gold-mark", role: "group", "aria-label": "Gold: the truth about this reply" },
      element("span", { class: "muted", "aria-hidden": "true" }, "Gold:"));
    for (const [rating, words] of RATINGS) {
      this.#buttons[rating] = button("reason", () => this.#mark(rating), words);
      group.append(this.#buttons[rating]);
    }
    this.node = element("div", {}, group, this.#problem);
    this.#show();
  }

  #show() {
    for (const [rating, node] of Object.entries(this.#buttons)) {
      node.setAttribute("aria-pressed", String(this.#gold === rating));
    }
  }

  /** The same again takes it back. */
  async #mark(rating) {
    const wanted = this.#gold === rating ? null : rating;
    try {
      this.#gold = (await this.#api.send(this.#path, { rating: wanted }, "PUT")).rating;
      this.#problem.replaceChildren();
      this.#show();
      this.#say(wanted === null ? "No longer gold." : `Gold: ${wanted === "up" ? "good" : "bad"}.`);
    } catch (error) {
      this.#problem.replaceChildren(failureNote(error, this.#api, () => this.#mark(rating)));
    }
  }
}
