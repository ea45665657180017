// The estimates of one critic against the number of negatives K, between the truth I and the two
// ceilings. On an axis of log(K + 1) the first ceiling is a straight line.
mount("info_nce", (data, { controls, picture, words, table: numbers }) => {
  const { rhos, negatives, values } = data;
  const [rhoLabel, rho] = slider("correlation ρ", rhos.length, data.rho);
  const [kLabel, k] = slider("negatives K", negatives.length, data.k);
  const [sigmaLabel, sigma] = tick("σ on the critic");
  const rhoShown = html("span", { class: "s3-value" }), kShown = html("span", { class: "s3-value" });
  rhoLabel.append(rhoShown);
  kLabel.append(kShown);
  controls.append(rhoLabel, kLabel, sigmaLabel);

  const nats = (value) => value.toFixed(3);
  const ceiling = (K) => Math.log(K + 1);
  const sigmaCeiling = (K) => Math.log(Math.E * (K + 1) / (Math.E + K));
  const width = 360, height = 230, left = 34, bottom = 200; // of the drawing
  const line = (points, style) => svg("path", { d: "M" + points.join("L"), class: style });
  const text = (x, y, words, anchor = "start") => svg("text", { x, y, "text-anchor": anchor }, words);

  const draw = () => {
    const r = rhos[rho.value], K = negatives[k.value];
    const truth = -Math.log(1 - r * r) / 2 + 0; // + 0: no minus nought
    const critic = sigma.checked ? "sigma" : "best";
    const value = values[critic][rho.value][k.value];

    const first = ceiling(negatives[0]), last = ceiling(negatives.at(-1));
    const top = Math.max(1.05, 1.15 * truth);
    const x = (K) => left + (width - left - 14) * (ceiling(K) - first) / (last - first);
    const y = (v) => bottom - (bottom - 12) * v / top;
    const fits = Math.min(last, top), atTop = Math.exp(fits) - 1; // where the ceiling leaves
    const marks = [...Array(Math.floor(top / 0.5) + 1).keys()].map((i) => i / 2);
    picture.lastElementChild.replaceWith(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Estimates against the number of negatives, truth ${nats(truth)} nat.` },
      ...marks.flatMap((v) => [line([[left, y(v)], [width, y(v)]], "s3-thin"),
        text(left - 6, y(v) + 4, v.toFixed(1), "end")]),
      ...negatives.map((n) => text(x(n), bottom + 16, n, "middle")),
      text((left + width) / 2, height - 1, "negatives K", "middle"),
      text(2, 9, "nat"),
      line([[x(K), y(0)], [x(K), y(top)]], "s3-thin"),
      line([[x(negatives[0]), y(first)], [x(atTop), y(fits)]], "s3-line s3-dotted hue-1"),
      line(negatives.map((n) => [x(n), y(sigmaCeiling(n))]), "s3-line s3-dashdot hue-2"),
      line(negatives.map((n, i) => [x(n), y(values[critic][rho.value][i])]), "s3-line hue-4"),
      line([[left, y(truth)], [width, y(truth)]], "s3-mark s3-dashed"),
      svg("circle", { cx: x(K), cy: y(value), r: 5, class: "s3-bar" })));
    for (const mark of picture.querySelectorAll(".s3-dashdot")) { // in the key and in the drawing
      mark.classList.toggle("s3-off", !sigma.checked);
    }

    rhoShown.textContent = r;
    kShown.textContent = K;
    rho.setAttribute("aria-valuetext", r);
    k.setAttribute("aria-valuetext", K);
    words.textContent = `ρ = ${r}, K = ${K}, ${sigma.checked ? "critic with σ" : "best critic"}: `
      + `the estimate is ${nats(value)} of the true ${nats(truth)} nat. The ceiling is `
      + `${nats(ceiling(K))} for any critic, ${nats(sigmaCeiling(K))} with σ.`;
    numbers.replaceChildren(...table(
      ["K", "best critic", "critic with σ", "truth", "ceiling log(K + 1)", "ceiling with σ"],
      negatives.map((n, i) => row(n, ...[values.best[rho.value][i], values.sigma[rho.value][i],
        truth, ceiling(n), sigmaCeiling(n)].map(nats)))));
  };
  return draw;
});
