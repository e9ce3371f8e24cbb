/**
 * What is known of single versions, each asked for once: a version never changes.
 */
export class Reports {
  #api;
  #known = new Map();

  constructor(api) {
    this.#api = api;
  }

  /** A version's report. Throws ApiError, and asks again the next time. */
  get(digest) {
    if (!this.#known.has(digest)) {
      const report = this.#api.get(`/v1/model-versions/${digest}`);
      this.#known.set(digest, report);
      report.catch(() => this.#known.delete(digest));
    }
    return this.#known.get(digest);
  }
}
