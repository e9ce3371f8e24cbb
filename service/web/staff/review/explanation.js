/**
 * Why a reply is as it is, under its card: the words that decided what it set out to say, and rated replies like it.
 *
 * Asked for when it is opened, for the answer costs the service up to some seconds; what could not be had is said.
 */

import { element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { chip, maskedText, reasonWords, thumb } from "./words.js";

const NUM_STRENGTHS = 3;
const WHY_NO_PIECES = {
  version_not_loaded: "The version that gave this reply no longer answers, so that it cannot be asked.",
  no_plan: "No plan was chosen for this reply that could be asked about.",
  busy: "The model is busy with customers. Close this and open it again in a moment.",
};

/** A closed “Why this reply?” that fetches what it says when it is opened; again after a failure or a busy model. */
export function explanationOf(completionId, api) {
  const body = element("div", { class: "explanation-body", "aria-live": "polite" });
  const node = element("details", { class: "explanation" }, element("summary", {}, "Why this reply?"), body);
  let isKnown = false;
  const load = async () => {
    body.replaceChildren(element("p", { class: "muted" }, "Asking the model …"));
    try {
      const found = await api.get(`/v1/review/completions/${completionId}/explanation`);
      isKnown = found.why_no_pieces !== "busy";
      body.replaceChildren(...describePieces(found), ...describeNearest(found.nearest));
    } catch (error) {
      body.replaceChildren(failureNote(error, api, load));
    }
  };
  node.addEventListener("toggle", () => {
    if (node.open && !isKnown) load();
  });
  return node;
}

function describePieces({ plan, plan_probability: probability, pieces, why_no_pieces: why }) {
  const heading = element("h3", {}, "Words that decided it");
  if (pieces === null) return [heading, element("p", { class: "muted" }, WHY_NO_PIECES[why] ?? why)];
  const largest = Math.max(...pieces.map(({ effect }) => Math.abs(effect)), 1e-9);
  const words = element("p", { class: "words pieces", dir: "auto" });
  for (const { text, effect } of pieces) words.append(pieceNode(text, effect, largest));
  const percent = Math.round(probability * 100);
  const note = `Set out to say “${plan}” (${percent} % probable now). Marked words made that likelier, underlined ones`
    + " less likely: each was left out in turn and the model asked again.";
  return [heading, words, element("p", { class: "muted" }, note)];
}

function pieceNode(text, effect, largest) {
  const strength = Math.round((NUM_STRENGTHS * Math.abs(effect)) / largest);
  const way = effect > 0 ? "for" : "against";
  const signed = `${effect > 0 ? "+" : ""}${effect.toFixed(2)} nats`;
  return element("span", { class: strength ? `piece ${way} strength-${strength}` : "piece", title: signed }, text);
}

function describeNearest(nearest) {
  const heading = element("h3", {}, "The nearest rated replies");
  if (nearest.length === 0) return [heading, element("p", { class: "muted" }, "None has a word in common.")];
  const list = element("ul", { class: "others" });
  for (const { message, reply, rating, reasons, correction } of nearest) {
    const row = element("span", { class: "row" }, thumb(rating, rating === "up" ? "Liked" : "Disliked"),
      ...reasons.map((reason) => chip(reasonWords(reason))));
    const item = element("li", {}, row, maskedText(message, "words muted"), maskedText(reply));
    if (correction !== null) item.append(element("p", { class: "who" }, "Should have been"), maskedText(correction));
    list.append(item);
  }
  return [heading, list];
}
