/**
 * Two versions side by side: their figures and what differs, what people preferred, and what both say to the same prompts.
 */

import { element } from "../../view/dom.js";
import { short } from "../format.js";
import { Answers } from "./answers.js";
import { comparedFigures } from "./compared-figures.js";
import { Preferences } from "./preferences.js";

export class Comparison {
  #reports;
  #selects = ["First version", "Second version"].map((label, index) => select(label, `compare-${index}`));
  #result = element("div", { "aria-live": "polite" });
  #newest = 0;
  #answers;
  #preferences;

  constructor(reports, api, say) {
    this.#reports = reports;
    this.#answers = new Answers(api, say);
    this.#preferences = new Preferences(api);
    for (const node of this.#selects) node.addEventListener("change", () => this.#compare());
    const fields = this.#selects.map((node) => element("div", { class: "field" }, element("label", { for: node.id }, node.title), node));
    for (const node of this.#selects) node.removeAttribute("title");
    this.section = element("section", { class: "panel", "aria-labelledby": "compare" },
      element("h2", { id: "compare" }, "Two versions side by side"), element("div", { class: "choices" }, ...fields), this.#result,
      this.#preferences.node, this.#answers.node);
  }

  /** Offers the shelf's readable versions; begins with the stable one and the candidate, or the newest other one. */
  offer({ data, release }) {
    const readable = data.filter(({ name, problem }) => name && !problem);
    this.section.hidden = readable.length < 2;
    if (this.section.hidden) return;
    const first = release?.stable.digest ?? readable[0].digest;
    const second = release?.candidate?.digest ?? readable.find(({ digest }) => digest !== first).digest;
    const chosen = this.#selects.map(({ value }, index) => (readable.some(({ digest }) => digest === value) ? value : [first, second][index]));
    this.#selects.forEach((node, index) => {
      node.replaceChildren(...readable.map((version) => element("option", { value: version.digest }, optionText(version))));
      node.value = chosen[index];
    });
    this.#compare();
  }

  async #compare() {
    const mine = ++this.#newest;
    const [first, second] = this.#selects.map(({ value }) => value);
    this.#answers.choose(first, second);
    this.#preferences.choose(first, second);
    if (first === second) {
      this.#result.replaceChildren(element("p", { class: "muted" }, "Choose two different versions."));
      return;
    }
    try {
      const reports = await Promise.all([this.#reports.get(first), this.#reports.get(second)]);
      if (mine === this.#newest) this.#result.replaceChildren(...comparedFigures(...reports));
    } catch (error) {
      if (mine === this.#newest) this.#result.replaceChildren(element("p", { class: "note bad" }, error.message));
    }
  }
}

function optionText({ name, digest, created_at }) {
  return `${name} ${short(digest)}, ${created_at.slice(0, 10)}`;
}

function select(label, id) {
  return element("select", { id, title: label });
}
