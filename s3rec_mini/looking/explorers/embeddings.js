// A dot for each item, which moves when the slider does. One item can be singled out, from the list
// or by a click near its dot: its path through the epochs is drawn and its neighbours are named.
mount("embeddings", (data, { controls, picture, words, details, table: numbers }) => {
  const { epochs, frames, names, labels, size, origin, unit } = data;
  const kinds = Object.keys(labels);
  const [epochLabel, epoch] = slider("Epoch", epochs.length, epochs.length - 1);
  const epochShown = html("span", { class: "s3-value" });
  epochLabel.append(epochShown);
  const [colourLabel, colour] = choice("Colour", kinds);
  const [onlyLabel, only] = choice("Show", []);
  const [itemLabel, item] = choice("Find", []);
  const alphabetical = [...names.keys()].sort((a, b) => names[a].localeCompare(names[b], "en"));
  item.append(...alphabetical.map((i) => html("option", { value: i }, names[i])));
  controls.append(epochLabel, colourLabel, onlyLabel, itemLabel);
  item.value = data.item;

  const dots = names.map((name) => svg("circle", { r: 8 }, svg("title", {}, name)));
  const path = svg("path", { class: "s3-line" });
  const ring = svg("circle", { class: "s3-mark s3-ring", r: 14 });
  const name = svg("text", {});
  const plane = svg("svg", { viewBox: `-20 -20 ${size[0] + 40} ${size[1] + 40}`, role: "img",
    class: "s3-map" }, ...dots, path, ring, name);
  const key = html("ul", { class: "s3-key" });
  picture.replaceChildren(key, plane);

  // The item nearest to a place of the picture, in the frame shown; the three nearest to an item.
  const distance = (i, x, y) => {
    const [px, py] = frames[epoch.value][i];
    return (px - x) ** 2 + (py - y) ** 2;
  };
  const byDistance = (x, y) =>
    [...names.keys()].sort((a, b) => distance(a, x, y) - distance(b, x, y));
  plane.addEventListener("click", (event) => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(plane.getScreenCTM().inverse());
    [item.value] = byDistance(x, y);
    draw();
  });

  let coloured; // the kind of labels that the list "Show" and the key hold
  const fill = (kind) => {
    coloured = kind;
    const groups = labels[kind].groups;
    only.replaceChildren(...["all", ...groups].map((g, i) => html("option", { value: i - 1 }, g)));
    key.replaceChildren(...groups.map((g, i) => html("li", {},
      svg("svg", { class: "s3-sample", viewBox: "0 0 28 16", "aria-hidden": "true" },
        svg("path", { class: `s3-dots hue-${i}`, d: "M14 8h0" })), g)));
  };

  const draw = () => {
    if (kinds[colour.value] !== coloured) fill(kinds[colour.value]);
    const { groups, of } = labels[coloured];
    const points = frames[epoch.value];
    const [x, y] = points[item.value];
    dots.forEach((dot, i) => {
      const apart = only.value >= 0 && of[i] != only.value && i != item.value;
      dot.setAttribute("class", `s3-dot hue-${of[i]}`);
      dot.style.opacity = apart ? 0.08 : 0.8;
      dot.style.transform = `translate(${points[i][0]}px, ${points[i][1]}px)`;
    });
    ring.style.transform = `translate(${x}px, ${y}px)`;
    path.setAttribute("d", "M" + frames.slice(0, +epoch.value + 1).map((f) => f[item.value]).join("L"));
    const title = names[item.value];
    name.textContent = title.length > 40 ? `${title.slice(0, 39).trimEnd()}…` : title;
    // Right of the dot or as far right as the map goes, above it or, at the upper edge, below.
    name.setAttribute("x", Math.max(0, Math.min(x + 20, size[0] - name.getBBox().width)));
    name.setAttribute("y", y < 40 ? y + 44 : y - 20);
    epochShown.textContent = epochs[epoch.value];
    epoch.setAttribute("aria-valuetext", epochs[epoch.value]);
    const near = byDistance(x, y).filter((i) => i != item.value).slice(0, 3);
    words.textContent = `After epoch ${epochs[epoch.value]}, ${title} `
      + `(${kinds.map((k) => labels[k].groups[labels[k].of[item.value]]).join(", ")}) `
      + `is nearest on the map, among all items, to ${near.map((i) => names[i]).join("; ")}.`;
    plane.setAttribute("aria-label", `Map of ${names.length} items after epoch `
      + `${epochs[epoch.value]}, coloured by ${coloured}: ${groups.join(", ")}.`);
    if (details.open) list();
  };
  const list = () => numbers.replaceChildren(...table(
    ["item", ...kinds, "first direction", "second direction"],
    names.map((n, i) => row(n, ...kinds.map((k) => labels[k].groups[labels[k].of[i]]),
      ...frames[epoch.value][i].map((at, axis) => (origin[axis] + unit[axis] * at).toFixed(3))))));
  details.addEventListener("toggle", () => details.open && list());
  return draw;
});
