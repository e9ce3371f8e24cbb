/**
 * The words that the staff has put on a conversation; one is typed, or taken off again by its button.
 */

import { button, element } from "../../view/dom.js";
import { failureNote } from "../frame.js";

const WORD = "\\p{L}[\\p{L} _\\-]{0,39}";

export class TagEditor {
  #api;
  #say;
  #path;
  #onTagged;
  #list = element("span", { class: "row" });
  #problem = element("div");
  #field;

  /** `onTagged(tags)` hears of every change. */
  constructor(conversation, { api, say, onTagged }) {
    this.#api = api;
    this.#say = say;
    this.#onTagged = onTagged;
    this.#path = `/v1/review/conversations/${encodeURIComponent(conversation.id)}/tags/`;
    this.#field = element("input", {
      type: "text", id: "tag", maxlength: "40", pattern: WORD, required: "", placeholder: "Tag", autocomplete: "off",
      title: "Letters, spaces, hyphens", list: "known-tags",
    });
    const add = element("button", { type: "submit" }, "Add");
    const form = element("form", { class: "row tag-form" },
      element("label", { for: "tag", class: "hidden" }, "New tag"), this.#field, add);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#change(this.#field.value.trim().toLowerCase(), true);
    });
    this.node = element("div", { class: "tags" }, element("div", { class: "row" }, this.#list, form), this.#problem);
    this.#show(conversation.tags);
  }

  focus() {
    this.#field.focus();
  }

  #show(tags) {
    this.#list.replaceChildren(...tags.map((tag) => {
      const node = button("tag", () => this.#change(tag, false), tag, element("span", { "aria-hidden": "true" }, " ×"));
      node.setAttribute("aria-label", `Take off the tag ${tag}`);
      return node;
    }));
  }

  async #change(tag, isOn) {
    try {
      const response = await this.#api.fetch(this.#path + encodeURIComponent(tag), { method: isOn ? "PUT" : "DELETE" });
      const { tags } = await response.json();
      this.#problem.replaceChildren();
      this.#field.value = "";
      this.#field.focus();
      this.#show(tags);
      this.#say(isOn ? `Tagged ${tag}.` : `Tag ${tag} taken off.`);
      this.#onTagged(tags);
    } catch (error) {
      this.#problem.replaceChildren(failureNote(error, this.#api, () => this.#change(tag, isOn)));
    }
  }
}
