/**
 * Server-sent events out of a response body, as the HTML standard parses them (section 9.2.6). EventSource itself can
 * only GET. Knows nothing of what the events mean; that is api-client.js.
 */

const LINE_END = /\r\n|\n|\r/;

/** Turns pieces of a stream, cut anywhere, into events. */
export class EventParser {
  #held = "";
  #type = "";
  #data = [];
  #isFirst = true;

  /** Takes the next piece of text; gives the events `{type, data}` that it completes. */
  feed(text) {
    let pending = this.#held + text;
    if (this.#isFirst && pending !== "") {
      pending = pending.replace(/^\ufeff/, "");
      this.#isFirst = false;
    }
    // A carriage return at the very end may be half of a line end.
    const isUndecided = pending.endsWith("\r");
    const lines = (isUndecided ? pending.slice(0, -1) : pending).split(LINE_END);
    this.#held = lines.pop() + (isUndecided ? "\r" : "");
    return lines.map((line) => this.#readLine(line)).filter((event) => event !== null);
  }

  #readLine(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    if (field === "event") this.#type = value;
    return null;
  }

  #dispatch() {
    const event = this.#data.length > 0 ? { type: this.#type || "message", data: this.#data.join("\n") } : null;
    this.#type = "";
    this.#data = [];
    return event;
  }
}

/** Reads a response body to its end; an event that the end cuts off is dropped. Lets go of the body when left early. */
export async function* readEvents(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
