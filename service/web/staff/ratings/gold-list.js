/**
 * The gold list as a file: taken away, or brought back in pieces that the service accepts.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";
import { counted } from "../format.js";

const ROWS_A_PIECE = 400;

export class GoldList {
  #api;
  #say;
  #notes = element("div");
  #file = element("input", { type: "file", id: "gold-file", accept: ".jsonl,.ndjson,application/x-ndjson" });

  constructor({ api, say }) {
    this.#api = api;
    this.#say = say;
    this.#file.addEventListener("change", () => this.#import());
    const words = "Replies that you have marked as gold say what the truth is: thumbs that contradict it are set aside, and raters "
      + "are weighed by it. Mark them at each reply of a conversation.";
    this.node = element("div", {}, element("p", {}, words), element("div", { class: "row" },
      button("", () => this.#export(), "Export JSON lines"),
      element("label", { for: "gold-file" }, "Import JSON lines"), this.#file), this.#notes);
  }

  async #export() {
    try {
      const lines = await (await this.#api.fetch("/v1/review/gold")).text();
      const address = URL.createObjectURL(new Blob([lines], { type: "application/x-ndjson" }));
      element("a", { href: address, download: "gold.jsonl" }).click();
      URL.revokeObjectURL(address);
      this.#tell(`${counted(lines.split("\n").length - 1, "gold rating", "gold ratings")} exported.`);
    } catch (error) {
      this.#notes.replaceChildren(failureNote(error, this.#api, () => this.#export()));
    }
  }

  async #import() {
    const [file] = this.#file.files;
    if (!file) return;
    try {
      const rows = read(await file.text());
      const unknown = [];
      for (let begin = 0; begin < rows.length; begin += ROWS_A_PIECE) {
        const answer = await this.#api.send("/v1/review/gold", { rows: rows.slice(begin, begin + ROWS_A_PIECE) });
        unknown.push(...answer.unknown);
      }
      const rest = unknown.length === 0 ? "" : ` ${counted(unknown.length, "completion is", "completions are")} not here: ${unknown.slice(0, 5).join(", ")}.`;
      this.#tell(`${counted(rows.length - unknown.length, "reply", "replies")} marked.${rest}`);
    } catch (error) {
      this.#notes.replaceChildren(failureNote(error, this.#api, () => this.#import()));
    } finally {
      this.#file.value = "";
    }
  }

  #tell(words) {
    this.#notes.replaceChildren(element("p", { class: "note good" }, words));
    this.#say(words);
  }
}

function read(text) {
  return text.split("\n").filter((line) => line.trim() !== "").map((line, index) => {
    try {
      const { completion_id: id, rating } = JSON.parse(line);
      return { completion_id: id, rating };
    } catch {
      throw new Error(`Line ${index + 1} is not JSON.`);
    }
  });
}
