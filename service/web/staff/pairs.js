/**
 * Blind pairs: which two versions, the pair on show, and what was chosen so far. Puts the parts together.
 */

import { button, element } from "../view/dom.js";
import { readLines, save } from "./export/download.js";
import { failureNote, openFrame } from "./frame.js";
import { sentence } from "./models/preferences.js";
import { PairCard } from "./pairs/pair-card.js";
import { VersionChoice } from "./pairs/version-choice.js";
import { bindShortcuts } from "./review/shortcuts.js";

const { api, say } = openFrame();
const versions = new VersionChoice(load);
const stage = element("div", { class: "pair-stage" });
const results = element("p", { class: "muted" });
const notes = element("div");
let card = null;
let newest = 0;

const showHelp = bindShortcuts([
  { key: "1", words: "the first reply is better", run: () => card?.choose("first") },
  { key: "2", words: "the second reply is better", run: () => card?.choose("second") },
  { key: "0", words: "both are as good: a tie", run: () => card?.choose("tie") },
  { key: "s", words: "skip this pair", run: () => card?.choose("skip") },
  { key: "n", words: "next pair", run: () => card?.goOn() },
]);

start();

async function start() {
  try {
    const shelf = await api.get("/v1/model-versions");
    if (!versions.offer(shelf)) return content(element("p", { class: "note" }, "There is only one version on the shelf: nothing to compare it with."));
    const tools = element("div", { class: "row" },
      element("a", { href: "/review" }, "Back to the conversations"), button("plain", showHelp, "Keyboard"), button("", exportAll, "Export JSON lines"));
    content(versions.node, stage, results, notes, tools);
    await load();
  } catch (error) {
    content(failureNote(error, api, start));
  }
}

function content(...nodes) {
  document.getElementById("content").replaceChildren(...nodes);
}

/** Fetches the next pair of the versions that are chosen. */
async function load() {
  const mine = ++newest;
  card = null;
  const { first, second } = versions;
  if (first === second) return stage.replaceChildren(element("p", { class: "muted" }, "Choose two different versions."));
  showResults(first, second);
  stage.replaceChildren(element("p", { class: "muted", role: "status" }, "Both versions are answering …"));
  try {
    const { pair } = await api.send("/v1/review/pairs", { first, second });
    if (mine !== newest) return;
    if (pair === null) return stage.replaceChildren(nothing());
    card = new PairCard(pair, { api, say, nameOf: (digest) => versions.nameOf(digest), onNext: load, onChosen: () => showResults(first, second) });
    stage.replaceChildren(card.node);
    card.focus();
  } catch (error) {
    if (mine === newest) stage.replaceChildren(failureNote(error, api, load));
  }
}

function nothing() {
  return element("div", { class: "note" },
    element("p", {}, "No pair to choose from: both versions said the same to every prompt that was tried, or you have seen all there are."),
    element("p", {}, button("", load, "Try other prompts")));
}

async function showResults(first, second) {
  const found = await api.get("/v1/review/pairs/results", { first, second }).catch(() => null);
  const isStillWanted = versions.first === first && versions.second === second;
  if (found && isStillWanted) results.textContent = `All choices of the staff so far: ${sentence(found, [first, second].map((digest) => versions.nameOf(digest)))}`;
}

async function exportAll() {
  try {
    const response = await api.fetch("/v1/review/pairs/export");
    const lines = await response.text();
    const number = readLines(lines).end.num_pairs;
    save(lines, "preference_pairs.jsonl");
    const words = `${number} choice${number === 1 ? "" : "s"} exported.`;
    notes.replaceChildren(element("p", { class: "note good" }, words));
    say(words);
  } catch (error) {
    notes.replaceChildren(failureNote(error, api, exportAll));
  }
}
