/**
 * How the console says things: times, plans, reasons, and masked text with its placeholders marked.
 */

import { element, icon } from "../../view/dom.js";
import { TABLES } from "../../strings.js";

const PLACEHOLDER = /(<[A-Z]+(?:_[A-Z]+)*(?:_\d)?>)/;
const HAN = /\p{Script=Han}/u;
const MOODS = { negative: "bad", positive: "good" };
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A moment in the reader's own time. */
export function timeNode(iso) {
  return element("time", { datetime: iso }, MOMENT.format(new Date(iso)));
}

/** The English words of a reason; reasons that only the API knows stay as they are. */
export function reasonWords(reason) {
  return TABLES.en.reasons[reason] ?? reason;
}

/** “42 % sure”, or nothing where no model chose. */
export function sureness(confidence) {
  return confidence === null ? "" : `${Math.round(confidence * 100)} % sure`;
}

/** What was said, as text only; placeholders are marked, for they stand for something else. */
export function maskedText(text, className = "words") {
  const node = element("p", { class: className, dir: "auto", lang: HAN.test(text) ? "zh" : "en" });
  for (const piece of text.split(PLACEHOLDER)) {
    node.append(PLACEHOLDER.test(piece) ? element("span", { class: "placeholder" }, piece) : piece);
  }
  return node;
}

/** A thumb with its word. */
export function thumb(rating, words) {
  return element("span", { class: `thumb ${rating}` }, icon("thumb"), element("span", {}, words));
}

/** A small word in a frame. */
export function chip(words, className = "") {
  return element("span", { class: `chip ${className}`.trim() }, words);
}

/** What came of a safety rule. */
const SAFETY_OUTCOMES = { refuse: "refused", soften: "softened", hand_over: "handed over" };

/** What sets a reply apart, as chips: its plan, and who or what spoke. */
export function aboutReply({ plan, plan_confidence: confidence, rule, safety, finish_reason: finish, sentiment }) {
  const chips = [];
  if (plan !== null) chips.push(chip([plan, sureness(confidence)].filter(Boolean).join(" · ")));
  if (finish === "handover") chips.push(chip("handed over", "second"));
  else if (rule !== null && !safety) chips.push(chip(plan === null ? `safety rule: ${rule}` : `rule: ${rule}`, "second"));
  if (safety) chips.push(chip(`safety rule: ${safety.rule} · ${SAFETY_OUTCOMES[safety.outcome] ?? safety.outcome}`, "second"));
  if (sentiment === "negative" || sentiment === "positive") chips.push(chip(`${sentiment} message`, MOODS[sentiment]));
  if (finish === "length") chips.push(chip("cut off", "bad"));
  return chips;
}
