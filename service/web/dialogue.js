/**
 * What is said and done: sending, streaming, stopping, asking again, what to do about an error, and taking up what was
 * said before in this visit. How it looks is view/; the words are strings.js.
 */

import { ApiError } from "./client/api-client.js";
import { randomId } from "./client/visit.js";
import { Reply } from "./view/reply.js";

/** `parts` are `{messages, composer, announcer}`; `options` `{showsVersion, createPersonControl, onReply}`. */
export class Dialogue {
  #client;
  #localizer;
  #visit;
  #parts;
  #options;
  #abort = null;
  #lastReply = null;
  #holdTimer;

  constructor(client, localizer, visit, parts, options) {
    this.#client = client;
    this.#localizer = localizer;
    this.#visit = visit;
    this.#parts = parts;
    this.#options = options;
  }

  /** Shows what was said before in this visit; a reply that a change of page has cut off can be asked for again. */
  restore() {
    const { turns } = this.#visit.conversation;
    for (const turn of turns) {
      this.#lastReply?.close();
      if (turn.role === "user") this.#parts.messages.addSaid(turn.content);
      else this.#restoreReply(turn);
    }
    if (turns.at(-1)?.role !== "user") return;
    const reply = this.#addReply();
    reply.fail(new ApiError("interrupted", ""), { key: "retry", run: () => this.#retry(reply, turns.at(-1).content) });
  }

  /** Says something and has it answered; while nothing can be sent it waits in the field. */
  say(text) {
    const { composer } = this.#parts;
    composer.focus();
    if (composer.isBusy) {
      composer.text ||= text;
      return;
    }
    this.#lastReply?.close();
    this.#parts.messages.addSaid(text);
    this.#visit.conversation.add("user", text);
    this.#visit.save();
    this.#answer(text);
  }

  /** Breaks off the reply that streams. */
  stop() {
    this.#abort?.abort();
  }

  /** Forgets what was said. */
  restart() {
    const { messages, announcer, composer } = this.#parts;
    this.stop();
    this.#visit.restart();
    this.#lastReply = null;
    messages.clear();
    announcer.say("started");
    composer.focus();
  }

  #addReply() {
    const announce = (key) => this.#parts.announcer.say(key);
    const reply = new Reply(this.#client, this.#localizer, { announce, showsVersion: this.#options.showsVersion });
    this.#lastReply = reply;
    this.#parts.messages.addReply(reply);
    return reply;
  }

  #restoreReply(turn) {
    const reply = this.#addReply();
    reply.apply({ ...turn, text: turn.content });
    if (turn.isStopped) reply.stop(() => this.#answerAnew(reply));
    else this.#finish(reply, turn);
  }

  #finish(reply, turn) {
    reply.finish(turn, {
      onRated: () => this.#visit.save(),
      answerAnew: () => this.#answerAnew(reply),
      say: (text) => this.say(text),
      createPersonControl: this.#options.createPersonControl,
    });
  }

  /** Streams a reply to the conversation as it stands. `question` is what a refusal gives back for changing. */
  async #answer(question, requestId = randomId("ask")) {
    const { messages, composer } = this.#parts;
    const conversation = this.#visit.conversation;
    const reply = this.#addReply();
    const abort = new AbortController();
    this.#abort = abort;
    composer.isStreaming = true;
    messages.scrollToEnd();
    try {
      await this.#stream(reply, conversation, requestId, abort.signal);
    } catch (error) {
      if (abort.signal.aborted) this.#afterStop(reply, conversation);
      else this.#afterError(reply, error, question, requestId);
    } finally {
      if (this.#abort === abort) this.#abort = null;
      composer.isStreaming = this.#abort !== null;
    }
    messages.keepAtEnd(() => {});
  }

  async #stream(reply, conversation, requestId, signal) {
    const { messages, announcer } = this.#parts;
    const request = { messages: conversation.latest(), conversationId: conversation.id, requestId, signal };
    announcer.beginReply();
    for await (const update of this.#client.streamCompletion(request)) {
      messages.keepAtEnd(() => reply.apply(update));
      announcer.hear(update.text ?? "");
    }
    announcer.endReply();
    const turn = conversation.add("assistant", reply.text, reply.facts);
    this.#visit.save();
    messages.keepAtEnd(() => this.#finish(reply, turn));
    this.#options.onReply();
  }

  #afterStop(reply, conversation) {
    conversation.add("assistant", reply.text, { isStopped: true });
    reply.stop(() => this.#answerAnew(reply));
    this.#visit.save();
    if (conversation === this.#visit.conversation) this.#parts.announcer.say("announceStopped");
  }

  #afterError(reply, error, question, requestId) {
    if (error.status === 401) {
      reply.askForKey(error, (key) => {
        this.#client.credentials.token = key;
        this.#retry(reply, question);
      });
    } else if (error.isAboutMessage) {
      // It would be refused again with every later message.
      this.#visit.conversation.dropLast("user");
      this.#visit.save();
      reply.fail(error, { key: "editMessage", run: () => this.#edit(reply, question) });
    } else {
      this.#hold(error.retryAfterSeconds);
      // Where only the connection was lost, the reply may be whole by now: then it is sent again as it was.
      const sameId = error.isAboutConnection ? requestId : undefined;
      reply.fail(error, { key: "retry", run: () => this.#retry(reply, question, sameId) });
    }
    this.#parts.announcer.say(this.#localizer.errorKey(error) ?? "errors.unknown");
  }

  #answerAnew(reply) {
    if (this.#parts.composer.isBusy) return;
    const { conversation } = this.#visit;
    conversation.dropLast("assistant");
    this.#retry(reply, conversation.turns.at(-1)?.content ?? "");
  }

  #retry(reply, question, requestId) {
    if (this.#abort) return;
    reply.node.remove();
    this.#parts.composer.focus();
    this.#answer(question, requestId);
  }

  #edit(reply, question) {
    this.#parts.messages.takeBack(reply);
    this.#parts.composer.text = question;
    this.#parts.composer.focus();
  }

  /** Sends nothing for as long as the service has asked for. */
  #hold(seconds) {
    if (!(seconds > 0)) return;
    clearTimeout(this.#holdTimer);
    this.#parts.composer.isHeld = true;
    this.#holdTimer = setTimeout(() => {
      this.#parts.composer.isHeld = false;
    }, seconds * 1000);
  }
}
