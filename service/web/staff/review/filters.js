/**
 * The search field and the filters. Their state is the page's address, so that a view can be kept and passed on.
 */

import { button, element } from "../../view/dom.js";
import { reasonWords } from "./words.js";

const DAY = /^\d{4}-\d{2}-\d{2}$/;
const SHORT_DIGEST = 12;
const SEARCH_DELAY_MS = 350;
const RATINGS = [["down", "Thumb down"], ["up", "Thumb up"], ["none", "Not rated"]];
const LANGUAGES = [["en", "English"], ["zh", "Chinese"]];
const KINDS = [
  ["hand_over", "Handed over"], ["safety", "A safety rule had a say"], ["corrected", "Corrected"],
];
const SENTIMENTS = [["negative", "Negative"], ["neutral", "Neutral"], ["positive", "Positive"]];
const FIELDS = ["rating", "reason", "plan", "sentiment", "version", "language", "kind", "tag", "since", "until"];

export class Filters {
  #fields = {};
  #search;
  #count;
  #onChange;
  #timer = 0;

  /** `onChange` is told when something else is asked for, `onExport` as which of the `exports` it shall be saved. */
  constructor({ onChange, exports, onExport }) {
    this.#onChange = onChange;
    this.#search = element("input", {
      type: "search", id: "search", maxlength: "200", placeholder: "Search", autocomplete: "off",
    });
    this.#search.addEventListener("input", () => this.#changeSoon());
    this.searchForm = element("form", { role: "search" },
      element("label", { for: "search", class: "hidden" }, "Search in conversations"), this.#search);
    this.searchForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#changed();
    });
    this.node = this.#createFilters(exports.map((kind) => button("", () => onExport(kind), kind.words)));
    this.#readAddress();
  }

  /** What the API is asked for. Days are the reader's own. */
  get parameters() {
    const { kind, since, until, ...rest } = this.#values();
    return {
      q: this.#search.value.trim(),
      ...rest,
      ...(kind === "" ? {} : { [kind]: "true" }),
      since: startOf(since, 0),
      until: startOf(until, 1),
    };
  }

  focusSearch() {
    this.#search.focus();
    this.#search.select();
  }

  /** Fills in what occurs: versions, plans and reasons. */
  offer({ versions, plans, reasons, tags }) {
    this.#offer("tag", tags.map(({ tag }) => [tag, tag]));
    this.#offer("version", versions.map(({ digest }) => [digest, digest.slice(0, SHORT_DIGEST)]));
    this.#offer("plan", plans.map(({ plan }) => [plan, plan]).sort());
    this.#offer("reason", reasons.map(({ reason }) => [reason, reasonWords(reason)]));
  }

  #createFilters(exportButtons) {
    const day = (name) => element("input", { type: "date", id: name });
    const grid = element("div", { class: "grid" },
      this.#field("rating", "Rating", select(RATINGS)),
      this.#field("reason", "Reason", select([])),
      this.#field("plan", "Plan", select([])),
      this.#field("sentiment", "Customer’s mood", select(SENTIMENTS)),
      this.#field("version", "Version", select([])),
      this.#field("language", "Language", select(LANGUAGES)),
      this.#field("kind", "Kind", select(KINDS)),
      this.#field("tag", "Tag", select([])),
      this.#field("since", "From", day("since")),
      this.#field("until", "To", day("until")),
    );
    const actions = element("div", { class: "row" }, button("", () => this.#clear(), "Clear"), ...exportButtons);
    this.#count = element("span", { class: "chip good" });
    const summary = element("summary", {}, "Filters ", this.#count);
    return element("details", { class: "filters" }, summary, grid, actions);
  }

  #field(name, words, control) {
    control.id = `filter-${name}`;
    control.addEventListener("change", () => this.#changed());
    this.#fields[name] = control;
    return element("div", { class: "field" }, element("label", { for: control.id }, words), control);
  }

  #offer(name, options) {
    const control = this.#fields[name];
    const chosen = control.value;
    control.replaceChildren(new Option("Any", ""), ...options.map(([value, words]) => new Option(words, value)));
    choose(control, chosen);
  }

  #values() {
    return Object.fromEntries(FIELDS.map((name) => [name, this.#fields[name].value]));
  }

  #readAddress() {
    const given = new URLSearchParams(location.search);
    this.#search.value = given.get("q") ?? "";
    for (const name of FIELDS) choose(this.#fields[name], given.get(name) ?? "");
    this.#showCount();
    this.node.open = this.#count.textContent !== "";
  }

  #writeAddress() {
    const values = { q: this.#search.value.trim(), ...this.#values() };
    const address = new URL(location.href);
    for (const [name, value] of Object.entries(values)) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    history.replaceState(null, "", address);
  }

  #clear() {
    this.#search.value = "";
    for (const name of FIELDS) this.#fields[name].value = "";
    this.#changed();
  }

  #changeSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#changed(), SEARCH_DELAY_MS);
  }

  #changed() {
    clearTimeout(this.#timer);
    this.#showCount();
    this.#writeAddress();
    this.#onChange();
  }

  #showCount() {
    const number = Object.values(this.#values()).filter(Boolean).length;
    this.#count.textContent = number ? String(number) : "";
    this.#count.hidden = number === 0;
  }
}

function select(options) {
  const node = element("select");
  node.append(new Option("Any", ""), ...options.map(([value, words]) => new Option(words, value)));
  return node;
}

/** Chooses a value, also one that nobody has offered yet. */
function choose(control, value) {
  if (control instanceof HTMLSelectElement && ![...control.options].some((option) => option.value === value)) {
    control.append(new Option(value.slice(0, SHORT_DIGEST * 3), value));
  }
  control.value = value;
}

/** The instant at which a day begins, or so many days later. */
function startOf(day, numDaysLater) {
  if (!DAY.test(day)) return "";
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date + numDaysLater).toISOString();
}
