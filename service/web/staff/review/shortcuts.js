/**
 * Single keys, and the dialog that tells them. They can be turned off (WCAG 2.1.4), and never act while somebody writes.
 */

import { element } from "../../view/dom.js";
import { askInDialog } from "../frame.js";

const STORED = "rejoinder-review-keys";
const WRITING = "input, textarea, select, [contenteditable]";

/** `keys`: a list of `{key, words, run}`. Gives what opens the help. */
export function bindShortcuts(keys) {
  const help = () => showHelp(keys);
  const all = [...keys, { key: "?", words: "this help", run: help }];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    if (event.target.closest(WRITING) || document.querySelector("dialog[open]") || !isOn()) return;
    const found = all.find(({ key }) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found.run();
  });
  return help;
}

function isOn() {
  return localStorage.getItem(STORED) !== "off";
}

async function showHelp(keys) {
  const list = element("dl", { class: "keys" });
  for (const { key, words } of [...keys, { key: "?", words: "this help" }]) {
    list.append(element("dt", {}, element("kbd", {}, key)), element("dd", {}, words));
  }
  list.append(element("dt", {}, element("kbd", {}, "Ctrl"), " + ", element("kbd", {}, "Enter")));
  list.append(element("dd", {}, "save the correction that you write"));
  const box = element("input", { type: "checkbox", id: "keys-on" });
  box.checked = isOn();
  const choice = element("div", { class: "row" }, box, element("label", { for: "keys-on" }, "Single keys are on"));
  const answer = await askInDialog({
    title: "Keyboard", content: [list, choice], action: "Done", answer: () => (box.checked ? "on" : "off"),
  });
  if (answer !== null) localStorage.setItem(STORED, answer);
}
