// Items in rows, oldest first. The one that looks is chosen by its radio button (arrow keys move),
// or shown while the pointer rests on its row; bars are the weights it gives, in thousandths.
const percent = (weight) => `${(weight / 10).toFixed(1)}\u00a0%`;
const length = (weight) => Math.min(100, weight / 5); // a full bar is a half or more

// The row of an item, and the function that shows in it what share of a look it gets.
const itemRow = (name, i) => {
  const bar = svg("rect", { class: "s3-bar", height: 10 });
  const equal = svg("line", { class: "s3-mark", y2: 10, "vector-effect": "non-scaling-stroke" });
  const drawing = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none",
    "aria-hidden": "true" }, bar, equal);
  const radio = html("input", { type: "radio", name: "item", value: i });
  const share = html("span", { class: "s3-value" });
  const label = html("label", { class: "s3-row" }, radio,
    html("span", { class: "s3-name" }, name), drawing, share);
  const show = (looks, seen, weight, evenly) => {
    label.classList.toggle("s3-looks", looks);
    bar.setAttribute("width", length(weight));
    for (const x of ["x1", "x2"]) equal.setAttribute(x, seen ? length(evenly) : -9);
    share.textContent = seen ? percent(weight) : "hidden";
  };
  return { label, radio, show };
};

// The rows of a user; `point` hears which one a mouse rests on, and when it leaves.
const itemRows = (items, point) => {
  const rows = items.map(itemRow);
  rows.forEach(({ label }, i) => {
    label.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && point(i));
    label.addEventListener("pointerleave", () => point());
  });
  rows.at(-1).radio.checked = true; // the newest, which a recommendation is made from
  return rows;
};

const sentence = (what, items, weights, looks, evenly) => {
  const best = weights.indexOf(Math.max(...weights));
  return `${what}: ${items[looks]} looks most at ${best === looks ? "itself" : items[best]}, `
    + `${percent(weights[best])}. Equal weights would be ${percent(evenly)}.`;
};

mount("attention", ({ users, layers, heads }, add, picture, redraw) => {
  const upTo = (n) => Array.from({ length: n }, (_, i) => `${i + 1}`);
  const user = add(choice("User", users.map((u) => u.name)));
  const layer = add(choice("Layer", upTo(layers)));
  const head = add(choice("Head", upTo(heads)));
  const read = add(choice("Reads", ["causal", "bidirectional"]));

  let shown, rows; // the user whose rows stand in the picture, and the rows
  const fill = () => {
    shown = users[user.value];
    rows = itemRows(shown.items, redraw);
    picture.replaceChildren(html("fieldset", {},
      html("legend", {}, "The item that looks (oldest first)"), ...rows.map((r) => r.label)));
  };

  return (pointedAt) => {
    if (users[user.value] !== shown) fill();
    const { items } = shown, mode = ["causal", "bidirectional"][read.value];
    const looks = pointedAt ?? rows.findIndex((r) => r.radio.checked);
    const map = shown[mode][layer.value][head.value];
    const seen = (from, at) => mode === "bidirectional" || at <= from;
    const evenly = 1000 / items.filter((_, i) => seen(looks, i)).length;
    rows.forEach((r, i) => r.show(i === looks, seen(looks, i), map[looks][i], evenly));
    const what = `Layer ${+layer.value + 1}, head ${+head.value + 1}, ${mode}`;
    return [sentence(what, items, map[looks], looks, evenly), () => [["looks ↓ at →", ...items],
      ...map.map((weights, i) => [items[i],
        ...weights.map((weight, j) => seen(i, j) ? percent(weight) : "hidden")])]];
  };
});
