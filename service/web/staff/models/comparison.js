/**
 * Two versions side by side: the figures of their manifests, with intervals where they were kept, and what differs.
 */

import { element } from "../../view/dom.js";
import { short } from "../format.js";
import { figureBounds, figureChange, figureName, figureValue } from "./figures.js";
import { table } from "./timeline.js";

export class Comparison {
  #reports;
  #selects = ["First version", "Second version"].map((label, index) => select(label, `compare-${index}`));
  #result = element("div", { "aria-live": "polite" });
  #newest = 0;

  constructor(reports) {
    this.#reports = reports;
    for (const node of this.#selects) node.addEventListener("change", () => this.#compare());
    const fields = this.#selects.map((node) => element("div", { class: "field" }, element("label", { for: node.id }, node.title), node));
    for (const node of this.#selects) node.removeAttribute("title");
    this.section = element("section", { class: "panel", "aria-labelledby": "compare" },
      element("h2", { id: "compare" }, "Two versions side by side"), element("div", { class: "choices" }, ...fields), this.#result);
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
    if (first === second) {
      this.#result.replaceChildren(element("p", { class: "muted" }, "Choose two different versions."));
      return;
    }
    try {
      const reports = await Promise.all([this.#reports.get(first), this.#reports.get(second)]);
      if (mine === this.#newest) this.#result.replaceChildren(...compared(...reports));
    } catch (error) {
      if (mine === this.#newest) this.#result.replaceChildren(element("p", { class: "note bad" }, error.message));
    }
  }
}

function compared(first, second) {
  const others = new Map(second.figures.map((figure) => [figure.name, figure]));
  const mine = new Map(first.figures.map((figure) => [figure.name, figure]));
  const names = [...mine.keys(), ...[...others.keys()].filter((name) => !mine.has(name))].sort();
  const rows = names.map((name) => [figureName(name), written(mine.get(name)), written(others.get(name)), difference(mine.get(name), others.get(name))]);
  return [
    table("Figures of both manifests, with 95 % intervals where they were kept", ["Figure", `First: ${short(first.digest)}`, `Second: ${short(second.digest)}`, "Second against first"], rows),
    element("p", { class: "muted" }, "Versions of different age may have been measured on different prompts. Figures without an interval do not tell how sure they are."),
  ];
}

function written(figure) {
  if (!figure) return "not measured";
  const bounds = figureBounds(figure);
  return figureValue(figure.name, figure.value) + (bounds ? ` (${bounds})` : "");
}

/** The difference, and whether it may be chance as far as the intervals tell. */
function difference(first, second) {
  if (!first || !second) return "–";
  if (first.value === second.value) return "the same";
  const change = figureChange(first.name, second.value - first.value);
  if ([first, second].some((figure) => figure.low === null || figure.high === null)) return change;
  const areApart = first.high < second.low || second.high < first.low;
  return `${change}; ${areApart ? "the intervals do not touch" : "the intervals overlap, it may be chance"}`;
}

function optionText({ name, digest, created_at }) {
  return `${name} ${short(digest)}, ${created_at.slice(0, 10)}`;
}

function select(label, id) {
  return element("select", { id, title: label });
}
