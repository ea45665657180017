// What search shows of a page that it found: text for readers, without TeX and without the contents beside it.

Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  const article = page.querySelector("article.bd-article") ?? page.body;
  article.querySelectorAll(".headerlink, script, style, svg, .toctree-wrapper, .thebe-launch-button")
    .forEach(element => element.remove());
  article.querySelectorAll(".math").forEach(formula => {
    const tex = formula.textContent.trim().replace(/^\\[([]|\\[)\]]$/g, "");
    formula.textContent = /[\\^_{}]/.test(tex) ? "…" : tex;
  });
  const target = anchor ? page.getElementById(anchor.slice(1)) : null;
  if (target?.matches("dt")) {
    let definition = target;
    while (definition && !definition.matches("dd")) definition = definition.nextElementSibling;
    if (definition) return `${target.textContent}: ${definition.textContent}`.replace(/\s+/g, " ");
  }
  return (target ?? article).textContent.replace(/\s+/g, " ");
};

// A word of the glossary is named: "Glossary: cold start", not "Glossary" alone.
const performSearch = Search._performSearch;
Search._performSearch = (...query) => performSearch(...query).map(found => {
  const [, word] = found[2].match(/^#term-(.+)$/) ?? [];
  if (word) found[1] += `: ${word.replaceAll("-", " ")}`;
  return found;
});
