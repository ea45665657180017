// Items in rows, oldest first. The one that looks is chosen by its radio button (arrow keys move),
// or shown while the pointer rests on its row; bars are the weights it gives.
mount("attention", ({ users, layers, heads, end }, { controls, picture, words, table: numbers }) => {
  const upTo = (n) => Array.from({ length: n }, (_, i) => `${i + 1}`);
  const [userLabel, user] = choice("User", users.map((u) => u.name));
  const [layerLabel, layer] = choice("Layer", upTo(layers));
  const [headLabel, head] = choice("Head", upTo(heads));
  const [readLabel, read] = choice("Reads", ["causal", "bidirectional"]);
  controls.append(userLabel, layerLabel, headLabel, readLabel);

  const rowOf = (name, i) => {
    const bar = svg("rect", { class: "s3-bar", height: 10 });
    const equal = svg("line", { class: "s3-mark", y2: 10, "vector-effect": "non-scaling-stroke" });
    const drawing = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none",
      "aria-hidden": "true" }, bar, equal);
    const radio = html("input", { type: "radio", name: "item", value: i });
    const share = html("span", { class: "s3-value" });
    const label = html("label", { class: "s3-row" }, radio,
      html("span", { class: "s3-name" }, name), drawing, share);
    label.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && draw(null, i));
    label.addEventListener("pointerleave", () => draw());
    return { label, radio, bar, equal, share };
  };

  let shown, rows; // the user whose rows stand in the picture, and the rows
  const fill = (chosen) => {
    shown = chosen;
    rows = chosen.items.map(rowOf);
    rows.at(-1).radio.checked = true; // the newest, which a recommendation is made from
    picture.replaceChildren(html("fieldset", {},
      html("legend", {}, "The item that looks (oldest first)"), ...rows.map((r) => r.label)));
  };

  const length = (weight) => Math.min(100, weight * 100 / end);
  const percent = (weight) => `${(weight / 10).toFixed(1)}\u00a0%`; // weights are in thousandths

  const draw = (_, pointedAt) => {
    if (users[user.value] !== shown) fill(users[user.value]);
    const causal = read.value === "0";
    const looks = pointedAt ?? rows.findIndex((r) => r.radio.checked);
    const map = shown[causal ? "causal" : "bidirectional"][layer.value][head.value];
    const seen = causal ? looks + 1 : rows.length;
    rows.forEach(({ label, bar, equal, share }, i) => {
      label.classList.toggle("s3-looks", i === looks);
      bar.setAttribute("width", length(map[looks][i]));
      for (const x of ["x1", "x2"]) equal.setAttribute(x, i < seen ? length(1000 / seen) : -9);
      share.textContent = i < seen ? percent(map[looks][i]) : "hidden";
    });
    const best = map[looks].indexOf(Math.max(...map[looks]));
    words.textContent = `Layer ${+layer.value + 1}, head ${+head.value + 1}, `
      + `${causal ? "causal" : "bidirectional"}: ${shown.items[looks]} looks most at `
      + `${best === looks ? "itself" : shown.items[best]}, ${percent(map[looks][best])}. `
      + `Equal weights would be ${percent(1000 / seen)}.`;
    numbers.replaceChildren(...table(["looks ↓ at →", ...shown.items],
      map.map((weights, i) => row(shown.items[i],
        ...weights.map((weight, j) => causal && j > i ? "hidden" : percent(weight))))));
  };
  return draw;
});
