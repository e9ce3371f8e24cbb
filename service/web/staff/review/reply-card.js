/**
 * One reply in a conversation: what it was made by, what others think of it, and the reader's own rating and correction.
 *
 * What is shown as pressed is stored. Every change is one write, and the service's answer replaces what is shown.
 */

import { button, element, icon } from "../../view/dom.js";
import { REASONS } from "../../strings.js";
import { failureNote } from "../frame.js";
import { Ruling } from "../ratings/ruling.js";
import { explanationOf } from "./explanation.js";
import { GoldMark } from "./gold-mark.js";
import { aboutReply, chip, maskedText, reasonWords, thumb } from "./words.js";

const MAX_CORRECTION_CHARS = 4000;
const MAX_NOTE_CHARS = 2000;
const SHORT_DIGEST = 12;
const NOTHING = { rating: null, reasons: [], comment: null, correction: null };

export class ReplyCard {
  #api;
  #say;
  #reply;
  #text;
  #onJudged;
  #isSending = false;
  #thumbs = {};
  #reasons = element("div", { class: "row reasons", role: "group", "aria-label": "What was wrong?" });
  #others = element("ul", { class: "others" });
  #own = element("div");
  #problem = element("div");
  #form = null;

  /** `message` is a message of the API's with its `reply`; `onJudged(completionId, feedback)` hears of every change. */
  constructor(message, { api, say, onJudged }) {
    this.#api = api;
    this.#say = say;
    this.#reply = message.reply;
    this.#text = message.content;
    this.#onJudged = onJudged;
    this.node = element("li", { class: "message reply", tabindex: "-1" },
      this.#createHead(message), maskedText(message.content), this.#createFacts(), this.#others,
      this.#createActions(), this.#reasons, this.#own, this.#problem, explanationOf(this.completionId, api));
    this.#show();
  }

  get completionId() {
    return this.#reply.completion_id;
  }

  setCurrent(isCurrent) {
    this.node.classList.toggle("current", isCurrent);
    if (isCurrent) this.node.setAttribute("aria-current", "true");
    else this.node.removeAttribute("aria-current");
  }

  /** Rates; the same rating again withdraws it. */
  rate(rating) {
    const mine = this.#mine;
    if (mine.rating === rating) return this.#judge(NOTHING, "Rating withdrawn.");
    const reasons = rating === "down" ? mine.reasons : [];
    return this.#judge({ ...mine, rating, reasons }, rating === "up" ? "Rated good." : "Rated bad.");
  }

  /** Opens the reply for writing what should have been said. */
  edit() {
    if (this.#form) return;
    const field = element("textarea", {
      id: `correction-${this.completionId}`, rows: "5", maxlength: String(MAX_CORRECTION_CHARS), required: "",
      "aria-describedby": `hint-${this.completionId}`, dir: "auto",
    });
    field.value = this.#mine.correction ?? this.#text;
    const note = element("input", { type: "text", id: `note-${this.completionId}`, maxlength: String(MAX_NOTE_CHARS) });
    note.value = this.#mine.comment ?? "";
    const save = element("button", { type: "submit", class: "primary" }, "Save correction");
    const hint = "Keep placeholders such as <ORDER_ID> as they are; what you write of the shop’s facts becomes theirs.";
    this.#form = element("form", { class: "correction-form" },
      element("label", { for: field.id }, "The reply that should have been given"), field,
      element("p", { class: "muted", id: `hint-${this.completionId}` }, hint),
      element("label", { for: note.id }, "Note (optional)"), note,
      element("div", { class: "row" }, save, button("", () => this.#closeForm(), "Cancel")));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#correct(field.value.trim(), note.value.trim());
    });
    this.#form.addEventListener("keydown", (event) => this.#onFormKey(event));
    this.#own.replaceChildren(this.#form);
    field.focus();
  }

  get #mine() {
    return this.#reply.feedback.find(({ is_mine: isMine }) => isMine) ?? NOTHING;
  }

  #createHead(message) {
    const head = element("p", { class: "who" }, "Bot");
    if (message.is_replaced) head.append(" ", chip("asked again after this", "second"));
    return head;
  }

  #createFacts() {
    const { article, latency_ms: latency, model_digest: digest } = this.#reply;
    const facts = element("div", { class: "row facts" }, ...aboutReply(this.#reply));
    if (article) facts.append(chip(`article ${article.is_quoted ? "quoted" : "offered"}: ${article.id}`));
    facts.append(element("span", { class: "muted" }, "version ", element("span", { class: "digest" },
      digest.slice(0, SHORT_DIGEST)), ` · ${latency} ms`));
    return facts;
  }

  #createActions() {
    const actions = element("div", { class: "row actions", role: "group", "aria-label": "Your rating" });
    for (const [rating, words] of [["up", "Good"], ["down", "Bad"]]) {
      this.#thumbs[rating] = button(`thumb ${rating}`, () => this.rate(rating), icon("thumb"), words);
      actions.append(this.#thumbs[rating]);
    }
    actions.append(button("", () => this.edit(), icon("compose"), "Correct"));
    const gold = new GoldMark(this.#reply, { api: this.#api, say: this.#say });
    return element("div", { class: "judging" }, actions, gold.node);
  }

  /** What somebody else says, and, of a customer, whether it counts. */
  #other(given) {
    const node = describe(given);
    if (given.is_staff) return node;
    const about = { rater: given.rater, completionId: this.completionId };
    const ruling = new Ruling({ api: this.#api, say: this.#say, about, ruling: given.ruling, words: "this rating",
      onRuled: (decided) => (given.ruling = decided) });
    node.append(ruling.node);
    return node;
  }

  #show() {
    const mine = this.#mine;
    for (const [rating, node] of Object.entries(this.#thumbs)) {
      node.setAttribute("aria-pressed", String(mine.rating === rating));
    }
    if (this.#reasons.contains(document.activeElement)) this.node.focus(); // what has the focus goes
    this.#reasons.hidden = mine.rating !== "down";
    this.#reasons.replaceChildren(...this.#reasonButtons(mine));
    const others = this.#reply.feedback.filter(({ is_mine: isMine }) => !isMine);
    this.#others.replaceChildren(...others.map((given) => this.#other(given)));
    this.#others.hidden = others.length === 0;
    if (this.#form) return;
    const note = mine.comment ? [maskedText(mine.comment, "words comment")] : [];
    this.#own.replaceChildren(...correctionOf(mine, "Your correction"), ...note);
  }

  #reasonButtons(mine) {
    return [...new Set([...REASONS, ...mine.reasons])].map((reason) => {
      const isOn = mine.reasons.includes(reason);
      const node = button("reason", () => this.#toggleReason(reason), reasonWords(reason));
      node.setAttribute("aria-pressed", String(isOn));
      node.dataset.reason = reason;
      return node;
    });
  }

  async #toggleReason(reason) {
    const mine = this.#mine;
    const isOn = mine.reasons.includes(reason);
    const reasons = isOn ? mine.reasons.filter((other) => other !== reason) : [...mine.reasons, reason];
    await this.#judge({ ...mine, reasons }, isOn ? "Reason removed." : "Reason stored.");
    this.#reasons.querySelector(`[data-reason="${reason}"]`)?.focus();
  }

  /** A correction without a rating says that the reply was not good enough. */
  async #correct(correction, note) {
    if (correction === "") return;
    const { rating, reasons } = this.#mine;
    const wanted = { rating: rating ?? "down", reasons, comment: note || null, correction };
    const isStored = await this.#judge(wanted, "Correction stored.");
    if (isStored) this.#closeForm();
  }

  #onFormKey(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      this.#closeForm();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#form.requestSubmit();
    }
  }

  #closeForm() {
    this.#form = null;
    this.#show();
    this.node.focus();
  }

  /** Writes; resolves to whether it is stored. */
  async #judge({ rating, reasons, comment, correction }, words) {
    if (this.#isSending) return false;
    this.#isSending = true;
    try {
      const path = `/v1/review/completions/${this.completionId}/feedback`;
      const stored = await this.#api.send(path, { rating, reasons, comment, correction });
      const others = this.#reply.feedback.filter(({ is_mine: isMine }) => !isMine);
      this.#reply.feedback = stored.rating === null ? others : [...others, stored];
      this.#problem.replaceChildren();
      this.#say(words);
      this.#show();
      this.#onJudged(this.completionId, this.#reply.feedback);
      return true;
    } catch (error) {
      const again = () => this.#judge({ rating, reasons, comment, correction }, words);
      this.#problem.replaceChildren(failureNote(error, this.#api, again));
      return false;
    } finally {
      this.#isSending = false;
    }
  }
}

/** What somebody else says. */
function describe(given) {
  const who = given.is_staff ? `Staff (${given.rater})` : "Customer";
  const node = element("li", {}, element("span", { class: "row" },
    thumb(given.rating, `${who}: ${given.rating === "up" ? "good" : "bad"}`),
    ...given.reasons.map((reason) => chip(reasonWords(reason)))));
  if (given.comment) node.append(maskedText(given.comment, "words comment"));
  node.append(...correctionOf(given, "Correction"));
  return node;
}

function correctionOf({ correction }, words) {
  if (correction === null) return [];
  return [element("div", { class: "correction" }, element("p", { class: "who" }, words), maskedText(correction))];
}
