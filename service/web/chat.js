/**
 * `<rejoinder-chat>`: a chat with a Rejoinder service as a custom element. START READING HERE.
 *
 * The README lists its attributes. Puts the parts together; what is said and done is dialogue.js, how it looks view/.
 */

import { ApiClient, Credentials } from "./client/api-client.js";
import { Visit } from "./client/visit.js";
import { Dialogue } from "./dialogue.js";
import { Announcer } from "./view/announcer.js";
import { Composer } from "./view/composer.js";
import { button, element, icon } from "./view/dom.js";
import { Frame } from "./view/frame.js";
import { Messages } from "./view/messages.js";
import { Localizer, preferredLanguage } from "./strings.js";

const STYLES = ["frame", "messages"].map((name) => new URL(`./style/${name}.css`, import.meta.url).href);
const HOME = new URL("..", import.meta.url).href.replace(/\/$/, "");
const OTHER_LANGUAGE = { en: "zh", zh: "en" };

/** The element; everything in it is in its shadow tree. Dispatches `rejoinder-person` when a person is asked for. */
export class RejoinderChat extends HTMLElement {
  #localizer;
  #visit;
  #dialogue;
  #messages;
  #composer;
  #frame;

  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    const localizer = new Localizer(root, preferredLanguage(this.getAttribute("language")));
    const announcer = new Announcer(localizer);
    this.#localizer = localizer;
    this.#visit = new Visit(this.#endpoint);
    this.#composer = new Composer(localizer, {
      onSend: (text) => this.#dialogue.say(text),
      onStop: () => this.#dialogue.stop(),
    });
    this.#messages = new Messages(localizer, { starters: this.#starters, onStart: (text) => this.#dialogue.say(text) });
    const parts = { messages: this.#messages, composer: this.#composer, announcer };
    this.#dialogue = new Dialogue(this.#createClient(), localizer, this.#visit, parts, {
      showsVersion: this.hasAttribute("show-version"),
      createPersonControl: () => this.#createPersonControl(),
      onReply: () => this.#frame.showUnread(),
    });
    this.#build(root, announcer);
    this.#dialogue.restore();
    this.lang = localizer.language;
  }

  disconnectedCallback() {
    this.#dialogue.stop();
  }

  /** Opens the panel of a chat with a launcher. */
  open() {
    this.#frame.open();
  }

  /** Closes it; what is said goes on. */
  close() {
    this.#frame.close();
  }

  get #endpoint() {
    return (this.getAttribute("endpoint") ?? HOME).replace(/\/+$/, "");
  }

  get #starters() {
    return (this.getAttribute("starters") ?? "").split("|").map((text) => text.trim()).filter(Boolean);
  }

  #createClient() {
    const isOurOwnPage = new URL(this.#endpoint, document.baseURI).origin === location.origin;
    const credentials = new Credentials({
      token: this.getAttribute("token") ?? "",
      tokenUrl: this.getAttribute("token-url") ?? "",
      canAsk: isOurOwnPage,
    });
    const model = this.getAttribute("model") ?? "rejoinder";
    return new ApiClient({ baseUrl: this.#endpoint, model, user: this.#visit.user, credentials });
  }

  #build(root, announcer) {
    const panel = element("div", { class: "panel", dir: "ltr" }, this.#createHead());
    this.#composer.hint.append(" ", this.#createPersonControl());
    panel.append(this.#messages.node, this.#composer.node, announcer.node);
    this.#frame = new Frame(this.#localizer, panel, {
      isInline: this.hasAttribute("inline"),
      onOpen: () => this.#afterOpening(),
      onToggle: (isOpen) => this.#visit.noteOpen(isOpen),
    });
    this.#revealWhenStyled(root);
  }

  /** Without its style the chat is a heap of words: it shows up with it, or bare when it cannot be had. */
  async #revealWhenStyled(root) {
    const whole = element("div", { class: "whole" }, ...this.#frame.nodes);
    whole.hidden = true;
    const styles = STYLES.map((href) => element("link", { rel: "stylesheet", href }));
    const settled = styles.map((style) => new Promise((resolve) => (style.onload = style.onerror = resolve)));
    root.append(...styles, whole);
    await Promise.all(settled);
    whole.hidden = false;
    if (this.#visit.isOpen ?? this.hasAttribute("open")) this.#frame.restoreOpen();
    this.#messages.scrollToEnd();
    this.#composer.measure();
  }

  #afterOpening() {
    this.#composer.measure();
    this.#messages.scrollToEnd();
    // A field in focus brings up the keyboard of a phone before anybody has seen what there is to see.
    if (matchMedia("(hover: hover)").matches) this.#composer.focus();
  }

  #createHead() {
    const localizer = this.#localizer;
    const title = element("h2", { id: "title" });
    const heading = this.getAttribute("heading");
    if (heading) title.append(heading);
    else localizer.text(title, "title");
    const subtitle = localizer.text(element("p"), "subtitle");
    const language = localizer.text(button("switch", () => this.#switchLanguage()), "switchLanguage");
    language.lang = OTHER_LANGUAGE[localizer.language];
    const restart = button("action", () => this.#dialogue.restart(), icon("compose"));
    localizer.label(restart, "newConversation");
    const close = localizer.label(button("action close", () => this.close(), icon("close")), "closeChat");
    const mark = element("span", { class: "mark", "aria-hidden": "true" }, icon("mark"));
    const titles = element("div", { class: "titles" }, title, subtitle);
    return element("div", { class: "head" }, mark, titles, language, restart, close);
  }

  /** The way to a person: what the shop's page makes of the event, else its address, else what the bot says. */
  #createPersonControl() {
    const href = this.getAttribute("person-url");
    const control = href
      ? element("a", { class: "plain", href, target: "_blank", rel: "noopener" })
      : button("plain", () => {});
    control.addEventListener("click", (event) => {
      const { id, turns } = this.#visit.conversation;
      const detail = { conversationId: id, messages: turns.map(({ role, content }) => ({ role, content })) };
      const request = new CustomEvent("rejoinder-person", { bubbles: true, composed: true, cancelable: true, detail });
      const isTaken = !this.dispatchEvent(request);
      if (isTaken) event.preventDefault();
      else if (!href) this.#dialogue.say(this.#localizer.words("askForPerson"));
    });
    return this.#localizer.text(control, "person");
  }

  #switchLanguage() {
    const language = OTHER_LANGUAGE[this.#localizer.language];
    this.#localizer.switchTo(language);
    this.lang = language;
    this.shadowRoot.querySelector(".switch").lang = OTHER_LANGUAGE[language];
    this.#messages.translateStarters();
  }
}

if (!customElements.get("rejoinder-chat")) customElements.define("rejoinder-chat", RejoinderChat);
