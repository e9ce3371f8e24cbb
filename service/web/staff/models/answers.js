/**
 * The same prompts answered by two versions, asked for when somebody wants to see them: drawn by the engine, not kept.
 */

import { element } from "../../view/dom.js";
import { counted, percent, short, words } from "../format.js";

const PATH = "/v1/model-versions/comparisons";
const MAX_PROMPTS = 20;
const MAX_PROMPT_CHARS = 500;

export class Answers {
  #api;
  #say;
  #versions = [];
  #newest = 0;
  #field = element("textarea", { id: "own-prompts", rows: "3", "aria-describedby": "own-prompts-hint", dir: "auto" });
  #ask = element("button", { type: "submit" }, "Ask both");
  #result = element("div");

  constructor(api, say) {
    this.#api = api;
    this.#say = say;
    const hint = element("p", { class: "muted", id: "own-prompts-hint" }, "One a line; left empty, the shop’s prompts. They are masked like a customer’s, and nothing is recorded.");
    const own = element("details", {}, element("summary", {}, "Ask something else"),
      element("div", { class: "field" }, element("label", { for: "own-prompts" }, "Your own prompts"), this.#field, hint));
    const form = element("form", { class: "compared" }, own, this.#ask);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#show();
    });
    this.node = element("div", { class: "compared" }, element("h3", {}, "The same prompts, answered by both"),
      element("p", { class: "muted" }, "The most probable reply of each, under the shop’s rules, as a customer would read it."), form, this.#result);
  }

  /** Which versions are asked; what was shown of others goes. */
  choose(first, second) {
    this.node.hidden = first === second;
    if (this.#versions[0] === first && this.#versions[1] === second) return;
    this.#versions = [first, second];
    this.#newest++;
    this.#setBusy(false);
    this.#result.replaceChildren();
  }

  async #show() {
    const mine = ++this.#newest;
    const [first, second] = this.#versions;
    const prompts = this.#field.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const problem = whatIsWrong(prompts);
    if (problem) return this.#fail(problem);
    this.#setBusy(true);
    this.#result.replaceChildren(element("p", { class: "muted" }, "Both versions are answering …"));
    try {
      const { data } = await this.#api.send(PATH, { first, second, prompts });
      if (mine !== this.#newest) return;
      this.#result.replaceChildren(...shown(data, first, second));
      this.#say(`Both have answered ${counted(data.length, "prompt", "prompts")}.`);
    } catch (error) {
      if (mine === this.#newest) this.#fail(error.message);
    } finally {
      if (mine === this.#newest) this.#setBusy(false);
    }
  }

  #fail(message) {
    this.#result.replaceChildren(element("p", { class: "note bad", role: "alert" }, message));
  }

  #setBusy(isBusy) {
    this.#ask.disabled = isBusy;
  }
}

function whatIsWrong(prompts) {
  if (prompts.length > MAX_PROMPTS) return `Ask ${MAX_PROMPTS} prompts at most.`;
  if (prompts.some((prompt) => prompt.length > MAX_PROMPT_CHARS)) return `A prompt may have ${MAX_PROMPT_CHARS} characters.`;
  return "";
}

function shown(data, first, second) {
  const same = data.filter((row) => row.is_same).length;
  const summary = same === data.length ? "Both say the same to all of them." : `They differ on ${data.length - same} of ${data.length}.`;
  const rows = data.map((row) => element("li", {},
    element("p", { class: "asked", dir: "auto", lang: row.language }, row.prompt),
    row.is_same ? sideNode("Both", row.first, row.language) : element("div", { class: "sides" },
      sideNode(`First: ${short(first)}`, row.first, row.language), sideNode(`Second: ${short(second)}`, row.second, row.language))));
  return [element("p", {}, summary), element("ol", { class: "answers" }, ...rows)];
}

function sideNode(name, { text, plan, plan_confidence: confidence, rule, finish_reason: finish }, language) {
  const chips = [];
  if (plan) chips.push(words(plan) + (confidence === null ? "" : ` · ${percent(confidence)} sure`));
  if (rule) chips.push(`rule: ${words(rule)}`);
  if (finish === "handover") chips.push("handed over");
  if (finish === "length") chips.push("cut off");
  return element("div", { class: "side" },
    element("p", { class: "row" }, element("span", { class: "muted" }, name), ...chips.map((chip) => element("span", { class: "chip" }, chip))),
    element("p", { class: "reply-text", dir: "auto", lang: language }, text));
}
