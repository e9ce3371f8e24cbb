/**
 * The service's API: chat completions as a stream, and feedback. No page, no words for people; errors are ApiErrors.
 * How events are read out of a response: event-stream.js.
 */

import { readEvents } from "./event-stream.js";

const DONE = "[DONE]";
const RETRIABLE_STATUSES = [401, 408, 429];

/**
 * What went wrong: the service's stable `code`, or `connection_lost` where no whole answer came; `status` is 0 where
 * there was none, `retryAfterSeconds` is 0 where the service did not name a time.
 */
export class ApiError extends Error {
  constructor(code, message, { status = 0, retryAfterSeconds = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether the message itself was refused, and would be again. */
  get isAboutMessage() {
    return this.status === 400 || this.status === 413;
  }

  /** Whether the same request may succeed later. */
  get canRetry() {
    return this.status < 400 || this.status >= 500 || RETRIABLE_STATUSES.includes(this.status);
  }
}

/** Talks to one service. `baseUrl` is empty for the page's own origin, else without a slash at its end. */
export class ApiClient {
  constructor({ baseUrl = "", model = "rejoinder" } = {}) {
    this.baseUrl = baseUrl;
    this.model = model;
    this.apiKey = "";
  }

  /**
   * Asks for a reply to `messages` and yields what becomes known of it, in pieces to be merged: `digest` first, then
   * `text` to append, `finishReason`, and last `completionId` with `feedbackToken`. Throws ApiError, or what
   * `signal` was aborted with.
   */
  async *streamCompletion({ messages, conversationId, signal }) {
    const response = await this.#post("/v1/chat/completions", {
      model: this.model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
      metadata: { conversation_id: conversationId },
    }, signal);
    yield { digest: response.headers.get("x-model-digest") ?? "" };
    for await (const { type, data } of lostUnlessAborted(readEvents(response.body), signal)) {
      if (data === DONE) return;
      const piece = parseJson(data);
      if (type === "error" || piece.error) throw errorFrom(piece, response);
      yield updateFrom(piece);
    }
    throw new ApiError("connection_lost", "The stream ended early.");
  }

  /** Records a thumb; null withdraws. What is sent replaces what was stored. Throws ApiError. */
  async recordFeedback({ completionId, feedbackToken, rating, reasons = [], comment = "" }) {
    const body = { completion_id: completionId, feedback_token: feedbackToken, rating };
    if (reasons.length > 0) body.reasons = reasons;
    if (comment !== "") body.comment = comment;
    const response = await this.#post("/v1/feedback", body);
    return await response.json();
  }

  async #post(path, body, signal) {
    const headers = { "content-type": "application/json" };
    if (this.apiKey) headers.authorization = `Bearer ${this.apiKey}`;
    let response;
    try {
      response = await fetch(this.baseUrl + path, { method: "POST", headers, body: JSON.stringify(body), signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError("connection_lost", String(error));
    }
    if (!response.ok) throw errorFrom(parseJson(await response.text().catch(() => "")), response);
    return response;
  }
}

/** An ApiError from the service's envelope, which a proxy in between may have replaced by anything. */
function errorFrom(envelope, response) {
  const { code, message } = envelope?.error ?? {};
  return new ApiError(code ?? `http_${response.status}`, message ?? "", {
    status: response.ok ? 0 : response.status,
    retryAfterSeconds: secondsUntil(response.headers.get("retry-after")),
  });
}

/** Retry-After is a number of seconds or a date (RFC 9110, 10.2.3). */
function secondsUntil(retryAfter) {
  if (!retryAfter) return 0;
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : 0;
}

function parseJson(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function updateFrom(piece) {
  const choice = piece.choices?.[0];
  const update = {};
  if (choice?.delta?.content) update.text = choice.delta.content;
  if (choice?.finish_reason) update.finishReason = choice.finish_reason;
  if (piece.feedback_token) Object.assign(update, { completionId: piece.id, feedbackToken: piece.feedback_token });
  return update;
}

/** The same events; a connection that breaks becomes an ApiError, one that was broken off on purpose stays as it is. */
async function* lostUnlessAborted(events, signal) {
  try {
    yield* events;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("connection_lost", String(error));
  }
}
