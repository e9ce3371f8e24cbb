/**
 * A version's figures in words: what each means, and how it is written.
 */

import { words } from "../format.js";

const NAMES = {
  right_plan: "Replies that set out to answer what was asked",
  wording_fit: "Wordings that say what they set out to say",
  intent_fit: "Replies that answer what was asked, says a judge",
  intent_fit_ceiling: "How often the judge of answers is right",
  language_match: "Replies in the customer’s language",
  proper_endings: "Replies that end by themselves",
  invented_digits: "Replies that make up a number",
  unsafe: "Replies that break a safety rule",
  deflected: "Questions from outside the shop that are turned down",
  wrongly_deflected: "Questions of the shop that are wrongly turned down",
  failed_safety_scenarios: "Delicate cases that are answered badly",
  failed_must_pass_scenarios: "Scenarios that must be passed and are not",
  fairness_flips: "Plans that change with who asks",
  fairness_language_flips: "Plans that change with the language",
  win_rate: "Prompts on which a judge of thumbs prefers it to the version before",
  kl: "Distance from the version before (nats a reply)",
  perplexity: "Perplexity on authored replies",
  validation_perplexity: "Perplexity on held-out text",
  num_tokens: "Tokens a reply",
  distinct2: "Variety of wording (distinct-2)",
  float32_difference: "Largest difference to the unquantised network",
};
const LANGUAGES = { en: "English", zh: "Chinese" };
const IN_WORDS_OF_NUMBERS = new Set([
  "kl", "perplexity", "validation_perplexity", "num_tokens", "distinct2", "float32_difference",
]);

/** A figure's name in words, with the language that it is of. */
export function figureName(name) {
  const language = /_(en|zh)$/.exec(name)?.[1];
  const kind = language ? name.slice(0, -3) : name;
  return (NAMES[kind] ?? words(kind)) + (language ? `, ${LANGUAGES[language]}` : "");
}

/** A figure's number: shares as percent. */
export function figureValue(name, value) {
  if (isShare(name)) return `${(100 * value).toFixed(1)} %`;
  return Math.abs(value) < 0.001 && value !== 0 ? value.toExponential(1) : value.toPrecision(4).replace(/\.?0+$/, "");
}

/** A difference, with its sign: percent points for shares. */
export function figureChange(name, value) {
  const sign = value > 0 ? "+" : value < 0 ? "−" : "±";
  const size = Math.abs(value);
  return isShare(name) ? `${sign}${(100 * size).toFixed(1)} points` : `${sign}${figureValue(name, size)}`;
}

/** The 95 % interval of a figure; "" where none was kept. */
export function figureBounds({ name, low, high }) {
  return low === null || high === null ? "" : `${figureValue(name, low)} to ${figureValue(name, high)}`;
}

function isShare(name) {
  return !IN_WORDS_OF_NUMBERS.has(name.replace(/_(en|zh)$/, ""));
}
