/**
 * What the staff preferred of two versions' replies, without knowing which was whose: the win rate with its interval.
 */

import { element } from "../../view/dom.js";
import { bounds, counted, percent } from "../format.js";

export class Preferences {
  #api;
  #result = element("p");
  #link = element("a", {}, "Choose between their replies, blind");
  #newest = 0;

  constructor(api) {
    this.#api = api;
    this.node = element("div", { class: "compared" }, element("h3", {}, "What the staff prefers"), this.#result, element("p", {}, this.#link));
  }

  /** Shows the choices between two versions; none for twice the same. */
  async choose(first, second) {
    const mine = ++this.#newest;
    this.node.hidden = first === second;
    if (this.node.hidden) return;
    this.#link.href = `/review/pairs?${new URLSearchParams({ first, second })}`;
    try {
      const results = await this.#api.get("/v1/review/pairs/results", { first, second });
      if (mine === this.#newest) this.#result.textContent = sentence(results);
    } catch (error) {
      if (mine === this.#newest) this.#result.textContent = error.message;
    }
  }
}

/** What was chosen so far, `first` and `second` named. Ties are told apart: they say nothing about who wins. */
export function sentence({ num_first, num_second, num_ties, win_rate }, [first, second] = ["The first", "The second"]) {
  const ties = num_ties ? `, ${counted(num_ties, "tie", "ties")} aside` : "";
  if (win_rate === null) return `No choice was made between them yet${ties}.`;
  const decided = num_first + num_second;
  const verdict = win_rate.low > 0.5 ? `${second} is preferred.`
    : win_rate.high < 0.5 ? `${first} is preferred.` : "That does not tell yet which is preferred.";
  return `${second} was preferred on ${percent(win_rate.value)} of ${counted(decided, "prompt", "prompts")} (95 % interval ${bounds(win_rate)}${ties}). ${verdict}`;
}
