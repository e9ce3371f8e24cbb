/**
 * Who rates: how much, how far others and the gold list agree, what it weighs, and what is set aside of it.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { count, percent } from "../format.js";
import { chip } from "../review/words.js";
import { Ruling } from "./ruling.js";

const COLUMNS = [
  ["Rater", ""], ["Ratings", "number"], ["Thumbs up", "number"], ["Agrees with others", "number"],
  ["Agrees with gold", "number"], ["Believed", "number"], ["Weight", "number"], ["Set aside", "number"], ["Decision", ""],
];

export class RaterTable {
  #api;
  #say;
  #onShow;
  #onRuled;
  node = element("div");

  /** `onShow(rater)` is asked for what is set aside of a rater; `onRuled` hears of decisions. */
  constructor({ api, say, onShow, onRuled }) {
    this.#api = api;
    this.#say = say;
    this.#onShow = onShow;
    this.#onRuled = onRuled;
  }

  async load() {
    this.node.replaceChildren(element("p", { class: "muted" }, "Loading …"));
    try {
      this.#show((await this.#api.get("/v1/review/raters")).data);
    } catch (error) {
      this.node.replaceChildren(failureNote(error, this.#api, () => this.load()));
    }
  }

  #show(raters) {
    if (raters.length === 0) {
      this.node.replaceChildren(element("p", { class: "muted" }, "Nobody has rated yet."));
      return;
    }
    const head = element("tr", {}, ...COLUMNS.map(([words, kind]) => element("th", { scope: "col", class: kind }, words)));
    const table = element("table", { class: "raters" },
      element("caption", {}, "Counted now; agreement, belief and weight as the last learning run saw them."),
      element("thead", {}, head), element("tbody", {}, ...raters.map((rater) => this.#row(rater))));
    this.node.replaceChildren(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of raters" }, table));
  }

  #row(rater) {
    const run = rater.last_run;
    const name = element("th", { scope: "row" }, element("span", { class: "rater-id" }, rater.rater));
    if (rater.is_staff) name.append(chip("staff", "good"));
    const cells = [
      count(rater.num_ratings),
      percent(rater.num_up / rater.num_ratings),
      run ? part(run.num_agreed, run.num_compared) : "–",
      part(rater.num_gold_right, rater.num_gold),
      run ? percent(run.reliability) : "–",
      run ? run.weight.toFixed(1) : "–",
      run?.num_set_aside
        ? button("plain", () => this.#onShow(rater.rater), count(run.num_set_aside),
          element("span", { class: "hidden" }, ` set aside of ${rater.rater}: show them`))
        : "0",
    ];
    const ruling = new Ruling({
      api: this.#api, say: this.#say, ruling: rater.ruling, about: { rater: rater.rater },
      words: `all ratings of ${rater.rater}`, onRuled: this.#onRuled,
    });
    return element("tr", {}, name, ...cells.map((cell) => element("td", { class: "number" }, cell)), element("td", {}, ruling.node));
  }
}

/** “4 of 5”, or a dash where there is nothing to agree with. */
function part(number, all) {
  return all === 0 ? "–" : `${count(number)} of ${count(all)}`;
}
