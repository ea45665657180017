// The estimates of one critic against the number of negatives K, between the truth I and the two
// ceilings. On an axis of log(K + 1) the first ceiling is a straight line.
const nats = (value) => value.toFixed(3);
const truthOf = (rho) => -Math.log(1 - rho * rho) / 2 + 0; // + 0: no minus nought
const ceiling = (K) => Math.log(K + 1);
const sigmaCeiling = (K) => Math.log(Math.E * (K + 1) / (Math.E + K));

const width = 360, height = 230, left = 34, bottom = 200; // of the drawing
const line = (style, points) => svg("path", { d: "M" + points.join("L"), class: style });
const text = (x, y, words, anchor = "start") => svg("text", { x, y, "text-anchor": anchor }, words);

// Where a number of negatives and a value stand in the drawing, and its axes.
const scales = (negatives, top) => {
  const first = ceiling(negatives[0]), last = ceiling(negatives.at(-1));
  return { x: (K) => left + (width - left - 14) * (ceiling(K) - first) / (last - first),
    y: (value) => bottom - (bottom - 12) * value / top };
};
const axes = (negatives, top, { x, y }) => [
  ...[...Array(Math.floor(top / 0.5) + 1).keys()].map((i) => i / 2).flatMap((value) => [
    line("s3-thin", [[left, y(value)], [width, y(value)]]),
    text(left - 6, y(value) + 4, value.toFixed(1), "end")]),
  ...negatives.map((K) => text(x(K), bottom + 16, K, "middle")),
  text((left + width) / 2, height - 1, "negatives K", "middle"),
  text(2, 9, "nat"),
];

mount("info_nce", ({ rhos, negatives, values, rho: firstRho, k: firstK }, add, picture) => {
  const rho = add(slider("correlation ρ", rhos, firstRho));
  const k = add(slider("negatives K", negatives, firstK));
  const sigma = add(tick("σ on the critic"));

  // One axis for all correlations, so that a curve that moves has moved.
  const top = Math.max(1.05, 1.1 * Math.max(...rhos.map(truthOf)));
  const { x, y } = scales(negatives, top);

  // Each curve with what it means, the one named first drawn last.
  const curves = (truth, estimates) => {
    const fits = Math.min(ceiling(negatives.at(-1)), top); // the ceiling leaves the drawing there
    return [["s3-mark s3-dashed", "truth I", negatives.map((K) => [K, truth])],
      ["s3-line hue-4", "estimate", negatives.map((K, i) => [K, estimates[i]])],
      ["s3-line s3-dotted hue-1", "ceiling log(K + 1)",
        [[negatives[0], ceiling(negatives[0])], [Math.exp(fits) - 1, fits]]],
      [`s3-line s3-dashdot hue-2${sigma.checked ? "" : " s3-off"}`, "ceiling if σ is on",
        negatives.map((K) => [K, sigmaCeiling(K)])]];
  };

  return () => {
    const r = rhos[rho.value], K = negatives[k.value], truth = truthOf(r);
    const [best, squeezed] = [values.best[rho.value], values.sigma[rho.value]];
    const estimates = sigma.checked ? squeezed : best;
    const drawn = curves(truth, estimates);
    picture.replaceChildren(key("M0 8h28", drawn), svg("svg", { viewBox: `0 0 ${width} ${height}`,
      role: "img", "aria-label": `Estimates against the number of negatives, truth ${nats(truth)} nat.` },
      ...axes(negatives, top, { x, y }), line("s3-thin", [[x(K), y(0)], [x(K), y(top)]]),
      ...drawn.reverse().map(([style, , points]) => line(style, points.map(([n, v]) => [x(n), y(v)]))),
      svg("circle", { cx: x(K), cy: y(estimates[k.value]), r: 5, class: "s3-bar" })));
    return [`ρ = ${r}, K = ${K}, ${sigma.checked ? "critic with σ" : "best critic"}: the estimate is `
      + `${nats(estimates[k.value])} of the true ${nats(truth)} nat. The ceiling is `
      + `${nats(ceiling(K))} for any critic, ${nats(sigmaCeiling(K))} with σ.`,
    () => [["K", "best critic", "critic with σ", "truth", "ceiling log(K + 1)", "ceiling with σ"],
      ...negatives.map((n, i) => [n, ...[best[i], squeezed[i], truth, ceiling(n), sigmaCeiling(n)]
        .map(nats)])]];
  };
});
