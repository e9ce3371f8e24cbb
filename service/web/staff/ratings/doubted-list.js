/**
 * The quarantine: ratings that the last learning run set aside, each with its reasons, and those decided by the staff.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { count, counted } from "../format.js";
import { chip, maskedText, thumb, timeNode } from "../review/words.js";
import { Ruling } from "./ruling.js";

const REASONS = [
  ["contradicts_gold", "Contradicts gold"], ["unreliable_rater", "Unreliable rater"], ["flood", "Flood"],
  ["burst", "Burst"], ["poison_phrase", "Poison phrase"], ["copied_remark", "Copied remark"], ["repeated", "Repeated"],
  ["staff", "Set aside by the staff"],
];

/** Accounts that rate as if they were one, and what they weigh since they are bounded: a line each. */
function groupLines(groups) {
  const share = (part) => `${(100 * part).toFixed(1)} %`;
  return element("ul", { class: "reasons-total groups" }, ...groups.map((group) => element("li", {},
    element("strong", {}, counted(group.num_raters, "rater", "raters")), ` as if they were one. ${group.words} `,
    `${share(group.share_of_raters)} of all raters; weighed ${group.weight_before.toFixed(1)}, now ${group.weight.toFixed(1)}: `,
    `${share(group.share_of_weight)} of everything. `, element("span", { class: "rater-id" }, group.raters.slice(0, 5).join(", ")))));
}

export class DoubtedList {
  #api;
  #say;
  #asked = null;
  #rater = "";
  #summary = element("div");
  #list = element("ol", { class: "doubted" });
  #end = element("div");
  #reason = element("select", { id: "doubt-reason" });
  #chosen = element("span", { class: "row" });

  constructor({ api, say }) {
    this.#api = api;
    this.#say = say;
    this.#reason.append(new Option("Any reason", ""), ...REASONS.map(([value, words]) => new Option(words, value)));
    this.#reason.addEventListener("change", () => this.load());
    const filters = element("div", { class: "row" },
      element("label", { for: "doubt-reason" }, "Reason"), this.#reason, this.#chosen);
    this.node = element("div", {}, this.#summary, filters, this.#list, this.#end);
  }

  /** Shows this rater's only; "": everybody's. */
  filterBy(rater) {
    this.#rater = rater;
    const off = button("plain", () => this.filterBy(""), "Everybody’s");
    this.#chosen.replaceChildren(...(rater ? [chip(`Rater ${rater}`), off] : []));
    this.load();
  }

  async load() {
    const asked = { reason: this.#reason.value, rater: this.#rater };
    this.#asked = asked;
    this.#list.replaceChildren();
    this.#end.replaceChildren(element("p", { class: "muted" }, "Loading …"));
    await this.#fetchPage(asked, 0);
  }

  async #fetchPage(asked, offset) {
    try {
      const page = await this.#api.get("/v1/review/doubted-ratings", { ...asked, offset });
      if (asked !== this.#asked) return;
      this.#showSummary(page.last_run);
      this.#list.append(...page.data.map((rating) => this.#item(rating)));
      const isEmpty = this.#list.childElementCount === 0;
      if (page.next_offset !== null) {
        this.#end.replaceChildren(button("", () => this.#fetchPage(asked, page.next_offset), "Show more"));
      } else {
        this.#end.replaceChildren(...(isEmpty ? [element("p", { class: "muted" }, "Nothing is set aside.")] : []));
      }
      this.#say(isEmpty ? "Nothing is set aside." : counted(this.#list.childElementCount, "rating shown.", "ratings shown."));
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#end.replaceChildren(failureNote(error, this.#api, () => this.#fetchPage(asked, offset)));
    }
  }

  #showSummary(run) {
    if (run === null) {
      this.#summary.replaceChildren(element("p", { class: "note" }, "No learning run has looked at ratings yet."));
      return;
    }
    const totals = element("ul", { class: "reasons-total" }, ...run.by_reason.map(({ words, num_ratings: number }) =>
      element("li", {}, element("strong", {}, count(number)), ` ${words}`)));
    this.#summary.replaceChildren(
      element("p", {}, "The learning run of ", timeNode(run.made_at), ` read ${counted(run.num_ratings, "rating", "ratings")} and set `,
        element("strong", {}, count(run.num_set_aside)), ` aside; the others weigh ${run.weight.toFixed(1)} together.`),
      totals, ...(run.groups.length ? [groupLines(run.groups)] : []));
  }

  #item(rating) {
    const link = element("a", { href: `/review?view=all&q=${encodeURIComponent(rating.text.slice(0, 60))}` }, "Find the conversation");
    const why = element("ul", { class: "why" }, ...rating.reasons.map(({ words }) => element("li", {}, words)));
    const node = element("li", {},
      element("div", { class: "row" }, thumb(rating.rating, rating.rating === "up" ? "good" : "bad"),
        element("span", { class: "rater-id" }, rating.rater), element("span", { class: "muted" }, timeNode(rating.rated_at)),
        ...(rating.gold === null ? [] : [chip(`gold: ${rating.gold === "up" ? "good" : "bad"}`, "good")])),
      maskedText(rating.question, "words muted"), maskedText(rating.text), why);
    if (rating.comment) node.append(maskedText(rating.comment, "words comment"));
    const ruling = new Ruling({
      api: this.#api, say: this.#say, ruling: rating.ruling, isInherited: rating.is_about_rater,
      about: { rater: rating.rater, completionId: rating.completion_id },
      words: `the rating of ${rating.rater} about ${rating.completion_id}`,
    });
    node.append(ruling.node, link);
    return node;
  }
}
