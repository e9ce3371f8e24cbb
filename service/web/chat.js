/**
 * `<rejoinder-chat>`: a chat with a Rejoinder service as a custom element. START READING HERE.
 *
 * Attributes: `endpoint`, the service's address (default: the page's own origin); `model` (default: rejoinder);
 * `language`, en or zh (default: the last choice, else the browser's). Knows how the parts work together; each is in
 * its own module.
 */

import { ApiClient } from "./client/api-client.js";
import { Composer } from "./view/composer.js";
import { Conversation } from "./client/conversation.js";
import { button, element, icon } from "./view/dom.js";
import { Reply } from "./view/reply.js";
import { Localizer, preferredLanguage } from "./strings.js";

const STYLES = ["./chat.css", "./messages.css"].map((name) => new URL(name, import.meta.url).href);
const NEAR_THE_END_PIXELS = 80;
const OTHER_LANGUAGE = { en: "zh", zh: "en" };

/** The element; everything in it is in its shadow tree. */
export class RejoinderChat extends HTMLElement {
  #client;
  #localizer;
  #composer;
  #conversation = new Conversation();
  #parts = {};
  #abort = null;
  #lastReply = null;
  #holdTimer;

  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    this.#client = new ApiClient({
      baseUrl: this.getAttribute("endpoint") ?? "",
      model: this.getAttribute("model") ?? "rejoinder",
    });
    this.#localizer = new Localizer(root, preferredLanguage(this.getAttribute("language")));
    this.#composer = new Composer(this.#localizer, { onSend: (text) => this.#send(text), onStop: () => this.#stop() });
    this.#build(root);
    this.#showStarters();
    this.lang = this.#localizer.language;
  }

  disconnectedCallback() {
    this.#stop();
  }

  #build(root) {
    const localizer = this.#localizer;
    const list = element("ol", { class: "messages" });
    const welcome = element("section", { class: "welcome" });
    const log = element("div", { class: "log", role: "log", "aria-live": "off", tabindex: "0" }, welcome, list);
    const jump = localizer.label(button("jump", () => this.#scrollToEnd(), icon("down")), "jump");
    const live = element("div", { class: "hidden", role: "status", "aria-live": "polite" });
    const panel = element("div", { class: "panel" }, this.#createHeader());
    panel.append(element("div", { class: "stage" }, log, jump), this.#composer.node, live);
    localizer.label(log, "messages").removeAttribute("title");
    log.addEventListener("scroll", () => this.#showJump());
    this.#parts = { list, welcome, log, jump, live };
    this.#revealWhenStyled(root, panel);
    this.#showJump();
  }

  /** Without its style the chat is a heap of words: it shows up with it, or bare when it cannot be had. */
  async #revealWhenStyled(root, panel) {
    panel.hidden = true;
    const styles = STYLES.map((href) => element("link", { rel: "stylesheet", href }));
    const settled = styles.map((style) => new Promise((resolve) => (style.onload = style.onerror = resolve)));
    root.append(...styles, panel);
    await Promise.all(settled);
    panel.hidden = false;
    this.#composer.text = this.#composer.text; // Heights can be measured only now.
    if (matchMedia("(hover: hover)").matches) this.#composer.focus();
  }

  #createHeader() {
    const localizer = this.#localizer;
    const title = localizer.text(element("h1"), "title");
    const subtitle = localizer.text(element("p"), "subtitle");
    const language = button("switch", () => this.#switchLanguage());
    localizer.text(language, "switchLanguage");
    language.lang = OTHER_LANGUAGE[localizer.language];
    const restart = button("action", () => this.#restart(), icon("compose"));
    localizer.label(restart, "newConversation");
    const mark = element("span", { class: "mark", "aria-hidden": "true" }, icon("mark"));
    return element("header", {}, mark, element("div", { class: "titles" }, title, subtitle), language, restart);
  }

  #showStarters() {
    const localizer = this.#localizer;
    const starters = localizer.label(element("div", { class: "starters", role: "group" }), "starters");
    starters.removeAttribute("title");
    for (const { text, language } of localizer.starters) {
      const starter = button("starter", () => this.#start(text), text);
      starter.lang = language;
      starters.append(starter);
    }
    const greeting = localizer.text(element("h2"), "greeting");
    this.#parts.welcome.replaceChildren(greeting, localizer.text(element("p"), "invitation"), starters);
    this.#parts.welcome.hidden = false;
  }

  /** As if the person had written it: a starter's button vanishes, and the keyboard goes on in the composer. */
  #start(text) {
    this.#composer.text = text;
    this.#composer.send();
  }

  #switchLanguage() {
    const language = OTHER_LANGUAGE[this.#localizer.language];
    this.#localizer.switchTo(language);
    this.lang = language;
    this.shadowRoot.querySelector(".switch").lang = OTHER_LANGUAGE[language];
    if (!this.#parts.welcome.hidden) this.#showStarters();
  }

  #restart() {
    this.#stop();
    this.#conversation = new Conversation();
    this.#lastReply = null;
    this.#parts.list.replaceChildren();
    this.#showStarters();
    this.#announce("started");
    this.#composer.focus();
  }

  #stop() {
    this.#abort?.abort();
  }

  #send(text) {
    this.#lastReply?.close();
    this.#parts.welcome.hidden = true;
    this.#conversation.add("user", text);
    const speaker = this.#localizer.text(element("span", { class: "hidden" }), "you");
    const said = element("li", { class: "said" }, speaker, element("p", { class: "text", dir: "auto" }, text));
    this.#parts.list.append(said);
    this.#answer(text);
  }

  /** Streams a reply to the conversation as it stands. `question` is what a refusal gives back for changing. */
  async #answer(question) {
    const reply = new Reply(this.#localizer);
    const conversation = this.#conversation;
    const abort = new AbortController();
    this.#abort = abort;
    this.#lastReply = reply;
    this.#parts.list.append(reply.node);
    this.#composer.isStreaming = true;
    this.#scrollToEnd();
    try {
      await this.#stream(reply, conversation, abort.signal);
    } catch (error) {
      if (abort.signal.aborted) this.#afterStop(reply, conversation, question);
      else this.#afterError(reply, error, question);
    } finally {
      if (this.#abort === abort) this.#abort = null;
      this.#composer.isStreaming = this.#abort !== null;
    }
    this.#keepAtEnd(() => {});
  }

  async #stream(reply, conversation, signal) {
    const request = { messages: conversation.latest(), conversationId: conversation.id, signal };
    for await (const update of this.#client.streamCompletion(request)) this.#keepAtEnd(() => reply.apply(update));
    this.#keepAtEnd(() => reply.finish(this.#client, (key) => this.#announce(key)));
    conversation.add("assistant", reply.text);
    this.#parts.live.textContent = `${this.#localizer.words("bot")} ${reply.text}`;
  }

  #afterStop(reply, conversation, question) {
    conversation.add("assistant", reply.text);
    reply.stop(() => {
      conversation.dropLast("assistant");
      this.#retry(reply, question);
    });
    if (conversation === this.#conversation) this.#announce("announceStopped");
  }

  #afterError(reply, error, question) {
    const key = this.#localizer.errorKey(error) ?? "errors.unknown";
    if (error.status === 401) {
      reply.askForKey(error, (apiKey) => {
        this.#client.apiKey = apiKey;
        this.#retry(reply, question);
      });
    } else if (error.isAboutMessage) {
      // It would be refused again with every later message.
      this.#conversation.dropLast("user");
      reply.fail(error, { key: "editMessage", run: () => this.#edit(reply, question) });
    } else {
      this.#hold(error.retryAfterSeconds);
      reply.fail(error, { key: "retry", run: () => this.#retry(reply, question) });
    }
    this.#announce(key);
  }

  #retry(reply, question) {
    reply.node.remove();
    this.#composer.focus();
    this.#answer(question);
  }

  #edit(reply, question) {
    reply.node.previousElementSibling.remove();
    reply.node.remove();
    this.#parts.welcome.hidden = this.#parts.list.firstChild !== null;
    this.#composer.text = question;
    this.#composer.focus();
  }

  /** Sends nothing for as long as the service has asked for. */
  #hold(seconds) {
    if (!(seconds > 0)) return;
    clearTimeout(this.#holdTimer);
    this.#composer.isHeld = true;
    this.#holdTimer = setTimeout(() => {
      this.#composer.isHeld = false;
    }, seconds * 1000);
  }

  #announce(key) {
    this.#parts.live.textContent = this.#localizer.words(key);
  }

  /** Makes a change; a reader who was at the end stays there, one who reads further up is left in peace. */
  #keepAtEnd(change) {
    const wasAtEnd = this.#isAtEnd;
    change();
    if (wasAtEnd) this.#scrollToEnd();
    this.#showJump();
  }

  get #isAtEnd() {
    const { log } = this.#parts;
    return log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_THE_END_PIXELS;
  }

  #scrollToEnd() {
    this.#parts.log.scrollTop = this.#parts.log.scrollHeight;
    this.#showJump();
  }

  #showJump() {
    this.#parts.jump.hidden = this.#isAtEnd;
  }
}

customElements.define("rejoinder-chat", RejoinderChat);
