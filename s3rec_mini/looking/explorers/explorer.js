// What the explorers share. Each waits for its own containers, fills the controls, and from then on
// redraws from the controls' values whenever one changes: nothing else is remembered.

const make = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children); // text is added as text: a title can hold no tags
  return element;
};
const html = (name, attributes = {}, ...children) =>
  make(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const choice = (label, options, value = 0) => {
  const control = html("select", {}, ...options.map((text, i) => html("option", { value: i }, text)));
  control.value = value;
  return [html("label", {}, label, control), control];
};
const slider = (label, count, value) => {
  const control = html("input", { type: "range", min: 0, max: count - 1, value });
  return [html("label", {}, label, control), control];
};
const tick = (label) => {
  const control = html("input", { type: "checkbox" });
  return [html("label", {}, control, label), control];
};

const row = (head, ...cells) =>
  html("tr", {}, html("th", { scope: "row" }, head), ...cells.map((text) => html("td", {}, text)));
const table = (header, rows) => [
  html("thead", {}, html("tr", {}, ...header.map((text) => html("th", { scope: "col" }, text)))),
  html("tbody", {}, ...rows),
];

// Run `start` once for each container of this kind. It gets the numbers and the container's parts,
// and returns the function that draws.
const mount = (kind, start) => {
  for (const root of document.querySelectorAll(`[data-explorer="${kind}"]:not([data-ready])`)) {
    root.dataset.ready = "";
    const part = (name) => root.querySelector(name);
    part(".s3-hint").remove();
    const numbers = JSON.parse(part('script[type="application/json"]').textContent);
    const draw = start(numbers, {
      controls: part(".s3-controls"), picture: part(".s3-picture"),
      words: part('[role="status"]'), details: part("details"), table: part("table"),
    });
    root.addEventListener("input", draw);
    root.addEventListener("submit", (event) => event.preventDefault()); // Enter in a form
    // A notebook's own keys, arrows say, stay out; those with Ctrl or ⌘, which save it, pass.
    for (const type of ["keydown", "keyup"]) root.addEventListener(type, (event) => {
      const ours = !event.ctrlKey && !event.metaKey;
      root.toggleAttribute("data-lm-suppress-shortcuts", ours);
      if (ours) event.stopPropagation();
    });
    draw();
  }
};
