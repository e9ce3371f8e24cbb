/**
 * The one script tag of a shop's page: `<script src="https://chat.example/web/widget.js" async data-…></script>`.
 *
 * Puts a `<rejoinder-chat>` on the page, or completes the one that stands there: the tag's `data-name` becomes its
 * attribute `name`. The element itself is chat.js.
 */

(() => {
  const tag = document.currentScript ?? document.querySelector('script[src*="/widget.js"]');

  function place() {
    const placed = document.querySelector("rejoinder-chat");
    const chat = placed ?? document.createElement("rejoinder-chat");
    for (const { name, value } of tag.attributes) {
      const own = name.startsWith("data-") ? name.slice("data-".length) : "";
      if (own && !chat.hasAttribute(own)) chat.setAttribute(own, value);
    }
    if (!placed) document.body.append(chat);
    // By its whole address: for a script of another origin, what is relative has nothing to be relative to.
    import(new URL("./chat.js", tag.src).href).catch((error) => console.error("The chat could not be loaded.", error));
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", place, { once: true });
  else place();
})();
