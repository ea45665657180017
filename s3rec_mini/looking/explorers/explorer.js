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

// Controls, each in its label.
const choice = (label, options) => {
  const control = html("select", {}, ...options.map((text, i) => html("option", { value: i }, text)));
  return html("label", {}, label, control);
};
const slider = (label, values, at) => {
  const control = html("input", { type: "range", min: 0, max: values.length - 1, value: at });
  const shown = html("span", { class: "s3-value" });
  const show = () => {
    shown.textContent = values[control.value];
    control.setAttribute("aria-valuetext", values[control.value]);
  };
  control.addEventListener("input", show);
  show();
  return html("label", {}, label, control, shown);
};
const tick = (label) => html("label", {}, html("input", { type: "checkbox" }), label);

// What each style of a mark, the path of an SVG, means: [[style, meaning], …].
const key = (mark, meanings) => html("ul", { class: "s3-key" }, ...meanings.map(([style, meaning]) =>
  html("li", {}, svg("svg", { class: "s3-sample", viewBox: "0 0 28 16", "aria-hidden": "true" },
    svg("path", { class: style, d: mark })), meaning)));

const table = (heads, ...rows) => [
  html("thead", {}, html("tr", {}, ...heads.map((head) => html("th", { scope: "col" }, head)))),
  html("tbody", {}, ...rows.map(([first, ...others]) => html("tr", {},
    html("th", { scope: "row" }, first), ...others.map((cell) => html("td", {}, cell))))),
];

// A notebook's own keys, arrows say, stay out of an explorer; those with Ctrl or ⌘, which save the
// notebook, pass. Enter in a form sends nothing.
const keepKeys = (root) => {
  root.addEventListener("submit", (event) => event.preventDefault());
  for (const type of ["keydown", "keyup"]) root.addEventListener(type, (event) => {
    const ours = !event.ctrlKey && !event.metaKey;
    root.toggleAttribute("data-lm-suppress-shortcuts", ours);
    if (ours) event.stopPropagation();
  });
};

// Run `start` once for each container of this kind. It gets the numbers, a function that adds a
// control, the place of the picture and a function that draws it again. It returns how to draw:
// that gives the sentence below the picture and a function that lists the numbers.
const mount = (kind, start) => {
  for (const root of document.querySelectorAll(`[data-explorer="${kind}"]:not([data-ready])`)) {
    root.dataset.ready = "";
    const part = (name) => root.querySelector(name);
    part(".s3-hint").remove();
    const details = part("details");
    let list;
    const write = () => details.open && part("table").replaceChildren(...table(...list()));
    const redraw = (...hints) => {
      [part('[role="status"]').textContent, list] = draw(...hints);
      write();
    };
    const add = (label) => {
      part(".s3-controls").append(label);
      return label.control;
    };
    const numbers = JSON.parse(part('script[type="application/json"]').textContent);
    const draw = start(numbers, add, part(".s3-picture"), redraw);
    root.addEventListener("input", () => redraw());
    details.addEventListener("toggle", write);
    keepKeys(root);
    redraw();
  }
};
