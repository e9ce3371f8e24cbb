/**
 * One pair: what was said before, two replies side by side, and the choice. After the choice it says whose is whose.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { maskedText } from "../review/words.js";

const ROLES = { user: "Customer", assistant: "Bot", system: "System message" };
const WORDS = { first: "The first is better.", second: "The second is better.", tie: "A tie.", skip: "Skipped." };

export class PairCard {
  #pair;
  #api;
  #say;
  #nameOf;
  #onNext;
  #onChosen;
  #state = "open";
  #owners = [element("p", { class: "owner", hidden: "" }), element("p", { class: "owner", hidden: "" })];
  #sides;
  #choices;
  #heading = element("h2", { tabindex: "-1" }, "Which reply is better?");
  #problem = element("div");

  /** `nameOf(digest)` names a version; `onChosen` hears of the choice, `onNext` that another pair is wanted. */
  constructor(pair, { api, say, nameOf, onNext, onChosen }) {
    this.#pair = pair;
    this.#api = api;
    this.#say = say;
    this.#nameOf = nameOf;
    this.#onNext = onNext;
    this.#onChosen = onChosen;
    this.#sides = pair.replies.map((text, index) => element("section", { class: "side", "aria-label": `Reply ${index + 1}` },
      element("h3", {}, `Reply ${index + 1}`), maskedText(text), this.#owners[index]));
    this.#choices = element("div", { class: "row", role: "group", "aria-label": "Your choice" },
      this.#button("first", "Reply 1 is better", "1"), this.#button("second", "Reply 2 is better", "2"),
      this.#button("tie", "As good", "0"), this.#button("skip", "Skip", "s"));
    const said = pair.messages.map(({ role, content }) => element("li", { class: `message ${role}` },
      element("p", { class: "who" }, ROLES[role]), maskedText(content)));
    this.node = element("section", { class: "panel pair", "aria-label": "A pair of replies" },
      element("ol", { class: "said" }, ...said), this.#heading, element("div", { class: "sides" }, ...this.#sides), this.#choices, this.#problem);
  }

  focus() {
    this.#heading.focus({ preventScroll: true });
  }

  /** Stores the choice: "first", "second", "tie" or "skip". A pair is chosen from once. */
  async choose(choice) {
    if (this.#state !== "open") return;
    this.#setState("sending");
    try {
      const { versions } = await this.#api.send(`/v1/review/pairs/${this.#pair.id}/choice`, { choice });
      this.#problem.replaceChildren();
      if (choice === "skip") return this.#onNext();
      this.#reveal(choice, versions);
    } catch (error) {
      this.#setState("open");
      const isOver = error.code === "pair_chosen" || error.code === "pair_not_found";
      this.#problem.replaceChildren(isOver
        ? element("div", { class: "note bad row", role: "alert" }, element("span", {}, error.message), button("", () => this.#onNext(), "Next pair"))
        : failureNote(error, this.#api, () => this.choose(choice)));
    }
  }

  /** Another pair, once this one is chosen from. */
  goOn() {
    if (this.#state === "chosen") this.#onNext();
  }

  #reveal(choice, versions) {
    this.#setState("chosen");
    ["first", "second"].forEach((side, index) => {
      this.#owners[index].textContent = this.#nameOf(versions[side]);
      this.#owners[index].hidden = false;
      this.#sides[index].classList.toggle("preferred", choice === side);
    });
    const next = button("primary", () => this.goOn(), "Next pair ", element("kbd", { "aria-hidden": "true" }, "n"));
    this.#heading.textContent = WORDS[choice];
    this.#choices.replaceChildren(next);
    next.focus();
    this.#say(`${WORDS[choice]} Reply 1 was by ${this.#nameOf(versions.first)}, reply 2 by ${this.#nameOf(versions.second)}.`);
    this.#onChosen();
  }

  #setState(state) {
    this.#state = state;
    for (const node of this.#choices.querySelectorAll("button")) node.disabled = state === "sending";
  }

  #button(choice, words, key) {
    return button("", () => this.choose(choice), `${words} `, element("kbd", { "aria-hidden": "true" }, key));
  }
}
