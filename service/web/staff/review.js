/**
 * The review console: what is found on one side, the conversation on the other. Puts the parts together.
 */

import { button, element } from "../view/dom.js";
import { readLines, save } from "./export/download.js";
import { toSpreadsheet } from "./export/spreadsheet.js";
import { failureNote, openFrame } from "./frame.js";
import { Conversation } from "./review/conversation.js";
import { Filters } from "./review/filters.js";
import { ReplyList } from "./review/reply-list.js";
import { bindShortcuts } from "./review/shortcuts.js";

const VIEWS = { queue: ["/v1/review/queue", "Worth a look"], all: ["/v1/review/conversations", "All conversations"] };
const EXPORTS = [
  { words: "Export JSON lines", name: "conversations.jsonl", type: "application/x-ndjson", write: (lines) => lines },
  { words: "Export CSV", name: "conversations.csv", type: "text/csv", write: (_, rows) => toSpreadsheet(rows) },
];

const { api, say } = openFrame();
const notes = element("div");
const tabs = element("div", { class: "row tabs", role: "group", "aria-label": "Which replies" });
const ways = element("div", { class: "row ways" }, tabs);
const filters = new Filters({ onChange: load, exports: EXPORTS, onExport: exportAs });
const conversation = new Conversation({ api, say, onJudged: (id, feedback) => list.refresh(id, feedback), onTagged });
const list = new ReplyList({ api, say, onOpen: open });
const showHelp = bindShortcuts([
  { key: "j", words: "next in the list", run: () => list.move(1) },
  { key: "k", words: "previous in the list", run: () => list.move(-1) },
  { key: "n", words: "next reply of the conversation", run: () => conversation.move(1) },
  { key: "p", words: "previous reply of the conversation", run: () => conversation.move(-1) },
  { key: "u", words: "thumb up; again: take it back", run: () => conversation.current?.rate("up") },
  { key: "d", words: "thumb down; again: take it back", run: () => conversation.current?.rate("down") },
  { key: "e", words: "correct the reply", run: () => conversation.current?.edit() },
  { key: "t", words: "tag the conversation", run: () => conversation.tag() },
  { key: "/", words: "search", run: () => showList(() => filters.focusSearch()) },
  { key: "Escape", words: "back to the list", run: () => showList(() => list.focus()) },
]);

const back = button("back", () => showList(() => list.focus()), "Back to the list");
const reader = element("section", { class: "panel reader", "aria-label": "Conversation", tabindex: "-1" },
  back, conversation.node);
const finder = element("section", { class: "finder", "aria-label": "Replies" },
  filters.searchForm, filters.node, notes, list.node);
const knownTags = element("datalist", { id: "known-tags" });
const page = element("div", { class: "console" }, ways, finder, reader, knownTags);
let view = new URLSearchParams(location.search).get("view") === "all" ? "all" : "queue";

for (const [name, [, words]] of Object.entries(VIEWS)) {
  const tab = button("", () => show(name), words);
  tab.dataset.view = name;
  tabs.append(tab);
}
ways.append(element("div", { class: "row elsewhere" },
  element("a", { href: "/review/pairs" }, "Blind pairs"), element("a", { href: "/review/ratings" }, "Ratings"),
  button("plain", showHelp, "Keyboard")));
document.querySelector("#content").replaceChildren(page);
conversation.clear();
show(view);
offerChoices();

function show(name) {
  view = name;
  for (const tab of tabs.querySelectorAll("[data-view]")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.view === name));
  }
  const address = new URL(location.href);
  if (name === "all") address.searchParams.set("view", name);
  else address.searchParams.delete("view");
  history.replaceState(null, "", address);
  load();
}

function load() {
  notes.replaceChildren();
  page.classList.remove("reading");
  list.load(VIEWS[view][0], filters.parameters);
}

/** What there is to choose from. Where that fails the list says what is wrong. */
async function offerChoices() {
  const choices = await api.get("/v1/review/choices").catch(() => null);
  if (choices === null) return;
  filters.offer(choices);
  knownTags.replaceChildren(...choices.tags.map(({ tag }) => new Option(tag, tag)));
}

function onTagged(conversationId, tags) {
  list.retag(conversationId, tags);
  offerChoices();
}

/** On a small screen the conversation takes the list's place, once somebody has chosen one. */
function open(found, { isChosen }) {
  if (found === null) {
    conversation.clear();
    return;
  }
  page.classList.toggle("reading", isChosen);
  if (isChosen && !finder.checkVisibility()) reader.focus();
  conversation.open(found, { isChosen });
}

function showList(then) {
  page.classList.remove("reading");
  then();
}

/** Saves what the filters show as one of EXPORTS: `write` makes the file's text of the lines and what they hold. */
async function exportAs({ name, type, write }) {
  notes.replaceChildren(element("p", { class: "note" }, "Exporting …"));
  try {
    const asked = Object.entries(filters.parameters).filter(([, value]) => value !== "");
    const response = await api.fetch(`/v1/review/export?${new URLSearchParams(asked)}`);
    const lines = await response.text();
    const { rows, end } = readLines(lines);
    save(write(lines, rows), name, type);
    const rest = end.is_whole ? "" : " There are more: narrow the filter for the rest.";
    const number = end.num_conversations;
    const words = `${number} conversation${number === 1 ? "" : "s"} exported.${rest}`;
    notes.replaceChildren(element("p", { class: "note good" }, words));
    say(words);
  } catch (error) {
    notes.replaceChildren(failureNote(error, api, () => exportAs({ name, type, write })));
  }
}
