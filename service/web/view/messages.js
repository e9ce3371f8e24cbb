/**
 * What was said, the welcome before it, and the scrolling: a reader at the end stays there, one further up is left in
 * peace.
 */

import { button, element, icon } from "./dom.js";

const NEAR_THE_END_PIXELS = 80;

/** `node` is the part of the panel that scrolls. */
export class Messages {
  #localizer;
  #starters;
  #onStart;
  #list = element("ol", { class: "messages" });
  #welcome = element("section", { class: "welcome" });
  #log;
  #jump;

  /** `starters` are the shop's own questions to begin with; `onStart` is given the text of the one pressed. */
  constructor(localizer, { starters, onStart }) {
    this.#localizer = localizer;
    this.#starters = starters;
    this.#onStart = onStart;
    // Who is told what, and when, is the announcer's to say.
    this.#log = element("div", { class: "log", role: "log", "aria-live": "off", tabindex: "0" });
    this.#log.append(this.#welcome, this.#list);
    localizer.name(this.#log, "messages");
    this.#log.addEventListener("scroll", () => this.#showJump(), { passive: true });
    this.#jump = localizer.label(button("jump", () => this.scrollToEnd(), icon("down")), "jump");
    this.node = element("div", { class: "stage" }, this.#log, this.#jump);
    this.clear();
  }

  /** Shows the welcome and nothing else. */
  clear() {
    this.#list.replaceChildren();
    this.#showWelcome();
    this.#showJump();
  }

  /** Shows the questions to begin with in the language that is spoken now. */
  translateStarters() {
    if (!this.#welcome.hidden) this.#showWelcome();
  }

  /** Adds what the visitor said. */
  addSaid(text) {
    this.#welcome.hidden = true;
    const speaker = this.#localizer.text(element("span", { class: "hidden" }), "you");
    this.#list.append(element("li", { class: "said" }, speaker, element("p", { class: "text", dir: "auto" }, text)));
  }

  /** Adds a reply, which fills itself. */
  addReply(reply) {
    this.#list.append(reply.node);
  }

  /** Takes a reply away, and what it replied to. */
  takeBack(reply) {
    reply.node.previousElementSibling.remove();
    reply.node.remove();
    this.#welcome.hidden = this.#list.firstChild !== null;
  }

  /** Makes a change; a reader who was at the end stays there. */
  keepAtEnd(change) {
    const wasAtEnd = this.#isAtEnd;
    change();
    if (wasAtEnd) this.scrollToEnd();
    else this.#showJump();
  }

  /** Shows the latest. */
  scrollToEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#showJump();
  }

  #showWelcome() {
    const localizer = this.#localizer;
    const starters = localizer.name(element("div", { class: "starters", role: "group" }), "starters");
    const own = this.#starters.map((text) => ({ text, language: "" }));
    for (const { text, language } of own.length > 0 ? own : localizer.starters) {
      const starter = button("starter", () => this.#onStart(text), text);
      if (language) starter.lang = language;
      starters.append(starter);
    }
    const greeting = localizer.text(element("h3"), "greeting");
    this.#welcome.replaceChildren(greeting, localizer.text(element("p"), "invitation"), starters);
    this.#welcome.hidden = false;
  }

  get #isAtEnd() {
    return this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_THE_END_PIXELS;
  }

  #showJump() {
    this.#jump.hidden = this.#isAtEnd;
  }
}
