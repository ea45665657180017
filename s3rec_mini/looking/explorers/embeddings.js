// A dot for each item, which moves when the slider does. A mouse near a dot sees its name. One item can
// be singled out, from the list or by a click near its dot: its path through the epochs is drawn and
// its neighbours are named.
const move = (element, [x, y]) => { element.style.transform = `translate(${x}px, ${y}px)`; };
const shorten = (title) => title.length > 40 ? `${title.slice(0, 39).trimEnd()}…` : title;

// The map: dots, and above them the way, the place and the name of the item singled out.
const drawMap = (names, [width, height]) => {
  const dots = names.map(() => svg("circle", { r: 8 }));
  const path = svg("path", { class: "s3-line" });
  const ring = svg("circle", { class: "s3-mark s3-ring", r: 14 });
  const text = svg("text", {}), hint = svg("text", { class: "s3-near" });
  const plane = svg("svg", { viewBox: `-20 -20 ${width + 40} ${height + 40}`, role: "img",
    class: "s3-map" }, ...dots, path, ring, text, hint);
  // Right of the dot or as far right as the map goes, above it or, at the upper edge, below.
  const write = (label, name, [x, y]) => {
    label.textContent = shorten(name);
    label.setAttribute("x", Math.max(0, Math.min(x + 20, width - label.getBBox().width)));
    label.setAttribute("y", y < 40 ? y + 44 : y - 20);
  };
  const singleOut = (name, way) => {
    const [x, y] = way.at(-1);
    nameNear("", [x, y]);
    move(ring, [x, y]);
    path.setAttribute("d", "M" + way.join("L"));
    write(text, name, [x, y]);
  };
  const nameNear = (name, place) => write(hint, name, place);
  return { plane, dots, singleOut, nameNear };
};

// The items in the order of their distance from a place of the map.
const byDistance = (points, [x, y]) => {
  const away = points.map(([px, py]) => (px - x) ** 2 + (py - y) ** 2);
  return [...points.keys()].sort((a, b) => away[a] - away[b]);
};
const placeOfClick = (plane, event) => {
  const { x, y } = new DOMPoint(event.clientX, event.clientY)
    .matrixTransform(plane.getScreenCTM().inverse());
  return [x, y];
};

const own = (labels, i) => Object.values(labels).map(({ groups, of }) => groups[of[i]]);
const sentence = ({ epochs, frames, names, labels }, epoch, item) => {
  const near = byDistance(frames[epoch], frames[epoch][item]).filter((i) => i != item).slice(0, 3);
  return `After epoch ${epochs[epoch]}, ${names[item]} (${own(labels, item).join(", ")}) is nearest `
    + `on the map, among all items, to ${near.map((i) => names[i]).join("; ")}.`;
};
const listed = ({ frames, names, labels, origin, unit }, epoch) => [
  ["item", ...Object.keys(labels), "first direction", "second direction"],
  ...names.map((name, i) => [name, ...own(labels, i),
    ...frames[epoch][i].map((n, axis) => (origin[axis] + unit[axis] * n).toFixed(3))])];

mount("embeddings", (data, add, picture, redraw) => {
  const { epochs, frames, names, labels } = data, kinds = Object.keys(labels);
  const epoch = add(slider("Epoch", epochs, epochs.length - 1));
  const colour = add(choice("Colour", kinds)), only = add(choice("Show", []));
  const item = add(choice("Find", names));
  item.append(...[...item.options].sort((a, b) => a.text.localeCompare(b.text, "en")));
  item.value = data.item;
  const { plane, dots, singleOut, nameNear } = drawMap(names, data.size);
  const shown = (i) => only.value < 0 || labels[coloured].of[i] == only.value || i == item.value;
  plane.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    const points = frames[epoch.value], [x, y] = placeOfClick(plane, event);
    const near = byDistance(points, [x, y]).filter(shown)[0];
    const close = near !== undefined && Math.hypot(points[near][0] - x, points[near][1] - y) < 24;
    nameNear(close && near != item.value ? names[near] : "", points[near] ?? [0, 0]);
  });
  plane.addEventListener("pointerleave", () => nameNear("", [0, 0]));
  plane.addEventListener("click", (event) => {
    [item.value] = byDistance(frames[epoch.value], placeOfClick(plane, event));
    redraw();
  });

  let coloured; // the kind of labels that the list "Show" and the key hold
  const fill = () => {
    coloured = kinds[colour.value];
    const { groups } = labels[coloured];
    only.replaceChildren(...["all", ...groups].map((g, i) => html("option", { value: i - 1 }, g)));
    picture.replaceChildren(key("M14 8h0", groups.map((g, i) => [`s3-dots hue-${i}`, g])), plane);
  };

  return () => {
    if (kinds[colour.value] !== coloured) fill();
    const { groups, of } = labels[coloured];
    dots.forEach((dot, i) => {
      const apart = !shown(i);
      dot.setAttribute("class", `s3-dot hue-${of[i]}`);
      dot.style.opacity = apart ? 0.08 : 0.8;
      move(dot, frames[epoch.value][i]);
    });
    singleOut(names[item.value], frames.slice(0, +epoch.value + 1).map((f) => f[item.value]));
    plane.setAttribute("aria-label", `Map of ${names.length} items after epoch `
      + `${epochs[epoch.value]}, coloured by ${coloured}: ${groups.join(", ")}.`);
    return [sentence(data, epoch.value, item.value), () => listed(data, epoch.value)];
  };
});
