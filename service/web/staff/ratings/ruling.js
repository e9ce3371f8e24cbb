/**
 * Buttons by which somebody decides whether a rating, or everything of a rater, counts. The next learning run obeys.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { chip } from "../review/words.js";

const STATES = {
  count: ["Counts: decided by the staff", "good"],
  set_aside: ["Set aside by the staff", "bad"],
};

export class Ruling {
  #api;
  #say;
  #about;
  #ruling;
  #onRuled;
  #isInherited;
  #state = element("span", { class: "row" });
  #problem = element("div");

  /** `about` is `{rater, completionId}`, without a completion the whole rater; `words` names it for assistive technology. */
  constructor({ api, say, about, ruling, isInherited = false, words, onRuled = () => {} }) {
    this.#api = api;
    this.#say = say;
    this.#about = { ...about, words };
    this.#ruling = ruling;
    this.#isInherited = isInherited;
    this.#onRuled = onRuled;
    this.node = element("div", {}, this.#state, this.#problem);
    this.#show();
  }

  #show() {
    const parts = [];
    if (this.#ruling !== null) {
      const [words, kind] = STATES[this.#ruling];
      parts.push(chip(this.#isInherited ? `${words}, with all of this rater` : words, kind));
    }
    if (this.#ruling !== "count") parts.push(this.#button("count", "Count", "Count"));
    if (this.#ruling !== "set_aside") parts.push(this.#button("set_aside", "Set aside", "Set aside"));
    if (this.#ruling !== null && !this.#isInherited) parts.push(this.#button(null, "Leave to the rules", "Leave to the rules:"));
    this.#state.replaceChildren(...parts);
  }

  #button(ruling, label, spoken) {
    const node = button("", () => this.#rule(ruling), label);
    node.setAttribute("aria-label", `${spoken} ${this.#about.words}`);
    node.dataset.ruling = String(ruling);
    return node;
  }

  async #rule(ruling) {
    const { rater, completionId, words } = this.#about;
    try {
      await this.#api.send("/v1/review/ruling", { rater, completion_id: completionId ?? null, ruling }, "PUT");
      this.#ruling = ruling;
      this.#isInherited = false;
      this.#problem.replaceChildren();
      this.#show();
      this.#state.querySelector("button").focus();
      this.#say(`${STATES[ruling]?.[0] ?? "Left to the rules"}: ${words}. The next learning run obeys.`);
      this.#onRuled(ruling);
    } catch (error) {
      this.#problem.replaceChildren(failureNote(error, this.#api, () => this.#rule(ruling)));
    }
  }
}
