/**
 * What is counted: how many days, and of which version, intent and language. Options come from what there is.
 */

import { element } from "../../view/dom.js";
import { language, short, words } from "../format.js";

const PERIODS = [[7, "7 days"], [30, "30 days"], [90, "90 days"], [365, "a year"]];
const DEFAULT_DAYS = "30";
const CHOICES = [
  { name: "model_digest", label: "Version", all: "All versions", group: "by_version", word: short },
  { name: "plan", label: "Intent", all: "All intents", group: "by_plan", word: words },
  { name: "language", label: "Language", all: "All languages", group: "by_language", word: language },
];

/** The choices that an address holds. */
export function readFilters(search) {
  const given = new URLSearchParams(search);
  const days = PERIODS.some(([days]) => String(days) === given.get("days")) ? given.get("days") : DEFAULT_DAYS;
  return { days, ...Object.fromEntries(CHOICES.map(({ name }) => [name, given.get(name) ?? ""])) };
}

/** A form that starts with `chosen` and calls `onChange` when a choice changes. */
export function makeFilters(chosen, onChange) {
  const period = select("days", PERIODS.map(([days, text]) => [String(days), text]), chosen.days);
  const selects = CHOICES.map(({ name, all, word }) =>
    select(name, [["", all], ...(chosen[name] ? [[chosen[name], word(chosen[name])]] : [])], chosen[name]));
  const fields = [field("Period", period), ...selects.map((node, index) => field(CHOICES[index].label, node))];
  const form = element("form", { class: "filters", "aria-label": "What is counted" }, ...fields);
  form.addEventListener("change", onChange);
  form.addEventListener("submit", (event) => event.preventDefault());
  return {
    form,
    get parameters() {
      return Object.fromEntries(new FormData(form));
    },
    get address() {
      const given = Object.entries(this.parameters).filter(([name, value]) => value && !(name === "days" && value === DEFAULT_DAYS));
      return given.length ? `?${new URLSearchParams(given)}` : location.pathname;
    },
    /** Adds the groups that an overview knows to the options; none goes while the page is open. */
    offer(overview) {
      CHOICES.forEach(({ group, word }, index) => {
        const known = new Set([...selects[index].options].map((option) => option.value));
        const found = overview[group].filter(({ name }) => name !== "none" && !known.has(name));
        selects[index].append(...found.map(({ name }) => element("option", { value: name }, word(name))));
      });
    },
  };
}

function select(name, options, value) {
  const node = element("select", { id: `filter-${name}`, name });
  node.append(...options.map(([key, text]) => element("option", { value: key }, text)));
  node.value = value;
  return node;
}

function field(label, node) {
  return element("div", { class: "field" }, element("label", { for: node.id }, label), node);
}
